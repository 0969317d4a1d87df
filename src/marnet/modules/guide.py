"""The guide of the reconstruction: the part of the image that CDR, or its baseline `regress`, starts from."""

from collections.abc import Callable
from typing import NamedTuple, get_args

import torch
from torch import Tensor, nn

from marnet.choices import Guide


class Guided(NamedTuple):
    """The guide of one training step."""

    condition: Tensor  # (B, D_c)
    linear_prediction: Tensor | None  # (B, d_0), without noise; it has a loss of its own. None if features guide


class ImageGuide(nn.Module):
    """Map image features `(B, D_v)` to the condition `(B, D_c)`: a linear prediction of x_0, or their layer norm.

    The linear head is ours. It starts as the constant 0, the mean of the centred semantics, and learns from its own
    loss: in training the condition is detached from it.

    Args:
        kind: "linear" or "features".
        visual_width: D_v.
        width: d_0, the width of x_0.
        noise: standard deviation of the noise on the condition in training (ours).
        correction: how far the reconstruction moves from the linear prediction to its corrected form, 0 to 1 (ours).

    Raises:
        ValueError: `kind` is unknown.
    """

    def __init__(
        self, kind: Guide, visual_width: int, width: int, *, noise: float = 1.0, correction: float = 0.25
    ) -> None:
        super().__init__()
        if kind not in get_args(Guide):
            raise ValueError(f"guide is {kind!r}, but it must be one of {', '.join(get_args(Guide))}.")
        self.is_linear = kind == "linear"
        self.width = width if self.is_linear else visual_width  # D_c
        self.noise = noise
        self.correction = correction
        self.map: nn.Module = nn.Linear(visual_width, width) if self.is_linear else nn.LayerNorm(visual_width)
        if self.is_linear:
            for parameter in self.map.parameters():
                nn.init.zeros_(parameter)

    def forward(self, x_v: Tensor) -> Tensor:
        """Return the condition `(B, D_c)` of image features `(B, D_v)`, without noise."""
        return self.map(x_v)  # type: ignore[no-any-return]

    def reconstruct(self, x_v: Tensor, correct: Callable[[Tensor], Tensor]) -> Tensor:
        """Return x_CDR `(B, d_0)`: the condition of image features `(B, D_v)`, corrected.

        A linear prediction moves towards its correction by the share `correction`. The gradient of x_CDR then reaches
        the linear head past `correct`, which has a loss of its own and is spared the backward pass.
        """
        condition: Tensor = self(x_v)
        if not self.is_linear:
            return correct(condition)
        with torch.no_grad():
            corrected = correct(condition)
        return condition + self.correction * (corrected - condition.detach())

    def for_training(self, x_v: Tensor) -> Guided:
        """Return the condition to learn from, with noise in training mode, and the linear prediction to score."""
        found = self(x_v)
        condition = found.detach() if self.is_linear else found
        if self.training and self.noise:
            condition = condition + self.noise * torch.randn_like(condition)
        return Guided(condition, found if self.is_linear else None)
