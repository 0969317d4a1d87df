"""The manifest: which image has which text and label and belongs to which split."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from marnet.choices import LabelForm, Unlabelled
from marnet.data.cells import EXACT, CellReader
from marnet.data.image_paths import image_path
from marnet.data.label_cells import read_label_cells
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
from marnet.data.options import GROUP, ColumnNames, ReadOptions, column_names
from marnet.data.splits import ALL_SPLITS, SPLITS, UNLABELLED, fill_splits, split_of_cell, trained_on
from marnet.data.tables import Table, read_table, write_table
from marnet.data.unlabelled import mark_unlabelled
from marnet.errors import DataError, list_some, suggest

_DEFAULTS = ReadOptions()
_SPLIT_COLUMNS = ("subset", "partition", "fold", "set", "splits", "data_split", "dataset_split", "phase", "usage")


class Record(NamedTuple):
    """One row: an image with its text, label and split.

    Example:
        >>> import marnet
        >>> row = marnet.Record("/pictures/a.jpg", "red, round", "apple", "train")
        >>> row.label, row._replace(split="val").split
        ('apple', 'val')
    """

    image: str  # absolute path
    text: str  # "" for none
    label: str  # a class, or classes as "basil, tomato" ("" for none), as `Manifest.label_form` says
    split: str  # "train", "val", "test", or "unlabelled" for a row without a label
    group: str = ""  # rows of one group belong together and stay in one split; "" for none


@dataclass(frozen=True)
class Manifest:
    """The rows of a data source.

    Args:
        records: all rows.
        classes: the C class names; their order numbers the labels.
        source: where the rows come from, for messages.
        notes: how the source was read, one sentence each.
        label_form: "single" where a label is one class, "multi" where it is a comma list of classes.
        made_splits: True where the source names no splits, so that they were made here; the last note says so.

    Example:
        >>> import marnet
        >>> rows = (
        ...     marnet.Record("/a.jpg", "red, round", "apple", "train"),
        ...     marnet.Record("/b.jpg", "", "lime", "val"),
        ... )
        >>> marnet.Manifest(rows, ("apple", "lime"), source="my rows").splits()
        {'train': 1, 'val': 1}
    """

    records: tuple[Record, ...]
    classes: tuple[str, ...]
    source: str
    notes: tuple[str, ...] = ()
    label_form: LabelForm = "single"
    made_splits: bool = False

    def names(self, record: Record) -> tuple[str, ...]:
        """Return the classes of a row: one, or any number where `label_form` is "multi"."""
        return label_names(record.label, self.label_form)

    def splits(self) -> dict[str, int]:
        """Return the number of rows of each split that has any."""
        counts = Counter(record.split for record in self.records)
        return {name: counts[name] for name in ALL_SPLITS if counts[name]}

    def labelled_splits(self) -> tuple[str, ...]:
        """Return the names of the splits that have rows with labels: all but "unlabelled"."""
        return tuple(name for name in self.splits() if name != UNLABELLED)

    def split(self, name: str) -> tuple[Record, ...]:
        """Return the rows of one split.

        Raises:
            DataError: there are none.
        """
        rows = tuple(record for record in self.records if record.split == name)
        if not rows:
            near = "" if name in ALL_SPLITS else suggest(name, ALL_SPLITS)
            found = count_splits(record.split for record in self.records)
            raise DataError(f"{self.source} has no rows in split {name!r}; found {found}.{near}")
        return rows


def read_manifest(
    path: Path | str,
    *,
    columns: ColumnNames | Mapping[str, str] = _DEFAULTS.columns,
    label_form: LabelForm = _DEFAULTS.label_form,
    val_share: float = _DEFAULTS.val_share,
    test_share: float = _DEFAULTS.test_share,
    split_seed: int = _DEFAULTS.split_seed,
    unlabelled: Unlabelled = _DEFAULTS.unlabelled,
) -> Manifest:
    """Read a CSV, JSONL or Parquet file with one row per image.

    Args:
        path: the file, UTF-8.
        columns: names of the columns of images, texts, labels, splits and groups, such as `{"label": "dish"}`. Images
            are paths, absolute or relative to the file. Texts may be blank. The columns "text" and "split" may be
            absent; without splits, a seeded stratified split is made. It keeps rows of one group together; there are
            groups if their column is named (or called "marnet_group").
        label_form: "single" for one class per image; "multi" reads a label as a comma list of classes, possibly empty.
        val_share: share of val in a split made here.
        test_share: share of test in a split made here.
        split_seed: seed of a split made here.
        unlabelled: "use" makes training rows with a blank label rows of the split "unlabelled"; "refuse" stops at them.

    Raises:
        DataError: the file, a column, a label or a split cannot be used; the message names file and lines.

    Example:
        >>> import marnet
        >>> manifest = marnet.read_manifest("products.csv", test_share=0.0)
        >>> manifest.classes, manifest.splits()
        (('apple', 'eel', 'lime'), {'train': 51, 'val': 9})
    """
    options = ReadOptions(
        columns=column_names(columns),
        label_form=label_form,
        val_share=val_share,
        test_share=test_share,
        split_seed=split_seed,
        unlabelled=unlabelled,
    )
    return read_manifest_file(Path(path), options)


def read_manifest_file(path: Path, options: ReadOptions) -> Manifest:
    """Read a file as `read_manifest` does, with the options as one value."""
    wanted = [*options.columns, LABEL_INDEX]
    table = read_table(path, wanted, lists=list_columns(options), missing=options.missing)
    return manifest_of_table(table, options, source=str(path), folder=path.absolute().parent)


def list_columns(options: ReadOptions) -> list[str]:
    """Return the names of the columns whose lists are taken apart again."""
    return [options.columns.label] if options.label_form == "multi" else []


def manifest_of_table(table: Table, options: ReadOptions, *, source: str, folder: Path) -> Manifest:
    """Return the rows of a table.

    Args:
        table: with the columns that `options` names, and `label_index` where the classes have an order of their own.
        options: names of the columns and how they are read.
        source: the name of the source, for notes and messages about the manifest.
        folder: absolute; relative images are looked for in it.

    Raises:
        DataError: a column, a label or a split cannot be used; the message names the table and its rows.
    """
    columns, form = options.columns, options.label_form
    for role, name in columns._asdict().items():
        if name not in table.columns and (role in ("image", "label") or not columns.is_usual(role)):
            raise _unknown_column(table, role, name)
    notes = list(table.notes)
    if columns.text not in table.columns:
        notes.append(f"{source} has no column {columns.text!r}: all texts are blank.{_unread(table, options)}")
    splits, more = mark_unlabelled(table, _read_splits(table, columns.split), options)
    notes += more
    cells = [
        "" if split == UNLABELLED else cell for cell, split in zip(table.columns[columns.label], splits, strict=True)
    ]
    if not table.exact:
        cells, more = read_label_cells(source, cells, form, place=lambda row: f"{table.name}, {table.where([row])}")
        notes += more
    notes += comma_notes(source, cells, form)
    images = [image_path(folder, name) for name in _filled(table, columns.image)]
    groups = table.columns.get(columns.group) or [""] * len(images)
    named = any(split in SPLITS for split in splits)
    if named:
        if blank := [row for row, split in enumerate(splits) if not split]:
            raise table.blank(columns.split, blank)
        notes += _shared_images(source, images, splits)
    else:
        names = [label_names(cell, form) for cell in cells]
        seed = options.split_seed
        splits = fill_splits(
            splits,
            images,
            names,
            groups=groups,
            val_share=options.val_share,
            test_share=options.test_share,
            seed=seed,
        )
        notes += left_out_notes(source, splits.count(""))
        notes.append(
            f"{source} names no splits: made a stratified one with seed {seed}, {count_splits(splits)}."
            f"{_other_splits(table)}"
        )
    texts = table.columns.get(columns.text) or [""] * len(images)
    labels = [canonical_label(cell, form) for cell in cells]
    rows = (Record(*row) for row in zip(images, texts, labels, splits, groups, strict=True))
    records = tuple(record for record in rows if record.split)
    return Manifest(records, _read_classes(table, cells, form), source, tuple(notes), form, made_splits=not named)


def write_manifest(manifest: Manifest, path: Path | str) -> None:
    """Write a manifest as CSV, JSONL or Parquet; `read_manifest` gives back the same records and classes.

    Where the rules for users' tables would change a cell (a class named "null", white space around a name), the column
    `marnet_exact` says that the cells stand as they are.

    Images at or below the file's folder are named relative to it, so that folder and file can move together.

    Raises:
        DataError: the suffix is unknown, the file cannot be written, or its format cannot hold a text.
    """
    path = Path(path)
    folder = path.absolute().parent
    columns = {
        "image": [_relative(record.image, folder) for record in manifest.records],
        "text": [record.text for record in manifest.records],
        "label": [record.label for record in manifest.records],
        "split": [record.split for record in manifest.records],
    }
    if any(record.group for record in manifest.records):
        columns[GROUP] = [record.group for record in manifest.records]
    if manifest.classes != list_classes(columns["label"], manifest.label_form):
        # So that a run keeps its numbering: a number for each name.
        named = [number_classes(manifest.names(record), manifest.classes).tolist() for record in manifest.records]
        columns[LABEL_INDEX] = [", ".join(map(str, numbers)) for numbers in named]
    if _reads_differently(columns, manifest.label_form):
        columns[EXACT] = ["1"] * len(manifest.records)
    write_table(path, columns)


def label_indices(records: Sequence[Record], classes: Sequence[str]) -> np.ndarray:
    """Return the position of each label in `classes`, `(N,)` int64.

    Raises:
        DataError: a label is not among the classes.
    """
    return number_classes([record.label for record in records], classes)


def label_targets(records: Sequence[Record], classes: Sequence[str], form: LabelForm) -> np.ndarray:
    """Return the targets of a classifier: `label_indices`, `(N,)` int64; of form "multi" `(N, C)` float32 of 0 and 1.

    Of form "single" a row without a label has the target -1.

    Raises:
        DataError: a class is not among the classes.
    """
    if form == "multi":
        return multi_hot([record.label for record in records], classes)
    targets = np.full(len(records), -1, np.int64)
    labelled = np.array([bool(record.label) for record in records], bool)
    targets[labelled] = label_indices([record for record in records if record.label], classes)
    return targets


def left_out_notes(source: str, count: int) -> list[str]:
    """Return a note on rows without a label whose image or group came into val or test."""
    if not count:
        return []
    return [
        f"{source}: {count} rows without a label were left out, because their image or group is in val or test, and "
        f"training on them would make metrics there too optimistic."
    ]


def count_classes(manifest: Manifest, split: str) -> Counter[str]:
    """Return the number of rows of each class in a split; classes without any are absent."""
    return Counter(name for record in manifest.records if record.split == split for name in manifest.names(record))


def count_splits(splits: Iterable[str]) -> str:
    """Return how many rows each split has, in words."""
    counts = Counter(splits)
    return ", ".join(f"{name} {counts[name]}" for name in ALL_SPLITS if counts[name]) or "no rows at all"


def _unknown_column(table: Table, role: str, name: str) -> DataError:
    found = list(table.columns)
    return DataError(
        f"{table.name} has no column {name!r}; found {list_some(found)}.{suggest(name, found)} "
        f"Name the column of the {role}s with `data.columns.{role}=NAME`."
    )


def _reads_differently(columns: Mapping[str, Sequence[str]], form: LabelForm) -> bool:
    """Return True where the rules for users' tables would read other cells than those that are written."""
    reader = CellReader("")
    if any(reader.changes(cell) for name in columns if name != "split" for cell in set(columns[name])):
        return True
    try:
        return read_label_cells("", columns["label"], form, place=str)[0] != list(columns["label"])
    except DataError:
        return True


