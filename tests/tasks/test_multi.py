"""Several classes an image: losses worked by hand and against torch, and how a prediction reads."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from marnet.errors import ConfigError
from marnet.tasks.multi import BalancedBinaryCrossEntropy, MultiLabel, binary_cross_entropy, binary_weights, log_odds
from marnet.tasks.single import BalancedCrossEntropy, log_priors

TARGETS = np.array([[1, 0, 1, 0], [0, 0, 1, 0], [0, 1, 1, 0], [1, 0, 1, 0], [0, 0, 1, 0]], np.float32)  # 2, 1, 5, 0


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_plain_loss_worked_by_hand() -> None:
    """Probabilities 3/4 and 1/2 of a class that is there and one that is not."""
    logits = torch.tensor([[math.log(3.0), 0.0]])
    loss = binary_cross_entropy(logits, torch.tensor([[1.0, 0.0]]))
    assert float(loss) == pytest.approx(-(math.log(0.75) + math.log(0.5)) / 2)
    smooth = binary_cross_entropy(logits, torch.tensor([[1.0, 0.0]]), label_smoothing=0.2)
    first = -(0.9 * math.log(0.75) + 0.1 * math.log(0.25))
    assert float(smooth) == pytest.approx((first - math.log(0.5)) / 2)


def test_weights_worked_by_hand() -> None:
    """Of five rows two, one, all and none have the class; the last two cannot be balanced."""
    positive, negative = binary_weights(TARGETS.sum(0), 5)
    assert positive.tolist() == pytest.approx([5 / 4, 5 / 2, 1, 1])
    assert negative.tolist() == pytest.approx([5 / 6, 5 / 8, 1, 1])
    rows = torch.from_numpy(TARGETS)
    means = torch.where(rows > 0, positive, negative).mean(0)
    assert means.tolist() == pytest.approx([1.0] * 4)


def test_weights_are_torchs_pos_weight_scaled_by_class() -> None:
    counts, rows = np.array([2, 1]), 5
    positive, negative = (each.double() for each in binary_weights(counts, rows))
    logits, targets = normal(5, 2), torch.from_numpy(TARGETS[:, :2]).double()
    ours = BalancedBinaryCrossEntropy(positive, negative, torch.zeros(2).double())(logits, targets)
    pos_weight = torch.from_numpy((rows - counts) / counts)
    torchs = functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=pos_weight, reduction="none")
    torch.testing.assert_close(ours, (torchs * negative).mean())


def test_odds_worked_by_hand_and_as_two_classes_of_menon() -> None:
    assert log_odds(TARGETS.sum(0), 5).tolist() == pytest.approx([math.log(2 / 3), math.log(1 / 4), 0, 0])
    logits, targets = normal(5, 1), torch.from_numpy(TARGETS[:, :1]).double()
    two = torch.cat([torch.zeros(5, 1).double(), logits], dim=1)
    priors = log_priors(np.array([3, 2])).double()
    menon = BalancedCrossEntropy(torch.ones(2).double(), priors)(two, targets[:, 0].long())
    ones = torch.ones(1).double()
    ours = BalancedBinaryCrossEntropy(ones, ones, log_odds(np.array([2.0]), 5).double())(logits, targets)
    torch.testing.assert_close(ours, menon)


@pytest.mark.parametrize("balance", ["weights", "logit-adjust"])
def test_the_balanced_loss_against_a_loop_and_its_gradient(balance: str) -> None:
    logits, targets = normal(5, 4).requires_grad_(), torch.from_numpy(TARGETS)
    loss = MultiLabel(4).balanced_loss(balance, TARGETS, tau=2.0)  # type: ignore[arg-type]
    ours = loss(logits, targets, label_smoothing=0.1)
    positive, negative = binary_weights(TARGETS.sum(0), 5)
    total = torch.zeros((), dtype=torch.float64)
    for i in range(5):
        for k in range(4):
            weight, offset = 1.0, 0.0
            if balance == "weights":
                weight = float(positive[k] if TARGETS[i, k] else negative[k])
            else:
                offset = 2 * float(log_odds(TARGETS.sum(0), 5)[k])
            p = 1 / (1 + torch.exp(-logits[i, k] - offset))
            wanted = 0.95 if TARGETS[i, k] else 0.05
            total = total - weight * (wanted * torch.log(p) + (1 - wanted) * torch.log(1 - p))
    torch.testing.assert_close(ours, total / 20)
    torch.testing.assert_close(*(torch.autograd.grad(each, logits)[0] for each in (ours, total / 20)))


def test_the_sampler_is_refused_and_none_is_the_plain_loss() -> None:
    with pytest.raises(ConfigError, match=r"Choose `training.balance=weights` or `training.balance=logit-adjust`"):
        MultiLabel(4).balanced_loss("sampler", TARGETS)
    assert MultiLabel(4).balanced_loss("none", TARGETS) is binary_cross_entropy


def test_no_row_gives_no_loss() -> None:
    loss = MultiLabel(4).balanced_loss("weights", TARGETS)
    assert float(loss(torch.zeros(0, 4), torch.zeros(0, 4))) == 0.0


def test_probabilities_and_thresholds() -> None:
    assert MultiLabel(3, 0.25).thresholds() == (0.25, 0.25, 0.25)
    assert MultiLabel(2, torch.tensor([0.5, 0.75])).thresholds() == (0.5, 0.75)
    task = MultiLabel(3, 0.5)
    assert task.probabilities(torch.tensor([[0.0, math.log(3.0)]])).tolist()[0] == pytest.approx([0.5, 0.75])


def test_the_score_of_batches_is_that_of_all() -> None:
    task = MultiLabel(4)
    logits, targets = normal(30, 4), (normal(30, 4, seed=1) > 0.5).float()
    metric = task.score_metric()
    for first in range(0, 30, 8):
        metric.update(logits[first : first + 8], targets[first : first + 8])
    assert float(metric.compute()) == pytest.approx(task.metrics(logits, targets)._asdict()[task.score])
    metric.reset()
    metric.update(logits[:9], targets[:9])
    assert float(metric.compute()) == pytest.approx(task.metrics(logits[:9], targets[:9]).map)
