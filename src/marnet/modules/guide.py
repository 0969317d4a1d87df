"""What of the image guides the reconstruction of the text's semantics, by CDR or by its rival (docs/method.md)."""

from collections.abc import Callable
from typing import NamedTuple, get_args

import torch
from torch import Tensor, nn

from marnet.choices import Guide


class Guided(NamedTuple):
    """The guide of one training step."""

    condition: Tensor  # (B, D_c)
    guess: Tensor | None  # (B, d_0), the guess without noise, which has a loss of its own; None where features guide


class ImageGuide(nn.Module):
    """Map image features `(B, D_v)` to the condition `(B, D_c)`: their layer norm, or a linear guess of x_0.

    The guess is ours. It starts as the constant 0, the mean of the centred semantics, and learns from its own loss: in
    training the condition is cut off from it.

    Args:
        kind: "guess" or "features".
        visual_width: D_v.
        width: d_0, the width of x_0.
        noise: standard deviation of the noise on the condition in training (ours).
        correction: how far the reconstruction moves from a guess to what is made of it, 0 to 1 (ours).

    Raises:
        ValueError: `kind` is unknown.
    """

    def __init__(self, kind: Guide, visual_width: int, width: int, *, noise: float, correction: float = 1.0) -> None:
        super().__init__()
        if kind not in get_args(Guide):
            raise ValueError(f"guide is {kind!r}; needed one of {', '.join(get_args(Guide))}.")
        self.guesses = kind == "guess"
        self.width = width if self.guesses else visual_width  # D_c
        self.noise = noise
        self.correction = correction
        self.map: nn.Module = nn.Linear(visual_width, width) if self.guesses else nn.LayerNorm(visual_width)
        if self.guesses:
            for parameter in self.map.parameters():
                nn.init.zeros_(parameter)

    def forward(self, x_v: Tensor) -> Tensor:
        """The condition `(B, D_c)` of image features `(B, D_v)`, without noise."""
        return self.map(x_v)  # type: ignore[no-any-return]

    def reconstruct(self, x_v: Tensor, correct: Callable[[Tensor], Tensor]) -> Tensor:
        """x_CDR `(B, d_0)`: what `correct` makes of the condition of image features `(B, D_v)`.

        A guess moves towards it by the share `correction`. What is learned from x_CDR then reaches the guess past
        `correct`, which has a loss of its own and is spared the backward pass.
        """
        condition: Tensor = self(x_v)
        if not self.guesses:
            return correct(condition)
        with torch.no_grad():
            corrected = correct(condition)
        return condition + self.correction * (corrected - condition.detach())

    def for_training(self, x_v: Tensor) -> Guided:
        """The condition to learn from, in training mode with noise, and the guess to judge."""
        found = self(x_v)
        condition = found.detach() if self.guesses else found
        if self.training and self.noise:
            condition = condition + self.noise * torch.randn_like(condition)
        return Guided(condition, found if self.guesses else None)
