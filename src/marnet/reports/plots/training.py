"""Plots of training by epoch."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from marnet.reports.plots.style import CURVE, Mark, draw_line, line_marks, make_panel, percent_axis, style_curves

_CLASSIFICATION, _VISUAL = "train/classification", "train/visual"
_TITLES = {"val/top1": "Validation top-1 accuracy", "val/map": "Validation mAP"}


class TrainingCurves(NamedTuple):
    """Two panels and their legend."""

    loss: Figure
    accuracy: Figure
    legend: tuple[Mark, ...]


def training_curves(
    histories: Mapping[str, Sequence[Mapping[str, float]]],
    *,
    loss: str = _CLASSIFICATION,
    accuracy: str = "val/top1",
    marks: Mapping[str, Mark] | None = None,
    chosen: Collection[str] = (),
) -> TrainingCurves:
    """Draw a training loss and the validation accuracy by epoch, one line per run; a dot marks the epoch that was kept.

    Args:
        histories: by name of the run, the rows of its history.csv: `epoch` and other columns. Empty cells are left out.
        loss: the column of the loss. The default is the cross-entropy of the prediction, or in runs whose fused
            prediction has no loss, that of the head on x_v; the terms of `train/loss` differ between methods.
        accuracy: the column of the accuracy, a fraction.
        marks: colour and dashes of each run, if other plots show the same runs.
        chosen: the runs that kept their best epoch; the others kept the last one.
    """
    marks = marks or line_marks(list(histories))
    title = "Training loss (cross-entropy)" if loss == _CLASSIFICATION else loss
    loss_figure, loss_axes = make_panel(title, CURVE)
    top1_figure, top1_axes = make_panel(_TITLES.get(accuracy, accuracy), CURVE)
    legend = []
    for number, (name, rows) in enumerate(histories.items()):
        mark = marks[name]
        losses = _column(rows, loss)
        if loss == _CLASSIFICATION and not losses[0]:
            losses = _column(rows, _VISUAL)
        draw_line(loss_axes, *losses, mark, number)
        epochs, values = _column(rows, accuracy)
        draw_line(top1_axes, epochs, values, mark, number)
        if values:
            kept = int(np.argmax(values)) if name in chosen else -1
            top1_axes.plot(epochs[kept], values[kept], "o", color=mark.colour, markersize=5, gid=f"mark-{number}-best")
            mark = mark._replace(label=f"{name} (kept: {100 * values[kept]:.1f} %, epoch {epochs[kept]:.0f})")
        legend.append(mark)
    for axes in (loss_axes, top1_axes):
        style_curves(axes, "epoch", integers=True)
    top1_axes.yaxis.set_major_formatter(percent_axis())
    return TrainingCurves(loss_figure, top1_figure, tuple(legend))


def loss_terms(rows: Sequence[Mapping[str, float]], title: str) -> tuple[Figure, tuple[Mark, ...]]:
    """Draw the terms of a run's objective by epoch, before weighting, on a logarithmic scale; with their legend.

    Args:
        rows: of history.csv; every column `train/...` but the total `train/loss` and the learning rate is a term.
        title: text above the panel.
    """
    names = dict.fromkeys(name for row in rows for name in row if name.startswith("train/") and name != "train/loss")
    drawn = {name: (epochs, values) for name in names for epochs, values in [_column(rows, name)] if values}
    marks = line_marks([name.removeprefix("train/") for name in drawn])
    figure, axes = make_panel(title, CURVE)
    for number, (mark, (epochs, values)) in enumerate(zip(marks.values(), drawn.values(), strict=True)):
        draw_line(axes, epochs, values, mark, number)
    style_curves(axes, "epoch", integers=True)
    # Cross-entropies and squared errors differ by a factor of about ten; a term that reaches 0 has no logarithm.
    if all(min(values) > 0 for _, values in drawn.values()):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
    return figure, tuple(marks.values())


def _column(rows: Sequence[Mapping[str, float]], name: str) -> tuple[list[float], list[float]]:
    """Return the epochs that have a finite value in a column, and the values."""
    kept = [(row["epoch"], row[name]) for row in rows if name in row and math.isfinite(row[name])]
    return [epoch for epoch, _ in kept], [value for _, value in kept]
