"""The SVG that stands in the report, and the files for a paper."""

import re
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from marnet.reports.plots.embedding import EmbeddingPanels, embedding_panels
from marnet.reports.plots.style import Mark
from marnet.reports.plots.svg import _inline_style, save_figure, svg
from marnet.reports.plots.training import training_curves

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


def small_pair(classes: int = 3) -> EmbeddingPanels:
    points = np.random.default_rng(0).normal(size=(40, 2))
    names = [f"class {number}" for number in range(classes)]
    return embedding_panels({"x_v": points, "x_CDR": points[::-1]}, np.arange(40) % classes, names)


def ids_of(text: str) -> list[str]:
    return [element.attrib["id"] for element in ElementTree.fromstring(text).iter() if "id" in element.attrib]


def test_svg_repeats_to_the_letter():
    assert svg(training_curves(HISTORIES).loss) == svg(training_curves(HISTORIES).loss)
    figure = small_pair().figures[0]
    assert svg(figure) == svg(figure)


def test_svg_leaves_the_settings_and_the_figure_alone():
    figure = training_curves(HISTORIES).loss
    before, dpi = dict(matplotlib.rcParams), figure.dpi
    svg(figure)
    assert dict(matplotlib.rcParams) == before
    assert figure.dpi == dpi


def test_ids_of_several_figures_do_not_clash_and_references_resolve():
    pair, curves = small_pair(), training_curves(HISTORIES)
    texts = [svg(figure) for figure in (*pair.figures, curves.loss, curves.accuracy)]
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
    for text in (svg(training_curves(HISTORIES).loss), svg(small_pair().figures[0]), svg(figure)):
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


def test_files_hold_the_legend_and_leave_the_figure_alone(tmp_path: Path) -> None:
    curves = training_curves(HISTORIES)
    before = svg(curves.loss)
    marks = (*curves.legend, Mark("a $dot$", "#5051d7", "triangle"))
    save_figure(curves.loss, tmp_path, "with", marks)
    save_figure(curves.loss, tmp_path, "without")
    assert svg(curves.loss) == before
    heights = [
        float(ElementTree.parse(tmp_path / name).getroot().attrib["height"].removesuffix("pt"))
        for name in ("with.svg", "without.svg")
    ]
    assert 20 < heights[0] - heights[1] < 50  # two rows of type
    assert "a $dot$" in (tmp_path / "with.svg").read_text()  # as a comment beside its outlines
    assert (tmp_path / "with.png").read_bytes().startswith(b"\x89PNG")


def test_names_with_characters_that_xml_forbids_are_drawn():
    curves = training_curves({"a\x1b[31m\x00\uffff": [{"epoch": 1.0, "train/visual": 1.0, "val/top1": 0.5}]})
    curves.accuracy.axes[0].set_title("red\x1b[31m\x0b\ufffe")
    assert "red\ufffd[31m\ufffd\ufffd" in svg(curves.accuracy)
