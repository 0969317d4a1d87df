"""The meaning of a row's label: one class, or a comma list of classes. Code elsewhere asks for the names."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from marnet.choices import LabelForm
from marnet.errors import DataError

LABEL_INDEX = "label_index"  # a manifest's column where the classes are not in natural order
_MANY_COMMAS = 0.1  # of the rows; below, commas are taken for a part of some names


def natural_order(names: Iterable[str]) -> tuple[str, ...]:
    """Unique names, sorted with numbers in them by value: "dish 2" before "dish 10"."""

    def key(name: str) -> tuple[list[str | int], str]:
        # Splitting at a group of digits alternates text and number, so like is compared with like.
        parts = re.split(r"(\d+)", name)
        return [int(part) if position % 2 else part for position, part in enumerate(parts)], name

    return tuple(sorted(set(names), key=key))


def label_names(label: str, form: LabelForm) -> tuple[str, ...]:
    """Return the classes that a label names: itself unless it is ""; of form "multi" those between its commas."""
    return _split(label) if form == "multi" else (label,) if label else ()


def canonical_label(label: str, form: LabelForm) -> str:
    """Return the label as a `Record` holds it: of form "multi" each class once, in natural order."""
    return ", ".join(natural_order(_split(label))) if form == "multi" else label


def list_classes(labels: Iterable[str], form: LabelForm) -> tuple[str, ...]:
    """Return all classes that some labels name, in natural order."""
    return natural_order(name for label in set(labels) for name in label_names(label, form))


def numbered_classes(labels: Sequence[str], numbers: Sequence[str], form: LabelForm) -> tuple[str, ...] | None:
    """Return all classes in the order of their numbers, given one cell of numbers per label; None if they contradict.

    Args:
        labels: as they stand in the file.
        numbers: whole numbers; of form "multi" a comma list, one per class of the label.
        form: of the labels.
    """
    pairs: set[tuple[str, str]] = set()
    for label, number in set(zip(labels, numbers, strict=True)):
        names, own = label_names(label, form), label_names(number, form)
        if len(names) != len(own):
            return None
        pairs |= set(zip(names, own, strict=True))
    by_number = {number: name for name, number in pairs}
    if len({name for name, _ in pairs}) != len(pairs) or len(by_number) != len(pairs):
        return None
    if not all(map(str.isdecimal, by_number)):
        return None
    return tuple(by_number[number] for number in sorted(by_number, key=int))


def multi_hot(labels: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """Return `(N, C)` float32, 1 for the classes that each comma list names and else 0.

    Raises:
        DataError: a name is not among the classes.
    """
    names = [_split(label) for label in labels]
    numbers = number_classes([name for each in names for name in each], classes)
    hot = np.zeros((len(labels), len(classes)), np.float32)
    rows = np.repeat(np.arange(len(labels)), [len(each) for each in names])
    hot[rows, numbers] = 1
    return hot


def number_classes(names: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """Return the position of each name in `classes`, `(N,)` int64.

    Raises:
        DataError: a name is not among the classes.
    """
    numbers = {name: index for index, name in enumerate(classes)}
    unknown = Counter(name for name in names if name not in numbers)
    if unknown:
        raise DataError(
            f"Some labels are not among the {len(classes)} classes: {_some(unknown)}. "
            f"Expected labels such as {', '.join(repr(name) for name in classes[:3])}."
        )
    return np.array([numbers[name] for name in names], np.int64)


def comma_notes(source: str, labels: Sequence[str], form: LabelForm) -> list[str]:
    """Return a note where many labels, taken for one class each, look like lists of classes."""
    with_comma = [label for label in labels if len(_split(label)) > 1]
    if form == "multi" or len(with_comma) < _MANY_COMMAS * len(labels) or not with_comma:
        return []
    return [
        f"{source}: {len(with_comma)} of {len(labels)} labels hold a comma, such as {with_comma[0]!r}, and each counts "
        f"as one class. If they list several classes, set `data.labels=multi`."
    ]


def _split(label: str) -> tuple[str, ...]:
    return tuple(name for name in (part.strip() for part in label.split(",")) if name)


def _some(counts: Counter[str]) -> str:
    shown = ", ".join(f"{name!r} ({count} rows)" for name, count in sorted(counts.items())[:5])
    return shown + (f" and {len(counts) - 5} more" if len(counts) > 5 else "")
