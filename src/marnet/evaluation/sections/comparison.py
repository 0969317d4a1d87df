"""The figures of a comparison: the main table, what the text contributed, the ablation."""

from collections.abc import Mapping

from marnet.evaluation.blocks import Gap, Section, Table
from marnet.evaluation.summary import Results


def figure_section(results: Results, tables: Mapping[str, Table]) -> Section:
    """The main table, the placebos and McNemar's test, with what a reader must know of them."""
    shown = [tables[name] for name in ("main", "text", "mcnemar") if name in tables]
    return Section(title="Figures", text=results.notes, blocks=shown)


def ablation_section(tables: Mapping[str, Table], *, command: str) -> Section | Gap:
    """Table 2 of the paper.

    Args:
        tables: of `result_tables`.
        command: that runs the ablations.
    """
    title = "Ablation"
    if "ablation" not in tables:
        return Gap(title, "No ablation of marnet was run. To run them:", command)
    return Section(title=title, blocks=[tables["ablation"]])
