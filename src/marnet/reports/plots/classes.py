"""Plots of classes: the confusion matrix, and gains and losses by class."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from marnet.reports.plots.cells import draw_cells, short_name
from marnet.reports.plots.style import BETTER, CURVE, FAINT, MUTED, WIDE, WORSE, make_panel

FEW_CLASSES = 8  # up to here a map fits beside another panel


def confusion_map(shares: np.ndarray, classes: Sequence[str], title: str) -> Figure:
    """Draw the share of each true class (row) that is predicted as each class (column), errors in another colour.

    Args:
        shares: `(C, C)`, fractions.
        classes: names of the C classes.
        title: text above the map.

    Raises:
        ValueError: the number of names does not match.
    """
    count = len(classes)
    if shares.shape != (count, count):
        raise ValueError(f"shares {shares.shape} do not match {count} classes. Expected ({count}, {count}).")
    size = (
        (CURVE[0], 1.6 + 0.3 * count) if count <= FEW_CLASSES else (WIDE, 2.2 + (0.3 if count <= 24 else 0.17) * count)
    )
    figure, axes = make_panel(title, size)
    colours = np.full((count, count), WORSE)
    np.fill_diagonal(colours, BETTER)
    # The square root makes errors of a few per cent visible.
    strength = np.sqrt(np.clip(shares, 0, 1))
    texts = [[f"{100 * share:.0f}" if share >= 0.005 else "" for share in row] for row in shares]
    draw_cells(axes, strength, colours, texts if count <= 24 else None, rows=classes, columns=classes)
    axes.set_ylabel("true class", color=MUTED)
    axes.set_xlabel("predicted class", color=MUTED)
    axes.xaxis.set_label_position("bottom")
    return figure


def class_changes(names: Sequence[str], changes: Sequence[float], title: str, *, of: str = "accuracy") -> Figure:
    """Draw the change of the accuracy (or `of`) of classes, the first on top; fractions, in percentage points."""
    figure, axes = make_panel(title, (4.6, 0.9 + 0.23 * len(names)))
    colours = [BETTER if change >= 0 else WORSE for change in changes]
    offsets = np.arange(len(names))
    axes.barh(offsets, [100 * change for change in changes], height=0.66, color=colours)
    axes.set_yticks(offsets, [short_name(name) for name in names])
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
    axes.invert_yaxis()
    axes.axvline(0, color=MUTED, linewidth=0.8)
    axes.grid(axis="x", color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set_xlabel(f"points of {of}", color=MUTED)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure
