"""Tasks: one class per image, or any number of classes.

A task is the one place that knows the loss, the probabilities, the metrics, and from which probability on an image has
a class. There are two, `SingleLabel` and `MultiLabel`; all other code asks the task.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np
from torch import Tensor

from marnet.choices import Balance, LabelForm
from marnet.config import Config
from marnet.losses import ClassificationLoss
from marnet.metrics import Metrics, MultiLabelMetrics
from marnet.tasks.answers import Answers, Tally
from marnet.tasks.multi import MultiLabel
from marnet.tasks.single import SingleLabel

if TYPE_CHECKING:
    from torchmetrics import Metric


class Task(Protocol):
    """A form of labels, for a fixed list of C classes. Targets are those of `label_targets`."""

    @property
    def score(self) -> str:
        """The name of the metric that training watches on val, and reports show first; larger is better."""
        ...

    @property
    def score_title(self) -> str:
        """The name of that metric as people write it."""
        ...

    @property
    def corrupted_score(self) -> str:
        """The name of the mean of that metric over corruptions."""
        ...

    def loss(self, logits: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        """Return the plain loss `()` of logits `(B, C)`."""
        ...

    def check_balance(self, balance: Balance) -> None:
        """Check, before any image is read, that these labels can be balanced this way.

        Raises:
            ConfigError: they cannot.
        """
        ...

    def balanced_loss(self, balance: Balance, targets: np.ndarray, *, tau: float = 1.0) -> ClassificationLoss:
        """Return the loss to train with, balanced for the targets of all N training rows.

        Raises:
            ConfigError: these labels cannot be balanced this way.
        """
        ...

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return probabilities `(B, C)` for logits `(B, C)`."""
        ...

    def score_metric(self) -> "Metric":
        """Return an object that takes logits and targets batch by batch and computes the score of them all."""
        ...

    def metrics(
        self, logits: Tensor, targets: Tensor, *, thresholds: Tensor | None = None
    ) -> Metrics | MultiLabelMetrics:
        """Return the metrics of logits `(N, C)`; `thresholds` `(N, C)` replace those of the task, if it has any."""
        ...

    def answers(self, logits: Tensor, targets: Tensor, *, thresholds: Tensor | None = None) -> Answers:
        """Return labels, predictions and confidences of logits `(N, C)`, image by image, for a record.

        `thresholds` `(N, C)` replace those of the task, if it has any.
        """
        ...

    def tally(self) -> Tally:
        """Return an object that takes probabilities and targets batch by batch and gives the exact score of all."""
        ...

    def thresholds(self) -> tuple[float, ...] | None:
        """Return the least probability of each class, `(C,)`; None for one class per image."""
        ...


TASKS: Mapping[LabelForm, Callable[[int, float | Tensor], Task]] = {
    "single": lambda classes, threshold: SingleLabel(classes),
    "multi": MultiLabel,
}


def make_task(config: Config, num_classes: int, *, thresholds: Tensor | None = None) -> Task:
    """Return the task of a configuration whose labels name C = `num_classes` classes.

    `thresholds` `(C,)` are those that were fitted; `data.threshold` wins.
    """
    fitted = 0.5 if thresholds is None else thresholds
    return TASKS[config.data.labels](num_classes, fitted if config.data.threshold is None else config.data.threshold)


def task_of(form: LabelForm, num_classes: int = 2) -> Task:
    """Return the task of a form of labels, for all that does not depend on the threshold of predictions.

    The number of classes makes no difference to the names of scores and to probabilities.
    """
    return TASKS[form](num_classes, 0.5)
