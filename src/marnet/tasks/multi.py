"""Any number of classes per image: sigmoid, binary cross-entropy, mAP; and two ways to balance rare classes."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from marnet.choices import Balance
from marnet.errors import ConfigError
from marnet.losses import ClassificationLoss
from marnet.metrics import MultiLabelMetrics, multi_label_metrics
from marnet.tasks.answers import Answers, PrecisionTally, several_classes

if TYPE_CHECKING:
    from torchmetrics import Metric


class MultiLabel:
    """The task in which each image has any of C classes, or none. See `marnet.tasks.Task`.

    Targets are `(N, C)` floats, 0 or 1.

    Args:
        num_classes: C.
        threshold: an image has the classes whose probability is at least this; one for all, or `(C,)`.
    """

    score = "map"
    score_title = "mAP"
    corrupted_score = "mean_corruption_map"

    def __init__(self, num_classes: int, threshold: float | Tensor = 0.5) -> None:
        self.num_classes = num_classes
        self.threshold = threshold

    def loss(self, logits: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        """Return the binary cross-entropy `()`, the mean over images and classes."""
        return binary_cross_entropy(logits, targets, label_smoothing=label_smoothing)

    def check_balance(self, balance: Balance) -> None:
        """Refuse the sampler.

        Raises:
            ConfigError: `balance` is the sampler.
        """
        if balance == "sampler":
            raise ConfigError(
                "`training.balance=sampler` draws every class equally often, which is impossible here: images have "
                "several classes, which come together. Choose `training.balance=weights` or "
                "`training.balance=logit-adjust`."
            )

    def balanced_loss(self, balance: Balance, targets: np.ndarray, *, tau: float = 1.0) -> ClassificationLoss:
        """Return binary cross-entropy, with each class weighted or adjusted as a task of its own."""
        self.check_balance(balance)
        if balance == "none":
            return binary_cross_entropy
        with_class, rows = targets.sum(0), len(targets)
        ones, zeros = torch.ones(self.num_classes), torch.zeros(self.num_classes)
        if balance == "weights":
            return BalancedBinaryCrossEntropy(*binary_weights(with_class, rows), zeros)
        return BalancedBinaryCrossEntropy(ones, ones, tau * log_odds(with_class, rows))

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the sigmoid."""
        return logits.sigmoid()

    def score_metric(self) -> "Metric":
        """Return mean average precision."""
        from marnet.tasks.precision_metric import MeanAveragePrecision

        return MeanAveragePrecision()

    def metrics(self, logits: Tensor, targets: Tensor, *, thresholds: Tensor | None = None) -> MultiLabelMetrics:
        """Return the metrics, see `MultiLabelMetrics`; `thresholds` `(N, C)` replace those of the task."""
        return multi_label_metrics(logits, targets, threshold=self.threshold if thresholds is None else thresholds)

    def answers(self, logits: Tensor, targets: Tensor, *, thresholds: Tensor | None = None) -> Answers:
        """Return the classes of each image that reach the threshold, and the probabilities of all classes."""
        probabilities = self.probabilities(logits.double())
        return several_classes(
            probabilities, targets, probabilities >= (self.threshold if thresholds is None else thresholds)
        )

    def tally(self) -> PrecisionTally:
        """Return a collection of probabilities, of which mAP is computed at the end."""
        return PrecisionTally()

    def thresholds(self) -> tuple[float, ...]:
        """Return the threshold of each class."""
        return tuple(torch.as_tensor(self.threshold, dtype=torch.float32).expand(self.num_classes).tolist())


class BalancedBinaryCrossEntropy(nn.Module):
    """The binary cross-entropy of logits + a, weighted by class and by whether an image has the class.

    Args:
        positive: `(C,)`, weights of images with the class.
        negative: `(C,)`, weights of images without it.
        offsets: `(C,)`, a.
    """

    positive: Tensor
    negative: Tensor
    offsets: Tensor

    def __init__(self, positive: Tensor, negative: Tensor, offsets: Tensor) -> None:
        super().__init__()
        self.register_buffer("positive", positive, persistent=False)
        self.register_buffer("negative", negative, persistent=False)
        self.register_buffer("offsets", offsets, persistent=False)

    def forward(self, logits: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        """Return the loss `()` of logits `(B, C)` against targets `(B, C)`."""
        weights = torch.where(targets > 0.5, self.positive, self.negative)  # (B, C)
        return binary_cross_entropy(logits + self.offsets, targets, label_smoothing=label_smoothing, weights=weights)


def binary_cross_entropy(
    logits: Tensor, targets: Tensor, *, label_smoothing: float = 0.0, weights: Tensor | None = None
) -> Tensor:
    """Return the mean `()` over images and classes for logits and targets `(B, C)`.

    Smoothing e turns a 1 into 1 - e/2 and a 0 into e/2.
    """
    if len(logits) == 0:
        return logits.sum() * 0.0
    smooth = targets.to(logits.dtype) * (1 - label_smoothing) + label_smoothing / 2
    return functional.binary_cross_entropy_with_logits(logits, smooth, weights)


def binary_weights(counts: np.ndarray, rows: int) -> tuple[Tensor, Tensor]:
    """Return weights `(C,)` of rows with the class, N / (2 n_c), and of rows without it, N / (2 (N - n_c)).

    Their ratio is PyTorch's `pos_weight`, (N - n_c) / n_c; the mean over the N rows is 1. A class that no row or every
    row has keeps the weight 1.
    """
    mixed = (counts > 0) & (counts < rows)
    safe = np.where(mixed, counts, rows / 2)
    positive, negative = rows / (2 * safe), rows / (2 * (rows - safe))
    return torch.from_numpy(positive).float(), torch.from_numpy(negative).float()


def log_odds(counts: np.ndarray, rows: int) -> Tensor:
    """Return log(n_c / (N - n_c)) `(C,)`, which Menon et al. (2021) add to the difference of two logits.

    It is 0 for a class that no row or every row has.
    """
    mixed = (counts > 0) & (counts < rows)
    safe = np.where(mixed, counts, rows / 2)
    return torch.from_numpy(np.log(safe / (rows - safe))).float()
