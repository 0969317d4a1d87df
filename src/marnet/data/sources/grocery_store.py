"""The source `grocery-store:PATH`: the Grocery Store data set (Klasson et al., 2019) in its official layout."""

import csv
from pathlib import Path
from typing import NamedTuple

from marnet.data.manifest import Manifest, Record
from marnet.data.splits import SPLITS
from marnet.errors import DataError

_CLASS_COLUMNS = ("Class Name (str)", "Class ID (int)", "Product Description Path (str)")


class _Class(NamedTuple):
    name: str
    text: str


def read_grocery_store(path: Path) -> Manifest:
    """Read the 81 fine classes; each image has its class's product description as text.

    Args:
        path: the repository's folder or the folder `dataset` in it.

    Raises:
        DataError: the folder has another layout, or a file in it is damaged.
    """
    root = next((folder for folder in (path / "dataset", path) if (folder / "classes.csv").is_file()), None)
    if root is None:
        raise DataError(
            f"grocery-store: {path} is no copy of the Grocery Store data set: found neither dataset/classes.csv nor "
            f"classes.csv in it. Give the folder of https://github.com/marcusklasson/GroceryStoreDataset."
        )
    root = root.resolve()
    source = f"grocery-store:{path}"
    classes = _read_classes(root)
    present = [split for split in SPLITS if (root / f"{split}.txt").is_file()]
    if not present:
        raise DataError(
            f"grocery-store: {root} holds none of train.txt, val.txt, test.txt. It must hold at least train.txt."
        )
    records = tuple(record for split in present for record in _read_split(root, split, classes))
    notes = [f"{source} has no {split}.txt: split {split!r} is empty." for split in SPLITS if split not in present]
    labels = {record.label for record in records}
    used = [classes[number] for number in sorted(classes) if classes[number].name in labels]
    notes += [f"{source} has no description of {each.name!r}." for each in used if not each.text]
    return Manifest(records, tuple(each.name for each in used), source, tuple(notes))


def _read_classes(root: Path) -> dict[int, _Class]:
    file = root / "classes.csv"
    rows = csv.DictReader(_read_text(file).splitlines())
    missing = [name for name in _CLASS_COLUMNS if name not in (rows.fieldnames or ())]
    if missing:
        raise DataError(f"grocery-store: {file} has no column {missing[0]!r}; found {rows.fieldnames}.")
    classes = {}
    for row in rows:
        name, number, description = (str(row[column] or "").strip() for column in _CLASS_COLUMNS)
        if not number.isdecimal():
            raise DataError(f"grocery-store: {file}, line {rows.line_num}: the class id {number!r} is not a number.")
        text_file = root / description.lstrip("/")
        text = " ".join(_read_text(text_file).split()) if text_file.is_file() else ""
        classes[int(number)] = _Class(name, text)
    return classes


def _read_split(root: Path, split: str, classes: dict[int, _Class]) -> list[Record]:
    file = root / f"{split}.txt"
    records = []
    for line, text in enumerate(_read_text(file).splitlines(), start=1):
        if not text.strip():
            continue
        # `path, fine class id, coarse class id`
        image, *numbers = (part.strip() for part in text.rsplit(",", 2))
        if len(numbers) != 2 or not numbers[0].isdecimal() or int(numbers[0]) not in classes:
            raise DataError(
                f"grocery-store: {file}, line {line}: found {text!r}. Expected 'path, fine class id, coarse class id' "
                f"with a class id of classes.csv."
            )
        label, description = classes[int(numbers[0])]
        records.append(Record(str(root / image), description, label, split))
    return records


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"grocery-store: {file} cannot be read as UTF-8 text: {error}.") from None
