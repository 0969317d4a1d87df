"""Figures for the report, drawn with matplotlib's objects; no pyplot, no global settings.

What is drawn black becomes the colour of the page's text, see `svg`; the colours of classes and methods are seen on
white and on dark alike. Legends are returned as data, so that the page can set them as text that wraps.
"""

import colorsys
import hashlib
import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple
from xml.etree import ElementTree

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

Shape = Literal["circle", "triangle", "square", "cross", "line"]

# Six colours that stay at least 26 units of CIELAB apart to normal sight, deuteranopes and protanopes (Machado 2009),
# with a contrast of 2.7 or more on white and on the dark page. Four shapes make them 24 classes.
COLOURS = ("#5051d7", "#ea7601", "#00a6b4", "#bd1966", "#3a9bee", "#96703d")
SHAPES: dict[Shape, str] = {"circle": "o", "triangle": "^", "square": "s", "cross": "X"}
DASHES = ((), (5, 2), (1.5, 1.5), (6, 2, 1.5, 2))  # by series, for those who do not tell the colours apart
LEGEND_LIMIT = len(COLOURS) * len(SHAPES)

# Inches. Two panels stand side by side on a page and one fills a phone, so that type is 9 to 13 px high on either.
_CURVE = (4.6, 3.0)
_PLANE = (4.6, 4.0)
_INK = (0.0, 0.0, 0.0)
_FAINT = (0.0, 0.0, 0.0, 0.14)
_MUTED = (0.0, 0.0, 0.0, 0.68)


class Mark(NamedTuple):
    """How one class or one method is drawn, for the legend."""

    label: str
    colour: str  # "#rrggbb"
    shape: Shape = "circle"
    dashes: tuple[float, ...] = ()  # of a line, in multiples of its width


class TrainingCurves(NamedTuple):
    """Two panels and what their lines are."""

    loss: Figure
    accuracy: Figure
    legend: tuple[Mark, ...]


class EmbeddingPair(NamedTuple):
    """x_v beside x_CDR and what their points are; with too many classes the legend is empty and a note says why."""

    x_v: Figure
    x_cdr: Figure
    legend: tuple[Mark, ...]
    note: str


def training_curves(
    histories: Mapping[str, Sequence[Mapping[str, float]]],
    *,
    loss: str = "train/classification",
    accuracy: str = "val/top1",
) -> TrainingCurves:
    """Draw a training loss and the validation accuracy by epoch, a line for each run; a dot marks its best epoch.

    Args:
        histories: by name of the run, the rows of its history.csv: `epoch` and other columns. Empty cells are left out.
        loss: the column of the loss. The default is the cross-entropy of the fused prediction, which every method has,
            and not `train/loss`, whose terms differ from method to method.
        accuracy: the column of the accuracy, a fraction.
    """
    loss_figure, loss_axes = _panel("Training loss (cross-entropy)" if loss == "train/classification" else loss, _CURVE)
    top1_figure, top1_axes = _panel("Validation top-1 accuracy" if accuracy == "val/top1" else accuracy, _CURVE)
    legend = []
    for number, (name, rows) in enumerate(histories.items()):
        mark = Mark(name, COLOURS[number % len(COLOURS)], "line", DASHES[number % len(DASHES)])
        _draw_line(loss_axes, *_column(rows, loss), mark, number)
        epochs, values = _column(rows, accuracy)
        _draw_line(top1_axes, epochs, values, mark, number)
        if values:
            best = int(np.argmax(values))
            top1_axes.plot(epochs[best], values[best], "o", color=mark.colour, markersize=5, gid=f"mark-{number}-best")
            mark = mark._replace(label=f"{name} (best {100 * values[best]:.1f} %, epoch {epochs[best]:.0f})")
        legend.append(mark)
    top1_axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=None, symbol=" %"))
    for axes in (loss_axes, top1_axes):
        axes.set_xlabel("epoch", color=_MUTED)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
        axes.grid(axis="y", color=_FAINT, linewidth=0.7)
        axes.spines["bottom"].set_color(_MUTED)
        axes.spines["left"].set_visible(False)
    return TrainingCurves(loss_figure, top1_figure, tuple(legend))


