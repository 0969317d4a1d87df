"""Late fusion: one network reads image and text features, or a stand-in where the text is missing.

Common multimodal classifiers work like this, and get a blank text at prediction. Dropping the text of a share of the
training rows, so that the network learns to work without it, is what makes this baseline an honest one.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn


class LateFusionOutput(NamedTuple):
    """The predictions of late fusion in training, with the texts at hand."""

    logits: Tensor  # (B, C), from image and text; rows without text, or whose text was dropped, have the stand-in
    text_logits: Tensor  # (M, C), from text alone


class LateFusion(nn.Module):
    """A fusion of the branches' features with those of a text, or with a learned stand-in for it.

    Args:
        widths: widths of the branches' features.
        num_classes: C.
        width: width of the projected text and of the hidden layer.
    """

    def __init__(self, widths: Sequence[int], num_classes: int, *, width: int = 128) -> None:
        super().__init__()
        self.no_text = nn.Parameter(torch.zeros(width))
        self.norms = nn.ModuleList(nn.LayerNorm(each) for each in (*widths, width))
        self.mlp = nn.Sequential(nn.Linear(sum(widths) + width, width), nn.GELU(), nn.Linear(width, num_classes))

    def forward(self, features: Sequence[Tensor], logits: Sequence[Tensor]) -> Tensor:
        """Return fused logits `(B, C)` of features, one `(B, width_i)` per branch, without any text."""
        return self.fuse(features, self.no_text.expand(features[0].shape[0], -1))

    def fuse(self, features: Sequence[Tensor], text: Tensor) -> Tensor:
        """Return fused logits `(B, C)` of features, one `(B, width_i)` per branch, and projected texts `(B, width)`."""
        normed = [norm(x) for norm, x in zip(self.norms, (*features, text), strict=True)]
        return self.mlp(torch.cat(normed, dim=-1))  # type: ignore[no-any-return]


class LateFusionText(nn.Module):
    """The text network of late fusion, used in training only.

    Args:
        text_width: D_s, the width of the text features.
        num_classes: C.
        width: width of the projected text.
        text_dropout: share of training rows whose text is replaced by the stand-in.
    """

    def __init__(self, text_width: int, num_classes: int, *, width: int = 128, text_dropout: float = 0.5) -> None:
        super().__init__()
        self.text_dropout = text_dropout
        self.text = nn.Sequential(
            nn.LayerNorm(text_width), nn.Linear(text_width, width), nn.GELU(), nn.Linear(width, width)
        )
        self.text_head = nn.Linear(width, num_classes)

    def forward(self, fusion: LateFusion, features: Sequence[Tensor], x_s: Tensor, rows: Tensor) -> LateFusionOutput:
        """Fuse features `(B, width_i)` with the text features `(M, D_s)` of those `rows` `(M,)` that have a text."""
        x_t = self.text(x_s)  # (M, width)
        kept = torch.ones(len(rows), 1, dtype=torch.bool, device=x_t.device)
        if self.training and self.text_dropout:
            kept = torch.rand(len(rows), 1, device=x_t.device) >= self.text_dropout
        no_text = fusion.no_text.to(x_t.dtype)
        seen = torch.where(kept, x_t, no_text)
        text = no_text.expand(len(features[0]), -1).index_copy(0, rows, seen)  # (B, width)
        return LateFusionOutput(fusion.fuse(features, text), self.text_head(x_t))
