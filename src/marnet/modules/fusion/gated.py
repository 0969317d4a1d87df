"""Fusions that weigh the branches of each image by a gate."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class BranchGate(nn.Module):
    """Softmax weights `(B, n)` of n branches, read from the first one's features; equal at the start."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.LayerNorm(widths[0]), nn.Linear(widths[0], len(widths)))
        for parameter in self.score[1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Return weights `(B, n)` that add up to 1."""
        return self.score(features[0]).softmax(-1)  # type: ignore[no-any-return]


class GatedFeatures(nn.Module):
    """Project every branch to the first one's width, add them under a gate per image, then one linear head."""

    def __init__(self, widths: Sequence[int], num_classes: int) -> None:
        super().__init__()
        self.projections = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, widths[0])) for width in widths
        )
        self.gate = BranchGate(widths)
        self.head = nn.Linear(widths[0], num_classes)

    def forward(self, features: Sequence[Tensor], logits: Sequence[Tensor]) -> Tensor:
        """Return fused logits `(B, C)` of features, one `(B, width_i)` per branch."""
        projected = torch.stack([p(x) for p, x in zip(self.projections, features, strict=True)], dim=1)  # (B, n, w)
        return self.head((self.gate(features).unsqueeze(-1) * projected).sum(1))  # type: ignore[no-any-return]


class GatedLogits(nn.Module):
    """The branches' own predictions, added under a gate per image; each branch keeps its own head."""

    def __init__(self, widths: Sequence[int], num_classes: int) -> None:
        super().__init__()
        self.gate = BranchGate(widths)

    def forward(self, features: Sequence[Tensor], logits: Sequence[Tensor]) -> Tensor:
        """Return fused logits `(B, C)` of logits, one `(B, C)` per branch."""
        weights: Tensor = self.gate(features).unsqueeze(-1)  # (B, n, 1)
        return (weights * torch.stack(list(logits), dim=1)).sum(1)
