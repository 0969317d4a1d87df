"""The source `imagefolder:PATH`: a folder with a metadata file, or a tree with one folder per class."""

import dataclasses
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from marnet.choices import LabelForm
from marnet.data.image_paths import image_path
from marnet.data.label_cells import read_label_cells
from marnet.data.labels import LABEL_INDEX, canonical_label, comma_notes, list_classes, natural_order
from marnet.data.manifest import Manifest, Record
from marnet.data.options import ColumnNames, ReadOptions
from marnet.data.sources.folder_files import images_below, other_files_notes, subfolders
from marnet.data.sources.holdout import hold_out_val, split_unsplit
from marnet.data.sources.listings import IMAGE_SUFFIXES, is_image, shared_notes
from marnet.data.splits import ALL_SPLITS, SPLITS, UNLABELLED, normalise_split, split_of_cell
from marnet.data.tables import Table, read_table
from marnet.data.unlabelled import mark_unlabelled
from marnet.errors import DataError, list_some, suggest

_NAME = "imagefolder"
_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_CLASSES = "classes.csv"
_IMAGE_COLUMN = "file_name"  # the usual name in such metadata


class _Part(NamedTuple):
    """A folder or the metadata file in it, and the split that the folder's name says ("" for none)."""

    path: Path
    split: str


def read_image_folder(path: Path, options: ReadOptions) -> Manifest:
    """Read the layout of Hugging Face's `imagefolder`.

    Either `metadata.csv`, `.jsonl` or `.parquet` with a column `file_name`, in the folder or in one for each split; or
    `ROOT/<class>/*.jpg` or `ROOT/<split>/<class>/*.jpg`, with the texts of the classes in `ROOT/classes.csv` (columns
    `label` and `text`), if there is one. Metadata wins where both could be read.

    Args:
        path: the folder; the layout may stand in `data` in it.
        options: columns of the metadata or of `classes.csv` (that of images is "file_name" unless it is named), form of
            labels and shares of splits.

    Raises:
        DataError: there is no such layout, or a file cannot be used; the message names file and line.
    """
    if not path.is_dir():
        raise DataError(f"{_NAME}: {path} is not a folder. Name one with a metadata file or one folder per class.")
    source = f"{_NAME}:{path}"
    form, columns = options.label_form, options.columns
    columns = columns._replace(image=_IMAGE_COLUMN) if columns.is_usual("image") else columns
    root = path.absolute()
    if not _metadata_parts(root) and not any(images_below(each) for each in subfolders(root) if each.name != "data"):
        root = root / "data" if (root / "data").is_dir() else root
    parts = _metadata_parts(root)
    if form == "multi" and not parts:
        raise DataError(
            f"{_NAME}: {root} has no metadata file, so its folders give each image one class, but "
            f"`data.labels=multi` is set. Leave it out, or list the classes in metadata.csv with the columns file_name "
            f"and label."
        )
    options = dataclasses.replace(options, columns=columns)
    manifest = _read_metadata(source, root, parts, options) if parts else _read_tree(source, root, options)
    if not any(record.split in SPLITS for record in manifest.records):
        return split_unsplit(
            manifest, val_share=options.val_share, test_share=options.test_share, seed=options.split_seed
        )
    return hold_out_val(manifest, share=options.val_share, seed=options.split_seed)


