"""The rows of a Hugging Face dataset: which columns are read, and each row's text, label and split."""

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from marnet.choices import LabelForm
from marnet.data.labels import canonical_label
from marnet.data.options import ColumnNames, ReadOptions
from marnet.data.splits import ALL_SPLITS, SPLITS, UNLABELLED, normalise_split, split_of_cell
from marnet.errors import DataError, list_some, suggest


class HFPart(NamedTuple):
    """One split of a dataset, with the columns that are read of it."""

    name: str  # of the split, "" for a dataset without splits
    dataset: Any
    columns: "_Chosen"
    classes: Any  # the `ClassLabel` feature of the labels, or None
    notes: tuple[str, ...]


class HFRow(NamedTuple):
    """One row of a dataset."""

    number: int  # in its part, from 1
    image: Any  # a cell of a column of undecoded images: {"bytes": ..., "path": ...}
    text: str
    label: str | None  # None for a row of val or test without label; "" in the split "unlabelled"
    split: str  # "" where nothing names one
    group: str  # "" for none


class _Chosen(NamedTuple):
    """The columns that are read; a dataset may have no texts and name no splits or groups."""

    image: str
    label: str
    text: str | None
    split: str | None
    group: str | None


def list_parts(loaded: Any, source: str) -> tuple[dict[str, Any], list[str]]:
    """Return the dataset of each split by its name ("" for a dataset without splits), and notes.

    Args:
        loaded: a dataset, or a mapping of datasets by split.
        source: its name, for messages.

    Raises:
        DataError: no name of a split is known.
    """
    if not isinstance(loaded, dict):
        return {"": loaded}, []
    known = {key: part for key, part in loaded.items() if normalise_split(key)}
    if len(loaded) == 1:  # `load_dataset` calls data without splits "train"
        return {"": next(iter(loaded.values()))}, []
    if not known:
        raise DataError(f"{source} has the splits {list_some(loaded)}, but it must have some of {', '.join(SPLITS)}.")
    return known, [f"{source}: left out the split {key!r}." for key in loaded if key not in known]


def open_part(dataset: Any, name: str, columns: ColumnNames, *, source: str) -> HFPart | None:
    """Choose the columns of one split; None for a stream without a row.

    Raises:
        DataError: a column is missing.
    """
    from datasets import ClassLabel
    from datasets import Image as ImageFeature

    features = dataset.features
    if features is None:  # a stream tells its columns with its first row
        first = next(iter(dataset), None)
        if first is None:
            return None
        features = dict.fromkeys(first)
    # Kinds are passed on because `datasets` may be absent where this module is imported.
    chosen = _choose(features, columns, {"image": ImageFeature, "label": ClassLabel}, f"{source}: ", of_split(name))
    if isinstance(features[chosen.image], ImageFeature):
        dataset = dataset.cast_column(chosen.image, ImageFeature(decode=False))
    notes = []
    if chosen.text is None:
        found = list_some(features)
        notes.append(
            f"{source}: no column 'text'{of_split(name)}, found {found}: texts are blank. Name another column with "
            f"`data.columns.text=NAME`."
        )
    feature = features[chosen.label]
    feature = getattr(feature, "feature", feature)  # of a list, the feature of its items
    classes = feature if isinstance(feature, ClassLabel) else None
    return HFPart(name, dataset.select_columns([each for each in chosen if each]), chosen, classes, tuple(notes))


