"""One class per image: softmax, cross-entropy, top-1; and three ways to balance rare classes."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from marnet.choices import Balance
from marnet.losses import ClassificationLoss, classification_loss, soft_classification_loss
from marnet.metrics import Metrics, classification_metrics
from marnet.tasks.answers import Answers, CorrectTally, one_class

if TYPE_CHECKING:
    from torchmetrics import Metric


class SingleLabel:
    """The task in which each image has exactly one of C classes. See `marnet.tasks.Task`.

    Targets are `(N,)` int64. In training they may also be the shares `(N, C)` that classes have in each row.
    """

    score = "top1"
    score_title = "top-1"
    corrupted_score = "mean_corruption_accuracy"

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes

    def loss(self, logits: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        """Return the cross-entropy `()`."""
        return classification_loss(logits, targets, label_smoothing=label_smoothing)

    def check_balance(self, balance: Balance) -> None:
        """Accept every way to balance."""

    def balanced_loss(self, balance: Balance, targets: np.ndarray, *, tau: float = 1.0) -> ClassificationLoss:
        """Return cross-entropy with weights or adjusted logits; the sampler uses plain cross-entropy."""
        soft = targets.ndim == 2
        if balance in ("none", "sampler"):
            return soft_classification_loss if soft else classification_loss
        counts = targets.sum(0) if soft else np.bincount(targets, minlength=self.num_classes)
        balanced = SoftBalancedCrossEntropy if soft else BalancedCrossEntropy
        if balance == "weights":
            return balanced(class_weights(counts), torch.zeros(self.num_classes))
        return balanced(torch.ones(self.num_classes), tau * log_priors(counts))

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the softmax."""
        return logits.softmax(-1)

    def score_metric(self) -> "Metric":
        """Return top-1."""
        from torchmetrics.classification import MulticlassAccuracy

        return MulticlassAccuracy(self.num_classes, average="micro")

    def metrics(self, logits: Tensor, targets: Tensor, *, thresholds: Tensor | None = None) -> Metrics:
        """Return the metrics, see `Metrics`; there are no thresholds."""
        return classification_metrics(logits, targets)

    def answers(self, logits: Tensor, targets: Tensor, *, thresholds: Tensor | None = None) -> Answers:
        """Return the most probable class of each image, and its probability."""
        return one_class(self.probabilities(logits.double()), targets)

    def tally(self) -> CorrectTally:
        """Return a count of correct predictions."""
        return CorrectTally()

    def thresholds(self) -> None:
        """Return None: the most probable class is the one of the image."""
        return


class BalancedCrossEntropy(nn.Module):
    """The mean over the batch of w_y CE(logits + a, y), with a weight w and an offset a for each class.

    The sum is divided by the number of rows, not by the sum of their weights, so that a batch without rare classes
    does not count for more than another.

    Args:
        weights: `(C,)`, w.
        offsets: `(C,)`, a.
    """

    weights: Tensor
    offsets: Tensor

    def __init__(self, weights: Tensor, offsets: Tensor) -> None:
        super().__init__()
        self.register_buffer("weights", weights, persistent=False)
        self.register_buffer("offsets", offsets, persistent=False)

    def forward(self, logits: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        """Return the loss `()` of logits `(B, C)` against targets `(B,)` int64."""
        if len(logits) == 0:
            return logits.sum() * 0.0
        rows = functional.cross_entropy(
            logits + self.offsets, targets, label_smoothing=label_smoothing, reduction="none"
        )  # (B,)
        return (self.weights[targets] * rows).mean()


class SoftBalancedCrossEntropy(BalancedCrossEntropy):
    """The same for rows in which classes have shares; the weight of a row is the mean of those of its classes."""

    def forward(self, logits: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        """Return the loss `()` of logits `(B, C)` against targets `(B, C)`, divided by their mass."""
        weights = targets.to(self.weights.dtype) @ self.weights  # (B,)
        return soft_classification_loss(
            logits + self.offsets, targets, label_smoothing=label_smoothing, weights=weights
        )


def class_weights(counts: np.ndarray) -> Tensor:
    """Return N / (K n_c) `(C,)` for n_c of N rows in class c and K classes that have rows; 0 for the others.

    The rows of every class then have the same weight in total, and the mean over the N rows is 1.

    >>> class_weights(np.array([1, 3, 0])).tolist()
    [2.0, 0.6666666865348816, 0.0]
    """
    present = counts > 0
    weights = np.where(present, counts.sum() / (present.sum() * np.maximum(counts, 1)), 0.0)
    return torch.from_numpy(weights).float()


def log_priors(counts: np.ndarray) -> Tensor:
    """Return log(n_c / N) `(C,)`, to add to the logits in training (Menon et al., 2021); no row counts as one."""
    return torch.from_numpy(np.log(np.maximum(counts, 1) / counts.sum())).float()
