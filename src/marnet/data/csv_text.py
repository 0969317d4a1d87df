"""CSV as programs write it: its encoding, the mark between its cells, and spaces before quotes."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from marnet.data.cells import EXACT
from marnet.errors import DataError

_MARKS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_SEP = re.compile(r'"?sep=(.)"?\r?\n')  # the first line of some spreadsheets' files
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


class CsvRows(NamedTuple):
    """A CSV file taken apart."""

    header: list[str]
    cells: list[list[str]]  # of each row that is not blank
    lines: list[int]  # at which each of them begins
    notes: list[str]


def read_csv(path: Path, columns: Sequence[str]) -> CsvRows:
    """Take a CSV file apart; another mark than the comma is recognised by the columns that it gives.

    Args:
        path: the file, UTF-8, or UTF-16 with a byte order mark.
        columns: names that its first line may hold.

    Raises:
        DataError: the file cannot be read, or is not CSV; the message names the line.
    """
    text, skipped, notes = read_text(path), 0, list[str]()
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    found = _SEP.match(text)
    if found:
        usual, text, skipped = found[1], text[found.end() :], 1
    with _long_cells(len(text)):
        mark = _find_mark(text, usual, columns)
        exact = EXACT in text.partition("\n")[0]
        spaced = not exact and re.search(rf'{re.escape(mark)}[ ]+"', text) is not None
        try:
            rows = _parse(path, text, mark, spaced=spaced, skipped=skipped)
        except DataError:
            if not spaced:
                raise
            rows, spaced = _parse(path, text, mark, spaced=False, skipped=skipped), False
        if spaced and rows.cells != _parse_or_none(path, text, mark, skipped=skipped):
            notes.append(f"Manifest {path} has spaces before quotes; they were taken for no part of the cells.")
    if mark != usual or (mark != "," and path.suffix.lower() != ".tsv"):
        notes.append(f"Manifest {path} was read with {_MARKS.get(mark, repr(mark))} between its cells.")
    return rows._replace(notes=notes)


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8, or in UTF-16 if it begins with that byte order mark.

    Raises:
        DataError: the file cannot be read, or is not such text.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"Manifest {path} cannot be read: {error.strerror or error}.") from None
    if content.startswith(_UTF16):
        try:
            return content.decode("utf-16")
        except UnicodeDecodeError as error:
            raise DataError(f"Manifest {path} is not UTF-16 text ({error}). Save it as UTF-8.") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"Manifest {path} is not UTF-8 text: found byte 0x{content[error.start]:02X} in line {line}, byte "
            f"{error.start + 1} of the file. Save it as UTF-8; spreadsheets call that 'CSV UTF-8'."
        ) from None


def _find_mark(text: str, usual: str, columns: Sequence[str]) -> str:
    """Return the mark under which the first line has most of the columns; the usual one if it has any."""
    wanted = {name.casefold() for name in columns}

    def count(mark: str) -> int:
        try:
            header = next(csv.reader(io.StringIO(text, newline=""), delimiter=mark, skipinitialspace=True), [])
        except csv.Error:
            return 0
        return len(wanted & {name.strip().casefold() for name in header})

    return usual if count(usual) else max((usual, *_MARKS), key=count)


def _parse_or_none(path: Path, text: str, mark: str, *, skipped: int) -> list[list[str]] | None:
    try:
        return _parse(path, text, mark, spaced=False, skipped=skipped).cells
    except DataError:
        return None


def _parse(path: Path, text: str, mark: str, *, spaced: bool, skipped: int) -> CsvRows:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=mark, skipinitialspace=spaced)
    try:
        header = [name.strip() for name in next(reader, [])]
        rows = CsvRows(header, [], [], [])
        line = reader.line_num
        for cells in reader:
            line, previous = reader.line_num, line  # a quoted cell may span lines: name the first one
            if not any(cell.strip() for cell in cells):
                continue
            number = previous + 1 + skipped
            if len(cells) != len(header):
                hint = (
                    'A text that holds a comma must stand in double quotes: "salt, pepper".'
                    if len(cells) > len(header)
                    else f"A blank cell still needs its mark ({mark!r}) in the line; complete it."
                )
                raise DataError(
                    f"Manifest {path}, line {number}, has {len(cells)} cells, but the first line has "
                    f"{len(header)}. {hint}"
                )
            rows.cells.append(cells)
            rows.lines.append(number)
    except csv.Error as error:
        raise DataError(f"Manifest {path}, line {reader.line_num + skipped}, is not CSV: {error}.") from None
    return rows


@contextmanager
def _long_cells(size: int) -> Iterator[None]:
    """Let cells be as long as the file; the limit of the module `csv` is a global of 131,072 characters."""
    before = csv.field_size_limit()
    csv.field_size_limit(max(before, size + 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)
