"""Plots as SVG inside a page, and as SVG and PNG files for a paper."""

import hashlib
import io
import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from marnet.reports.plots.style import SHAPES, Mark

_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")  # in XML; names of classes may hold them


def svg(figure: Figure) -> str:
    """Return a plot as an SVG element for an HTML page.

    The element has no background, size or font, and `currentColor` instead of black, so that it follows the page, dark
    or light. Its ids begin with a hash of its content, so that several plots on a page do not clash and the same plot
    gives the same text. An object drawn with `gid="mark-3"` has an id that ends in "mark-3".
    """
    buffer = io.BytesIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    # Real text and repeatable ids are only available through global settings, which are restored at once.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "marnet"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    root = ElementTree.fromstring(_ILLEGAL.sub("\ufffd", buffer.getvalue().decode("utf-8", "replace")))
    for parent in list(root.iter()):
        for child in list(parent):
            # The style element would reach the whole page.
            if _local(child.tag) in ("metadata", "style"):
                parent.remove(child)
    for element in root.iter():
        _make_inline(element)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.attrib.update({"stroke-linejoin": "round", "stroke-linecap": "butt", "fill": "currentColor"})
    text = ElementTree.tostring(root, encoding="unicode")
    return _prefix_ids(text, root)


def save_figure(figure: Figure, folder: Path, name: str, legend: Sequence[Mark] = ()) -> None:
    """Write `name`.svg and `name`.png (200 dpi, white) into `folder`, the legend below.

    The figure itself is left unchanged. The same figure gives the same files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    svg(figure)  # sets the layout at the size of the page
    engine = figure.get_layout_engine()
    figure.set_layout_engine("none")
    handles = [_legend_handle(mark) for mark in legend]
    columns = 2 if figure.get_figwidth() < 6 else 4
    below = figure.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=columns, frameon=False, fontsize=8
    )
    for text in below.get_texts():
        text.set_parse_math(False)
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    try:
        with matplotlib.rc_context({"svg.hashsalt": "marnet"}):
            figure.savefig(folder / f"{name}.svg", bbox_inches="tight", metadata=nothing)
            figure.savefig(folder / f"{name}.png", bbox_inches="tight", dpi=200, metadata={"Software": None})
    finally:
        below.remove()
        figure.set_layout_engine(engine)


def _legend_handle(mark: Mark) -> Line2D:
    if mark.shape == "line":
        line = Line2D([], [], color=mark.colour, label=mark.label, linewidth=1.6)
        if mark.dashes:
            line.set_dashes(mark.dashes)
        return line
    return Line2D([], [], color=mark.colour, label=mark.label, marker=SHAPES[mark.shape], linestyle="", markersize=5)


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _make_inline(element: ElementTree.Element) -> None:
    """Remove namespaces, fonts and superfluous digits; let black follow the page."""
    element.tag = _local(element.tag)
    attributes = {_local(name): value for name, value in element.attrib.items()}
    element.attrib.clear()
    for name, value in attributes.items():
        if name == "style":
            element.attrib[name] = _inline_style(value)
        elif name == "id":
            element.attrib[name] = value
        else:
            # Two digits are enough to see, and the last ones differ between machines.
            element.attrib[name] = re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", value)


def _inline_style(style: str) -> str:
    kept = []
    for declaration in style.replace("#000000", "currentColor").split(";"):
        name, _, value = (part.strip() for part in declaration.partition(":"))
        if name == "font":  # the shorthand that older matplotlib writes
            size = re.search(r"[\d.]+px", value)
            kept.append(f"font-size: {size[0]}" if size else "")
        elif name != "font-family":
            kept.append(f"{name}: {value}" if name else "")
    return "; ".join(filter(None, kept))


def _prefix_ids(text: str, root: ElementTree.Element) -> str:
    prefix = "f" + hashlib.sha256(text.encode()).hexdigest()[:10]
    names = {element.attrib["id"] for element in root.iter() if "id" in element.attrib}
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.attrib[key] = f"{prefix}-{value}"
            elif "#" in value:
                element.attrib[key] = re.sub(
                    r"#([\w-]+)", lambda found: f"#{prefix}-{found[1]}" if found[1] in names else found[0], value
                )
    return ElementTree.tostring(root, encoding="unicode")
