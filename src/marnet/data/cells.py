"""The cells of users' tables as texts: the one place that says what counts as missing.

A cell is missing where it is empty, holds nothing but white space, is null or not a number in a typed format, or holds
one of the words of `data.missing` (in any case), which programs write for "no value". White space around a cell is cut
off. `3.0` is "3", because gaps turn whole numbers into floats. A list is a comma list of its entries. Tables with the
column `marnet_exact`, which 'marnet data convert' writes where these rules would change something, stand as they are.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date, time, timedelta
from numbers import Number
from typing import Any

from marnet.errors import DataError

EXACT = "marnet_exact"  # a column that says: the cells stand as they are
MISSING = ("nan", "null", "<NA>")  # the default of `data.missing`
_READABLE = (str, Number, list, date, time, timedelta)  # values that a cell may hold
_HALF = re.compile("[\ud800-\udfff]")  # of a pair of surrogates; JSON can hold one alone


class CellReader:
    """Turns cells into texts and counts what it took for missing or replaced.

    Args:
        table: name of the table, for messages.
        missing: words that count as missing, in any case.
        exact: the cells stand as they are.

    Example:
        >>> reader = CellReader("rows.csv")
        >>> reader.read("label", [" apple", "null", 3.0, ["a", "b"]], numbers=[2, 3, 4, 5], unit="line")
        ['apple', '', '3', 'a, b']
        >>> len(reader.notes())
        1
    """

    def __init__(self, table: str, *, missing: Iterable[str] = MISSING, exact: bool = False) -> None:
        self.table = table
        self.missing = frozenset(word.strip().casefold() for word in missing)
        self.exact = exact
        self._words: Counter[tuple[str, str]] = Counter()
        self._halves: dict[str, list[str]] = {}

    def read(
        self, column: str, values: Sequence[Any], *, numbers: Sequence[int], unit: str, apart: bool = False
    ) -> list[str]:
        """Return the cells of a column as texts, "" for a missing one.

        Args:
            column: its name, for messages.
            values: its cells.
            numbers: the line or row of each.
            unit: "line" or "row".
            apart: lists will be taken apart at commas again.

        Raises:
            DataError: a cell holds something else than a text, a number or a list, or an entry of a list holds a comma
                where that would tear it apart.
        """
        for number, value in zip(numbers, values, strict=True):
            if value is not None and not isinstance(value, _READABLE):
                pictures = isinstance(value, bytes) or (isinstance(value, dict) and "bytes" in value)
                hint = "; a folder of Parquet files that hold images is read as hf-dataset:FOLDER" if pictures else ""
                raise DataError(
                    f"{self.table}, {unit} {number}: column {column!r} holds a {type(value).__name__}. Expected a "
                    f"text, a number or a list of texts. Images of a file are named by their path{hint}."
                )
            torn = [entry for entry in value if "," in str(entry)] if apart and isinstance(value, list) else []
            if torn:
                raise DataError(
                    f"{self.table}, {unit} {number}: column {column!r} lists {torn[0]!r}, but commas separate the "
                    f"classes of a label, so a name must not hold one. Rename that class."
                )
        return [self._read(column, value, f"{unit} {number}") for number, value in zip(numbers, values, strict=True)]

    def changes(self, text: str) -> bool:
        """Return True where a text that is written as it is would be read as another."""
        stripped = text.strip()
        return stripped != text or stripped.casefold() in self.missing or _HALF.search(text) is not None

    def words(self) -> tuple[tuple[str, str], ...]:
        """Return the columns, and the words in them that counted as missing."""
        return tuple(sorted(self._words))

    def notes(self) -> list[str]:
        """Return one sentence for each word that counted as missing, and one per column with half characters."""
        return [
            f"{self.table}: {count} cells of the column {column!r} hold {word!r}, which counts as missing. If it is a "
            f"name, list in `data.missing` only the words that mean no value."
            for (column, word), count in sorted(self._words.items())
        ] + [
            f"{self.table}: {len(places)} cells of the column {column!r} hold half of a character, replaced by "
            f"'\N{REPLACEMENT CHARACTER}': {', '.join(places[:5])}{' ...' if len(places) > 5 else '.'}"
            for column, places in self._halves.items()
        ]

    def _read(self, column: str, value: Any, place: str) -> str:
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return ""
        if self.exact:
            return str(value)
        if isinstance(value, list):
            return ", ".join(text for text in (self._read(column, each, place) for each in value) if text)
        if isinstance(value, float) and math.isfinite(value) and value.is_integer():
            value = int(value)
        text = str(value).strip()
        if text and text.casefold() in self.missing:
            self._words[column, text] += 1
            return ""
        if _HALF.search(text):
            self._halves.setdefault(column, []).append(place)
            return _HALF.sub("\N{REPLACEMENT CHARACTER}", text)
        return text
