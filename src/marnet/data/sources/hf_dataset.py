"""The source `hf-dataset:PATH_OR_NAME`: a Hugging Face dataset, its images written once into the cache as files."""

import dataclasses
import hashlib
import io
import json
import logging
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, UnidentifiedImageError
from rich.console import Console
from rich.progress import Progress

from marnet.choices import LabelForm
from marnet.data.labels import canonical_label, list_classes
from marnet.data.manifest import Manifest, Record, read_manifest, write_manifest
from marnet.data.sources.holdout import hold_out_val
from marnet.data.splits import SPLITS, normalise_split
from marnet.errors import DataError, suggest

_NAME = "hf-dataset"
_VERSION = 1  # raise it when the same dataset gives other files
_logger = logging.getLogger("marnet")


class HFColumns(NamedTuple):
    """Names of columns; None takes "image", "text", "label" and "split", or the only column of the fitting type."""

    image: str | None = None
    text: str | None = None
    label: str | None = None
    split: str | None = None


class _Chosen(NamedTuple):
    """The columns that are read; a dataset may have no texts and name no splits."""

    image: str
    label: str
    text: str | None
    split: str | None


class _Row(NamedTuple):
    image: Any  # what a column of undecoded images holds: {"bytes": ..., "path": ...}
    text: str
    label: str | None
    split: str


def read_hf_dataset(
    name: str,
    *,
    cache: Path,
    columns: HFColumns = HFColumns(),  # noqa: B008 (immutable)
    config: str | None = None,
    labels: LabelForm = "single",
    val_share: float = 0.15,
    test_share: float = 0.15,
    split_seed: int = 0,
) -> Manifest:
    """Read a dataset that `save_to_disk` wrote, or stream one of the Hub or a folder of data files.

    The images are written below `cache` as they are, not encoded again; a second call reads those files and needs
    neither the network nor the package `datasets`.

    Args:
        name: a folder, or the dataset's name on the Hub.
        cache: where the images are written.
        columns: names of the columns.
        config: which configuration of a dataset that has several.
        labels: "multi" takes a label for several classes: a list, or a text with commas.
        val_share: share of val, where there are no splits, or train and test alone.
        test_share: share of test, where there are no splits.
        split_seed: seed of a split made here.

    Raises:
        DataError: `datasets` is not installed, the dataset cannot be loaded, or a column or row cannot be used.
    """
    folder = cache / _NAME / _key(name, columns, config, labels)
    if not (folder / "notes.json").is_file():
        _export(name, folder, columns, config, labels)
    manifest = read_manifest(
        folder / "manifest.csv", labels=labels, val_share=val_share, test_share=test_share, split_seed=split_seed
    )
    notes = json.loads((folder / "notes.json").read_text(encoding="utf-8"))
    source = f"{_NAME}:{name}"
    named = tuple(note.replace(str(folder / "manifest.csv"), source) for note in manifest.notes)
    manifest = dataclasses.replace(manifest, source=source, notes=(*notes, *named))
    return hold_out_val(manifest, share=val_share, seed=split_seed)


def _key(name: str, columns: HFColumns, config: str | None, labels: LabelForm) -> str:
    """A folder's name that changes with the dataset on disk; the Hub's are told apart by name alone."""
    path = Path(name).expanduser()
    files = sorted(path.rglob("*")) if path.is_dir() else []
    state = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
    where = str(path.resolve()) if path.is_dir() else name
    key = (_VERSION, where, columns, config, state, *(() if labels == "single" else (labels,)))
    return hashlib.sha256(repr(key).encode()).hexdigest()[:16]


def _export(name: str, folder: Path, columns: HFColumns, config: str | None, labels: LabelForm) -> None:
    """Write into a temporary folder and rename it, so that `folder` is complete or absent."""
    parts, notes = _parts(_load(name, config), name)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".exporting-") as temporary:
            written = Path(temporary) / "export"
            (written / "images").mkdir(parents=True)
            records = _write_images(written, parts, columns, notes, labels)
            if not records:
                raise DataError(f"{_NAME}: {name} has no labelled rows; needed one for each image.")
            write_manifest(_manifest(records, labels), written / "manifest.csv")
            (written / "notes.json").write_text(json.dumps(notes), encoding="utf-8")
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


