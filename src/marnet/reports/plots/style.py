"""Colours, shapes and panels that all plots share."""

import colorsys
from collections.abc import Sequence
from typing import Literal, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

Shape = Literal["circle", "triangle", "square", "cross", "line"]

# Six colours that stay at least 26 units of CIELAB apart to normal sight, deuteranopes and protanopes (Machado 2009),
# with a contrast of 2.7 or more on white and on the dark page. Four shapes make them 24 classes.
COLOURS = ("#5051d7", "#ea7601", "#00a6b4", "#bd1966", "#3a9bee", "#96703d")
SHAPES: dict[Shape, str] = {"circle": "o", "triangle": "^", "square": "s", "cross": "X"}
DASHES = ((), (5, 2), (1.5, 1.5), (6, 2, 1.5, 2))  # by line, for readers who cannot distinguish the colours
LEGEND_LIMIT = len(COLOURS) * len(SHAPES)

# Inches. A page shows two panels side by side and a phone one, so that text is 9 to 13 px high on both.
CURVE = (4.6, 3.0)
PLANE = (4.6, 4.0)
SMALL = (2.3, 1.8)  # four of them side by side
WIDE = 9.2  # the width of a plot that has a row of its own
INK = (0.0, 0.0, 0.0)
FAINT = (0.0, 0.0, 0.0, 0.14)
MUTED = (0.0, 0.0, 0.0, 0.68)
BETTER, WORSE = COLOURS[0], COLOURS[1]  # of gains and losses


class Mark(NamedTuple):
    """The colour, shape and dashes of a class or a method, also for the legend."""

    label: str
    colour: str  # "#rrggbb"
    shape: Shape = "circle"
    dashes: tuple[float, ...] = ()  # of a line, in multiples of its width


def class_marks(classes: Sequence[str]) -> tuple[Mark, ...]:
    """Return a colour and a shape for each class, all different for up to 24; beyond that, hues of the colour wheel."""
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


def line_marks(names: Sequence[str]) -> dict[str, Mark]:
    """Return a colour and dashes for each line, all different for up to twelve."""
    return {
        name: Mark(name, COLOURS[number % len(COLOURS)], "line", DASHES[number % len(DASHES)])
        for number, name in enumerate(names)
    }


def make_panel(title: str, size: tuple[float, float]) -> tuple[Figure, Axes]:
    """Return an empty panel of `size` inches with its title, without ticks and frame."""
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=9.5, fontweight="bold", color=INK, pad=11, parse_math=False)
    axes.tick_params(length=0, labelsize=9, labelcolor=MUTED)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def style_curves(axes: Axes, x_label: str, *, integers: bool = False) -> None:
    """Style the axes of curves: horizontal grid lines, few ticks."""
    axes.set_xlabel(x_label, color=MUTED)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10], integer=integers, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
    axes.grid(axis="y", color=FAINT, linewidth=0.7)
    axes.spines["bottom"].set_color(MUTED)
    axes.spines["left"].set_visible(False)


def percent_axis() -> PercentFormatter:
    """Return the format of ticks that shows fractions as per cent."""
    return PercentFormatter(xmax=1, decimals=None, symbol=" %")


def draw_line(axes: Axes, xs: Sequence[float], values: Sequence[float], mark: Mark, number: int) -> None:
    """Draw a line in the colour and dashes of its mark, which is entry `number` of the legend."""
    marker = "o" if len(values) == 1 else None  # one point makes no line
    (line,) = axes.plot(xs, values, marker=marker, color=mark.colour, linewidth=1.6, gid=f"mark-{number}")
    if mark.dashes:
        line.set_dashes(mark.dashes)