def read_rows(part: HFPart, options: ReadOptions, *, source: str) -> Iterator[HFRow]:
    """Yield the rows of one split.

    Raises:
        DataError: reading breaks off, or a row has an unknown split or a label of another form.
    """
    names = part.columns
    split = normalise_split(part.name) or ""
    for number, row in enumerate(_iterate(part, source), start=1):
        place = f"{source}: row {number}{of_split(part.name)}"
        named = str(row[names.split]) if names.split and row[names.split] is not None else ""
        known = split_of_cell(named) if named else split
        if known is None:
            raise DataError(
                f"{place}: unknown split {named!r}. Expected {', '.join(ALL_SPLITS)}.{suggest(named, ALL_SPLITS)}"
            )
        text = _to_text(row[names.text]) if names.text else ""
        label = _to_label(row[names.label], part.classes, options.label_form, place)
        single = options.label_form == "single"  # of several classes, a missing list is left out as before
        if known == UNLABELLED or (label is None and single and known in ("", "train") and options.unlabelled == "use"):
            label, known = "", UNLABELLED
        group = "" if names.group is None or row[names.group] is None else str(row[names.group])
        yield HFRow(number, row[names.image], text, label, known, group)


def of_split(name: str) -> str:
    """Return " of split 'val'" for messages, "" for a dataset without splits."""
    return f" of split {name!r}" if name else ""


def one_line(error: Exception) -> str:
    """Return the message of a foreign error on one line, ending with a full stop."""
    return " ".join(str(error).split())[:500].rstrip(".") + "."


def _iterate(part: HFPart, source: str) -> Iterator[dict[str, Any]]:
    number = 0
    try:
        for number, row in enumerate(part.dataset, start=1):  # noqa: B007 (read after the loop)
            yield row
    except Exception as error:  # a stream may break off, and each file format raises its own
        raise DataError(
            f"{source}: reading stopped after row {number}{of_split(part.name)}: {type(error).__name__}: "
            f"{one_line(error)} Nothing was kept; run it again, or save the dataset to disk first."
        ) from None


def _choose(features: Any, columns: ColumnNames, kinds: dict[str, type], place: str, of: str) -> _Chosen:
    """Choose the columns by the names given, their roles' names, or as the only one of the fitting type."""
    found = list_some(features)
    chosen: dict[str, str | None] = {}
    for role, column in columns._asdict().items():
        kind = kinds.get(role)
        typed = [name for name, feature in features.items() if kind is not None and isinstance(feature, kind)]
        given = not columns.is_usual(role)
        alike = [name for name in features if name.casefold() == column.casefold()]
        usual = column if column in features else alike[0] if len(alike) == 1 else None
        name = usual or (column if given else typed[0] if len(typed) == 1 else None)
        if name not in features and (given or kind):
            raise DataError(
                f"{place}no column {column!r}{of}; found {found}.{suggest(column, features)} "
                f"Name the column of the {role}s with `data.columns.{role}=NAME`."
            )
        chosen[role] = name
    return _Chosen(str(chosen["image"]), str(chosen["label"]), chosen["text"], chosen["split"], chosen["group"])


def _to_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return " ".join(value.split())
    if isinstance(value, Iterable) and not isinstance(value, bytes | dict):
        return ", ".join(text for text in map(_to_text, value) if text)
    return str(value)


def _to_label(value: Any, classes: Any, form: LabelForm, place: str) -> str | None:
    """Return the name of the class; None for a row without one, as in test sets published without labels (-1).

    Of form "multi" a comma list of names, "" where the list is empty.
    """
    if not isinstance(value, list):
        name = _to_class(value, classes)
        return None if name is None else canonical_label(name, form)
    if form == "single":
        raise DataError(
            f"{place}: the label is the list {str(value)[:80]}, but it must be one class per image. If an image may "
            f"have several, set `data.labels=multi`; for another column, `data.columns.label=NAME`."
        )
    names = [name for name in (_to_class(each, classes) for each in value) if name is not None]
    torn = [name for name in names if "," in name]
    if torn:
        raise DataError(
            f"{place}: the label lists {torn[0]!r}, but commas separate the classes of a label, so a name must not "
            f"hold one. Rename that class."
        )
    return canonical_label(", ".join(names), form)


def _to_class(value: Any, classes: Any) -> str | None:
    if value is None or (classes is not None and value == -1) or (isinstance(value, float) and math.isnan(value)):
        return None
    return str(classes.int2str(value)) if classes is not None else str(value).strip() or None
