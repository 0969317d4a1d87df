"""Layouts of features in the plane (Figure 3 of the paper)."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from marnet.reports.plots.style import FAINT, LEGEND_LIMIT, PLANE, SHAPES, Mark, class_marks, make_panel


class EmbeddingPanels(NamedTuple):
    """One panel per layout, with the legend; if there are too many classes, it is empty and a note says why."""

    figures: tuple[Figure, ...]
    legend: tuple[Mark, ...]
    note: str


def embedding_panels(layouts: Mapping[str, np.ndarray], labels: np.ndarray, classes: Sequence[str]) -> EmbeddingPanels:
    """Draw layouts such as those of x_v and x_CDR; a class has the same colour and shape in all.

    Args:
        layouts: by title, points `(N, 2)` of `analysis.embed_2d`.
        labels: `(N,)` class indices.
        classes: their names, C of them.

    Raises:
        ValueError: the shapes disagree.
    """
    marks = class_marks(classes)
    figures = tuple(_scatter(points, labels, marks, title) for title, points in layouts.items())
    if len(classes) <= LEGEND_LIMIT:
        return EmbeddingPanels(figures, marks, "")
    note = f"{len(classes)} classes are too many for a legend; a class has the same colour and shape in all panels."
    return EmbeddingPanels(figures, (), note)


def _scatter(points: np.ndarray, labels: np.ndarray, marks: Sequence[Mark], title: str) -> Figure:
    if points.shape != (len(labels), 2):
        raise ValueError(f"points {points.shape} and labels {labels.shape} do not match. Expected (N, 2) and (N,).")
    figure, axes = make_panel(title, PLANE)
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
        spine.set(visible=True, color=FAINT)
    return figure
