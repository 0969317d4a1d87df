"""The section on robustness, with a corruption from outside the package."""

from collections.abc import Callable

from marnet.comparison.records import RunRecord
from marnet.comparison.result_tables import result_tables
from marnet.comparison.summary import summarise
from marnet.evaluation.corruptions import STANDARD
from marnet.reports.blocks import Plots
from marnet.reports.plots.style import line_marks
from marnet.reports.sections.robustness import robustness_section


def test_a_corruption_from_outside_has_a_group_a_curve_and_a_column(
    make_records: Callable[..., list[RunRecord]],
) -> None:
    hail = "module:weather.hail"
    effects = {"image-only": 0.0, "marnet": 4.0}
    results = summarise(make_records(6, effects, corruptions=(*STANDARD[:2], *STANDARD[2:], hail)))
    tables = result_tables(results)
    section = robustness_section(results, line_marks(list(effects)), tables)
    panels = {panel.name: panel for block in section.blocks if isinstance(block, Plots) for panel in block.panels}
    assert {"robustness", "robustness-other", "robustness-fog", "robustness-module-weather.hail"} <= set(panels)
    assert "1 other" in panels["robustness-other"].alt
    titles = [column.title for column in tables["robustness"].columns]
    assert "corrupted top-1, % (15 standard)" in titles
    assert "corrupted top-1, % (other)" in titles
    assert hail in [row[0] for row in tables["corruptions"].rows]
