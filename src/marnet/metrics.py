"""How good a set of predictions is: accuracy, macro F1, likelihood and calibration, as fractions."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics.functional.classification import (
    binary_average_precision,
    multiclass_accuracy,
    multiclass_calibration_error,
    multiclass_f1_score,
    multiclass_recall,
)

CALIBRATION_BINS = 15


class Metrics(NamedTuple):
    """Figures of one set of predictions; all but `nll` and `n` are fractions between 0 and 1."""

    top1: float
    top5: float
    macro_f1: float  # over the classes that occur or are predicted
    macro_recall: float  # mean recall of the classes that occur: balanced accuracy
    nll: float  # mean negative log-likelihood, nats
    ece: float  # expected calibration error, 15 bins, l1
    n: int  # images


def classification_metrics(logits: Tensor, labels: Tensor) -> Metrics:
    """Judge logits `(N, C)` against labels `(N,)` int64; C is 2 or more. With C < 5, `top5` counts all C.

    Raises:
        ValueError: there is no prediction, or the shapes disagree.
    """
    if logits.ndim != 2 or len(logits) != len(labels) or len(labels) == 0:
        raise ValueError(
            f"logits {tuple(logits.shape)} and labels {tuple(labels.shape)} do not fit; needed (N, C) and (N,), N >= 1."
        )
    logits = logits.detach().double()
    classes = logits.shape[1]
    probabilities = logits.softmax(-1)
    recalls = multiclass_recall(logits, labels, classes, average="none")
    return Metrics(
        top1=float(multiclass_accuracy(logits, labels, classes, average="micro")),
        top5=float(multiclass_accuracy(logits, labels, classes, average="micro", top_k=min(5, classes))),
        macro_f1=float(multiclass_f1_score(logits, labels, classes, average="macro")),
        macro_recall=float(recalls[torch.bincount(labels, minlength=classes) > 0].mean()),
        nll=float(functional.cross_entropy(logits, labels)),
        ece=float(multiclass_calibration_error(probabilities, labels, classes, n_bins=CALIBRATION_BINS, norm="l1")),
        n=len(labels),
    )


class MultiLabelMetrics(NamedTuple):
    """Figures of predictions of any number of classes an image; all but `nll` and `n` are fractions between 0 and 1."""

    map: float  # mean average precision over the classes that occur
    micro_f1: float  # of all decisions together
    macro_f1: float  # over the classes that occur or are predicted
    exact_match: float  # images with no wrong decision
    hamming_loss: float  # decisions that are wrong
    nll: float  # mean negative log-likelihood of a decision, nats
    n: int  # images


def multi_label_metrics(logits: Tensor, targets: Tensor, *, threshold: float = 0.5) -> MultiLabelMetrics:
    """Judge logits `(N, C)` against targets `(N, C)` of 0 and 1, one decision an image and class.

    A class is predicted where its probability, the sigmoid of the logit, is `threshold` or more.

    Raises:
        ValueError: the shapes disagree, or no image has a class.
    """
    if logits.ndim != 2 or logits.shape != targets.shape or not bool(targets.any()):
        raise ValueError(
            f"logits {tuple(logits.shape)} and targets {tuple(targets.shape)} with {int(targets.sum())} positives do "
            f"not fit; needed (N, C) twice, and one positive at least."
        )
    logits = logits.detach().double()
    predicted, true = logits.sigmoid() >= threshold, targets > 0.5
    hits = (predicted & true).sum(0).double()  # (C,)
    either = (predicted.sum(0) + true.sum(0)).double()  # (C,); F1 is 2 hits / either
    named = either > 0
    right = predicted == true
    return MultiLabelMetrics(
        map=mean_average_precision(logits, targets),
        micro_f1=float(2 * hits.sum() / either.sum()),
        macro_f1=float((2 * hits[named] / either[named]).mean()),
        exact_match=float(right.all(1).double().mean()),
        hamming_loss=float(1 - right.double().mean()),
        nll=float(functional.binary_cross_entropy_with_logits(logits, targets.double())),
        n=len(logits),
    )


def mean_average_precision(scores: Tensor, targets: Tensor) -> float:
    """Mean over the classes with a positive of the area under precision and recall, of scores and 0 or 1 `(N, C)`."""
    true = (targets > 0.5).long()
    # torchmetrics takes a sigmoid of scores beyond 0 and 1, which ties the large ones: hand it their ranks between.
    values, ranks = torch.unique(scores, return_inverse=True)  # ranks (N, C)
    order = ranks.double() / len(values)
    # Its own mean counts classes without a positive as 0.
    present = torch.nonzero(true.any(0)).flatten().tolist()
    return sum(float(binary_average_precision(order[:, number], true[:, number])) for number in present) / len(present)


def percent(fraction: float) -> str:
    """A fraction as people read it, such as "63.4 %"."""
    return f"{100 * fraction:.1f} %"
