"""CSV, JSONL and Parquet files as named columns of texts."""

import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from marnet.errors import DataError, suggest

# How programs write "no value" where a format has no better way.
_BLANK = frozenset({"", "nan", "null", "<na>"})


class Table(NamedTuple):
    """The rows of a file, every cell a text without surrounding white space, "" for a missing value."""

    columns: dict[str, list[str]]
    places: list[int]  # where each row stands in the file
    unit: str  # what `places` counts: "line" or "row", from 1

    def where(self, rows: Sequence[int]) -> str:
        """Name some rows for a message: `"lines 3, 7, 8 and 12 more"`."""
        shown = ", ".join(str(self.places[row]) for row in rows[:5])
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
            f"Manifest {path} has the suffix {path.suffix!r}; needed {', '.join(_READERS)}. Save it as one of these."
        )
    if not path.is_file():
        near = suggest(path.name, (other.name for other in path.parent.iterdir())) if path.parent.is_dir() else ""
        raise DataError(f"Manifest {path} does not exist.{near} Check the path.")
    table = reader(path, columns, lists)
    if not table.places:
        raise DataError(f"Manifest {path} is empty; needed one row for each image.")
    return table


def write_table(path: Path, columns: dict[str, list[str]]) -> None:
    """Write columns of equal length as CSV, JSONL or Parquet, by the suffix.

    Raises:
        DataError: the suffix is another, or the file cannot be written.
    """
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise DataError(f"Manifest {path} cannot be written; needed one of the suffixes {', '.join(_WRITERS)}.")
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
        table = Table({name: [] for name in header}, [], "line")
        line = reader.line_num
        for cells in reader:
            line, previous = reader.line_num, line  # a quoted cell may span lines: name the first one
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise DataError(
                    f"Manifest {path}, line {previous + 1}, has {len(cells)} cells; needed {len(header)}, as the first "
                    f'line has. A text that holds a comma must stand in double quotes: "salt, pepper".'
                )
            table.places.append(previous + 1)
            for name, position in wanted.items():
                table.columns[name].append(_to_text(cells[position]))
    except csv.Error as error:
        raise DataError(f"Manifest {path}, line {reader.line_num}, is not CSV: {error}.") from None
    return table


def _read_jsonl(path: Path, columns: Sequence[str], lists: Sequence[str]) -> Table:
    rows: list[dict[str, Any]] = []
    places = []
    for line, text in enumerate(_read_text(path).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except ValueError as error:
            raise DataError(f"Manifest {path}, line {line}, is not JSON: {error}.") from None
        if not isinstance(row, dict):
            raise DataError(
                f"Manifest {path}, line {line}, holds a {type(row).__name__}; needed an object such as "
                f'{{"image": "a.jpg", "text": "", "label": "soup"}}.'
            )
        rows.append(row)
        places.append(line)
    found: dict[str, list[str]] = {name: [] for row in rows for name in row}
    for name in set(columns) & set(found):
        cells = [row.get(name) for row in rows]
        found[name] = _cells(path, name, cells, places=places, unit="line", apart=name in lists)
    return Table(found, places, "line")


def _read_parquet(path: Path, columns: Sequence[str], lists: Sequence[str]) -> Table:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            found: dict[str, list[str]] = {name: [] for name in file.schema_arrow.names}
            table = file.read(columns=[name for name in columns if name in found])
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"Manifest {path} is not a readable Parquet file: {error}") from None
    places = list(range(1, table.num_rows + 1))
    for name in table.column_names:
        cells = table.column(name).to_pylist()
        found[name] = _cells(path, name, cells, places=places, unit="row", apart=name in lists)
    return Table(found, places, "row")


def _cells(path: Path, name: str, values: Sequence[Any], *, places: Sequence[int], unit: str, apart: bool) -> list[str]:
    for place, value in zip(places, values, strict=True):
        if isinstance(value, dict | bytes):
            raise DataError(
                f"Manifest {path}, {unit} {place}: column {name!r} holds a {type(value).__name__}; needed a text, "
                f"a number or a list of texts. Images must be files, named by their path."
            )
        torn = [entry for entry in value if "," in str(entry)] if apart and isinstance(value, list) else []
        if torn:
            raise DataError(
                f"Manifest {path}, {unit} {place}: column {name!r} lists {torn[0]!r}; needed names without a comma, "
                f"since a comma parts the classes of a comma list. Rename that class."
            )
    return [_to_text(value) for value in values]


def _to_text(value: Any) -> str:
    """A cell as text: `3.0` is "3" (a column with gaps turns whole numbers into floats), a list is a comma list."""
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