def embedding_pair(
    x_v: np.ndarray,
    x_cdr: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    *,
    titles: tuple[str, str] = ("x_v", "x_CDR"),
) -> EmbeddingPair:
    """Draw the layouts of x_v and x_CDR (Figure 3 of the paper); a class has the same colour and shape in both.

    Args:
        x_v, x_cdr: points `(N, 2)`, of `analysis.embed_2d`.
        labels: `(N,)` class indices.
        classes: their names, C of them.
        titles: what stands above the panels.
    """
    marks = class_marks(classes)
    panels = [_scatter(points, labels, marks, title) for points, title in zip((x_v, x_cdr), titles, strict=True)]
    if len(classes) <= LEGEND_LIMIT:
        return EmbeddingPair(panels[0], panels[1], marks, "")
    note = f"{len(classes)} classes, too many for a legend; a class has the same colour and shape in both panels."
    return EmbeddingPair(panels[0], panels[1], (), note)


def class_marks(classes: Sequence[str]) -> tuple[Mark, ...]:
    """A colour and a shape for each class, all different for up to 24; beyond, hues spread over the colour wheel."""
    shapes = tuple(SHAPES)
    if len(classes) <= LEGEND_LIMIT:
        colours = [COLOURS[number % len(COLOURS)] for number in range(len(classes))]
        return tuple(
            Mark(label, colour, shapes[number // len(COLOURS)])
            for number, (label, colour) in enumerate(zip(classes, colours, strict=True))
        )
    hues = [colorsys.hls_to_rgb(number / len(classes), 0.47, 0.62) for number in range(len(classes))]
    return tuple(
        Mark(label, "#" + "".join(f"{round(255 * part):02x}" for part in hue), shapes[number % len(shapes)])
        for number, (label, hue) in enumerate(zip(classes, hues, strict=True))
    )


def svg(figure: Figure) -> str:
    """The figure as an SVG element to stand inside an HTML page.

    It has no background, no size of its own (the page gives the width), no font of its own, and `currentColor` instead
    of black, so that it follows the page, dark or light. Its ids begin with a hash of its content: several figures on a
    page do not clash, and the same figure gives the same text. What was drawn with `gid="mark-3"` has an id that ends
    so.
    """
    buffer = io.BytesIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    # Asking for real text and repeatable ids is only possible through settings; they are put back at once.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "marnet"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    root = ElementTree.fromstring(buffer.getvalue())
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


def _panel(title: str, size: tuple[float, float]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=9.5, fontweight="bold", color=_INK, pad=11, parse_math=False)
    axes.tick_params(length=0, labelsize=9, labelcolor=_MUTED)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def _column(rows: Sequence[Mapping[str, float]], name: str) -> tuple[list[float], list[float]]:
    """The epochs that have a finite value in a column, and the values."""
    kept = [(row["epoch"], row[name]) for row in rows if name in row and math.isfinite(row[name])]
    return [epoch for epoch, _ in kept], [value for _, value in kept]


def _draw_line(axes: Axes, epochs: Sequence[float], values: Sequence[float], mark: Mark, number: int) -> None:
    marker = "o" if len(values) == 1 else None  # one epoch makes no line
    (line,) = axes.plot(epochs, values, marker=marker, color=mark.colour, linewidth=1.6, gid=f"mark-{number}")
    if mark.dashes:
        line.set_dashes(mark.dashes)


def _scatter(points: np.ndarray, labels: np.ndarray, marks: Sequence[Mark], title: str) -> Figure:
    if points.shape != (len(labels), 2):
        raise ValueError(f"points {points.shape} and labels {labels.shape} do not fit; needed (N, 2) and (N,).")
    figure, axes = _panel(title, _PLANE)
    size = 16 if len(points) <= 1000 else 7
    for number, mark in enumerate(marks):
        of_class = points[labels == number]
        if len(of_class):
            axes.scatter(
                of_class[:, 0],
                of_class[:, 1],
                s=size,
                c=mark.colour,
                marker=SHAPES[mark.shape],
                linewidths=0,
                alpha=0.85,
                gid=f"mark-{number}",
            )
    axes.set(xticks=[], yticks=[])  # t-SNE's axes have no unit
    axes.set_aspect("equal", adjustable="datalim")
    for spine in axes.spines.values():
        spine.set(visible=True, color=_FAINT)
    return figure


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _make_inline(element: ElementTree.Element) -> None:
    """Drop namespaces, fonts and needless digits; let black follow the page."""
    element.tag = _local(element.tag)
    attributes = {_local(name): value for name, value in element.attrib.items()}
    element.attrib.clear()
    for name, value in attributes.items():
        if name == "style":
            element.attrib[name] = _inline_style(value)
        elif name == "id":
            element.attrib[name] = value
        else:
            # Two digits are enough for the eye, and the last ones differ from machine to machine.
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
