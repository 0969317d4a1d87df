"""Cells of tables: a paired difference and its p-value as text."""

from marnet.comparison.statistics import PairedDifference
from marnet.comparison.tables import CellValue, Shown
from marnet.comparison.verdict import format_p, points


def show_difference(found: PairedDifference | None) -> Shown | None:
    """Format a difference of fractions in points with its interval, such as "+2.1 [0.9, 3.2]"."""
    if found is None:
        return None
    text = points(found.mean, sign=True)
    return Shown(found.mean, text if found.n < 2 else f"{text} [{points(found.low)}, {points(found.high)}]")


def show_p(found: PairedDifference | None) -> CellValue:
    """Format a p-value; a single pair has none."""
    return None if found is None or found.n < 2 else format_p(found.p)
