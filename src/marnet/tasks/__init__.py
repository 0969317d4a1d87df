"""What the labels ask for: one class an image, or any number of them.

A task is the one place that knows: the loss, the probabilities, the figures, and how a prediction reads. `SingleLabel`
and `MultiLabel` are the two; all other code asks the task.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
from torch import Tensor
from torchmetrics import Metric

from marnet.choices import Balance, LabelForm
from marnet.config import Config
from marnet.losses import ClassificationLoss
from marnet.metrics import Metrics, MultiLabelMetrics
from marnet.tasks.multi import MultiLabel
from marnet.tasks.single import SingleLabel


class Task(Protocol):
    """One kind of labels, for a fixed list of C classes. Targets are those of `label_targets`."""

    @property
    def score(self) -> str:
        """The name of the figure that chooses the best epoch; larger is better."""
        ...

    @property
    def score_title(self) -> str:
        """The same as people write it."""
        ...

    def loss(self, logits: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        """The plain loss `()` of logits `(B, C)`."""
        ...

    def check_balance(self, balance: Balance) -> None:
        """Say before anything is read whether these labels can be balanced so.

        Raises:
            ConfigError: they cannot.
        """
        ...

    def balanced_loss(self, balance: Balance, targets: np.ndarray, *, tau: float = 1.0) -> ClassificationLoss:
        """The loss to train with, balanced for the targets of all N training rows.

        Raises:
            ConfigError: these labels cannot be balanced so.
        """
        ...

    def probabilities(self, logits: Tensor) -> Tensor:
        """Probabilities `(B, C)` of logits `(B, C)`."""
        ...

    def score_metric(self) -> Metric:
        """Takes logits and targets batch by batch and computes the score of all."""
        ...

    def metrics(self, logits: Tensor, targets: Tensor) -> Metrics | MultiLabelMetrics:
        """The figures of logits `(N, C)`."""
        ...

    def read(self, probabilities: Tensor, top: int | None) -> list[list[int]]:
        """The classes that a user is shown of each row of probabilities `(B, C)`, the best first.

        Args:
            probabilities: of the rows.
            top: this many of the best; None as many as the task finds fit.
        """
        ...


TASKS: Mapping[LabelForm, Callable[[int, float], Task]] = {
    "single": lambda classes, threshold: SingleLabel(classes),
    "multi": MultiLabel,
}


def make_task(config: Config, num_classes: int) -> Task:
    """The task of a configuration whose labels name `num_classes` classes."""
    return TASKS[config.data.labels](num_classes, config.data.threshold)
