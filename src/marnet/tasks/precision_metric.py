"""Mean average precision as training logs it: batch by batch, over all processes."""

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from marnet.metrics import mean_average_precision


class MeanAveragePrecision(Metric):
    """The `mean_average_precision` over all batches of all processes."""

    logits: list[Tensor]
    targets: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("logits", [], dist_reduce_fx="cat")
        self.add_state("targets", [], dist_reduce_fx="cat")

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Take in the logits and targets of a batch, `(B, C)` each."""
        self.logits.append(logits.detach())
        self.targets.append(targets)

    def compute(self) -> Tensor:
        """Return the score `()`."""
        logits, targets = dim_zero_cat(self.logits), dim_zero_cat(self.targets)
        return torch.tensor(mean_average_precision(logits, targets), device=logits.device)
