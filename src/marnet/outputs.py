"""The values that a model returns, in prediction and in training, and those that the losses return."""

from typing import Any, NamedTuple

from torch import Tensor

VISUAL, ALIGNMENT, RECONSTRUCTION = "visual", "alignment", "reconstruction"  # the branches that marnet itself has


class PredictionOutput(NamedTuple):
    """Everything that an image alone gives. Branches are "visual", and those that the method adds."""

    logits: Tensor  # (B, C), the fused prediction
    branch_logits: dict[str, Tensor]  # (B, C) each
    features: dict[str, Tensor]  # (B, width) each; the input of the branch's head

    @property
    def x_v(self) -> Tensor:
        """Image features `(B, D_v)`."""
        return self.features[VISUAL]

    @property
    def x_ema(self) -> Tensor | None:
        """The aligned image embedding `(B, d)`; None for a method without EMA."""
        return self.features.get(ALIGNMENT)

    @property
    def x_cdr(self) -> Tensor | None:
        """The reconstructed semantics `(B, d_0)`; None for a method without CDR or its baseline."""
        return self.features.get(RECONSTRUCTION)


class MARNetOutput(NamedTuple):
    """Everything that the losses score. M of the B rows have a text."""

    prediction: PredictionOutput
    text_rows: Tensor  # (M,) int64, the rows that have a text
    texts: tuple[str, ...]  # the M texts
    x_s: Tensor | None  # (M, D_s); None for a model without a text encoder
    logits: Tensor  # (B, C), scored as the prediction: the fused ones, or for late fusion those with the text at hand
    learned: dict[str, Any]  # by name of the part: its output, such as AlignedPair or ReconstructionOutput


class LossTerms(NamedTuple):
    """The loss and its terms."""

    total: Tensor  # (), the weighted sum
    terms: dict[str, Tensor]  # () each, before weighting; those whose weight is 0 are left out