def _unread(table: Table, options: ReadOptions) -> str:
    others = [name for name in table.columns if name not in (*options.columns, LABEL_INDEX, EXACT)]
    if not others:
        return ""
    shown = ", ".join(map(repr, others[:5])) + (" ..." if len(others) > 5 else "")
    return f" Columns that are not read: {shown}; name the one of the texts with `data.columns.text=NAME`."


def _other_splits(table: Table) -> str:
    found = [name for name in table.columns if name.strip().casefold() in _SPLIT_COLUMNS]
    return f" If {found[0]!r} names them, set `data.columns.split={found[0]}`." if found else ""


def _filled(table: Table, name: str) -> list[str]:
    cells = table.columns[name]
    blank = [row for row, cell in enumerate(cells) if not cell]
    if blank:
        raise table.blank(name, blank)
    return cells


def _read_splits(table: Table, name: str) -> list[str]:
    """Return the split that each row names, "" for none."""
    splits = []
    for row, found in enumerate(table.columns.get(name) or [""] * len(table.numbers)):
        known = split_of_cell(found) if found else ""
        if known is None:
            raise DataError(
                f"{table.name}, {table.where([row])}: unknown split {found!r}. Expected {', '.join(ALL_SPLITS)}."
                f"{suggest(found, ALL_SPLITS)}"
            )
        splits.append(known)
    return splits


def _shared_images(source: str, images: Sequence[str], splits: Sequence[str]) -> list[str]:
    where: dict[str, set[str]] = defaultdict(set)
    for image, split in zip(images, splits, strict=True):
        where[image].add("train" if trained_on(split) else split)
    shared = [image for image, names in where.items() if len(names) > 1]
    if not shared:
        return []
    return [
        f"{source} has {len(shared)} images in more than one split, so metrics on val and test are too optimistic: "
        f"{shared[0]}{' ...' if len(shared) > 1 else '.'}"
    ]


def _read_classes(table: Table, labels: Sequence[str], form: LabelForm) -> tuple[str, ...]:
    if LABEL_INDEX not in table.columns:
        return list_classes(labels, form)
    classes = numbered_classes(labels, table.columns[LABEL_INDEX], form)
    if classes is None:
        raise DataError(
            f"{table.name}: the column {LABEL_INDEX!r} does not number the labels; it must hold one whole number per "
            f"class. Remove or rename the column."
        )
    return classes


def _relative(image: str, folder: Path) -> str:
    path = Path(image)
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else image
