"""Plots of accuracy under corruption: by severity, and as a map of corruption by method."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from marnet.reports.plots.cells import draw_cells
from marnet.reports.plots.style import (
    BETTER,
    CURVE,
    SMALL,
    WIDE,
    WORSE,
    Mark,
    draw_line,
    make_panel,
    percent_axis,
    style_curves,
)


def severity_curves(
    accuracies: Mapping[str, Sequence[float]],
    marks: Mapping[str, Mark],
    title: str,
    *,
    small: bool = False,
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Draw accuracy by severity, one line per method.

    Args:
        accuracies: by method, fractions at severity 0 (no corruption), 1, 2, ...; NaN leaves a gap.
        marks: colour and dashes of each method, in the order of the legend.
        title: text above the panel.
        small: for one of many panels, without an axis label.
        limits: of the accuracy axis, to give several panels the same scale.
    """
    figure, axes = make_panel(title, SMALL if small else CURVE)
    order = list(marks)
    for name, values in accuracies.items():
        draw_line(axes, range(len(values)), values, marks[name], order.index(name))
    style_curves(axes, "" if small else "severity (0: uncorrupted)", integers=True)
    axes.xaxis.set_major_locator(MultipleLocator(1))
    axes.yaxis.set_major_formatter(percent_axis())
    if limits is not None:
        axes.set_ylim(*limits)
    return figure


def corruption_map(
    accuracies: np.ndarray, *, rows: Sequence[str], columns: Sequence[str], reference: int, title: str
) -> Figure:
    """Draw a map of corruption by method: the number is the accuracy in per cent, the colour the gain or loss.

    Args:
        accuracies: fractions `(R, M)`, NaN if not measured.
        rows: names of the R corruptions.
        columns: names of the M methods.
        reference: the column that gains and losses are measured from.
        title: text above the map.

    Raises:
        ValueError: the number of names does not match.
    """
    if accuracies.shape != (len(rows), len(columns)):
        raise ValueError(
            f"accuracies {accuracies.shape} do not match {len(rows)} names of rows and {len(columns)} of columns."
        )
    figure, axes = make_panel(title, (WIDE, 1.5 + 0.27 * len(rows)))
    gains = accuracies - accuracies[:, [reference]]
    largest = float(np.nanmax(np.abs(gains), initial=0.0))
    strength = np.nan_to_num(np.abs(gains) / largest) if largest > 0 else np.zeros_like(accuracies)
    colours = np.where(np.nan_to_num(gains) >= 0, BETTER, WORSE)
    texts = [["" if np.isnan(value) else f"{100 * value:.1f}" for value in row] for row in accuracies]
    draw_cells(axes, strength, colours, texts, rows=rows, columns=columns)
    return figure
