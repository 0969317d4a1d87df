"""The default fusion: a sum of the predictions of the branches, with weights that are fitted after training."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Weighted(nn.Module):
    """A sum of the branches' own predictions under one weight per branch.

    The weights do not learn: until `marnet.inference.calibration` fits them on held-out rows, the first branch (the
    head on x_v) predicts alone, so that the others can only be added where they are of use.

    Attributes:
        weights: `(n,)`, 0 or more.
    """

    weights: Tensor

    def __init__(self, widths: Sequence[int], num_classes: int) -> None:
        super().__init__()
        weights = torch.zeros(len(widths))
        weights[0] = 1.0
        self.register_buffer("weights", weights, persistent=False)  # calibration.json of a run has them

    def forward(self, features: Sequence[Tensor], logits: Sequence[Tensor]) -> Tensor:
        """Return fused logits `(B, C)` of logits, one `(B, C)` per branch.

        Raises:
            ValueError: the number of branches is another one.
        """
        if len(logits) != len(self.weights):
            raise ValueError(
                f"The fusion got the logits of {len(logits)} branches, but it was built for {len(self.weights)}."
            )
        return (self.weights[:, None, None] * torch.stack(list(logits))).sum(0)
