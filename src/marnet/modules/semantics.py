"""The space that CDR reconstructs: the text's semantics, centred, whitened and scaled (docs/method.md)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

_NEGLIGIBLE = 1e-3  # directions whose spread is below this share of the largest carry rounding errors


class SemanticSpace(nn.Module):
    """Map text features x_s to the clean semantics x_0, the variable that is diffused (equation 6; ours).

    x_0 = sqrt(d_0) unit(W (x_s - m)) - c, with m the mean and W the whitening of the training texts' features, reduced
    to the d_0 directions in which they differ most, and c what centres the result. Without whitening, a few directions
    hold most of the variance and the rest of the text hardly counts. `fit` sets m, W and c; they are saved.

    Args:
        semantic_width: D_s, the width of the text features.
        dimensions: d_0 at most; None leaves the features as they are: x_0 = sqrt(D_s) unit(x_s) - c.
    """

    mean: Tensor
    whitening: Tensor
    centre: Tensor

    def __init__(self, semantic_width: int, *, dimensions: int | None = None) -> None:
        super().__init__()
        self.semantic_width = semantic_width
        self.whiten = dimensions is not None
        self.width = semantic_width if dimensions is None else min(dimensions, semantic_width)
        if self.whiten:
            self.register_buffer("mean", torch.zeros(semantic_width))
            self.register_buffer("whitening", torch.eye(semantic_width, self.width))
        self.register_buffer("centre", torch.zeros(self.width))

    @torch.no_grad()
    def fit(self, x_s: Tensor) -> None:
        """Learn the space from the features `(N, D_s)` of all training texts, repeated as often as they occur."""
        if self.whiten:
            self.mean.copy_(x_s.mean(0))
            self.whitening.copy_(whitening_matrix(x_s, self.width))
        self.centre.copy_(self._scale(x_s).mean(0))

    def forward(self, x_s: Tensor) -> Tensor:
        """x_0 `(B, d_0)` of text features `(B, D_s)`; no gradient flows to the text encoder, which would collapse."""
        return self._scale(x_s.detach()) - self.centre

    def _scale(self, x_s: Tensor) -> Tensor:
        projected = (x_s - self.mean) @ self.whitening if self.whiten else x_s
        return functional.normalize(projected, dim=-1) * math.sqrt(self.width)


def whitening_matrix(x_s: Tensor, width: int) -> Tensor:
    """The matrix `(D_s, width)` that turns centred features `(N, D_s)` into uncorrelated ones of unit variance.

    Its columns are the directions of largest variance first; where the features vary in fewer directions than `width`,
    the rest is zero.
    """
    x_s, dtype = x_s.double(), x_s.dtype  # in single precision equal rows would differ from their mean
    centred = x_s - x_s.mean(0)
    spread, directions = torch.linalg.eigh(centred.T @ centred / len(x_s))  # ascending
    spread, directions = spread.flip(0).clamp(min=0).sqrt()[:width], directions.flip(1)[:, :width]
    kept = spread > _NEGLIGIBLE * spread[0] if float(spread[0]) > 0 else torch.zeros_like(spread, dtype=torch.bool)
    factors = torch.where(kept, 1 / spread.clamp(min=torch.finfo(spread.dtype).tiny), torch.zeros_like(spread))
    matrix: Tensor = directions * factors
    return matrix.to(dtype)
