"""Metrics of a set of predictions: accuracy, macro F1, likelihood and calibration.

Only the functions that need torchmetrics import it: that takes seconds, which prediction does without.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

CALIBRATION_BINS = 15


class Metrics(NamedTuple):
    """Metrics of one set of predictions; all but `nll`, `brier` and `n` are fractions between 0 and 1.

    Example:
        >>> import marnet
        >>> metrics = marnet.evaluate("runs/p")
        >>> isinstance(metrics, marnet.Metrics), metrics.n, metrics.top5
        (True, 9, 1.0)
    """

    top1: float
    top5: float
    macro_f1: float  # over the classes that occur or are predicted
    macro_recall: float  # mean recall of the classes that occur: balanced accuracy
    nll: float  # mean negative log-likelihood, nats
    ece: float  # expected calibration error, 15 bins, l1
    brier: float  # mean squared distance of the probabilities from the truth, summed over classes: 0 to 2
    aurc: float  # area under the risk-coverage curve: the mean error of the k most confident images, over k = 1 .. n
    n: int  # images


def classification_metrics(logits: Tensor, labels: Tensor) -> Metrics:
    """Score logits `(N, C)` against labels `(N,)` int64; C is 2 or more. With C < 5, `top5` counts all C.

    Raises:
        ValueError: there is no prediction, or the shapes disagree.
    """
    if logits.ndim != 2 or len(logits) != len(labels) or len(labels) == 0:
        raise ValueError(
            f"logits {tuple(logits.shape)} and labels {tuple(labels.shape)} do not fit. "
            f"Expected (N, C) and (N,), N >= 1."
        )
    from torchmetrics.functional import classification as scores

    logits = logits.detach().double()
    classes = logits.shape[1]
    probabilities = logits.softmax(-1)
    recalls = scores.multiclass_recall(logits, labels, classes, average="none")
    confidence, predicted = probabilities.max(-1)
    return Metrics(
        top1=float(scores.multiclass_accuracy(logits, labels, classes, average="micro")),
        top5=float(scores.multiclass_accuracy(logits, labels, classes, average="micro", top_k=min(5, classes))),
        macro_f1=float(scores.multiclass_f1_score(logits, labels, classes, average="macro")),
        macro_recall=float(recalls[torch.bincount(labels, minlength=classes) > 0].mean()),
        nll=float(functional.cross_entropy(logits, labels)),
        ece=float(
            scores.multiclass_calibration_error(probabilities, labels, classes, n_bins=CALIBRATION_BINS, norm="l1")
        ),
        brier=float((probabilities - functional.one_hot(labels, classes)).square().sum(-1).mean()),
        aurc=float(1 - accuracy_coverage(confidence, predicted == labels).accuracy.mean()),
        n=len(labels),
    )


class MultiLabelMetrics(NamedTuple):
    """Metrics of predictions of any number of classes per image; all but `nll` and `n` are fractions between 0 and 1.

    Example:
        >>> import marnet
        >>> rows = [(f"apple-{n}.png", "red, round", ["red", "round"]) for n in range(20)]
        >>> rows += [(f"eel-{n}.png", "blue, long", ["blue", "long"]) for n in range(20)]
        >>> run = marnet.train(rows, out="runs/multi", backbone="timm:test_resnet",
        ...     settings={"data.labels": "multi", "data.image_size": 32, "training.epochs": 1})
        >>> isinstance(run.metrics, marnet.MultiLabelMetrics), run.metrics.n
        (True, 6)
    """

    map: float  # mean average precision over the classes that occur
    micro_f1: float  # of all decisions together
    macro_f1: float  # over the classes that occur or are predicted
    exact_match: float  # images with no wrong decision
    hamming_loss: float  # decisions that are wrong
    nll: float  # mean negative log-likelihood of a decision, nats
    n: int  # images


def multi_label_metrics(logits: Tensor, targets: Tensor, *, threshold: float | Tensor = 0.5) -> MultiLabelMetrics:
    """Score logits `(N, C)` against targets `(N, C)` of 0 and 1, one decision per image and class.

    A class is predicted if its probability, the sigmoid of the logit, is `threshold` or more; `(C,)` and `(N, C)` will
    do as well.

    Raises:
        ValueError: the shapes disagree, or no image has a class.
    """
    if logits.ndim != 2 or logits.shape != targets.shape or not bool(targets.any()):
        raise ValueError(
            f"logits {tuple(logits.shape)} and targets {tuple(targets.shape)} with {int(targets.sum())} positives do "
            f"not fit. Expected (N, C) twice, and at least one positive."
        )
    logits = logits.detach().double()
    predicted, true = logits.sigmoid() >= threshold, targets > 0.5
    hits = (predicted & true).sum(0).double()  # (C,)
    either = (predicted.sum(0) + true.sum(0)).double()  # (C,); F1 is 2 hits / either
    named = either > 0
    correct = predicted == true
    return MultiLabelMetrics(
        map=mean_average_precision(logits, targets),
        micro_f1=float(2 * hits.sum() / either.sum()),
        macro_f1=float((2 * hits[named] / either[named]).mean()),
        exact_match=float(correct.all(1).double().mean()),
        hamming_loss=float(1 - correct.double().mean()),
        nll=float(functional.binary_cross_entropy_with_logits(logits, targets.double())),
        n=len(logits),
    )


def mean_average_precision(scores: Tensor, targets: Tensor) -> float:
    """Return the mean average precision of scores and 0 or 1 `(N, C)`, over the classes with a positive."""
    found = [value for value in average_precisions(scores, targets) if not math.isnan(value)]
    return sum(found) / len(found)


def average_precisions(scores: Tensor, targets: Tensor) -> list[float]:
    """Return the average precision of each of C classes for scores and 0 or 1 `(N, C)`, NaN without a positive."""
    from torchmetrics.functional.classification import binary_average_precision

    true = (targets > 0.5).long()
    # torchmetrics takes a sigmoid of scores beyond 0 and 1, which ties the large ones: hand it their ranks between.
    values, ranks = torch.unique(scores, return_inverse=True)  # ranks (N, C)
    order = ranks.double() / len(values)
    return [
        float(binary_average_precision(order[:, number], true[:, number])) if present else math.nan
        for number, present in enumerate(true.any(0).tolist())  # without a positive torchmetrics says 0
    ]


class CoverageCurve(NamedTuple):
    """Accuracy on the most confident images alone; entry k - 1 is for the k most confident of N."""

    coverage: Tensor  # (N,) float64, k / N
    accuracy: Tensor  # (N,) float64


def accuracy_coverage(confidence: Tensor, correct: Tensor) -> CoverageCurve:
    """Return the accuracy of predictions if only the most confident are kept, and the others are left to people.

    Images of equal confidence have no order: where k ends among them, the accuracy is its mean over all their orders,
    so it does not depend on the order of the rows.

    Args:
        confidence: `(N,)`, the probability of the predicted class; any score that grows with certainty will do.
        correct: `(N,)` bool, True for a correct prediction.

    Raises:
        ValueError: there is no prediction, or the shapes disagree.
    """
    _check_scores(confidence, correct)
    confidence, correct = confidence.detach().cpu().double(), correct.cpu().double()
    count = len(confidence)
    # Ties share a group; the most confident come first.
    _, group, sizes = torch.unique(-confidence, return_inverse=True, return_counts=True)
    hits = torch.zeros(len(sizes), dtype=torch.float64).index_add_(0, group, correct)
    expected = (hits / sizes).repeat_interleave(sizes).cumsum(0)  # correct ones among the k most confident
    kept = torch.arange(1, count + 1, dtype=torch.float64)
    return CoverageCurve(kept / count, expected / kept)


class Reliability(NamedTuple):
    """Confidence against accuracy in K bins of equal width; bin k reaches from above k / K to (k + 1) / K."""

    images: Tensor  # (K,) int64, the number in the bin
    confidence: Tensor  # (K,) float64, the mean in the bin; NaN in an empty one
    accuracy: Tensor  # (K,) float64, the share that is correct; NaN in an empty one

    @property
    def ece(self) -> float:
        """The expected calibration error, l1: the mean gap between confidence and accuracy, weighted by images."""
        gaps = (self.confidence - self.accuracy).abs().nan_to_num(0.0)
        return float((gaps * self.images).sum() / self.images.sum())


def reliability(confidence: Tensor, correct: Tensor, *, bins: int = CALIBRATION_BINS) -> Reliability:
    """Return the reliability diagram of `confidence` `(N,)` from 0 to 1 and `correct` `(N,)` bool; 0 is in bin 0.

    Raises:
        ValueError: there is no prediction, or the shapes disagree.
    """
    _check_scores(confidence, correct)
    confidence, correct = confidence.detach().cpu().double(), correct.cpu().double()
    inner = torch.linspace(0, 1, bins + 1, dtype=torch.float64)[1:-1]
    index = torch.bucketize(confidence, inner)  # a value on an edge belongs to the bin below it
    images = torch.bincount(index, minlength=bins)
    sums = (torch.bincount(index, weights=values, minlength=bins) for values in (confidence, correct))
    return Reliability(images, *(total / images for total in sums))


def _check_scores(confidence: Tensor, correct: Tensor) -> None:
    if confidence.ndim != 1 or confidence.shape != correct.shape or len(correct) == 0:
        raise ValueError(
            f"confidence {tuple(confidence.shape)} and correct {tuple(correct.shape)} do not fit. Expected (N,) each."
        )


def percent(fraction: float) -> str:
    """Return a fraction as text, such as "63.4 %"."""
    return f"{100 * fraction:.1f} %"


def capitalised(title: str) -> str:
    """Return the title of a metric as the first word of a sentence.

    Example:
        >>> capitalised("top-1"), capitalised("mAP")
        ('Top-1', 'mAP')
    """
    return title.capitalize() if title.islower() else title
