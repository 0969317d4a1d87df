"""Tables as named columns of texts: CSV, JSONL and Parquet files, and columns that are already in memory.

How a cell is read, and what counts as missing, is said in `marnet.data.cells`.
"""

import csv
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from marnet.atomic import replacing
from marnet.data.cells import EXACT, MISSING, CellReader
from marnet.data.csv_text import read_csv, read_text
from marnet.errors import DataError, RunDirectoryError, suggest


class Table(NamedTuple):
    """The rows of a table, every cell a text without surrounding white space, "" for a missing value."""

    name: str  # of the table, at the beginning of messages: "Manifest rows.csv"
    columns: dict[str, list[str]]
    numbers: list[int]  # of the line or row of the table in which each row stands
    unit: str  # that `numbers` count, from 1: "line" or "row"
    notes: tuple[str, ...] = ()  # how the table was read, one sentence each
    words: tuple[tuple[str, str], ...] = ()  # columns, and words in them that counted as missing

    @property
    def exact(self) -> bool:
        """Return True where the cells stand as they are, white space and all."""
        return EXACT in self.columns

    def missing_words(self, column: str) -> str:
        """Return a sentence on the words of a column that counted as missing, "" if there are none."""
        words = [repr(word) for name, word in self.words if name == column]
        return f" {', '.join(words)} counts as missing; for a name, change `data.missing`." if words else ""

    def blank(self, column: str, rows: Sequence[int], hint: str = "") -> DataError:
        """Return the error that refuses some rows whose cell of a column is blank."""
        return DataError(
            f"{self.name} has a blank {column!r} in {self.where(rows)}, but every row must have one. Fill it in, or "
            f"remove {'that row' if len(rows) == 1 else 'those rows'}.{hint}{self.missing_words(column)}"
        )

    def where(self, rows: Sequence[int]) -> str:
        """Name some rows for a message: `"lines 3, 7, 8 and 12 more"`."""
        shown = ", ".join(str(self.numbers[row]) for row in rows[:5])
        more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
        return f"{self.unit}{'s' if len(rows) > 1 else ''} {shown}{more}"


class _Columns(NamedTuple):
    """A table before its cells are read: the names of all columns, and the cells of those that are wanted."""

    names: list[str]
    cells: Mapping[str, Sequence[Any]]  # by name in the table
    numbers: list[int]
    unit: str
    notes: list[str]