def _manifest(records: list[Record], form: LabelForm) -> Manifest:
    return Manifest(tuple(records), list_classes((record.label for record in records), form), "", labels=form)


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
            f"{_NAME}: {name} cannot be loaded: {type(error).__name__}: {_one_line(error)} Needed a "
            f"folder written by save_to_disk, a folder of data files, or the name of a dataset on the Hugging Face Hub "
            f"and a network. Where a dataset has several configurations, name one: {_NAME}:{name},config=NAME."
        ) from None


def _parts(loaded: Any, name: str) -> tuple[dict[str, Any], list[str]]:
    """The dataset of each split, under its own name ("" for none), and notes."""
    if not isinstance(loaded, dict):
        return {"": loaded}, []
    known = {key: part for key, part in loaded.items() if normalise_split(key)}
    if len(loaded) == 1:  # `load_dataset` calls data without splits "train"
        return {"": next(iter(loaded.values()))}, []
    if not known:
        raise DataError(
            f"{_NAME}: {name} has the splits {', '.join(map(repr, loaded))}; needed some of {', '.join(SPLITS)}."
        )
    notes = [f"{_NAME}:{name}: left out the split {key!r}." for key in loaded if key not in known]
    return known, notes


def _write_images(
    folder: Path, parts: dict[str, Any], columns: HFColumns, notes: list[str], labels: LabelForm
) -> list[Record]:
    records: list[Record] = []
    unlabelled: Counter[str] = Counter()
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        for part, dataset in parts.items():
            total = len(dataset) if hasattr(dataset, "__len__") else None
            found = _rows(dataset, part, columns, notes, labels)
            rows = progress.track(found, total=total, description="Writing images")
            for number, row in enumerate(rows, start=1):
                if row.label is None:
                    unlabelled[part] += 1
                    continue
                file = _write_image(row.image, folder / "images" / f"{part or 'all'}-{number:07d}", part, number)
                records.append(Record(str(file), row.text, row.label, row.split))
    notes += [f"{_NAME}: left out {count} rows without label{_of(part)}." for part, count in unlabelled.items()]
    return records


def _rows(dataset: Any, part: str, columns: HFColumns, notes: list[str], labels: LabelForm) -> Iterator[_Row]:
    from datasets import ClassLabel
    from datasets import Image as ImageFeature

    # Kinds are passed on because `datasets` may be absent where this module is imported.
    kinds = {"image": ImageFeature, "label": ClassLabel}
    features = dataset.features
    if features is None:  # a stream tells its columns with its first row
        first = next(iter(dataset), None)
        if first is None:
            return
        features = dict.fromkeys(first)
    names = _choose(features, columns, kinds, part)
    if isinstance(features[names.image], ImageFeature):
        dataset = dataset.cast_column(names.image, ImageFeature(decode=False))
    if names.text is None:
        found = ", ".join(map(repr, features))
        notes.append(
            f"{_NAME}: no column 'text'{_of(part)}, found {found}: texts are blank. Give text=COLUMN for others."
        )
    keep = [name for name in names if name]
    feature = features[names.label]
    feature = getattr(feature, "feature", feature)  # of a list, what it lists
    classes = feature if isinstance(feature, ClassLabel) else None
    split = normalise_split(part) or ""
    for number, row in enumerate(_read_rows(dataset.select_columns(keep), part), start=1):
        named = str(row[names.split]) if names.split and row[names.split] is not None else ""
        known = normalise_split(named) if named else split
        if known is None:
            raise DataError(
                f"{_NAME}: row {number}{_of(part)}: unknown split {named!r}; needed {', '.join(SPLITS)}."
                f"{suggest(named, SPLITS)}"
            )
        text = row[names.text] if names.text else None
        label = _to_label(row[names.label], classes, labels, f"row {number}{_of(part)}")
        yield _Row(row[names.image], _to_text(text), label, known)


