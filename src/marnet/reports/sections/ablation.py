"""The ablation: the contribution of each part of the full method (Table 2 of the paper)."""

from marnet.comparison.arms import ABLATIONS
from marnet.methods import FULL
from marnet.reports.blocks import Section
from marnet.reports.context import ReportContext, Unavailable

TITLE = "Ablation"


def build(context: ReportContext) -> Section:
    """Build the section of a comparison that has ablations.

    Raises:
        Unavailable: there is no comparison, or it has no ablation.
    """
    comparison = context.comparison
    if "ablation" not in comparison.tables:
        arms = ", ".join(name for name in ABLATIONS if name != FULL)
        raise Unavailable(
            f"No ablation of {FULL} was trained. Add {arms} to the arms in {comparison.plan}, then run:",
            comparison.command,
        )
    return Section(title=TITLE, blocks=[comparison.tables["ablation"]])
