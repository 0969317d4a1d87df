"""Labels as they stand in a column, made one per class: lists in brackets, and one name in several spellings."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence

from marnet.choices import LabelForm
from marnet.data.labels import label_names
from marnet.errors import DataError

_ENTRY = r"""\s*(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")\s*"""
_ENTRIES = rf"(?:{_ENTRY}(?:,{_ENTRY})*,?)?\s*"
_LIST = re.compile(rf"\[{_ENTRIES}\]", re.DOTALL)
_TUPLE_OR_SET = re.compile(rf"\((?=.){_ENTRIES}\)|\{{{_ENTRIES}\}}", re.DOTALL)
_QUOTED = re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)\"""", re.DOTALL)
_EXAMPLES = 5
_OTHER_MARKS = (";", "|")  # that some tables put between classes
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")
_NUMBER = re.compile(r"0*(\d+)(?:\.0+)?")


def read_label_cells(
    source: str, cells: Sequence[str], form: LabelForm, *, place: Callable[[int], str]
) -> tuple[list[str], list[str]]:
    """Return the labels of some cells, and notes on how they were read.

    Of form "multi" a cell may be a list, tuple or set as Python or JSON writes it, `['basil', 'tomato']`. Names that
    are equal but for the Unicode form (one character, or a letter and its accent) become one.

    Args:
        source: the name of the source, for notes.
        cells: the labels of the N rows.
        form: of the labels.
        place: names the table and line of a row, for messages.

    Raises:
        DataError: a cell begins like a list or a dictionary, but cannot be read as a list of names.
    """
    notes = []
    labels = list(cells)
    if form == "multi":
        listed = [
            row
            for row, cell in enumerate(cells)
            if (cell.startswith("[") and cell.endswith("]")) or _TUPLE_OR_SET.fullmatch(cell)
        ]
        for row in listed:
            labels[row] = _join(cells[row], place(row))
        if listed:
            notes.append(
                f"{source}: {len(listed)} labels are lists in brackets, such as {cells[listed[0]]!r}; each of their "
                f"entries is a class."
            )
        notes += _mark_notes(source, labels)
    else:
        notes += _one_name_notes(source, labels)
    _refuse_dictionaries(labels, place)
    counts = Counter(name for label in labels for name in label_names(label, form))
    changed = _one_form(counts)
    if changed:
        labels = [_replace(label, changed, form) for label in labels]
        shown = ", ".join(f"{new!r}" for new in sorted(set(changed.values()))[:_EXAMPLES])
        rows = sum(counts[old] for old in changed)
        notes.append(
            f"{source}: names of {len(set(changed.values()))} classes stand in two Unicode forms, {shown}; they were "
            f"made equal in {rows} rows."
        )
    return labels, [*notes, *_alike_notes(source, counts)]


def _join(cell: str, place: str) -> str:
    if _LIST.fullmatch(cell) is None and _TUPLE_OR_SET.fullmatch(cell) is None:
        raise DataError(
            f"{place}: the label {cell[:80]!r} begins like a list, but its entries are not quoted names with commas "
            f"between them. Write the classes as basil, tomato or as ['basil', 'tomato']."
        )
    names = [re.sub(r"\\(.)", r"\1", one or other) for one, other in _QUOTED.findall(cell)]
    torn = [name for name in names if "," in name]
    if torn:
        raise DataError(
            f"{place}: the label lists {torn[0]!r}, but commas separate the classes of a label, so a name must not "
            f"hold one. Rename that class."
        )
    return ", ".join(name.strip() for name in names if name.strip())


def _refuse_dictionaries(labels: Sequence[str], place: Callable[[int], str]) -> None:
    rows = [row for row, label in enumerate(labels) if re.match(r"\{\s*['\"]", label) and label.endswith("}")]
    if rows:
        named = sum(map(bool, labels))
        others = "as all others are" if len(rows) == named else f"as {len(rows)} of {named} labels are"
        raise DataError(
            f"{place(rows[0])}: the label {labels[rows[0]][:80]!r} is a dictionary, {others}. Write the name of the "
            f"class alone into the column."
        )


def _one_name_notes(source: str, labels: Sequence[str]) -> list[str]:
    """Return a note where labels, taken for one class each, are lists of one name."""
    lists = [label for label in labels if _LIST.fullmatch(label) and len(_QUOTED.findall(label)) == 1]
    if not lists:
        return []
    return [
        f"{source}: {len(lists)} labels are lists of one name, such as {lists[0]!r}, and each counts as the name of a "
        f"class as it stands. If labels list classes, set `data.labels=multi`; else write the names alone."
    ]


def _mark_notes(source: str, labels: Sequence[str]) -> list[str]:
    """Return a note where no label has a comma, but labels have another mark that may separate classes."""
    if any("," in label for label in labels):
        return []
    return [
        f"{source}: {len(marked)} labels hold {mark!r}, such as {marked[0][:80]!r}, and each counts as one class. If "
        f"they list several classes, separate them by commas."
        for mark in _OTHER_MARKS
        if (marked := [label for label in labels if mark in label])
    ]


def _one_form(counts: Counter[str]) -> dict[str, str]:
    """Return the names to replace: those that have an equal one in another Unicode form."""
    if all(name.isascii() for name in counts):
        return {}
    forms: dict[str, set[str]] = defaultdict(set)
    for name in counts:
        forms[unicodedata.normalize("NFC", name)].add(name)
    return {old: new for new, names in forms.items() if len(names) > 1 for old in names if old != new}


def _replace(label: str, changed: dict[str, str], form: LabelForm) -> str:
    return ", ".join(changed.get(name, name) for name in label_names(label, form))


def _alike_notes(source: str, counts: Counter[str]) -> list[str]:
    """Return notes where names look alike: they are classes of their own, which may be a slip."""
    names = {unicodedata.normalize("NFC", name) for name in counts}
    in_case = _alike(names, str.casefold)
    known = {name for alike in in_case for name in alike}
    reasons = {
        "in case alone": in_case,
        "in white space, invisible characters, or how a number is written": [
            alike for alike in _alike(names, _as_it_looks) if not known.issuperset(alike)
        ],
    }
    return [
        f"{source}: names of {len(found)} classes differ {reason} and count as classes of their own: "
        f"{'; '.join(' and '.join(map(repr, alike)) for alike in found[:_EXAMPLES])}"
        f"{' ...' if len(found) > _EXAMPLES else '.'}"
        for reason, found in reasons.items()
        if found
    ]


def _alike(names: Collection[str], look: Callable[[str], str]) -> list[list[str]]:
    """Return the names that become equal under `look`, sorted."""
    alike: dict[str, set[str]] = defaultdict(set)
    for name in names:
        alike[look(name)].add(name)
    return sorted(sorted(found) for found in alike.values() if len(found) > 1)


def _as_it_looks(name: str) -> str:
    """Return a name in lower case, without invisible characters and runs of white space; `01` and `1.0` are `1`."""
    plain = " ".join(_INVISIBLE.sub("", name).casefold().split())
    number = _NUMBER.fullmatch(plain)
    return number[1] if number else plain
