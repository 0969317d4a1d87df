"""Reliability and coverage, worked by hand."""

import pytest

from marnet.comparison.records import RunRecord
from marnet.reports.plots.style import line_marks
from marnet.reports.sections.confidence import _mean_coverage, _pooled_reliability, confidence_section


def record(right: list[bool], confidences: list[float]) -> RunRecord:
    return RunRecord(
        arm="m", seed=0, key="", source="s", split="val", classes=["a", "b"], metrics={}, labels=[0] * len(right),
        predictions=[0 if each else 1 for each in right], confidences=confidences, robustness=None, seconds=0,
    )  # fmt: skip


def test_reliability_is_of_all_runs_together() -> None:
    # Bins of 1/15: 0.61 and 0.65 lie in (9/15, 10/15], 0.95 in the last.
    bins = _pooled_reliability([record([True, False], [0.61, 0.65]), record([True, True], [0.95, 1.0])])
    assert bins.images.nonzero().flatten().tolist() == [9, 14]
    assert bins.images[[9, 14]].tolist() == [2, 2]
    assert bins.confidence[[9, 14]].tolist() == pytest.approx([0.63, 0.975])
    assert bins.accuracy[[9, 14]].tolist() == [0.5, 1.0]


def test_coverage_by_hand() -> None:
    # By confidence: right, wrong, right, right.
    curve = _mean_coverage([record([True, True, True, False], [0.6, 0.9, 0.5, 0.8])])
    assert len(curve) == 100
    assert (curve[0], curve[24]) == (1.0, 1.0)  # the first quarter is one image
    assert (curve[25], curve[49]) == (0.5, 0.5)
    assert curve[74] == pytest.approx(2 / 3)
    assert curve[99] == pytest.approx(0.75)


def test_coverage_is_the_mean_over_runs() -> None:
    runs = [record([True, False], [0.9, 0.6]), record([False, False], [0.9, 0.6])]
    assert _mean_coverage(runs)[99] == 0.25


def test_the_section_shows_reliability_of_some_and_coverage_of_all() -> None:
    runs = {name: {0: record([True, False], [0.9, 0.6])} for name in ("a", "b")}
    section = confidence_section(runs, line_marks(["a", "b"]), reliability_of=["b"])
    reliability, coverage = section.blocks[0].panels
    assert len(reliability.figure.axes[0].lines) == 2  # the diagonal and b
    assert len(coverage.figure.axes[0].lines) == 2
