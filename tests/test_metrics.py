"""The figures: worked by hand on tiny cases, and against scikit-learn and loops on random ones."""

import itertools
import math
import re
import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
    hamming_loss,
    log_loss,
    top_k_accuracy_score,
)
from torch import Tensor

from marnet.metrics import (
    Metrics,
    accuracy_coverage,
    classification_metrics,
    mean_average_precision,
    multi_label_metrics,
    percent,
    reliability,
)


def as_logits(probabilities: list[list[float]]) -> Tensor:
    return torch.tensor(probabilities, dtype=torch.float64).log()


def test_four_predictions_worked_by_hand() -> None:
    probabilities = [[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.3, 0.2, 0.5]]
    metrics = classification_metrics(as_logits(probabilities), torch.tensor([0, 1, 1, 2]))
    assert metrics.n == 4
    assert metrics.top1 == pytest.approx(3 / 4)
    assert metrics.top5 == 1.0
    # F1: class 0 has one hit and one false alarm, 2/3; class 1 one hit and one miss, 2/3; class 2 is right, 1.
    assert metrics.macro_f1 == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert metrics.nll == pytest.approx(-(math.log(0.7) + math.log(0.3) + math.log(0.8) + math.log(0.5)) / 4)
    # Confidences 0.7, 0.6, 0.8 and 0.5 fall into bins of their own: gaps 0.3, 0.6, 0.2 and 0.5.
    assert metrics.ece == pytest.approx((0.3 + 0.6 + 0.2 + 0.5) / 4)
    # Squared distances from (1, 0, 0), (0, 1, 0), (0, 1, 0) and (0, 0, 1).
    assert metrics.brier == pytest.approx((0.14 + (0.36 + 0.49 + 0.01) + 0.06 + (0.09 + 0.04 + 0.25)) / 4)
    # Surest first: 0.8 right, 0.7 right, 0.6 wrong, 0.5 right; errors among the 1, 2, 3, 4 surest.
    assert metrics.aurc == pytest.approx((0 + 0 + 1 / 3 + 1 / 4) / 4)


def test_calibration_pools_within_a_bin() -> None:
    """Fifteen bins: 0.61 and 0.65 share (0.6, 0.667]; one of the two is right."""
    metrics = classification_metrics(as_logits([[0.61, 0.39], [0.65, 0.35]]), torch.tensor([0, 1]))
    assert metrics.ece == pytest.approx(abs(0.63 - 0.5), abs=1e-6)


def test_certainty_is_a_bin_too() -> None:
    sure = torch.tensor([[1000.0, 0.0], [1000.0, 0.0]])
    assert classification_metrics(sure, torch.tensor([0, 0])).ece == pytest.approx(0.0, abs=1e-6)
    metrics = classification_metrics(sure, torch.tensor([1, 1]))
    assert metrics.ece == pytest.approx(1.0, abs=1e-6)
    assert metrics.nll == pytest.approx(1000.0)


def test_top5_counts_the_five_largest() -> None:
    logits = torch.arange(7.0).repeat(7, 1)  # class 6 first, class 0 last
    metrics = classification_metrics(logits, torch.arange(7))
    assert metrics.top1 == pytest.approx(1 / 7)
    assert metrics.top5 == pytest.approx(5 / 7)


@pytest.mark.parametrize("classes", [2, 3, 4, 5])
def test_with_five_classes_or_fewer_top5_is_all_of_them(classes: int) -> None:
    logits = torch.randn(20, classes, generator=torch.Generator().manual_seed(0))
    assert classification_metrics(logits, torch.arange(20) % classes).top5 == 1.0


def ece_by_loop(probabilities: np.ndarray, labels: np.ndarray) -> float:
    total = 0.0
    for k in range(15):
        inside = [
            (row.max(), row.argmax() == label)
            for row, label in zip(probabilities, labels, strict=True)
            if k / 15 < row.max() <= (k + 1) / 15
        ]
        if inside:
            confidence, right = np.mean([c for c, _ in inside]), np.mean([r for _, r in inside])
            total += len(inside) / len(labels) * abs(confidence - right)
    return total


