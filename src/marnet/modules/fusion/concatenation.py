"""The plainest fusion that learns: one linear head on all features."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Concatenation(nn.Module):
    """One linear head over all features side by side; the branches' own predictions are not used."""

    def __init__(self, widths: Sequence[int], num_classes: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in widths)
        self.head = nn.Linear(sum(widths), num_classes)

    def forward(self, features: Sequence[Tensor], logits: Sequence[Tensor]) -> Tensor:
        """Return fused logits `(B, C)` of features, one `(B, width_i)` per branch."""
        normed = [norm(x) for norm, x in zip(self.norms, features, strict=True)]
        return self.head(torch.cat(normed, dim=-1))  # type: ignore[no-any-return]
