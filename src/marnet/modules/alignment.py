"""EMA, the embedding matching alignment: image and text in one space (docs/method.md)."""

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
    """Project image features and semantics to unit vectors of one space (equations 3 and 4).

    The semantics are x_0 of `SemanticSpace`, as CDR reconstructs them (ours), or the text features x_s themselves, so
    that their encoder can learn from it.

    Args:
        visual_width: D_v, the width of the image features.
        semantic_width: d_0 or D_s, the width of the semantics.
        width: d, the width of the shared space.
        temperature: tau at the start; learned, never below 0.01 (the bound is ours).

    Raises:
        ValueError: `temperature` is below 0.01.
    """

    def __init__(
        self,
        visual_width: int,
        semantic_width: int,
        *,
        width: int = 128,
        temperature: float = 0.07,
    ) -> None:
        super().__init__()
        if temperature < MINIMUM_TEMPERATURE:
            raise ValueError(f"temperature is {temperature}; needed {MINIMUM_TEMPERATURE} or more.")
        self.width = width
        self.project_visual = nn.Linear(visual_width, width, bias=False)
        self.project_semantic = nn.Linear(semantic_width, width, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))

    def scale(self) -> Tensor:
        """1 / tau, `()`, at most 100."""
        with torch.no_grad():  # the weight itself is clamped: past the bound a clamped value has no gradient back
            self.log_scale.clamp_(max=MAXIMUM_LOG_SCALE)
        return self.log_scale.exp()

    def embed_visual(self, x_v: Tensor) -> Tensor:
        """Unit vectors z_v `(B, d)` of image features `(B, D_v)`."""
        return functional.normalize(self.project_visual(x_v), dim=-1)

    def embed_semantic(self, semantics: Tensor) -> Tensor:
        """Unit vectors z_s `(B, d)` of x_0 `(B, d_0)` or x_s `(B, D_s)`."""
        return functional.normalize(self.project_semantic(semantics), dim=-1)

    def features(self, x_v: Tensor) -> Tensor:
        """x_EMA `(B, d)`: z_v with unit variance per coordinate, ready for a linear head (the scaling is ours)."""
        return self.embed_visual(x_v) * math.sqrt(self.width)

    def forward(self, x_v: Tensor, semantics: Tensor) -> AlignedPair:
        """Align image features `(B, D_v)` with x_0 `(B, d_0)` or x_s `(B, D_s)`."""
        return AlignedPair(self.embed_visual(x_v), self.embed_semantic(semantics), self.scale())