@pytest.mark.parametrize("seed", range(3))
def test_against_scikit_learn_and_a_loop(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(300, 9, generator=generator)
    labels = torch.randint(7, (300,), generator=generator)  # classes 7 and 8 are predicted, never true
    metrics = classification_metrics(logits, labels)
    probabilities = logits.double().softmax(-1).numpy()
    guesses, truth, every = probabilities.argmax(1), labels.numpy(), list(range(9))
    assert metrics.top1 == pytest.approx(accuracy_score(truth, guesses))
    assert metrics.top5 == pytest.approx(top_k_accuracy_score(truth, probabilities, k=5, labels=every))
    assert metrics.macro_f1 == pytest.approx(f1_score(truth, guesses, average="macro"), abs=1e-6)
    assert metrics.nll == pytest.approx(log_loss(truth, probabilities, labels=every))
    assert metrics.ece == pytest.approx(ece_by_loop(probabilities, truth), abs=1e-6)
    assert metrics.n == 300
    assert metrics.brier == pytest.approx(np.mean(((probabilities - np.eye(9)[truth]) ** 2).sum(1)))
    order = np.argsort(-probabilities.max(1))
    wrong = (guesses != truth)[order]
    assert metrics.aurc == pytest.approx(np.mean([wrong[:k].mean() for k in range(1, 301)]))


def test_macro_f1_leaves_out_classes_that_nobody_names() -> None:
    """Of ten classes only 0 and 1 occur or are predicted; the other eight must not pull the mean down."""
    logits = torch.full((3, 10), -5.0)
    logits[0, 0] = logits[1, 0] = logits[2, 1] = 5.0
    labels = torch.tensor([0, 1, 1])
    expected = f1_score([0, 1, 1], [0, 0, 1], average="macro")
    assert classification_metrics(logits, labels).macro_f1 == pytest.approx(expected)


def test_half_precision_and_gradients_are_welcome() -> None:
    logits = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)).bfloat16().requires_grad_()
    metrics = classification_metrics(logits, torch.arange(8) % 3)
    assert all(isinstance(value, float) for value in metrics[:7])
    assert metrics == classification_metrics(logits.detach().float(), torch.arange(8) % 3)


@pytest.mark.parametrize(("logits", "labels"), [((0, 3), (0,)), ((2, 3), (3,)), ((3,), (3,)), ((2, 3, 1), (2,))])
def test_shapes_that_do_not_fit_are_refused(logits: tuple[int, ...], labels: tuple[int, ...]) -> None:
    sentence = f"logits {logits} and labels {labels} do not fit. Expected (N, C) and (N,), N >= 1."
    with pytest.raises(ValueError, match=re.escape(sentence)):
        classification_metrics(torch.zeros(logits), torch.zeros(labels, dtype=torch.long))


def test_names_and_percent_are_as_published() -> None:
    assert Metrics._fields == ("top1", "top5", "macro_f1", "macro_recall", "nll", "ece", "brier", "aurc", "n")
    assert percent(0.6344) == "63.4 %"


def test_macro_recall_worked_by_hand_leaves_out_classes_that_do_not_occur() -> None:
    """Class 0 is found in two of three, class 1 in none of one; class 2 is predicted and never true."""
    logits = torch.eye(4)[[0, 0, 2, 2]]
    labels = torch.tensor([0, 0, 0, 1])
    assert classification_metrics(logits, labels).macro_recall == pytest.approx((2 / 3 + 0) / 2)


@pytest.mark.parametrize("seed", range(3))
def test_macro_recall_is_scikit_learns_balanced_accuracy(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits, labels = torch.randn(200, 9, generator=generator), torch.randint(7, (200,), generator=generator)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="y_pred contains classes not in y_true")
        expected = balanced_accuracy_score(labels.numpy(), logits.argmax(1).numpy())
    assert classification_metrics(logits, labels).macro_recall == pytest.approx(expected, abs=1e-6)


def test_several_labels_worked_by_hand() -> None:
    probabilities = torch.tensor([[0.9, 0.4, 0.2], [0.6, 0.8, 0.7], [0.7, 0.1, 0.3]], dtype=torch.float64)
    targets = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, 0.0]])
    metrics = multi_label_metrics(probabilities.logit(), targets)
    # Class 0 is ranked 1, 1, 0: 1. Class 1 is ranked 1, 0, 1: (1 + 2/3) / 2. Class 2 is never there: left out.
    assert metrics.map == pytest.approx((1 + (1 + 2 / 3) / 2) / 2)
    # Class 0: two hits, one false alarm, 4/5. Class 1: one hit, one miss, 2/3. Class 2: one false alarm, 0.
    assert metrics.micro_f1 == pytest.approx(2 * 3 / (2 * 3 + 2 + 1))
    assert metrics.macro_f1 == pytest.approx((4 / 5 + 2 / 3 + 0) / 3)
    assert metrics.exact_match == pytest.approx(1 / 3)
    assert metrics.hamming_loss == pytest.approx(3 / 9)
    likelihoods = [0.9, 0.6, 0.8, 0.4, 0.8, 0.3, 0.7, 0.1, 0.7]
    assert metrics.nll == pytest.approx(-sum(map(math.log, likelihoods)) / 9)
    assert metrics.n == 3


