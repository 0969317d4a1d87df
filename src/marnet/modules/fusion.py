"""Fusion: the branches' features and predictions become one prediction (docs/method.md, equation 12).

The paper fuses x_EMA and x_CDR; that x_v joins as a branch, and which fusion is used, is ours. All fusions share one
call: `fusion(features, logits) -> (B, C)`, with one entry a branch in a fixed order.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from marnet.choices import FusionKind


class Averaged(nn.Module):
    """The mean of the branches' own predictions. The default: a gate would lean on what fits training best."""

    def __init__(self, widths: Sequence[int], num_classes: int) -> None:
        super().__init__()
        self.branches = len(widths)

    def forward(self, features: Sequence[Tensor], logits: Sequence[Tensor]) -> Tensor:
        """Fused logits `(B, C)` from logits, one `(B, C)` a branch."""
        if len(logits) != self.branches:
            raise ValueError(f"Logits of {len(logits)} branches came to a fusion; needed those of {self.branches}.")
        return torch.stack(list(logits), dim=1).mean(1)


class Concatenation(nn.Module):
    """One linear head over all features side by side; the branches' own predictions are not used."""

    def __init__(self, widths: Sequence[int], num_classes: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in widths)
        self.head = nn.Linear(sum(widths), num_classes)

    def forward(self, features: Sequence[Tensor], logits: Sequence[Tensor]) -> Tensor:
        """Fused logits `(B, C)` from features, one `(B, width_i)` a branch."""
        normed = [norm(x) for norm, x in zip(self.norms, features, strict=True)]
        return self.head(torch.cat(normed, dim=-1))  # type: ignore[no-any-return]


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
        """Fused logits `(B, C)` from features, one `(B, width_i)` a branch."""
        projected = torch.stack([p(x) for p, x in zip(self.projections, features, strict=True)], dim=1)  # (B, n, w)
        return self.head((self.gate(features).unsqueeze(-1) * projected).sum(1))  # type: ignore[no-any-return]


class GatedLogits(nn.Module):
    """The branches' own predictions, added under a gate per image; each branch keeps its own head."""

    def __init__(self, widths: Sequence[int], num_classes: int) -> None:
        super().__init__()
        self.gate = BranchGate(widths)

    def forward(self, features: Sequence[Tensor], logits: Sequence[Tensor]) -> Tensor:
        """Fused logits `(B, C)` from logits, one `(B, C)` a branch."""
        weights: Tensor = self.gate(features).unsqueeze(-1)  # (B, n, 1)
        return (weights * torch.stack(list(logits), dim=1)).sum(1)


class BranchGate(nn.Module):
    """Softmax weights `(B, n)` of n branches, read from the first one's features; equal at the start."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.LayerNorm(widths[0]), nn.Linear(widths[0], len(widths)))
        for parameter in self.score[1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Weights `(B, n)` that add up to 1."""
        return self.score(features[0]).softmax(-1)  # type: ignore[no-any-return]


FUSIONS: dict[str, Callable[[Sequence[int], int], nn.Module]] = {
    "averaged": Averaged,
    "concat": Concatenation,
    "gated-features": GatedFeatures,
    "gated-logits": GatedLogits,
}


def make_fusion(kind: FusionKind, widths: Sequence[int], num_classes: int) -> nn.Module:
    """The fusion of that name for branches of these widths."""
    return FUSIONS[kind](widths, num_classes)
