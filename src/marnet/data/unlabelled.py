"""Rows of a table without a label: they become rows of the split "unlabelled", or are refused."""

from collections.abc import Sequence

from marnet.data.options import ReadOptions
from marnet.data.splits import UNLABELLED
from marnet.data.tables import Table

_MANY = 0.5  # of the rows; above, a label column is as likely to be damaged as to be filled in part


def mark_unlabelled(table: Table, splits: Sequence[str], options: ReadOptions) -> tuple[list[str], list[str]]:
    """Return the splits of the rows with `UNLABELLED` for those that have no label, and notes on them.

    Where an image has one class, these are the rows of train, or of no split, whose label is blank. Where it has
    several, a blank label says that it has none of the classes, so that only rows count whose split says so.

    Args:
        table: has the column of labels.
        splits: of the rows: one of `ALL_SPLITS`, "" for none.
        options: the name of the column, and whether such rows are used.

    Raises:
        DataError: a label is blank in val or test, in all rows, or in any with `data.unlabelled=refuse`.
    """
    name, single = options.columns.label, options.label_form == "single"
    cells = table.columns[name]
    blank = [row for row, cell in enumerate(cells) if single and not cell and splits[row] != UNLABELLED]
    scored = [row for row in blank if splits[row] in ("val", "test")]
    hint = " If a cell may list several classes or none, set `data.labels=multi`."
    if scored or len(blank) == len(cells) or (blank and options.unlabelled == "refuse"):
        only = " Only rows of train may lack a label." if scored and options.unlabelled == "use" else ""
        raise table.blank(name, scored or blank, only + hint)
    marked = list(splits)
    for row in blank:
        marked[row] = UNLABELLED
    ignored = [row for row, split in enumerate(splits) if split == UNLABELLED and cells[row]]
    notes = []
    if blank:
        notes.append(
            f"{table.name}: {len(blank)} of {len(cells)} rows have a blank {name!r} ({table.where(blank)}) and make up "
            f"the split {UNLABELLED!r}, from which training may learn.{_doubt(len(blank), len(cells))} To stop at such "
            f"rows, set `data.unlabelled=refuse`.{table.missing_words(name)}"
        )
    if ignored:
        notes.append(
            f"{table.name}: the split of {len(ignored)} rows is {UNLABELLED!r} ({table.where(ignored)}), so their "
            f"labels are not read."
        )
    return marked, notes


def without_label_notes(source: str, count: int) -> list[str]:
    """Return a note on the rows of the split `UNLABELLED` of a source."""
    if not count:
        return []
    return [f"{source}: {count} rows without a label make up the split {UNLABELLED!r}, from which training may learn."]


def _doubt(blank: int, rows: int) -> str:
    return " That is most of them: is the column whole?" if blank > _MANY * rows else ""