def _read_metadata(source: str, root: Path, parts: list[_Part], options: ReadOptions) -> Manifest:
    columns, form = options.columns, options.label_form
    rows: list[tuple[Record, str]] = []
    files = [part.path for part in parts]
    notes = [f"{source}: read {', '.join(file.relative_to(root).as_posix() for file in files)}."]
    texts = _class_texts(root, options) if (root / _CLASSES).is_file() else {}
    for file, split in parts:
        lists = [columns.label] if form == "multi" else []
        table = read_table(file, [*columns, LABEL_INDEX], lists=lists, missing=options.missing)
        notes += table.notes
        _require(file, table, columns)
        if columns.label not in table.columns:
            if form == "multi":
                raise DataError(
                    f"{_NAME}: {file} has no column {columns.label!r}; found {list_some(table.columns)}. "
                    f"`data.labels=multi` needs the column that lists the classes: name it with "
                    f"`data.columns.label=NAME`."
                )
            notes.append(f"{file} has no column {columns.label!r}: an image's folder is taken for its class.")
        if columns.text not in table.columns and not texts:
            found = list_some(table.columns)
            notes.append(f"{file} has no column {columns.text!r} (found {found}): all texts are blank.")
        if columns.label in table.columns and not table.exact:
            where = partial(_place, file, table)
            labels, more = read_label_cells(source, table.columns[columns.label], form, place=where)
            table.columns[columns.label] = labels
            notes += more
        named = _folders_name_splits(root, file, table, columns)
        if not named:
            some = ", ".join(map(repr, natural_order(table.columns[columns.label])[:5]))
            notes.append(f"{file}: the first folders of the names are classes, not splits: {some}.")
        splits = _metadata_splits(root, _Part(file, split), table, columns, folders_are_splits=named)
        if columns.label in table.columns:
            splits, more = mark_unlabelled(table, splits, options)
            notes += more
        rows += _metadata_rows(root, file, table, columns, texts, splits=splits, form=form)
    unsplit = [place for record, place in rows if not record.split]
    split_rows = sum(record.split in SPLITS for record, _ in rows)
    if unsplit and split_rows:
        raise DataError(
            f"{_NAME}: {len(unsplit)} of {len(unsplit) + split_rows} rows have no split, such as {unsplit[0]}. Either "
            f"all rows must have one or none. A split is named by the column {columns.split!r} or by the first folder "
            f"of the file's name."
        )
    records = tuple(record for record, _ in rows)
    notes += _unlisted_notes(source, root, records)
    labels = [record.label for record in records]
    notes += comma_notes(source, labels, form)
    return Manifest(records, list_classes(labels, form), source, tuple(notes), form)


def _metadata_splits(
    root: Path, part: _Part, table: Table, columns: ColumnNames, *, folders_are_splits: bool
) -> list[str]:
    """Return the split of each row, "" where nothing names one."""
    splits = []
    for row, name in enumerate(table.columns[columns.image]):
        place = _place(part.path, table, row)
        if not name:
            raise DataError(f"{_NAME}: {place}: the {columns.image!r} is blank. It must name an image file.")
        folders = _folders(root, image_path(part.path.parent, name))
        named = table.columns[columns.split][row] if columns.split in table.columns else ""
        by_folder = normalise_split(folders[0]) if folders and folders_are_splits else ""
        known = split_of_cell(named) if named else part.split or by_folder or ""
        if known is None:
            raise DataError(
                f"{_NAME}: {place}: unknown split {named!r}. Expected {', '.join(ALL_SPLITS)}."
                f"{suggest(named, ALL_SPLITS)}"
            )
        splits.append(known)
    return splits


def _metadata_rows(
    root: Path,
    file: Path,
    table: Table,
    columns: ColumnNames,
    texts: dict[str, str],
    *,
    splits: Sequence[str],
    form: LabelForm,
) -> Iterator[tuple[Record, str]]:
    """Yield each row's record, its split "" where nothing names one, and the file and line of the row."""
    for row, (name, split) in enumerate(zip(table.columns[columns.image], splits, strict=True)):
        place = _place(file, table, row)
        image = image_path(file.parent, name)
        folders = _folders(root, image)
        if split == UNLABELLED:
            label = ""
        elif columns.label in table.columns:
            label = canonical_label(table.columns[columns.label][row], form)
        else:  # the folder names the class: <class>/1.jpg or <split>/<class>/1.jpg
            label = folders[-1] if folders and not (len(folders) == 1 and normalise_split(folders[0])) else ""
        if not label and form == "single" and split != UNLABELLED:
            raise _no_label(place, name, columns, table)
        text = table.columns[columns.text][row] if columns.text in table.columns else texts.get(label, "")
        group = table.columns[columns.group][row] if columns.group in table.columns else ""
        yield Record(image, text, label, split, group), place


