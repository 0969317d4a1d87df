"""The figures of a comparison: the main table, what the text contributed, the ablation."""

from collections.abc import Mapping
from pathlib import Path

from marnet.comparison.arms import ABLATIONS
from marnet.comparison.summary import Results
from marnet.comparison.tables import Table
from marnet.methods import FULL
from marnet.reports.blocks import Gap, Section


def figure_section(results: Results, tables: Mapping[str, Table]) -> Section:
    """The main table, the placebos, the rivals and McNemar's test, with what a reader must know of them."""
    shown = [tables[name] for name in ("main", "text", "rivals", "mcnemar") if name in tables]
    return Section(title="Figures", text=results.notes, blocks=shown)


def ablation_section(tables: Mapping[str, Table], *, plan: Path, command: str) -> Section | Gap:
    """Table 2 of the paper.

    Args:
        tables: of `result_tables`.
        plan: the file of the comparison, which names its arms.
        command: that runs the arms which the file names and nobody ran.
    """
    title = "Ablation"
    if "ablation" not in tables:
        arms = ", ".join(name for name in ABLATIONS if name != FULL)
        return Gap(title, f"No ablation of {FULL} was run. Add {arms} to the arms in {plan}, and:", command)
    return Section(title=title, blocks=[tables["ablation"]])
