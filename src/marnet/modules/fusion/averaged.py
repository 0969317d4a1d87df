"""The plainest fusion: the mean of the predictions of the branches."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Averaged(nn.Module):
    """The mean of the branches' own predictions."""

    def __init__(self, widths: Sequence[int], num_classes: int) -> None:
        super().__init__()
        self.branches = len(widths)

    def forward(self, features: Sequence[Tensor], logits: Sequence[Tensor]) -> Tensor:
        """Return fused logits `(B, C)` of logits, one `(B, C)` per branch."""
        if len(logits) != self.branches:
            raise ValueError(
                f"The fusion got the logits of {len(logits)} branches, but it was built for {self.branches}."
            )
        return torch.stack(list(logits), dim=1).mean(1)
