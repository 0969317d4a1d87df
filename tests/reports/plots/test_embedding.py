"""Layouts of features."""

import re

import matplotlib
import numpy as np
import pytest

from marnet.reports.plots.embedding import EmbeddingPanels, embedding_panels
from marnet.reports.plots.style import LEGEND_LIMIT, class_marks


def small_pair(classes: int = 3) -> EmbeddingPanels:
    points = np.random.default_rng(0).normal(size=(40, 2))
    names = [f"class {number}" for number in range(classes)]
    return embedding_panels({"x_v": points, "x_CDR": points[::-1]}, np.arange(40) % classes, names)


def test_a_class_looks_the_same_in_both_panels_and_in_the_legend():
    pair = small_pair()
    for number, mark in enumerate(pair.legend):
        for figure in pair.figures:
            (points,) = [drawn for drawn in figure.axes[0].collections if drawn.get_gid() == f"mark-{number}"]
            assert matplotlib.colors.to_hex(points.get_facecolor()[0]) == mark.colour
            assert len(points.get_offsets()) == (np.arange(40) % 3 == number).sum()


@pytest.mark.parametrize("classes", [2, LEGEND_LIMIT, LEGEND_LIMIT + 1, 81])
def test_all_classes_look_different(classes: int):
    marks = class_marks([f"class {number}" for number in range(classes)])
    assert len({(mark.colour, mark.shape) for mark in marks}) == classes
    assert all(re.fullmatch("#[0-9a-f]{6}", mark.colour) for mark in marks)


def test_the_legend_is_left_out_where_nobody_could_read_it():
    assert len(small_pair(LEGEND_LIMIT).legend) == LEGEND_LIMIT
    assert small_pair(LEGEND_LIMIT).note == ""
    many = small_pair(81)
    assert many.legend == ()
    assert many.note.startswith("81 classes are too many for a legend")


def test_embedding_refuses_shapes_that_do_not_fit():
    with pytest.raises(
        ValueError, match=r"points \(4, 2\) and labels \(3,\) do not match\. Expected \(N, 2\) and \(N,\)"
    ):
        embedding_panels({"x_v": np.zeros((4, 2))}, np.zeros(3), ["a"])