def _folders_name_splits(root: Path, file: Path, table: Table, columns: ColumnNames) -> bool:
    """Return False where the first folders of the names are classes, of which one is called like a split."""
    if columns.label not in table.columns:
        return True
    firsts = [(_folders(root, image_path(file.parent, name)) or ("",))[0] for name in table.columns[columns.image]]
    some = any(map(normalise_split, firsts)) and not all(map(normalise_split, firsts))
    return not (some and firsts == table.columns[columns.label])


def _folders(root: Path, image: str) -> tuple[str, ...]:
    path = Path(image)
    return path.relative_to(root).parts[:-1] if path.is_relative_to(root) else ()


def _place(file: Path, table: Table, row: int) -> str:
    return f"{file}, {table.where([row])}"


def _no_label(place: str, name: str, columns: ColumnNames, table: Table) -> DataError:
    return DataError(
        f"{_NAME}: {place}: nothing names the class of {name!r}. Expected a column {columns.label!r}, found "
        f"{list_some(table.columns)}; or an image in a folder with the name of its class. Name the column "
        f"of the labels with `data.columns.label=NAME`."
    )


def _require(file: Path, table: Table, columns: ColumnNames) -> None:
    for role, name in columns._asdict().items():
        if name not in table.columns and (role == "image" or not columns.is_usual(role)):
            raise DataError(
                f"{_NAME}: {file} has no column {name!r}; found {list_some(table.columns)}."
                f"{suggest(name, table.columns)} Name the column of the {role}s with `data.columns.{role}=NAME`."
            )


def _read_tree(source: str, root: Path, options: ReadOptions) -> Manifest:
    parts, others = _tree_parts(root)
    texts = _class_texts(root, options) if (root / _CLASSES).is_file() else {}
    folders = [(folder, part.split) for part in parts for folder in subfolders(part.path)]
    labels, label_notes = read_label_cells(source, [folder.name for folder, _ in folders], "single", place=str)
    records = tuple(
        Record(image, texts.get(folder.name) or texts.get(label, ""), label, split)
        for (folder, split), label in zip(folders, labels, strict=True)
        for image in images_below(folder)
    )
    if not records:
        found = sorted(each.name for each in root.iterdir())[:5]
        raise DataError(
            f"{_NAME}: {root} holds neither metadata.csv (or .jsonl, .parquet) nor one folder of images per class; "
            f"found {', '.join(map(repr, found)) or 'nothing at all'}. Expected ROOT/<class>/*.jpg, "
            f"ROOT/<split>/<class>/*.jpg or a metadata file with the column {options.columns.image!r}; images end in "
            f"{', '.join(sorted(IMAGE_SUFFIXES))}."
        )
    layout = "ROOT/<split>/<class>" if parts[0].split else "ROOT/<class>"
    notes = [f"{source}: read as a tree {layout}."]
    if others:
        notes.append(f"{source}: left out {list_some(others)}, which name no split.")
    loose = sum(is_image(file.name) for part in parts for file in part.path.iterdir() if file.is_file())
    if loose:
        notes.append(f"{source}: images beside the folders of the classes, left out: {loose}.")
    notes += other_files_notes(source, [folder for folder, _ in folders]) + label_notes
    classes = natural_order(record.label for record in records)
    empty = [str(folder.relative_to(root)) for folder, _ in folders if not images_below(folder)]
    notes += _text_notes(source, root, texts, classes)
    if empty:
        notes.append(f"{source}: folders without an image, left out: {len(empty)}, {list_some(empty)}.")
    return Manifest(records, classes, source, tuple(notes))


