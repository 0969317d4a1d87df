"""Tables as values: rows, columns, and the text of each cell. Result files and pages are made from them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple


class Shown(NamedTuple):
    """A number with its own text, such as a mean with its deviation; the number ranks it."""

    value: float
    text: str


CellValue = str | float | int | Shown | None


class Column(NamedTuple):
    """A column of a table. `show` turns its numbers into text and makes it a column of numbers."""

    title: str
    show: Callable[[float], str] | None = None  # such as `marnet.metrics.percent` or "{:.3f}".format
    best: Literal["max", "min"] | None = None  # which value to mark; None marks none


class Cell(NamedTuple):
    """A value as the page shows it."""

    text: str
    numeric: bool
    best: bool


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of values; the first column names the row. None and NaN are shown as a dash."""

    kind: ClassVar[str] = "table"
    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[CellValue]]
    note: str = ""

    def cells(self) -> list[list[Cell]]:
        """Return the rows as text; values that read the same as the best one of a column are marked as well.

        Raises:
            ValueError: a row has too few or too many cells.
        """
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"A row of table {self.title!r} has {len(row)} cells, but there are {len(self.columns)} "
                    f"columns: {row}"
                )
        columns = [
            _column_cells(column, [row[number] for row in self.rows]) for number, column in enumerate(self.columns)
        ]
        return [list(row) for row in zip(*columns, strict=True)]


def _column_cells(column: Column, values: Sequence[CellValue]) -> list[Cell]:
    numbers = [_number(value) for value in values]
    finite = [number for number in numbers if number is not None]
    best = None
    if column.show is not None and column.best is not None and len(finite) > 1:
        best = column.show(max(finite) if column.best == "max" else min(finite))
    return [
        Cell(
            _cell_text(column, value),
            column.show is not None,
            best is not None and number is not None and column.show is not None and column.show(number) == best,
        )
        for value, number in zip(values, numbers, strict=True)
    ]


def _number(value: CellValue) -> float | None:
    number = value.value if isinstance(value, Shown) else value
    return number if isinstance(number, int | float) and math.isfinite(number) else None


def _cell_text(column: Column, value: CellValue) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "\N{EN DASH}"
    if isinstance(value, Shown):
        return value.text
    return str(value) if column.show is None or isinstance(value, str) else column.show(value)
