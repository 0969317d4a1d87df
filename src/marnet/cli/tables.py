"""Tables on stdout. At 80 columns no heading and no cell is cut off: what does not fit goes on in the next line."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from marnet.cli.output import on_one_line


def new_table(title: str, headings: Sequence[str]) -> Table:
    """Return a table whose first column is on the left and whose other columns are on the right.

    Args:
        title: may hold any text.
        headings: one per column.
    """
    table = Table(title=_cell(title))
    for number, heading in enumerate(headings):
        table.add_column(_cell(heading), justify="right" if number else "left", overflow="fold")
    return table


def print_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table of texts, one row per sequence."""
    table = new_table(title, headings)
    for row in rows:
        table.add_row(*(_cell(cell) for cell in row))
    show(table)


def print_metrics(metrics: Mapping[str, float], title: str) -> None:
    """Print one metric per row, counts as they are and everything else with four decimals."""
    rows = [(name, str(value) if isinstance(value, int) else f"{value:.4f}") for name, value in metrics.items()]
    print_table(title, ("metric", "value"), rows)


def _cell(text: str) -> str:
    """Return any text as rich prints it: no markup, no control characters."""
    return escape(on_one_line(text))


def show(table: Table) -> None:
    """Print a table as wide as the terminal allows."""
    Console().print(table)
