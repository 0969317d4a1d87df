"""How good a set of predictions is: accuracy, macro F1, likelihood and calibration, as fractions."""

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_calibration_error,
    multiclass_f1_score,
)

CALIBRATION_BINS = 15


class Metrics(NamedTuple):
    """Figures of one set of predictions; all but `nll` and `n` are fractions between 0 and 1."""

    top1: float
    top5: float
    macro_f1: float  # over the classes that occur or are predicted
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
    return Metrics(
        top1=float(multiclass_accuracy(logits, labels, classes, average="micro")),
        top5=float(multiclass_accuracy(logits, labels, classes, average="micro", top_k=min(5, classes))),
        macro_f1=float(multiclass_f1_score(logits, labels, classes, average="macro")),
        nll=float(functional.cross_entropy(logits, labels)),
        ece=float(multiclass_calibration_error(probabilities, labels, classes, n_bins=CALIBRATION_BINS, norm="l1")),
        n=len(labels),
    )


def percent(fraction: float) -> str:
    """A fraction as people read it, such as "63.4 %"."""
    return f"{100 * fraction:.1f} %"
