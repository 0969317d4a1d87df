"""The manifest: which image has which text and label and belongs to which split."""

import logging
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from marnet.choices import LabelForm
from marnet.data.labels import (
    LABEL_INDEX,
    canonical_label,
    comma_notes,
    label_names,
    list_classes,
    multi_hot,
    number_classes,
    numbered_classes,
)
from marnet.data.splits import SPLITS, normalise_split, split_by_classes
from marnet.data.tables import Table, read_table, write_table
from marnet.errors import DataError, suggest

_logger = logging.getLogger("marnet")


class Record(NamedTuple):
    """One row: an image with its text, label and split."""

    image: str  # absolute path
    text: str  # "" for none
    label: str  # a class, or classes as "basil, tomato" ("" for none), as `Manifest.labels` says
    split: str  # "train", "val" or "test"


@dataclass(frozen=True)
class Manifest:
    """The rows of a data source.

    Args:
        records: all rows.
        classes: the C class names; their order numbers the labels.
        source: where the rows come from, for messages.
        notes: what a user should know about how the source was read.
        labels: whether a label is one class or a comma list of them.
    """

    records: tuple[Record, ...]
    classes: tuple[str, ...]
    source: str
    notes: tuple[str, ...] = ()
    labels: LabelForm = "single"

    def names(self, record: Record) -> tuple[str, ...]:
        """The classes of a row: one, or with `labels` "multi" any number."""
        return label_names(record.label, self.labels)

    def splits(self) -> dict[str, int]:
        """The number of rows of each split that has any."""
        counts = Counter(record.split for record in self.records)
        return {name: counts[name] for name in SPLITS if counts[name]}

    def split(self, name: str) -> tuple[Record, ...]:
        """The rows of one split.

        Raises:
            DataError: there are none.
        """
        rows = tuple(record for record in self.records if record.split == name)
        if not rows:
            near = "" if name in SPLITS else suggest(name, SPLITS)
            found = _count_splits(record.split for record in self.records)
            raise DataError(f"{self.source} has no rows in split {name!r}; found {found}.{near}")
        return rows


def read_manifest(
    path: Path | str,
    *,
    image: str = "image",
    text: str = "text",
    label: str = "label",
    split: str = "split",
    labels: LabelForm = "single",
    val_share: float = 0.15,
    test_share: float = 0.15,
    split_seed: int = 0,
) -> Manifest:
    """Read a CSV, JSONL or Parquet file with one row for each image.

    Args:
        path: the file, UTF-8.
        image: name of the column of image files, absolute or relative to the manifest.
        text: name of the column of texts; cells may be blank, and the column "text" may be absent.
        label: name of the column of class names.
        split: name of the column of splits; where "split" is absent, a seeded stratified split is made.
        labels: "multi" reads a label as a comma list of classes; a blank one is no class.
        val_share: share of val in a split made here.
        test_share: share of test in a split made here.
        split_seed: seed of a split made here.

    Raises:
        DataError: the file, a column, a label or a split cannot be used; the message names file and lines.
    """
    path = Path(path)
    columns = {"image": image, "text": text, "label": label, "split": split}
    table = read_table(path, [*columns.values(), LABEL_INDEX], lists=[label] if labels == "multi" else [])
    for role, name in columns.items():
        if name not in table.columns and (role in ("image", "label") or name != role):
            raise _unknown_column(path, role, name, table)
    notes = []
    if text not in table.columns:
        notes.append(f"{path} has no column {text!r}: all texts are blank.")
    cells = table.columns[label] if labels == "multi" else _filled(path, table, label, may_list=True)
    notes += comma_notes(str(path), cells, labels)
    folder = path.absolute().parent
    images = [os.path.normpath(folder / name) for name in _filled(path, table, image)]
    if any(table.columns.get(split, ())):
        splits = _read_splits(path, table, split)
        notes += _shared_images(path, images, splits)
    else:
        names = [label_names(cell, labels) for cell in cells]
        splits = split_by_classes(images, names, val_share=val_share, test_share=test_share, seed=split_seed)
        notes.append(f"{path} names no splits: made a stratified one with seed {split_seed}, {_count_splits(splits)}.")
    texts = table.columns.get(text) or [""] * len(images)
    named = [canonical_label(cell, labels) for cell in cells]
    records = tuple(Record(*row) for row in zip(images, texts, named, splits, strict=True))
    return Manifest(records, _read_classes(path, table, cells, labels), str(path), tuple(notes), labels)


def write_manifest(manifest: Manifest, path: Path | str) -> None:
    """Write a manifest as CSV, JSONL or Parquet; `read_manifest` gives back the same records and classes.

    Images at or below the file's folder are named relative to it, so that folder and file can move together.

    Raises:
        DataError: the suffix is unknown or the file cannot be written.
    """
    path = Path(path)
    folder = path.absolute().parent
    columns = {
        "image": [_relative(record.image, folder) for record in manifest.records],
        "text": [record.text for record in manifest.records],
        "label": [record.label for record in manifest.records],
        "split": [record.split for record in manifest.records],
    }
    if manifest.classes != list_classes(columns["label"], manifest.labels):
        # So that a run keeps its numbering: a number for each name.
        named = [number_classes(manifest.names(record), manifest.classes).tolist() for record in manifest.records]
        columns[LABEL_INDEX] = [", ".join(map(str, numbers)) for numbers in named]
    write_table(path, columns)


