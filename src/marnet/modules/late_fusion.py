"""Late fusion, a rival method: one network reads image and text features, or a stand-in where the text is missing.

So do common multimodal classifiers, which are left with a blank text at prediction. Dropping the text of a share of the
training rows, so that the network learns to do without it, is what makes the rival an honest one.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn


class LateFusionOutput(NamedTuple):
    """What late fusion says with text at hand, in training."""

    logits: Tensor  # (B, C), from image and text; rows without or with dropped text have the stand-in
    text_logits: Tensor  # (M, C), from text alone


class LateFusion(nn.Module):
    """A fusion of the branches' features with those of a text, or with a learned stand-in for it.

    Args:
        widths: of the branches' features.
        semantic_width: D_s, the width of the text features.
        num_classes: C.
        width: of the projected text and of the hidden layer.
        text_dropout: share of training rows whose text is replaced by the stand-in.
    """

    def __init__(
        self,
        widths: Sequence[int],
        semantic_width: int,
        num_classes: int,
        *,
        width: int = 128,
        text_dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.semantic_width = semantic_width
        self.text_dropout = text_dropout
        self.text = nn.Sequential(
            nn.LayerNorm(semantic_width), nn.Linear(semantic_width, width), nn.GELU(), nn.Linear(width, width)
        )
        self.text_head = nn.Linear(width, num_classes)
        self.no_text = nn.Parameter(torch.zeros(width))
        self.norms = nn.ModuleList(nn.LayerNorm(each) for each in (*widths, width))
        self.mlp = nn.Sequential(nn.Linear(sum(widths) + width, width), nn.GELU(), nn.Linear(width, num_classes))

    def forward(self, features: Sequence[Tensor], logits: Sequence[Tensor]) -> Tensor:
        """Fused logits `(B, C)` from features, one `(B, width_i)` a branch, without any text."""
        return self._fuse(features, self.no_text.expand(len(features[0]), -1))

    def with_text(self, features: Sequence[Tensor], x_s: Tensor, rows: Tensor) -> LateFusionOutput:
        """Logits from features `(B, width_i)` and the text features `(M, D_s)` of those `rows` `(M,)` that have one."""
        x_t = self.text(x_s)  # (M, width)
        kept = torch.ones(len(rows), 1, dtype=torch.bool, device=x_t.device)
        if self.training and self.text_dropout:
            kept = torch.rand(len(rows), 1, device=x_t.device) >= self.text_dropout
        seen = torch.where(kept, x_t, self.no_text.to(x_t.dtype))
        text = self.no_text.to(x_t.dtype).expand(len(features[0]), -1).index_copy(0, rows, seen)  # (B, width)
        return LateFusionOutput(self._fuse(features, text), self.text_head(x_t))

    def _fuse(self, features: Sequence[Tensor], text: Tensor) -> Tensor:
        normed = [norm(x) for norm, x in zip(self.norms, (*features, text), strict=True)]
        return self.mlp(torch.cat(normed, dim=-1))  # type: ignore[no-any-return]
