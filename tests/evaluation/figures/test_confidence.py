"""Reliability and coverage as drawn."""

import pytest

from marnet.evaluation.figures.confidence import ReliabilityBins, coverage_curves, reliability_diagram
from marnet.evaluation.figures.style import line_marks

MARKS = line_marks(["a", "b"])


def test_reliability_draws_the_bins_over_the_diagonal() -> None:
    figure = reliability_diagram({"b": ReliabilityBins((0.3, 0.9), (0.5, 0.8), (0.25, 0.75))}, MARKS, "t")
    diagonal, line = figure.axes[0].lines
    assert diagonal.get_xydata().tolist() == [[0, 0], [1, 1]]
    assert line.get_xydata().tolist() == [[0.3, 0.5], [0.9, 0.8]]
    assert (line.get_gid(), line.get_color()) == ("mark-1", MARKS["b"].colour)
    (dots,) = figure.axes[0].collections
    assert dots.get_sizes().tolist() == [49, 129]


def test_coverage_ends_with_all_images() -> None:
    figure = coverage_curves({"a": [1.0, 0.9, 0.6]}, MARKS, "t")
    (line,) = figure.axes[0].lines
    assert line.get_xdata()[-1] == pytest.approx(1)
    assert line.get_ydata().tolist() == [1.0, 0.9, 0.6]