def label_indices(records: Sequence[Record], classes: Sequence[str]) -> np.ndarray:
    """The position of each label in `classes`, `(N,)` int64.

    Raises:
        DataError: a label is not among the classes.
    """
    return number_classes([record.label for record in records], classes)


def label_targets(records: Sequence[Record], classes: Sequence[str], form: LabelForm) -> np.ndarray:
    """What a classifier is to learn: `label_indices`, `(N,)` int64; of form "multi" `(N, C)` float32 of 0 and 1.

    Raises:
        DataError: a class is not among the classes.
    """
    if form == "multi":
        return multi_hot([record.label for record in records], classes)
    return label_indices(records, classes)


def count_classes(manifest: Manifest, split: str) -> Counter[str]:
    """How many rows of a split each class has; those it has none of are absent."""
    return Counter(name for record in manifest.records if record.split == split for name in manifest.names(record))


def check_trainable(manifest: Manifest) -> None:
    """Refuse a manifest that no classifier can learn from and be judged on.

    Raises:
        DataError: train or val is empty or names no class, train has one class only, or a class has no training image.
    """
    rows = {name: count_classes(manifest, name) for name in SPLITS}
    present = manifest.splits()
    for name in ("train", "val"):
        if name not in present:
            found = _count_splits(record.split for record in manifest.records)
            raise DataError(
                f"{manifest.source} has no rows in split {name!r}; found {found}. Training needs train and val: give "
                f"some rows that split, or leave the split column out and let a stratified split be made."
            )
        if not rows[name]:
            raise DataError(
                f"{manifest.source} names no class in any of the {present[name]} rows of split {name!r}; needed some "
                f"with classes to learn and to judge. Check the label column."
            )
    if len(rows["train"]) < 2:
        only, count = rows["train"].most_common(1)[0]
        raise DataError(
            f"{manifest.source} has one class only in split 'train': {only!r} ({count} images); needed two or more to "
            f"tell apart. Check the label column."
        )
    unlearned = [name for name in manifest.classes if name not in rows["train"]]
    if unlearned:
        listed = ", ".join(f"{name!r} ({_count_label(rows, name)})" for name in unlearned)
        raise DataError(
            f"{manifest.source} has labels without a training image: {listed}. Move images of these classes to train, "
            f"or remove their rows."
        )
    single = [name for name in manifest.classes if rows["train"][name] == 1]
    if single:
        _logger.warning(
            "%s has classes with a single training image, of which little can be learned: %s.",
            manifest.source,
            ", ".join(repr(name) for name in single),
        )


def _unknown_column(path: Path, role: str, name: str, table: Table) -> DataError:
    found = list(table.columns)
    hint = ""
    if len(found) == 1 and (separator := next((mark for mark in ";\t|" if mark in found[0]), "")):
        hint = f" The columns seem to be separated by {separator!r}; save the file with commas."
    return DataError(
        f"Manifest {path} has no column {name!r}; found {', '.join(map(repr, found))}.{suggest(name, found)}{hint} "
        f"Name the column of the {role}s with --set data.columns.{role}=NAME."
    )


def _filled(path: Path, table: Table, name: str, *, may_list: bool = False) -> list[str]:
    cells = table.columns[name]
    blank = [row for row, cell in enumerate(cells) if not cell]
    if blank:
        several = " If a cell may list several classes or none, add --labels multi." if may_list else ""
        raise DataError(
            f"Manifest {path} has a blank {name!r} in {table.where(blank)}; needed one in every row. Fill it in, or "
            f"remove {'that row' if len(blank) == 1 else 'those rows'}.{several}"
        )
    return cells


def _read_splits(path: Path, table: Table, name: str) -> list[str]:
    splits = []
    for row, found in enumerate(_filled(path, table, name)):
        known = normalise_split(found)
        if known is None:
            raise DataError(
                f"Manifest {path}, {table.where([row])}: unknown split {found!r}; needed {', '.join(SPLITS)}."
                f"{suggest(found, SPLITS)}"
            )
        splits.append(known)
    return splits


def _shared_images(path: Path, images: Sequence[str], splits: Sequence[str]) -> list[str]:
    where: dict[str, set[str]] = defaultdict(set)
    for image, split in zip(images, splits, strict=True):
        where[image].add(split)
    shared = [image for image, names in where.items() if len(names) > 1]
    if not shared:
        return []
    return [
        f"{path} has {len(shared)} images in more than one split, so figures on val and test flatter: {shared[0]}"
        f"{' ...' if len(shared) > 1 else '.'}"
    ]


def _read_classes(path: Path, table: Table, labels: Sequence[str], form: LabelForm) -> tuple[str, ...]:
    if LABEL_INDEX not in table.columns:
        return list_classes(labels, form)
    classes = numbered_classes(labels, table.columns[LABEL_INDEX], form)
    if classes is None:
        raise DataError(
            f"Manifest {path}: the column {LABEL_INDEX!r} must number the labels, one whole number for each; found "
            f"otherwise. Remove or rename the column."
        )
    return classes


def _relative(image: str, folder: Path) -> str:
    path = Path(image)
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else image


def _count_splits(splits: Iterable[str]) -> str:
    counts = Counter(splits)
    return ", ".join(f"{name} {counts[name]}" for name in SPLITS if counts[name]) or "no rows at all"


def _count_label(rows: dict[str, Counter[str]], label: str) -> str:
    return ", ".join(f"{split} {counts[label]}" for split, counts in rows.items() if counts[label]) or "no rows"
