"""Tables as named columns of texts: CSV, JSONL and Parquet files, and columns that are already in memory."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from datetime import date, time, timedelta
from numbers import Number
from pathlib import Path
from typing import Any, NamedTuple

from marnet.errors import DataError, suggest

# How programs write "no value" where a format has no better way.
_BLANK = frozenset({"", "nan", "null", "<na>"})
_READABLE = (str, Number, list, date, time, timedelta)  # values that a cell may hold


class Table(NamedTuple):
    """The rows of a table, every cell a text without surrounding white space, "" for a missing value."""

    name: str  # of the table, at the beginning of messages: "Manifest rows.csv"
    columns: dict[str, list[str]]
    numbers: list[int]  # of the line or row of the table in which each row stands
    unit: str  # that `numbers` count, from 1: "line" or "row"

    def where(self, rows: Sequence[int]) -> str:
        """Name some rows for a message: `"lines 3, 7, 8 and 12 more"`."""
        shown = ", ".join(str(self.numbers[row]) for row in rows[:5])
        more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
        return f"{self.unit}{'s' if len(rows) > 1 else ''} {shown}{more}"


def read_table(path: Path, columns: Sequence[str], *, lists: Sequence[str] = ()) -> Table:
    """Read those of `columns` that the file has, and the names of the others (as empty lists).

    Args:
        path: the file.
        columns: names of the columns to read.
        lists: those of them whose lists will be taken apart at commas again.

    Raises:
        DataError: the file is missing, empty, of another kind, damaged or not UTF-8, or an entry of a list holds a
            comma where that would tear it apart.
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
    table = reader(path, columns, lists)
    _refuse_empty(table)
    return table


def table_in_memory(
    name: str, columns: Mapping[str, Sequence[Any]], wanted: Sequence[str], *, rows: int, lists: Sequence[str] = ()
) -> Table:
    """Return columns in memory as a table, their cells read by the same rules as those of a file.

    Args:
        name: of the table, for the beginning of messages, such as "The pandas table".
        columns: by name; those that are not wanted may be empty.
        wanted: names of the columns to read; those that are missing are left out.
        rows: their number.
        lists: those of the wanted ones whose lists will be taken apart at commas again.

    Raises:
        DataError: there is no row, or a cell cannot be used; the message names row and column.
    """
    numbers = list(range(1, rows + 1))
    found: dict[str, list[str]] = {column: [] for column in columns}
    for column in set(wanted) & set(found):
        found[column] = _cells(name, column, columns[column], numbers=numbers, unit="row", apart=column in lists)
    table = Table(name, found, numbers, "row")
    _refuse_empty(table)
    return table


def _refuse_empty(table: Table) -> None:
    if not table.numbers:
        raise DataError(f"{table.name} is empty. It must have one row per image.")


