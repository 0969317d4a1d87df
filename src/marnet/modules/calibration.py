"""Calibration: a temperature that held-out rows teach a trained classifier, so that its probabilities are right."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn


class FittedCalibration(NamedTuple):
    """The numbers of a calibration, as calibration.json of a run has them."""

    rows: int  # held-out rows that it was fitted on
    branch_weights: dict[str, float] | None  # 0 or more, adding up to 1; None: the fusion has none
    inverse_temperature: float | list[float]  # one per class where images have several classes
    thresholds: list[float] | None  # probabilities, one per class; None for one class per image
    scores: list[float]  # 1 - p(true class) in ascending order; [] where images have several classes
    split: str = "val"


class Calibration(nn.Module):
    """Divide logits by a temperature: one for all classes, or where images have several classes, one per class.

    It changes nothing until `marnet.inference.calibration` fits it on held-out rows.

    Args:
        classes: C, to have a temperature and a threshold per class; None: one temperature (Guo et al., 2017).

    Attributes:
        inverse_temperature: `()` or `(C,)`, above 0.
        thresholds: `(C,)`, the least probability at which an image has a class; None for one class per image.
        fitted: the numbers of it; None: it was not fitted, or is off.
    """

    inverse_temperature: Tensor
    thresholds: Tensor | None

    def __init__(self, classes: int | None = None) -> None:
        super().__init__()
        shape = () if classes is None else (classes,)
        # Not among the weights: calibration.json of a run has them, where they can be read and replaced.
        self.register_buffer("inverse_temperature", torch.ones(shape), persistent=False)
        thresholds = None if classes is None else torch.full(shape, 0.5)
        self.register_buffer("thresholds", thresholds, persistent=False)
        self.fitted: FittedCalibration | None = None

    def forward(self, logits: Tensor) -> Tensor:
        """Return calibrated logits of logits `(B, C)`; in training mode they come back as they are."""
        return logits if self.training or self.fitted is None else logits * self.inverse_temperature.to(logits.device)

    @contextmanager
    def off(self) -> Iterator[None]:
        """Change nothing for a while."""
        fitted, self.fitted = self.fitted, None
        try:
            yield
        finally:
            self.fitted = fitted
