"""Labels as they stand in a column, made one per class: lists in brackets, and one name in several spellings."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from marnet.choices import LabelForm
from marnet.data.labels import label_names
from marnet.errors import DataError

_ENTRY = r"""\s*(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")\s*"""
_LIST = re.compile(rf"\[(?:{_ENTRY}(?:,{_ENTRY})*,?)?\s*\]", re.DOTALL)
_QUOTED = re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)\"""", re.DOTALL)
_EXAMPLES = 5


def read_label_cells(
    source: str, cells: Sequence[str], form: LabelForm, *, place: Callable[[int], str]
) -> tuple[list[str], list[str]]:
    """Return the labels of some cells, and notes on how they were read.

    Of form "multi" a cell may be a list as Python or JSON writes it, `['basil', 'tomato']`. Names that are equal but
    for the Unicode form (one character, or a letter and its accent) become one.

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
        listed = [row for row, cell in enumerate(cells) if cell.startswith("[") and cell.endswith("]")]
        for row in listed:
            labels[row] = _join(cells[row], place(row))
        if listed:
            notes.append(
                f"{source}: {len(listed)} labels are lists in brackets, such as {cells[listed[0]]!r}; each of their "
                f"entries is a class."
            )
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
    return labels, [*notes, *_case_notes(source, counts)]


def _join(cell: str, place: str) -> str:
    if _LIST.fullmatch(cell) is None:
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
    if rows and len(rows) == sum(map(bool, labels)):
        raise DataError(
            f"{place(rows[0])}: the label {labels[rows[0]][:80]!r} is a dictionary, as all others are. Write the name "
            f"of the class alone into the column."
        )


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


def _case_notes(source: str, counts: Counter[str]) -> list[str]:
    """Return a note where names differ in nothing but case: they are classes of their own, which may be a slip."""
    alike: dict[str, set[str]] = defaultdict(set)
    for name in counts:
        alike[unicodedata.normalize("NFC", name).casefold()].add(unicodedata.normalize("NFC", name))
    pairs = [sorted(names) for names in alike.values() if len(names) > 1]
    if not pairs:
        return []
    shown = "; ".join(" and ".join(map(repr, names)) for names in sorted(pairs)[:_EXAMPLES])
    return [
        f"{source}: names of {len(pairs)} classes differ in case alone and count as classes of their own: {shown}"
        f"{' ...' if len(pairs) > _EXAMPLES else '.'}"
    ]
