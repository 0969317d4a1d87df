"""Calibration: a few numbers that held-out rows teach a trained classifier, so that its probabilities are right."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from marnet.modules.class_means import ClassMeans

_AHEAD = 1e-4  # of the most probable class over the second, in logits, so that it stays the most probable


class FittedCalibration(NamedTuple):
    """The numbers of a calibration, as calibration.json of a run has them."""

    rows: int  # held-out rows that it was fitted on
    branch_weights: dict[str, float] | None  # 0 or more, adding up to 1; None: the fusion has none
    inverse_temperature: float | list[float]  # one per class where images have several classes
    thresholds: list[float] | None  # probabilities, one per class; None for one class per image
    scores: list[float]  # 1 - p(true class) in ascending order; [] where images have several classes
    split: str = "val"
    top_slope: float = 1.0  # above 0: of the odds of the most probable class; not for several classes per image
    top_offset: float = 0.0
    confidences: Sequence[
        float
    ] = ()  # of the most probable class, in ascending order; not for several classes per image
    class_means: float = 0.0  # weight of the cosines with the means of the classes
    rarity: float = 0.0  # weight of how rare a class is
    balanced: bool = False  # every class counted the same, with however many held-out rows


class Calibration(nn.Module):
    """Divide logits by a temperature: one for all classes, or where images have several classes, one per class.

    With one class per image, the odds of the most probable class against all others are calibrated as well, by a line
    on their logarithm (Platt, 1999). No prediction changes by that: the class stays the most probable.

    Nothing changes until `marnet.inference.calibration` fits the numbers on held-out rows.

    Args:
        classes: C, to have a temperature and a threshold per class; None: one temperature (Guo et al., 2017).

    Attributes:
        inverse_temperature: `()` or `(C,)`, above 0.
        top_odds: `(2,)`, the slope and the offset of the line; [1, 0] changes nothing.
        thresholds: `(C,)`, the least probability at which an image has a class; None for one class per image.
        class_means: added to the logits before all else; None: the run has none.
        fitted: the numbers of it; None: it was not fitted, or is off.
    """

    inverse_temperature: Tensor
    top_odds: Tensor
    thresholds: Tensor | None

    def __init__(self, classes: int | None = None) -> None:
        super().__init__()
        shape = () if classes is None else (classes,)
        # Not among the weights: calibration.json of a run has them, where they can be read and replaced.
        self.register_buffer("inverse_temperature", torch.ones(shape), persistent=False)
        self.register_buffer("top_odds", torch.tensor([1.0, 0.0]), persistent=False)
        thresholds = None if classes is None else torch.full(shape, 0.5)
        self.register_buffer("thresholds", thresholds, persistent=False)
        self.class_means: ClassMeans | None = None
        self.fitted: FittedCalibration | None = None

    def forward(self, logits: Tensor, x_v: Tensor) -> Tensor:
        """Return calibrated logits of logits `(B, C)` and image features `(B, D_v)`.

        In training mode the logits come back as they are.
        """
        if self.training or self.fitted is None:
            return logits
        if self.class_means is not None:
            logits = self.class_means(logits, x_v)
        scaled = logits * self.inverse_temperature.to(logits.device)
        if self.thresholds is not None or logits.shape[-1] < 2:
            return scaled
        slope, offset = self.top_odds.to(scaled.device)
        return calibrate_top(scaled, slope, offset)

    @contextmanager
    def off(self) -> Iterator[None]:
        """Change nothing for a while."""
        fitted, self.fitted = self.fitted, None
        try:
            yield
        finally:
            self.fitted = fitted


def top_log_odds(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the log-odds of the most probable class against all others, and logits with the others adding up to 1.

    Args:
        logits: `(B, C)` with C >= 2.

    Returns:
        `(B, 1)`, and the logits less the logarithm of the sum of the others, `(B, C)`: the most probable class has its
        log-odds there.
    """
    top = logits.argmax(-1, keepdim=True)
    others = logits.scatter(-1, top, -torch.inf).logsumexp(-1, keepdim=True)
    shifted = logits - others
    return shifted.gather(-1, top), shifted


def calibrate_top(logits: Tensor, slope: Tensor | float, offset: Tensor | float) -> Tensor:
    """Return logits whose most probable class has the log-odds `slope` x + `offset` instead of x.

    The others share the rest as before. The most probable class stays so, whatever the line says.

    Args:
        logits: `(B, C)` with C >= 2.
        slope: above 0.
        offset: any number.

    Example:
        >>> import math
        >>> calibrated = calibrate_top(torch.tensor([[math.log(8), 0.0, 0.0]]), 0.5, 0.0)
        >>> [round(p, 2) for p in calibrated.softmax(-1)[0].tolist()]  # the odds were 4, and are 2
        [0.67, 0.17, 0.17]
    """
    odds, shifted = top_log_odds(logits)
    second = shifted.topk(2, dim=-1).values[..., 1:]
    top = shifted.argmax(-1, keepdim=True)
    return shifted.scatter(-1, top, torch.maximum(slope * odds + offset, second + _AHEAD))