def write_table(path: Path, columns: dict[str, list[str]]) -> None:
    """Write columns of equal length as CSV, JSONL or Parquet, by the suffix.

    Raises:
        DataError: the suffix is another, or the file cannot be written.
    """
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise DataError(f"Manifest {path} cannot be written: its suffix must be one of {', '.join(_WRITERS)}.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writer(path, columns)
    except OSError as error:
        raise DataError(f"Manifest {path} cannot be written: {error.strerror or error}.") from None


def _read_csv(path: Path, columns: Sequence[str], lists: Sequence[str]) -> Table:
    reader = csv.reader(io.StringIO(_read_text(path), newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        repeated = [name for name in columns if header.count(name) > 1]
        if repeated:
            raise DataError(f"Manifest {path} has the column {repeated[0]!r} more than once; rename or remove one.")
        wanted = {name: header.index(name) for name in columns if name in header}
        table = Table(f"Manifest {path}", {name: [] for name in header}, [], "line")
        line = reader.line_num
        for cells in reader:
            line, previous = reader.line_num, line  # a quoted cell may span lines: name the first one
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise DataError(
                    f"Manifest {path}, line {previous + 1}, has {len(cells)} cells, but the first line has "
                    f'{len(header)}. A text that holds a comma must stand in double quotes: "salt, pepper".'
                )
            table.numbers.append(previous + 1)
            for name, position in wanted.items():
                table.columns[name].append(_to_text(cells[position]))
    except csv.Error as error:
        raise DataError(f"Manifest {path}, line {reader.line_num}, is not CSV: {error}.") from None
    return table


def _read_jsonl(path: Path, columns: Sequence[str], lists: Sequence[str]) -> Table:
    rows: list[dict[str, Any]] = []
    numbers = []
    for line, text in enumerate(_read_text(path).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except ValueError as error:
            raise DataError(f"Manifest {path}, line {line}, is not JSON: {error}.") from None
        if not isinstance(row, dict):
            raise DataError(
                f"Manifest {path}, line {line}, holds a {type(row).__name__}. It must hold an object such as "
                f'{{"image": "a.jpg", "text": "", "label": "soup"}}.'
            )
        rows.append(row)
        numbers.append(line)
    found: dict[str, list[str]] = {name: [] for row in rows for name in row}
    for name in set(columns) & set(found):
        cells = [row.get(name) for row in rows]
        found[name] = _cells(f"Manifest {path}", name, cells, numbers=numbers, unit="line", apart=name in lists)
    return Table(f"Manifest {path}", found, numbers, "line")


def _read_parquet(path: Path, columns: Sequence[str], lists: Sequence[str]) -> Table:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            found: dict[str, list[str]] = {name: [] for name in file.schema_arrow.names}
            table = file.read(columns=[name for name in columns if name in found])
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"Manifest {path} is not a readable Parquet file: {error}") from None
    numbers = list(range(1, table.num_rows + 1))
    for name in table.column_names:
        cells = table.column(name).to_pylist()
        found[name] = _cells(f"Manifest {path}", name, cells, numbers=numbers, unit="row", apart=name in lists)
    return Table(f"Manifest {path}", found, numbers, "row")


def _cells(
    table: str, column: str, values: Sequence[Any], *, numbers: Sequence[int], unit: str, apart: bool
) -> list[str]:
    for number, value in zip(numbers, values, strict=True):
        if value is not None and not isinstance(value, _READABLE):
            raise DataError(
                f"{table}, {unit} {number}: column {column!r} holds a {type(value).__name__}. Expected a text, a "
                f"number or a list of texts. Images of a file are named by their path."
            )
        torn = [entry for entry in value if "," in str(entry)] if apart and isinstance(value, list) else []
        if torn:
            raise DataError(
                f"{table}, {unit} {number}: column {column!r} lists {torn[0]!r}, but commas separate the classes of a "
                f"label, so a name must not hold one. Rename that class."
            )
    return [_to_text(value) for value in values]


def _to_text(value: Any) -> str:
    """Return a cell as text: `3.0` as "3" (gaps turn whole numbers into floats), a list as a comma list."""
    if value is None:
        return ""
    if isinstance(value, list):
        return ", ".join(text for text in map(_to_text, value) if text)
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        value = int(value)
    text = str(value).strip()
    return "" if text.casefold() in _BLANK else text


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"Manifest {path} cannot be read: {error.strerror or error}.") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"Manifest {path} is not UTF-8 text: found byte 0x{content[error.start]:02X} in line {line}, byte "
            f"{error.start + 1} of the file. Save it as UTF-8; spreadsheets call that 'CSV UTF-8'."
        ) from None


def _write_csv(path: Path, columns: dict[str, list[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def _write_jsonl(path: Path, columns: dict[str, list[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for cells in zip(*columns.values(), strict=True):
            file.write(json.dumps(dict(zip(columns, cells, strict=True)), ensure_ascii=False) + "\n")


def _write_parquet(path: Path, columns: dict[str, list[str]]) -> None:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(
        pyarrow.table({name: pyarrow.array(cells, pyarrow.string()) for name, cells in columns.items()}), path
    )


_READERS = {".csv": _read_csv, ".jsonl": _read_jsonl, ".parquet": _read_parquet}
_WRITERS = {".csv": _write_csv, ".jsonl": _write_jsonl, ".parquet": _write_parquet}
