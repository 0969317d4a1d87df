"""The figures and the SVG that stands in the report."""

import re
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from marnet.evaluation.figures import LEGEND_LIMIT, _inline_style, class_marks, embedding_pair, svg, training_curves

HOSTILE = "<script>alert(1)</script> $\\frac{$ & \"'"
HISTORIES = {
    "image-only": [
        {"epoch": 1.0, "train/classification": 2.0, "val/top1": 0.25},
        {"epoch": 2.0, "train/classification": 1.5, "val/top1": 0.75},
        {"epoch": 3.0, "train/classification": 1.0, "val/top1": 0.5},
    ],
    "marnet": [
        {"epoch": 1.0, "train/classification": float("nan"), "val/top1": 0.3},
        {"epoch": 2.0, "train/classification": 1.2},
    ],
}


def small_pair(classes: int = 3):
    points = np.random.default_rng(0).normal(size=(40, 2))
    names = [f"class {number}" for number in range(classes)]
    return embedding_pair(points, points[::-1], np.arange(40) % classes, names)


def ids_of(text: str) -> list[str]:
    return [element.attrib["id"] for element in ElementTree.fromstring(text).iter() if "id" in element.attrib]


def test_curves_hold_the_finite_values_of_each_run():
    curves = training_curves(HISTORIES)
    first, second = curves.loss.axes[0].lines
    assert first.get_xydata().tolist() == [[1, 2.0], [2, 1.5], [3, 1.0]]
    assert second.get_xydata().tolist() == [[2, 1.2]]
    assert second.get_marker() == "o"  # a single epoch would draw no line
    assert (first.get_color(), first.get_linestyle()) != (second.get_color(), second.get_linestyle())


def test_curves_mark_and_name_the_best_epoch():
    curves = training_curves(HISTORIES)
    best = [line for line in curves.accuracy.axes[0].lines if str(line.get_gid()).endswith("-best")]
    assert [line.get_xydata().tolist() for line in best] == [[[2, 0.75]], [[1, 0.3]]]
    assert [mark.label for mark in curves.legend] == [
        "image-only (best 75.0 %, epoch 2)",
        "marnet (best 30.0 %, epoch 1)",
    ]
    assert curves.legend[0].dashes != curves.legend[1].dashes


def test_curves_of_an_empty_history_are_drawn_empty():
    curves = training_curves({"run": []}, loss="train/loss")
    assert curves.legend[0].label == "run"
    assert "train/loss" in svg(curves.loss)


def test_a_class_looks_the_same_in_both_panels_and_in_the_legend():
    pair = small_pair()
    for number, mark in enumerate(pair.legend):
        for figure in (pair.x_v, pair.x_cdr):
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
    assert many.note.startswith("81 classes, too many for a legend")


def test_embedding_refuses_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"points \(4, 2\) and labels \(3,\) do not fit; needed \(N, 2\) and \(N,\)"):
        embedding_pair(np.zeros((4, 2)), np.zeros((4, 2)), np.zeros(3), ["a"])


def test_svg_repeats_to_the_letter():
    assert svg(training_curves(HISTORIES).loss) == svg(training_curves(HISTORIES).loss)
    figure = small_pair().x_v
    assert svg(figure) == svg(figure)


def test_svg_leaves_the_settings_and_the_figure_alone():
    figure = training_curves(HISTORIES).loss
    before, dpi = dict(matplotlib.rcParams), figure.dpi
    svg(figure)
    assert dict(matplotlib.rcParams) == before
    assert figure.dpi == dpi


def test_ids_of_several_figures_do_not_clash_and_references_resolve():
    pair, curves = small_pair(), training_curves(HISTORIES)
    texts = [svg(figure) for figure in (pair.x_v, pair.x_cdr, curves.loss, curves.accuracy)]
    every = [name for text in texts for name in ids_of(text)]
    assert len(set(every)) == len(every)
    for text in texts:
        referred = re.findall(r'(?:href="#|url\(#)([\w-]+)', text)
        assert referred
        assert set(referred) <= set(ids_of(text))


def test_svg_follows_the_page():
    figure = Figure()
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="black")
    for text in (svg(training_curves(HISTORIES).loss), svg(small_pair().x_v), svg(figure)):
        root = ElementTree.fromstring(text)
        assert root.tag == "svg"
        assert "width" not in root.attrib
        assert root.attrib["fill"] == "currentColor"
        assert "stroke: currentColor" in text
        assert "#000000" not in text
        assert "font-family" not in text
        assert "http" not in text
        assert "#ffffff" not in text  # no background
        assert not list(root.iter("style"))


def test_svg_keeps_type_as_text_of_its_size():
    texts = list(ElementTree.fromstring(svg(training_curves(HISTORIES).accuracy)).iter("text"))
    assert "Validation top-1 accuracy" in [element.text for element in texts]
    assert all("font-size" in element.attrib["style"] for element in texts)


def test_svg_reads_the_styles_of_older_matplotlib():
    assert _inline_style("font: 9px 'DejaVu Sans', sans-serif; text-anchor: end") == "font-size: 9px; text-anchor: end"


def test_names_are_text_and_no_markup():
    drawn = svg(training_curves({HOSTILE: []}, loss=HOSTILE).loss)
    root = ElementTree.fromstring(drawn)
    assert not list(root.iter("script"))
    assert HOSTILE in [element.text for element in root.iter("text")]