@pytest.mark.parametrize("seed", range(3))
def test_several_labels_against_scikit_learn(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(150, 6, generator=generator)
    targets = (torch.rand(150, 6, generator=generator) < 0.3).float()
    targets[:, 5] = 0  # predicted, never there
    metrics = multi_label_metrics(logits, targets, threshold=0.4)
    truth, scores = targets.numpy(), logits.double().sigmoid().numpy()
    guesses = scores >= 0.4
    assert metrics.map == pytest.approx(average_precision_score(truth[:, :5], scores[:, :5], average="macro"), abs=1e-6)
    assert metrics.micro_f1 == pytest.approx(f1_score(truth, guesses, average="micro"))
    assert metrics.macro_f1 == pytest.approx(f1_score(truth, guesses, average="macro"))
    assert metrics.exact_match == pytest.approx(accuracy_score(truth, guesses))
    assert metrics.hamming_loss == pytest.approx(hamming_loss(truth, guesses))


def test_average_precision_tells_large_logits_apart_and_keeps_ties() -> None:
    scores, targets = torch.tensor([[60.0], [50.0], [40.0], [40.0]]), torch.tensor([[1.0], [0.0], [1.0], [0.0]])
    assert mean_average_precision(scores, targets) == pytest.approx(
        average_precision_score(targets[:, 0], scores[:, 0]), abs=1e-6
    )
    assert mean_average_precision(scores, targets) == pytest.approx((1 + 2 / 4) / 2)


@pytest.mark.parametrize(
    ("logits", "targets", "positives"), [((2, 3), (2, 3), 0), ((2, 3), (2, 4), 8), ((2,), (2,), 2)]
)
def test_several_labels_that_cannot_be_judged_are_refused(
    logits: tuple[int, ...], targets: tuple[int, ...], positives: int
) -> None:
    sentence = f"logits {logits} and targets {targets} with {positives} positives do not fit. Expected (N, C) twice"
    with pytest.raises(ValueError, match=re.escape(sentence)):
        multi_label_metrics(torch.zeros(logits), torch.full(targets, float(positives > 0)))


def test_equal_confidences_have_no_order() -> None:
    """0.9 is right; of three at 0.6 one is right. The k surest hold, on average, 1, 1 + 1/3, 1 + 2/3 and 2 right."""
    right = [True, True, False, False]
    expected = [1, (4 / 3) / 2, (5 / 3) / 3, 2 / 4]
    for order in itertools.permutations(range(4)):
        confidence = torch.tensor([(0.9, 0.6, 0.6, 0.6)[i] for i in order])
        curve = accuracy_coverage(confidence, torch.tensor([right[i] for i in order]))
        assert curve.coverage.tolist() == [0.25, 0.5, 0.75, 1]
        assert curve.accuracy.tolist() == pytest.approx(expected)


def test_ties_are_the_mean_over_their_orders() -> None:
    """Every order of six images of which four tie, worked through."""
    confidence, right = [0.9, 0.7, 0.7, 0.7, 0.7, 0.2], [False, True, True, False, True, True]
    orders = [(0, *middle, 5) for middle in itertools.permutations((1, 2, 3, 4))]
    curves = [[np.mean([right[i] for i in order[:k]]) for k in range(1, 7)] for order in orders]
    found = accuracy_coverage(torch.tensor(confidence), torch.tensor(right)).accuracy
    assert found.tolist() == pytest.approx(np.mean(curves, axis=0).tolist())


def test_nothing_but_ties_is_the_accuracy_at_every_coverage() -> None:
    metrics = classification_metrics(torch.zeros(8, 2), torch.tensor([0, 1, 0, 1, 1, 1, 1, 1]))
    assert metrics.aurc == pytest.approx(0.75)  # class 0, the first of equals, is predicted; two of eight are right
    assert metrics.brier == pytest.approx(0.5)


def test_reliability_by_hand() -> None:
    """Bins of 0.2: 0 and 0.1 in the first, the edge 0.6 in the third, 0.61 and 0.79 in the fourth, 1 in the last."""
    confidence = torch.tensor([0.1, 0.0, 0.6, 0.61, 0.79, 1.0], dtype=torch.float64)
    found = reliability(confidence, torch.tensor([False, False, True, True, False, True]), bins=5)
    assert found.images.tolist() == [2, 0, 1, 2, 1]
    assert found.confidence[[0, 2, 3, 4]].tolist() == pytest.approx([0.05, 0.6, 0.7, 1.0])
    assert found.accuracy[[0, 2, 3, 4]].tolist() == pytest.approx([0, 1, 0.5, 1])
    assert math.isnan(found.confidence[1])
    assert found.ece == pytest.approx((2 * 0.05 + 1 * 0.4 + 2 * 0.2 + 0) / 6)


@pytest.mark.parametrize("seed", range(3))
def test_the_diagram_and_the_figure_agree(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits, labels = torch.randn(200, 4, generator=generator), torch.randint(4, (200,), generator=generator)
    confidence, predicted = logits.double().softmax(-1).max(-1)
    found = reliability(confidence, predicted == labels)
    assert len(found.images) == 15
    assert found.ece == pytest.approx(classification_metrics(logits, labels).ece, abs=1e-6)


def test_scores_that_do_not_fit() -> None:
    sentence = re.escape("confidence (2,) and correct (3,) do not fit. Expected (N,) each.")
    for function in (accuracy_coverage, reliability):
        with pytest.raises(ValueError, match=sentence):
            function(torch.zeros(2), torch.zeros(3, dtype=torch.bool))
        with pytest.raises(ValueError, match="do not fit"):
            function(torch.zeros(0), torch.zeros(0, dtype=torch.bool))
