"""Images that wait for a label or a text: those below a folder, or the rows of a table that have none."""

import logging
from pathlib import Path
from typing import Literal, NamedTuple

from marnet.data.image_paths import image_path
from marnet.data.options import ColumnNames, ReadOptions
from marnet.data.sources.folder_files import images_below, other_files_notes
from marnet.data.tables import Table, read_table
from marnet.errors import DataError, list_some

_logger = logging.getLogger("marnet")
Wanted = Literal["label", "text"]


class Candidate(NamedTuple):
    """An image, with what is known about it."""

    image: str  # absolute path
    text: str = ""  # "" for none
    label: str = ""  # "" for none


def read_candidates(source: Path | str, options: ReadOptions, wanted: Wanted) -> list[Candidate]:
    """Return the images of a source that have no label, or no text, each once, in its order; log how it was read.

    Args:
        source: a folder, of which all images at any depth are taken, or a CSV, JSONL or Parquet file with a column of
            images. The columns of labels and texts may be absent.
        options: names of the columns, and the words that count as a missing value.
        wanted: what the images lack.

    Raises:
        DataError: the source cannot be read, a row names no image, or no image lacks what is wanted.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        found = [Candidate(image) for image in images_below(path.absolute())]
        if not found:
            raise DataError(f"{path} holds no images. Name a folder with images, or a table.")
        notes = other_files_notes(str(path), [path])
    else:
        table = read_table(
            path, [options.columns.image, options.columns.text, options.columns.label], missing=options.missing
        )
        rows, notes = _rows(table, path.absolute().parent, options.columns), list(table.notes)
        found = [candidate for candidate in rows if not getattr(candidate, wanted)]
        if not found:
            raise DataError(
                f"All {len(rows)} rows of {path} have a {wanted}. Name a folder of images, or a table with a blank "
                f"{wanted} in some rows."
            )
    for note in notes:
        _logger.info("Note: %s", note)
    return list({candidate.image: candidate for candidate in reversed(found)}.values())[::-1]


def _rows(table: Table, folder: Path, columns: ColumnNames) -> list[Candidate]:
    if columns.image not in table.columns:
        raise DataError(
            f"{table.name} has no column {columns.image!r} of images; found {list_some(table.columns)}. Name it as "
            f"in the rows of the run."
        )
    images = table.columns[columns.image]
    blank = [row for row, image in enumerate(images) if not image]
    if blank:
        raise DataError(f"{table.name} has a blank {columns.image!r} in {table.where(blank)}. Fill it in.")
    return [
        Candidate(image_path(folder, image), text, label)
        for image, text, label in zip(images, _cells(table, columns.text), _cells(table, columns.label), strict=True)
    ]


def _cells(table: Table, column: str) -> list[str]:
    return table.columns.get(column) or [""] * len(table.numbers)