def read_table(
    path: Path, columns: Sequence[str], *, lists: Sequence[str] = (), missing: Iterable[str] = MISSING
) -> Table:
    """Read those of `columns` that the file has, and the names of the others (as empty lists).

    A column whose name differs from a wanted one in case alone is read as that one, and noted.

    Args:
        path: the file.
        columns: names of the columns to read.
        lists: those of them whose lists will be taken apart at commas again.
        missing: words that count as missing.

    Raises:
        DataError: the file is missing, empty, of another kind, damaged or not UTF-8, a column stands there twice, or an
            entry of a list holds a comma where that would tear it apart.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"Manifest {path} has the suffix {path.suffix!r}, but it must be one of {', '.join(_READERS)}. Save it in "
            f"one of these formats."
        )
    if not path.is_file():
        near = suggest(path.name, (other.name for other in path.parent.iterdir())) if path.parent.is_dir() else ""
        raise DataError(f"Manifest {path} does not exist.{near} Check the path.")
    return _to_table(f"Manifest {path}", reader(path, columns), columns, lists=lists, missing=missing)


def table_in_memory(
    name: str,
    columns: Mapping[str, Sequence[Any]],
    wanted: Sequence[str],
    *,
    rows: int,
    lists: Sequence[str] = (),
    missing: Iterable[str] = MISSING,
) -> Table:
    """Return columns in memory as a table, their cells read by the same rules as those of a file.

    Args:
        name: of the table, for the beginning of messages, such as "The pandas table".
        columns: by name; those that are not wanted may be empty.
        wanted: names of the columns to read; those that are missing are left out.
        rows: their number.
        lists: those of the wanted ones whose lists will be taken apart at commas again.
        missing: words that count as missing.

    Raises:
        DataError: there is no row, or a cell cannot be used; the message names row and column.
    """
    found = _Columns(list(columns), dict(columns), list(range(1, rows + 1)), "row", [])
    return _to_table(name, found, wanted, lists=lists, missing=missing)


def match_columns(table: str, names: Sequence[str], wanted: Collection[str]) -> dict[str, str]:
    """Return the wanted name of each column that is to be read, by its name in the table.

    Raises:
        DataError: a wanted column stands in the table more than once, or several differ from it in case alone.

    Example:
        >>> match_columns("rows.csv", ["image", "Split", "note"], ["image", "split"])
        {'image': 'image', 'Split': 'split'}
    """
    matched = {}
    for name in wanted:
        same = [other for other in names if other == name] or [
            other for other in dict.fromkeys(names) if other.strip().casefold() == name.strip().casefold()
        ]
        if len(same) > 1:
            raise DataError(
                f"{table} has the column {same[0]!r} more than once; rename or remove one."
                if same[0] == name
                else f"{table} has several columns that may be {name!r}: {', '.join(map(repr, same))}. Rename one."
            )
        if same and same[0] not in matched:
            matched[same[0]] = name
    return matched


def check_new_table(path: Path) -> None:
    """Refuse a place at which `write_table` cannot write, or something stands already.

    Raises:
        DataError: the suffix is unknown, or the path is taken.
    """
    if path.suffix.lower() not in _WRITERS:
        raise DataError(f"Table {path} cannot be written: its suffix must be one of {', '.join(_WRITERS)}.")
    if path.exists():
        raise DataError(f"{path} already exists; nothing was changed. Choose another name for the table.")


def write_table(path: Path, columns: dict[str, list[str]]) -> None:
    """Write columns of equal length as CSV, JSONL or Parquet, by the suffix.

    Raises:
        DataError: the suffix is another, the file cannot be written, or a text cannot be held by this format.
    """
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise DataError(f"Manifest {path} cannot be written: its suffix must be one of {', '.join(_WRITERS)}.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            writer(partial, columns)
    except RunDirectoryError as error:
        raise DataError(f"Manifest {error}") from None
    except OSError as error:
        raise DataError(f"Manifest {path} cannot be written: {error.strerror or error}.") from None
    except UnicodeEncodeError as error:
        raise DataError(
            f"Manifest {path} cannot be written: {error.object!r} holds {error.object[error.start]!r}, half of a "
            f"character or of a name that is not UTF-8. Write a .jsonl file instead, which can hold it."
        ) from None


def _to_table(
    name: str, found: _Columns, wanted: Sequence[str], *, lists: Sequence[str], missing: Iterable[str]
) -> Table:
    if not found.numbers:
        raise DataError(f"{name} is empty. It must have one row per image.")
    matched = match_columns(name, found.names, wanted)
    reader = CellReader(name, missing=missing, exact=EXACT in found.names)
    columns: dict[str, list[str]] = {matched.get(column, column): [] for column in found.names}
    for column, role in matched.items():
        columns[role] = reader.read(
            column, found.cells[column], numbers=found.numbers, unit=found.unit, apart=role in lists
        )
    other = [
        f"{name}: the column {column!r} is read as {role!r}." for column, role in matched.items() if column != role
    ]
    return Table(name, columns, found.numbers, found.unit, (*found.notes, *other, *reader.notes()), reader.words())


def _read_csv(path: Path, columns: Sequence[str]) -> _Columns:
    rows = read_csv(path, columns)
    matched = match_columns(f"Manifest {path}", rows.header, columns)
    cells = {name: [row[rows.header.index(name)] for row in rows.cells] for name in matched}
    return _Columns(rows.header, cells, rows.lines, "line", rows.notes)


def _read_jsonl(path: Path, columns: Sequence[str]) -> _Columns:
    rows: list[dict[str, Any]] = []
    numbers = []
    for line, text in enumerate(read_text(path).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            row = json.loads(text, object_pairs_hook=_without_repeats)
        except _RepeatedKeyError as error:
            raise DataError(
                f"Manifest {path}, line {line}, has the key {error.args[0]!r} twice in one object, so that it is "
                f"unknown which value counts. Leave one of them out."
            ) from None
        except (ValueError, RecursionError) as error:
            raise DataError(f"Manifest {path}, line {line}, is not JSON: {error}.") from None
        if not isinstance(row, dict):
            raise DataError(
                f"Manifest {path}, line {line}, holds a {type(row).__name__}. It must hold an object such as "
                f'{{"image": "a.jpg", "text": "", "label": "soup"}}.'
            )
        rows.append(row)
        numbers.append(line)
    names = list(dict.fromkeys(name for row in rows for name in row))
    matched = match_columns(f"Manifest {path}", names, columns)
    return _Columns(names, {name: [row.get(name) for row in rows] for name in matched}, numbers, "line", [])


class _RepeatedKeyError(Exception):
    """A JSON object has the key, its argument, twice."""


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of some pairs, where JSON's reader would keep the last value of a key that is there twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _RepeatedKeyError(next(name for name in names if names.count(name) > 1))
    return found


def _read_parquet(path: Path, columns: Sequence[str]) -> _Columns:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            names = list(file.schema_arrow.names)
            matched = match_columns(f"Manifest {path}", names, columns)
            table = file.read(columns=list(matched))
    except (OSError, ValueError, KeyError, pyarrow.ArrowException) as error:
        raise DataError(f"Manifest {path} is not a readable Parquet file: {error}") from None
    numbers = list(range(1, table.num_rows + 1))
    return _Columns(names, {name: table.column(name).to_pylist() for name in matched}, numbers, "row", [])


def _write_csv(path: Path, columns: dict[str, list[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        quoting = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writerow(columns)
        for cells in zip(*columns.values(), strict=True):
            # A lone carriage return ends a row, too, unless it stands in quotes, which the writer forgets.
            (quoting if any("\r" in cell for cell in cells) else writer).writerow(cells)


def _write_jsonl(path: Path, columns: dict[str, list[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for cells in zip(*columns.values(), strict=True):
            row = dict(zip(columns, cells, strict=True))
            line = json.dumps(row, ensure_ascii=False)
            if not _is_utf8(line):
                line = json.dumps(row)  # with escapes, which can hold half of a character
                if json.loads(line) != row:  # two halves side by side would be read as one character
                    json.dumps(row, ensure_ascii=False).encode("utf-8")
            file.write(line + "\n")


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _write_parquet(path: Path, columns: dict[str, list[str]]) -> None:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(
        pyarrow.table({name: pyarrow.array(cells, pyarrow.string()) for name, cells in columns.items()}), path
    )


_READERS = {".csv": _read_csv, ".tsv": _read_csv, ".jsonl": _read_jsonl, ".parquet": _read_parquet}
_WRITERS = {".csv": _write_csv, ".jsonl": _write_jsonl, ".parquet": _write_parquet}
