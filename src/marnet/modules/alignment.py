"""EMA, the embedding matching alignment: images and texts in one space (docs/method.md)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

MINIMUM_TEMPERATURE = 0.01
MAXIMUM_LOG_SCALE = 4.605  # just below log(1 / 0.01), so that rounding cannot carry tau under its bound


class AlignedPair(NamedTuple):
    """Unit vectors of images and texts in the shared space, and the scale of their similarities."""

    z_v: Tensor  # (B, d)
    z_s: Tensor  # (B, d)
    scale: Tensor  # (), 1 / tau


class EmbeddingMatchingAlignment(nn.Module):
    """Project image features to unit vectors of the shared space (equation 3); the half of EMA that predicts.

    Args:
        visual_width: D_v, the width of the image features.
        width: d, the width of the shared space.

    Example:
        >>> import torch
        >>> EmbeddingMatchingAlignment(512, width=128).features(torch.randn(4, 512)).shape
        torch.Size([4, 128])
    """

    def __init__(self, visual_width: int, *, width: int = 128) -> None:
        super().__init__()
        self.width = width
        self.project = nn.Linear(visual_width, width, bias=False)

    def forward(self, x_v: Tensor) -> Tensor:
        """Return unit vectors z_v `(B, d)` of image features `(B, D_v)`."""
        return functional.normalize(self.project(x_v), dim=-1)

    def features(self, x_v: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return x_EMA `(B, d)`: z_v with unit variance per coordinate, ready for a linear head (the scaling is ours).

        `noise` has no effect here; every branch takes it.
        """
        z_v: Tensor = self(x_v)
        return z_v * math.sqrt(self.width)


class TextAlignment(nn.Module):
    """Project semantics to unit vectors of the shared space, with a learned temperature (equations 3 and 4).

    This half of EMA is used in training only. The semantics are x_0 of `SemanticSpace`, as CDR reconstructs them
    (ours), or the text features x_s themselves, so that their encoder can learn.

    Args:
        semantic_width: d_0 or D_s, the width of the semantics.
        width: d, the width of the shared space.
        reads_text: the semantics are x_s, not x_0; the caller heeds it.
        temperature: tau at the start; learned, never below 0.01 (the bound is ours).

    Raises:
        ValueError: `temperature` is below 0.01.
    """

    def __init__(
        self, semantic_width: int, *, width: int = 128, reads_text: bool = False, temperature: float = 0.07
    ) -> None:
        super().__init__()
        if temperature < MINIMUM_TEMPERATURE:
            raise ValueError(f"temperature is {temperature}, but it must be {MINIMUM_TEMPERATURE} or more.")
        self.reads_text = reads_text
        self.project = nn.Linear(semantic_width, width, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))

    def scale(self) -> Tensor:
        """Return 1 / tau, `()`, at most 100."""
        with torch.no_grad():  # the weight itself is clamped: past the bound a clamped value has no gradient back
            self.log_scale.clamp_(max=MAXIMUM_LOG_SCALE)
        return self.log_scale.exp()

    def forward(self, semantics: Tensor) -> Tensor:
        """Return unit vectors z_s `(B, d)` of x_0 `(B, d_0)` or x_s `(B, D_s)`."""
        return functional.normalize(self.project(semantics), dim=-1)
