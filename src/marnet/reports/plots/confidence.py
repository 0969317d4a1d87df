"""Plots of confidence: reliability, and accuracy against coverage."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from marnet.metrics import Reliability
from marnet.reports.plots.style import CURVE, FAINT, Mark, draw_line, make_panel, percent_axis, style_curves


def reliability_diagram(
    bins: Mapping[str, Reliability],
    marks: Mapping[str, Mark],
    title: str,
    *,
    axis: str = "confidence of the prediction",
) -> Figure:
    """Draw accuracy by confidence, one line per method; the size of a dot is the share of the predictions.

    Args:
        bins: by method; empty bins are left out.
        marks: colour and dashes of each method, in the order of the legend.
        title: text above the panel.
        axis: text below the panel.
    """
    figure, axes = make_panel(title, CURVE)
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1.2)
    order = list(marks)
    for name, found in bins.items():
        number, filled = order.index(name), found.images > 0
        confidence, accuracy = found.confidence[filled].tolist(), found.accuracy[filled].tolist()
        draw_line(axes, confidence, accuracy, marks[name], number)
        axes.scatter(
            confidence,
            accuracy,
            s=(9 + 160 * found.images[filled] / found.images.sum()).tolist(),
            color=marks[name].colour,
            linewidths=0,
            clip_on=False,  # shows dots at 100 % completely
            gid=f"mark-{number}-best",
        )
    style_curves(axes, axis)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
    axes.xaxis.set_major_formatter(percent_axis())
    axes.yaxis.set_major_formatter(percent_axis())
    return figure


def coverage_curves(
    accuracies: Mapping[str, Sequence[float]],
    marks: Mapping[str, Mark],
    title: str,
    *,
    axis: str = "coverage: share of images answered, the most confident first",
) -> Figure:
    """Draw the accuracy of the most confident predictions by their share of all predictions.

    Args:
        accuracies: by method, at coverages from 1 % to 100 % in equal steps.
        marks: colour and dashes of each method.
        title: text above the panel.
        axis: text below the panel.
    """
    figure, axes = make_panel(title, CURVE)
    order = list(marks)
    for name, values in accuracies.items():
        draw_line(axes, np.linspace(0.01, 1, len(values)).tolist(), values, marks[name], order.index(name))
    style_curves(axes, axis)
    axes.xaxis.set_major_formatter(percent_axis())
    axes.yaxis.set_major_formatter(percent_axis())
    return figure
