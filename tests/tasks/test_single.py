"""One class an image: the balanced losses against values worked by hand and torch, and how a prediction reads."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from marnet.losses import classification_loss, soft_classification_loss
from marnet.tasks.single import BalancedCrossEntropy, SingleLabel, class_weights, log_priors

COUNTS = np.array([6, 3, 1])
TARGETS = np.repeat(np.arange(3), COUNTS)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_weights_worked_by_hand() -> None:
    """N / (K n_c): of ten rows in three classes 10/18, 10/9 and 10/3; the mean over the rows is 1."""
    weights = class_weights(COUNTS)
    assert weights.tolist() == pytest.approx([10 / 18, 10 / 9, 10 / 3])
    assert float(weights[torch.from_numpy(TARGETS)].mean()) == pytest.approx(1.0)
    assert (weights * torch.from_numpy(COUNTS)).tolist() == pytest.approx([10 / 3] * 3)  # each class as much in all


def test_a_class_without_rows_has_no_weight_and_the_mean_stays_1() -> None:
    weights = class_weights(np.array([3, 0, 1]))
    assert weights.tolist() == pytest.approx([4 / 6, 0, 2])
    assert (3 * float(weights[0]) + float(weights[2])) / 4 == pytest.approx(1.0)


def test_even_classes_have_weight_1() -> None:
    assert class_weights(np.array([5, 5])).tolist() == [1.0, 1.0]


def test_priors_worked_by_hand() -> None:
    assert log_priors(COUNTS).tolist() == pytest.approx([math.log(0.6), math.log(0.3), math.log(0.1)])
    assert log_priors(np.array([4, 0])).tolist() == pytest.approx([0.0, math.log(1 / 4)])


def test_the_weighted_loss_worked_by_hand() -> None:
    """Two rows of classes 0 and 2 with even logits: (10/18 + 10/3) / 2 times log 3."""
    loss = SingleLabel(3).balanced_loss("weights", TARGETS)
    found = loss(torch.zeros(2, 3), torch.tensor([0, 2]))
    assert float(found) == pytest.approx((10 / 18 + 10 / 3) / 2 * math.log(3), rel=1e-6)


def test_the_adjusted_loss_worked_by_hand() -> None:
    """Even logits give a row of class c the loss -log(prior of c): the priors are the softmax."""
    loss = SingleLabel(3).balanced_loss("logit-adjust", TARGETS)
    assert float(loss(torch.zeros(1, 3), torch.tensor([2]))) == pytest.approx(-math.log(0.1), rel=1e-6)
    squared = SingleLabel(3).balanced_loss("logit-adjust", TARGETS, tau=2.0)
    expected = -math.log(0.01 / (0.36 + 0.09 + 0.01))
    assert float(squared(torch.zeros(1, 3), torch.tensor([2]))) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_weighted_loss_against_a_loop_and_its_gradient(smoothing: float) -> None:
    logits, targets = normal(7, 3).requires_grad_(), torch.tensor([0, 0, 1, 2, 1, 0, 2])
    weights, offsets = torch.tensor([0.5, 1.0, 3.0]).double(), torch.tensor([0.3, -0.2, -1.0]).double()
    ours = BalancedCrossEntropy(weights, offsets)(logits, targets, label_smoothing=smoothing)
    total = torch.zeros((), dtype=torch.float64)
    for row, target in zip(logits, targets.tolist(), strict=True):
        log_p = row + offsets - torch.log(torch.exp(row + offsets).sum())
        wanted = [smoothing / 3 + (1 - smoothing) * (k == target) for k in range(3)]
        total = total - weights[target] * sum(wanted[k] * log_p[k] for k in range(3))
    torch.testing.assert_close(ours, total / 7)
    torch.testing.assert_close(*(torch.autograd.grad(each, logits)[0] for each in (ours, total / 7)))


def test_in_a_batch_as_the_training_rows_the_loss_is_torchs_weighted_mean() -> None:
    logits, targets = normal(10, 3), torch.from_numpy(TARGETS)
    weights = class_weights(COUNTS).double()
    ours = BalancedCrossEntropy(weights, torch.zeros(3).double())(logits, targets)
    torch.testing.assert_close(ours, functional.cross_entropy(logits, targets, weight=weights))


@pytest.mark.parametrize("balance", ["none", "sampler"])
def test_without_weights_the_loss_is_the_plain_one(balance: str) -> None:
    assert SingleLabel(3).balanced_loss(balance, TARGETS) is classification_loss  # type: ignore[arg-type]


def test_no_row_gives_no_loss() -> None:
    loss = SingleLabel(3).balanced_loss("weights", TARGETS)
    logits = torch.zeros(0, 3, requires_grad=True)
    assert float(loss(logits, torch.zeros(0, dtype=torch.long)).detach()) == 0.0


def test_constants_move_with_the_module_and_stay_out_of_its_state() -> None:
    module = BalancedCrossEntropy(torch.ones(3), torch.zeros(3))
    assert module.double().weights.dtype == torch.float64
    assert module.state_dict() == {}


def test_probabilities_and_thresholds() -> None:
    task = SingleLabel(3)
    probabilities = task.probabilities(torch.tensor([[0.0, math.log(3.0), math.log(6.0)]]))
    assert probabilities.tolist()[0] == pytest.approx([0.1, 0.3, 0.6])
    assert task.thresholds() is None


def test_the_score_is_the_figure_of_that_name() -> None:
    task = SingleLabel(4)
    logits, targets = normal(30, 4), torch.arange(30) % 4
    metric = task.score_metric()
    for first in range(0, 30, 8):
        metric.update(logits[first : first + 8], targets[first : first + 8])
    assert float(metric.compute()) == pytest.approx(task.metrics(logits, targets)._asdict()[task.score])


class TestSharesOfClasses:
    """Targets in training may be shares of classes; with one class per row nothing changes."""

    ONE_HOT = functional.one_hot(torch.from_numpy(TARGETS), 3)

    @pytest.mark.parametrize("balance", ["none", "weights", "logit-adjust"])
    @pytest.mark.parametrize("smoothing", [0.0, 0.1])
    def test_one_class_per_row_has_the_loss_of_its_number(self, balance: Any, smoothing: float) -> None:
        logits = normal(10, 3).requires_grad_()
        numbers = SingleLabel(3).balanced_loss(balance, TARGETS)
        shares = SingleLabel(3).balanced_loss(balance, self.ONE_HOT.numpy().astype(np.float32))
        one = numbers(logits, torch.from_numpy(TARGETS), label_smoothing=smoothing)
        two = shares(logits, self.ONE_HOT.float(), label_smoothing=smoothing)
        assert float(one) == pytest.approx(float(two), rel=1e-6)
        (by_one,), (by_two,) = (torch.autograd.grad(loss, logits) for loss in (one, two))
        assert torch.allclose(by_one, by_two, atol=1e-9)

    def test_rows_without_a_label_count_for_nothing(self) -> None:
        logits, targets = (
            normal(6, 3),
            torch.rand(6, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64),
        )
        targets /= targets.sum(1, keepdim=True)
        some = soft_classification_loss(logits[:4], targets[:4], label_smoothing=0.1)
        targets[4:] = 0
        assert float(soft_classification_loss(logits, targets, label_smoothing=0.1)) == pytest.approx(float(some))
        assert float(soft_classification_loss(logits, 0 * targets)) == 0
        assert float(soft_classification_loss(logits[:0], targets[:0])) == 0

    def test_it_is_torchs_loss_of_probabilities(self) -> None:
        logits, targets = normal(6, 3), normal(6, 3, seed=2).softmax(1)
        expected = functional.cross_entropy(logits, targets, label_smoothing=0.2)
        assert float(soft_classification_loss(logits, targets, label_smoothing=0.2)) == pytest.approx(float(expected))

    def test_weights_of_a_mixed_row_worked_by_hand(self) -> None:
        """Half class 0, half class 2, with even logits: the mean of 10/18 and 10/3, times log 3."""
        loss = SingleLabel(3).balanced_loss("weights", self.ONE_HOT.numpy().astype(np.float32))
        found = loss(torch.zeros(1, 3), torch.tensor([[0.5, 0.0, 0.5]]))
        assert float(found) == pytest.approx((10 / 18 + 10 / 3) / 2 * math.log(3), rel=1e-6)
