"""Fusion: the features and predictions of the branches become one prediction (docs/method.md, equation 12).

The paper fuses x_EMA and x_CDR; that x_v joins as a branch, and which fusion is used, is ours. All fusions are modules
`Fusion(widths, num_classes)` with one call, `fusion(features, logits) -> (B, C)`, one entry per branch in fixed order.
A new fusion is its file and one line in `FUSIONS`; one from outside is named `module:PACKAGE.NAME`.
"""

from collections.abc import Callable, Sequence

from torch import nn

from marnet.errors import ConfigError, suggest
from marnet.imported import import_object
from marnet.modules.fusion.averaged import Averaged
from marnet.modules.fusion.concatenation import Concatenation
from marnet.modules.fusion.gated import GatedFeatures, GatedLogits
from marnet.modules.fusion.weighted import Weighted

FUSIONS: dict[str, Callable[[Sequence[int], int], nn.Module]] = {
    "weighted": Weighted,
    "averaged": Averaged,
    "concat": Concatenation,
    "gated-features": GatedFeatures,
    "gated-logits": GatedLogits,
}


def find_fusion(kind: str) -> Callable[[Sequence[int], int], nn.Module]:
    """Return the fusion of that name, or import it by `module:PACKAGE.NAME`.

    Raises:
        ConfigError: there is none of that name, or it cannot be imported.
    """
    if kind.startswith("module:"):
        found: Callable[[Sequence[int], int], nn.Module] = import_object(kind.removeprefix("module:"), what="fusion")
        return found
    if kind not in FUSIONS:
        raise ConfigError(
            f"Fusion {kind!r} is not known. Expected {', '.join(FUSIONS)} or module:PACKAGE.NAME."
            f"{suggest(kind, FUSIONS)} Set `fusion.kind`."
        )
    return FUSIONS[kind]


def make_fusion(kind: str, widths: Sequence[int], num_classes: int) -> nn.Module:
    """Build the fusion of that name for branches of these widths.

    Raises:
        ConfigError: there is none of that name.
    """
    return find_fusion(kind)(widths, num_classes)
