r"""The rows of a run, of a folder of features and of an exported data set: `manifest.jsonl`, read back as written.

```
{"format": "marnet-rows", "version": 1, "label_form": "single", "classes": ["apple", "lime"]}
{"below": "images/a.png", "text": "red, round", "label": "apple", "split": "train"}
{"image": "/pictures/b.png", "text": "", "label": "lime", "split": "val"}
```

Unlike the cells of a user's table, nothing here is interpreted: no text means "missing", and no white space is cut off.
A row of a group has a fifth entry, `group`; the file has version 2 then, and version 3 where rows have no label, so
that older versions of marnet refuse it in words. `below` is a path relative to the file, so that an image below its
folder moves with it; `image` stands as it is. Texts and names may hold any code point, lone surrogates as well (a name
that is not UTF-8 holds some): the file is UTF-8 with surrogates encoded like other code points.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from marnet.atomic import write_text
from marnet.choices import LabelForm
from marnet.data.manifest import Manifest, Record, read_manifest
from marnet.data.splits import UNLABELLED
from marnet.errors import DataError

FILE = "manifest.jsonl"
OLD_FILE = "manifest.csv"  # of runs and features of version 0.1, read as a user's table
_LONGEST_LINE = 64 * 2**20  # bytes, of a row or of the classes
_FORMAT, _VERSION = "marnet-rows", 1
_VERSION_WITH_GROUPS, _VERSION_WITH_UNLABELLED = 2, 3


def write_recorded(manifest: Manifest, folder: Path) -> None:
    """Write the rows of a manifest into a folder, whole or not at all; `read_recorded` gives back equal ones.

    Raises:
        RunDirectoryError: the file cannot be written.
    """
    place = os.path.abspath(folder)  # noqa: PTH100 (Path.absolute keeps dots)
    header = {
        "format": _FORMAT,
        "version": _version(manifest),
        "label_form": manifest.label_form,
        "classes": list(manifest.classes),
    }
    lines = [header, *(_row(record, place) for record in manifest.records)]
    content = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    write_text(folder / FILE, content)


def read_recorded(folder: Path, *, label_form: LabelForm = "single") -> Manifest:
    """Return the rows that `write_recorded` wrote into a folder, or those of an older version's table.

    Args:
        folder: of a run, of features or of an exported data set.
        label_form: of an older version's table, which does not say it.

    Raises:
        DataError: the file is missing, damaged, or written by a newer version.
    """
    file = folder / FILE
    if not file.is_file() and (folder / OLD_FILE).is_file():
        return read_manifest(folder / OLD_FILE, label_form=label_form)
    if not file.exists():
        raise DataError(f"{file} does not exist. Restore the file, or write the folder anew.")
    if not file.is_file():
        raise DataError(f"{file} is not a regular file. Restore the file, or write the folder anew.")
    place = os.path.abspath(folder)  # noqa: PTH100 (Path.absolute keeps dots)
    lines = _read_lines(file)
    classes, form = _read_header(file, next(lines))
    records = tuple(_read_row(file, number, line, place) for number, line in enumerate(lines, start=2))
    return Manifest(records, classes, str(file), label_form=form)


def _read_lines(file: Path) -> Iterator[str]:
    """Yield the lines, so that a damaged file of any size is refused at its first damaged line."""
    try:
        with file.open("rb") as stream:
            number, line = 1, stream.readline(_LONGEST_LINE)
            while line or number == 1:
                if not line.endswith(b"\n"):
                    raise _damaged(file, number, "does not end, so the file was cut short")
                yield line[:-1].decode("utf-8", "surrogatepass")
                number, line = number + 1, stream.readline(_LONGEST_LINE)
    except UnicodeDecodeError:
        raise _damaged(file, number, "is not UTF-8") from None
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}.") from None


def _version(manifest: Manifest) -> int:
    """Return the version of the format that holds these rows, the oldest that does."""
    if UNLABELLED in manifest.splits():
        return _VERSION_WITH_UNLABELLED
    return _VERSION_WITH_GROUPS if any(record.group for record in manifest.records) else _VERSION


def _row(record: Record, place: str) -> dict[str, str]:
    below = record.image.removeprefix(f"{place}{os.sep}")
    at = {"below": below} if os.path.join(place, below) == record.image != below else {"image": record.image}  # noqa: PTH118 (exact)
    group = {"group": record.group} if record.group else {}
    return at | {"text": record.text, "label": record.label, "split": record.split} | group


def _read_header(file: Path, line: str) -> tuple[tuple[str, ...], LabelForm]:
    header = _parse(file, 1, line)
    if header.get("format") != _FORMAT:
        raise _damaged(file, 1, f"does not name the format {_FORMAT!r}")
    if header.get("version") not in (_VERSION, _VERSION_WITH_GROUPS, _VERSION_WITH_UNLABELLED):
        raise DataError(
            f"{file} has version {header.get('version')!r} of its format, but this marnet reads version "
            f"{_VERSION_WITH_UNLABELLED}. Update marnet."
        )
    classes, form = header.get("classes"), header.get("label_form")
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise _damaged(file, 1, "has no list of class names")
    if form == "single" or form == "multi":  # noqa: PLR1714 (so that mypy sees the literals)
        return tuple(classes), form
    raise _damaged(file, 1, "does not say the form of labels")


def _read_row(file: Path, number: int, line: str, place: str) -> Record:
    row = _parse(file, number, line)
    below = row.pop("below", None)
    if below is not None and "image" not in row and isinstance(below, str):
        row["image"] = os.path.join(place, below)  # noqa: PTH118 (exact)
    if set(row) | {"group"} != set(Record._fields) or not all(isinstance(value, str) for value in row.values()):
        raise _damaged(file, number, "does not hold image, text, label and split as texts")
    return Record(**row)


def _parse(file: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _damaged(file, number, f"is not JSON ({error})") from None
    if not isinstance(row, dict):
        raise _damaged(file, number, "is not a JSON object")
    return row


def _damaged(file: Path, number: int, reason: str) -> DataError:
    return DataError(f"{file} is damaged: line {number} {reason}. Restore the file, or write the folder anew.")
