"""Reliability and coverage as drawn."""

from math import nan

import pytest
import torch

from marnet.metrics import Reliability
from marnet.reports.plots.confidence import coverage_curves, reliability_diagram
from marnet.reports.plots.style import line_marks

MARKS = line_marks(["a", "b"])


def test_reliability_draws_the_bins_over_the_diagonal() -> None:
    # Three of four predictions in the last bin, none in the second.
    bins = Reliability(torch.tensor([1, 0, 3]), torch.tensor([0.25, nan, 0.75]), torch.tensor([0.5, nan, 1.0]))
    figure = reliability_diagram({"b": bins}, MARKS, "t")
    diagonal, line = figure.axes[0].lines
    assert diagonal.get_xydata().tolist() == [[0, 0], [1, 1]]
    assert line.get_xydata().tolist() == [[0.25, 0.5], [0.75, 1.0]]
    assert (line.get_gid(), line.get_color()) == ("mark-1", MARKS["b"].colour)
    (dots,) = figure.axes[0].collections
    assert dots.get_sizes().tolist() == [49, 129]


def test_coverage_ends_with_all_images() -> None:
    figure = coverage_curves({"a": [1.0, 0.9, 0.6]}, MARKS, "t")
    (line,) = figure.axes[0].lines
    assert line.get_xdata()[-1] == pytest.approx(1)
    assert line.get_ydata().tolist() == [1.0, 0.9, 0.6]
