"""The source `hf-dataset:PATH_OR_NAME`: a Hugging Face dataset, its images written once into the cache as files."""

import dataclasses
import hashlib
import json
import logging
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import Progress

from marnet.data.labels import comma_notes, list_classes
from marnet.data.manifest import Manifest, Record
from marnet.data.options import ReadOptions
from marnet.data.recorded import read_recorded, write_recorded
from marnet.data.sources.hf_rows import HFPart, HFRow, list_parts, of_split, one_line, open_part, read_rows
from marnet.data.sources.holdout import hold_out_val, split_unsplit
from marnet.data.sources.image_cells import image_suffix
from marnet.data.splits import UNLABELLED
from marnet.data.unlabelled import without_label_notes
from marnet.errors import DataError

_NAME = "hf-dataset"
_VERSION = 4  # raise it when the same dataset gives other files
_logger = logging.getLogger("marnet")


class _Export(NamedTuple):
    records: list[Record]
    notes: list[str]


def read_hf_dataset(name: str, options: ReadOptions, *, cache: Path, config: str | None = None) -> Manifest:
    """Read a dataset that `save_to_disk` wrote, or stream one of the Hub or a folder of data files.

    The images are written below `cache` as they are, not encoded again; a second call reads those files and needs
    neither the network nor the package `datasets`.

    Args:
        name: a folder, or the dataset's name on the Hub.
        options: columns, form of labels and shares of splits.
        cache: where the images are written.
        config: the configuration, of a dataset that has several.

    Raises:
        DataError: `datasets` is not installed, the dataset cannot be loaded, or a column or row cannot be used.
    """
    folder = cache / _NAME / _key(name, config, options)
    if not (folder / "notes.json").is_file():
        _export(name, folder, config, options)
    manifest = read_recorded(folder)
    notes = json.loads((folder / "notes.json").read_text(encoding="utf-8"))
    source = f"{_NAME}:{name}"
    more = comma_notes(source, [record.label for record in manifest.records], options.label_form)
    manifest = dataclasses.replace(manifest, source=source, notes=(*notes, *more))
    unsplit = sum(not record.split for record in manifest.records)
    labelled = sum(record.split != UNLABELLED for record in manifest.records)
    if unsplit == labelled:
        return split_unsplit(
            manifest, val_share=options.val_share, test_share=options.test_share, seed=options.split_seed
        )
    if unsplit:
        raise DataError(f"{source}: {unsplit} of {labelled} rows have no split. Either all rows must have one or none.")
    return hold_out_val(manifest, share=options.val_share, seed=options.split_seed)


def _key(name: str, config: str | None, options: ReadOptions) -> str:
    """Return a folder name that changes with the dataset on disk; datasets of the Hub are told apart by name alone."""
    path = Path(name).expanduser()
    files = sorted(path.rglob("*")) if path.is_dir() else []
    state = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
    where = str(path.resolve()) if path.is_dir() else name
    form = options.label_form
    key = (_VERSION, where, options.columns, config, state, form, options.unlabelled)
    return hashlib.sha256(repr(key).encode()).hexdigest()[:16]


def _export(name: str, folder: Path, config: str | None, options: ReadOptions) -> None:
    """Write into a temporary folder and rename it, so that `folder` is complete or absent."""
    parts, notes = list_parts(_load(name, config), f"{_NAME}:{name}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".exporting-") as temporary:
            written = Path(temporary) / "export"
            (written / "images").mkdir(parents=True)
            records, more = _write_images(written, parts, options)
            if not any(record.split != UNLABELLED for record in records):
                raise DataError(f"{_NAME}: {name} has no labelled rows. It must have one per image.")
            classes = list_classes((record.label for record in records), options.label_form)
            manifest = Manifest(tuple(records), classes, "", label_form=options.label_form)
            write_recorded(manifest, written)
            (written / "notes.json").write_text(json.dumps([*notes, *more]), encoding="utf-8")
            try:
                written.rename(folder)
            except OSError:
                if not (folder / "notes.json").is_file():  # another process was not the one to finish first
                    raise
    except OSError as error:
        raise DataError(
            f"{_NAME}: the images of {name} cannot be written to {folder}: {error.strerror or error}. Free some space, "
            f"or point the environment variable MARNET_CACHE to a folder that can be written."
        ) from None
    _logger.info("Wrote %d images of %s:%s into %s.", len(records), _NAME, name, folder)


def _load(name: str, config: str | None) -> Any:
    try:
        import datasets
    except ImportError:
        raise DataError(
            f"{_NAME}: {name} needs the package 'datasets', which is not installed. Install it with: "
            f"pip install 'marnet[hf]'"
        ) from None
    path = Path(name).expanduser()
    try:
        if any((path / file).is_file() for file in ("dataset_dict.json", "state.json")):
            return datasets.load_from_disk(str(path))
        return datasets.load_dataset(str(path) if path.is_dir() else name, config, streaming=True)
    except Exception as error:  # the Hub, the network and each file format raise their own
        raise DataError(
            f"{_NAME}: {name} cannot be loaded: {type(error).__name__}: {one_line(error)} Name a folder written by "
            f"save_to_disk, a folder of data files, or, with access to the network, a dataset on the Hugging Face Hub. "
            f"Where a dataset has several configurations, name one: {_NAME}:{name},config=NAME."
        ) from None


def _write_images(folder: Path, parts: dict[str, Any], options: ReadOptions) -> _Export:
    written = _Export([], [])
    unlabelled: Counter[str] = Counter()
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        for name, dataset in parts.items():
            part = open_part(dataset, name, options.columns, source=_NAME)
            if part is None:
                continue
            written.notes.extend(part.notes)
            total = len(dataset) if hasattr(dataset, "__len__") else None
            rows = read_rows(part, options, source=_NAME)
            for row in progress.track(rows, total=total, description="Writing images"):
                if row.label is None:
                    unlabelled[name] += 1
                    continue
                file = _write_image(row, part, folder / "images")
                written.records.append(Record(str(file), row.text, row.label, row.split, row.group))
    written.notes.extend(
        f"{_NAME}: left out {count} rows without label{of_split(name)}." for name, count in unlabelled.items()
    )
    written.notes.extend(without_label_notes(_NAME, sum(row.split == UNLABELLED for row in written.records)))
    return written


def _write_image(row: HFRow, part: HFPart, folder: Path) -> Path:
    """Write the bytes as they are, the suffix by their format; damaged ones too, for the check of images to report."""
    image, place = row.image, f"{_NAME}: row {row.number}{of_split(part.name)}"
    content = image.get("bytes") if isinstance(image, dict) else image
    if content is None and isinstance(image, dict) and image.get("path"):
        content = Path(image["path"])
    try:
        content = content.read_bytes() if isinstance(content, Path) else content
    except OSError as error:
        raise DataError(f"{place}: the image file {content} cannot be read: {error.strerror}.") from None
    if not isinstance(content, bytes):
        raise DataError(
            f"{place}: the image is {type(image).__name__} {str(image)[:80]!r}. Expected a column of the type Image, "
            f"or the bytes of an image file."
        )
    file = folder / f"{part.name or 'all'}-{row.number:07d}{image_suffix(content)}"
    file.write_bytes(content)
    return file