def _text_notes(source: str, root: Path, texts: dict[str, str], labels: tuple[str, ...]) -> list[str]:
    if not texts:
        return [f"{source} has no {_CLASSES} and no metadata file: all texts are blank."]
    notes = []
    without = [label for label in labels if not texts.get(label)]
    if without:
        notes.append(f"{source}: {_CLASSES} has no text of {list_some(without)}; theirs are blank.")
    unused = [label for label in texts if label not in labels]
    if unused:
        notes.append(f"{source}: {_CLASSES} describes classes that have no folder: {list_some(unused)}.")
    return notes


def _class_texts(root: Path, options: ReadOptions) -> dict[str, str]:
    """Return the text of each class, from `classes.csv`; the labels stand as they are, for folders have any name."""
    file, columns = root / _CLASSES, options.columns
    table = read_table(file, (columns.label, columns.text), missing=options.missing)
    for name in (columns.label, columns.text):
        if name not in table.columns:
            raise DataError(
                f"{_NAME}: {file} has no column {name!r}; found {list_some(table.columns)}. It must "
                f"have the columns {columns.label!r} and {columns.text!r}, and one row per class."
            )
    labels = read_table(file, (columns.label,), missing=()).columns[columns.label]
    repeated = [name for name, count in Counter(labels).items() if count > 1 or not name]
    if repeated:
        rows = [row for row, name in enumerate(labels) if name == repeated[0]]
        what = f"names {repeated[0]!r} more than once" if repeated[0] else f"has a blank {columns.label!r}"
        raise DataError(f"{_NAME}: {file} {what}, in {table.where(rows)}. It must have one row per class.")
    return dict(zip(labels, table.columns[columns.text], strict=True))


def _metadata_parts(root: Path) -> list[_Part]:
    """Return the metadata files: that of the folder itself, or those of its splits."""
    parts = []
    for folder in (root, *(each for each in subfolders(root) if normalise_split(each.name))):
        files = [folder / name for name in _METADATA if (folder / name).is_file()]
        if len(files) > 1:
            raise DataError(f"{_NAME}: {folder} holds both {files[0].name} and {files[1].name}. Remove one of them.")
        parts += [_Part(file, normalise_split(folder.name) or "" if folder != root else "") for file in files]
    if len(parts) > 1 and parts[0].path.parent == root:
        raise DataError(
            f"{_NAME}: found {parts[0].path.name} both in {root} and in {parts[1].path.parent.name}. It must be either "
            f"in the folder itself or in one folder per split. Remove the other."
        )
    return parts


def _tree_parts(root: Path) -> tuple[list[_Part], list[str]]:
    """Return the folders whose folders are classes, and the names of those left out."""
    folders = subfolders(root)
    splits = [_Part(each, normalise_split(each.name) or "") for each in folders if normalise_split(each.name)]
    # A class may be called "test": the names are splits only if train is among them, and holds classes in turn.
    is_split = any(part.split == "train" for part in splits) and all(
        any(images_below(each) for each in subfolders(part.path)) for part in splits
    )
    if not is_split:
        return [_Part(root, "")], []
    return splits, [each.name for each in folders if not normalise_split(each.name)]


def _unlisted_notes(source: str, root: Path, records: tuple[Record, ...]) -> list[str]:
    listed = {record.image for record in records}
    notes = []
    missing = [name for name in listed if not os.path.isfile(name)]  # noqa: PTH113 (names may be too long for Path)
    if missing:
        notes.append(f"{source}: images in the metadata but not on disk: {len(missing)}, such as {min(missing)}.")
    unlisted = [name for name in images_below(root) if name not in listed]
    if unlisted:
        notes.append(
            f"{source}: images on disk but not in the metadata: {len(unlisted)}, such as {unlisted[0]}; left out."
        )
    return notes + shared_notes(source, ((record.image, record.split) for record in records))
