"""Matrices of coloured cells. Strength is opacity, so that an empty cell is the page, dark or light."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba

from marnet.reports.plots.style import FAINT, INK

STRONGEST = 0.72  # opacity at which text is legible on every colour, on light and dark pages
LONGEST_NAME = 24


def draw_cells(
    axes: Axes,
    strength: np.ndarray,
    colours: np.ndarray,
    texts: Sequence[Sequence[str]] | None,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
) -> None:
    """Draw R x M cells, the first row on top.

    Args:
        axes: empty.
        strength: `(R, M)` between 0 and 1; a cell of strength 0 is not drawn.
        colours: `(R, M)` of "#rrggbb".
        texts: the texts of the cells; None for none.
        rows, columns: their names; long ones are shortened.
    """
    drawn = np.argwhere(strength > 0)
    corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1)])
    axes.add_collection(
        PolyCollection(
            [corners + np.array([column, row]) for row, column in drawn],
            facecolors=[to_rgba(colours[row, column], STRONGEST * strength[row, column]) for row, column in drawn],
            linewidths=0,
        )
    )
    for row, line in enumerate(texts or ()):
        for column, text in enumerate(line):
            axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=8, color=INK)
    size = 9 if max(len(rows), len(columns)) <= 24 else 7
    axes.set(xlim=(0, len(columns)), ylim=(len(rows), 0))
    axes.xaxis.tick_top()
    axes.set_xticks(np.arange(len(columns)) + 0.5, [short_name(name) for name in columns])
    axes.set_yticks(np.arange(len(rows)) + 0.5, [short_name(name) for name in rows])
    axes.tick_params(length=0, labelsize=size)
    turned = sum(len(short_name(name)) for name in columns) > 75
    for label in axes.get_xticklabels():
        label.set(parse_math=False, **({"rotation": 45, "ha": "left", "rotation_mode": "anchor"} if turned else {}))
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
    for spine in axes.spines.values():
        spine.set(visible=True, color=FAINT)


def short_name(name: str) -> str:
    """Shorten a name to `LONGEST_NAME` characters.

    Example:
        >>> short_name("a name of more than 24 characters")
        'a name of more than 24 …'
    """
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
