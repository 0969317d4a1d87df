"""Groups of rows, such as several photos of one product, and texts that stand in more than one split.

Splits that marnet makes keep groups whole (`marnet.data.splits`). Where a source brings its own splits, those that
cross them are counted here, for warnings and for 'marnet data check'.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from marnet.data.manifest import Manifest, Record
from marnet.data.splits import ALL_SPLITS, UNLABELLED, trained_on

EXAMPLES = 5
_TEXTS_PER_CLASS = 2  # on average, or more: texts that describe images; below, they describe classes
_ROWS_PER_TEXT = 20  # on average, or less; a text of more images describes no single product


class Crossing(NamedTuple):
    """A group or a text whose rows stand in more than one split."""

    name: str
    splits: tuple[str, ...]
    records: tuple[Record, ...]


def groups_across_splits(manifest: Manifest) -> list[Crossing]:
    """Return the groups whose rows stand in more than one split, in the order of their names."""
    return _crossings((record.group, record) for record in manifest.records)


def texts_across_splits(manifest: Manifest) -> list[Crossing]:
    """Return the texts that different images have in more than one split, where a text may be that of one product.

    Texts are compared in lower case and with single spaces. Nothing is returned where the texts describe classes (less
    than two of them per class, or more than twenty images each), because such texts cross splits by nature. Rows that
    have a group are left out: their group says which of them belong together.
    """
    labelled = [record for record in manifest.records if record.split != UNLABELLED]
    plain = {text: plain_text(text) for text in {record.text for record in manifest.records}}
    several = manifest.label_form == "multi"  # then a label is a set of classes, and says nothing about texts
    pairs = {("" if several else record.label, plain[record.text]) for record in labelled if plain[record.text]}
    classes = {label for label, _ in pairs}
    rows = sum(bool(plain[record.text]) for record in labelled)
    if len(pairs) < _TEXTS_PER_CLASS * len(classes) or rows > _ROWS_PER_TEXT * len(pairs):
        return []
    found = _crossings((plain[record.text], record) for record in manifest.records if not record.group)
    return [each for each in found if len({record.image for record in each.records}) > 1]


def split_warnings(manifest: Manifest) -> list[str]:
    """Return a sentence on the groups, and one on the texts, that stand in more than one split."""
    warnings = []
    groups = groups_across_splits(manifest)
    if groups:
        warnings.append(f"{manifest.source}: {groups_sentence(groups)} {_examples(groups)}")
    texts = texts_across_splits(manifest)
    if texts:
        warnings.append(f"{manifest.source}: {texts_sentence(texts)} {_examples(texts)}")
    return warnings


def groups_sentence(crossings: Sequence[Crossing]) -> str:
    """Return how many groups cross splits, and the way out."""
    one = len(crossings) == 1
    return (
        f"{len(crossings)} group{' has' if one else 's have'} rows in more than one split, so metrics on val and test "
        f"are too optimistic. Give all rows of a group the same split, or leave the column of splits out, so that "
        f"marnet makes splits that keep groups whole."
    )


def texts_sentence(crossings: Sequence[Crossing]) -> str:
    """Return how many texts cross splits, and the way out."""
    one = len(crossings) == 1
    return (
        f"{len(crossings)} text{' is' if one else 's are'} that of different images in more than one split. If these "
        f"are photos of one product, metrics on val and test are too optimistic: name the column that says which rows "
        f"belong together with `data.columns.group=NAME`, and leave the column of splits out, if there is one."
    )


def plain_text(text: str) -> str:
    """Return a text as the encoders compare its words: in lower case, with single spaces.

    Example:
        >>> plain_text(" Red,  round ")
        'red, round'
    """
    return " ".join(text.lower().split())


def _crossings(rows: Iterable[tuple[str, Record]]) -> list[Crossing]:
    """Return the names other than "" whose rows stand in more than one split."""
    found: dict[str, list[Record]] = defaultdict(list)
    for name, record in rows:
        if name:
            found[name].append(record)
    crossings = []
    for name, records in sorted(found.items()):
        splits = {record.split for record in records}
        if len(splits) > 1 and not all(map(trained_on, splits)):
            crossings.append(Crossing(name, tuple(split for split in ALL_SPLITS if split in splits), tuple(records)))
    return crossings


def _examples(crossings: Sequence[Crossing]) -> str:
    shown = "; ".join(f"{_short(each.name)!r} ({', '.join(each.splits)})" for each in crossings[:EXAMPLES])
    more = f"; and {len(crossings) - EXAMPLES} more" if len(crossings) > EXAMPLES else ""
    return f"Found: {shown}{more}."


def _short(name: str) -> str:
    return name if len(name) <= 60 else f"{name[:57]}..."