def _read_rows(dataset: Any, part: str) -> Iterator[dict[str, Any]]:
    number = 0
    try:
        for number, row in enumerate(dataset, start=1):  # noqa: B007 (read after the loop)
            yield row
    except Exception as error:  # a stream may break off, and each file format raises its own
        raise DataError(
            f"{_NAME}: reading stopped after row {number}{_of(part)}: {type(error).__name__}: "
            f"{_one_line(error)} Nothing was kept; run it again, or save the dataset to disk first."
        ) from None


def _choose(features: Any, columns: HFColumns, kinds: dict[str, type], part: str) -> _Chosen:
    """The columns by the names given, their roles' names, or as the only one of the fitting type."""
    found = ", ".join(map(repr, features))
    chosen: dict[str, str | None] = {}
    for role, given in columns._asdict().items():
        kind = kinds.get(role)
        typed = [name for name, feature in features.items() if kind is not None and isinstance(feature, kind)]
        name = given or (role if role in features else typed[0] if len(typed) == 1 else None)
        if name not in features and (given or kind):
            raise DataError(
                f"{_NAME}: no column {given or role!r}{_of(part)}; found {found}.{suggest(given or role, features)} "
                f"Name the column of the {role}s with {_NAME}:NAME,{role}=COLUMN."
            )
        chosen[role] = name
    return _Chosen(str(chosen["image"]), str(chosen["label"]), chosen["text"], chosen["split"])


def _write_image(image: Any, stem: Path, part: str, number: int) -> Path:
    """Write the bytes as they are, the suffix by what they are; damaged ones too, for the check of images to report."""
    content = image.get("bytes") if isinstance(image, dict) else image
    if content is None and isinstance(image, dict) and image.get("path"):
        content = Path(image["path"])
    try:
        content = content.read_bytes() if isinstance(content, Path) else content
    except OSError as error:
        raise DataError(
            f"{_NAME}: row {number}{_of(part)}: the image file {content} cannot be read: {error.strerror}."
        ) from None
    if not isinstance(content, bytes):
        raise DataError(
            f"{_NAME}: row {number}{_of(part)}: the image is {type(image).__name__} {str(image)[:80]!r}; needed a "
            f"column of the type Image, or the bytes of an image file."
        )
    file = stem.with_suffix(_suffix(content))
    file.write_bytes(content)
    return file


def _suffix(content: bytes) -> str:
    try:
        with Image.open(io.BytesIO(content)) as picture:
            return f".{(picture.format or 'img').lower()}".replace(".jpeg", ".jpg")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return ".img"


def _to_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return " ".join(value.split())
    if isinstance(value, Iterable) and not isinstance(value, bytes | dict):
        return ", ".join(text for text in map(_to_text, value) if text)
    return str(value)


def _to_label(value: Any, classes: Any, form: LabelForm, place: str) -> str | None:
    """The class's name; None for a row that has none, as test sets have that were published without labels (-1).

    Of form "multi" a comma list of names, "" where the list is empty.
    """
    if not isinstance(value, list):
        name = _to_class(value, classes)
        return None if name is None else canonical_label(name, form)
    if form == "single":
        raise DataError(
            f"{_NAME}: {place}: the label is the list {str(value)[:80]}; needed one class an image. If an image may "
            f"have several, add --labels multi; for another column, {_NAME}:NAME,label=COLUMN."
        )
    names = [name for name in (_to_class(each, classes) for each in value) if name is not None]
    torn = [name for name in names if "," in name]
    if torn:
        raise DataError(
            f"{_NAME}: {place}: the label lists {torn[0]!r}; needed names without a comma, since marnet parts the "
            f"classes of an image by commas. Rename that class."
        )
    return canonical_label(", ".join(names), form)


def _to_class(value: Any, classes: Any) -> str | None:
    if value is None or (classes is not None and value == -1):
        return None
    return str(classes.int2str(value)) if classes is not None else str(value).strip() or None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:500].rstrip(".") + "."


def _of(part: str) -> str:
    return f" of split {part!r}" if part else ""
