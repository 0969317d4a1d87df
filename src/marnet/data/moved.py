"""Images that a run knows by paths at which they no longer are."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from marnet.data.image_bytes import file_of, name_of
from marnet.data.manifest import Manifest, Record
from marnet.data.splits import SPLITS, UNLABELLED
from marnet.errors import DataError, MarnetError

_EXAMPLES = 5


def refuse_missing_images(records: Sequence[Record], subject: str, *, skip: bool) -> None:
    """Refuse rows of a run whose images do not exist any more; `data` names them at their new place.

    Args:
        records: the rows.
        subject: whose rows they are, such as "The run runs/p, split 'val'".
        skip: missing images are skipped, so that only rows without any image are refused.

    Raises:
        DataError: images are missing.
    """
    missing = [record.image for record in records if not os.path.lexists(file_of(record.image))]
    if not missing or (skip and len(missing) < len(records)):
        return
    listing = "".join(f"\n  {image}" for image in missing[:_EXAMPLES])
    more = f"\n  ... and {len(missing) - _EXAMPLES} more" if len(missing) > _EXAMPLES else ""
    raise DataError(
        f"{subject}, has {len(records)} images, of which {len(missing)} do not exist any more:{listing}{more}\n"
        f"If they were moved, name the data at its new place with `data`; else restore them."
    )


def moved_rows(recorded: Manifest, found: Manifest) -> Manifest:
    """Return the recorded rows with the images of the same rows elsewhere.

    Args:
        recorded: the rows of a run.
        found: the rows that were read at the new place. Names of images without folders, texts, labels and splits must
            be those of `recorded`, in the same order.

    Raises:
        DataError: the rows are others.
    """
    pairs = list(zip(recorded.records, found.records, strict=False))
    other = [number for number, (old, new) in enumerate(pairs, start=1) if _without_folder(old) != _without_folder(new)]
    if len(recorded.records) != len(found.records) or other:
        first = f"; row {other[0]} is the first that differs" if other else ""
        raise DataError(
            f"{found.source} has {len(found.records)} rows that are not the {len(recorded.records)} rows of the run"
            f"{first}. A run is resumed with its own rows: only the folder of their images may be another. Name the "
            f"same data at its new place, or train anew with another `out`."
        )
    rows = tuple(old._replace(image=new.image) for old, new in pairs)
    return Manifest(rows, recorded.classes, recorded.source, found.notes, recorded.label_form)


def _without_folder(record: Record) -> tuple[str, ...]:
    return (Path(name_of(record.image)).name, *record[1:])


def rows_without_splits(found: Manifest, own_rows: Callable[[], Manifest], split: str) -> Manifest:
    """Return rows that are to be scored and whose source names no splits: all of them as one split.

    If they are the rows of the run, perhaps with images at a new place, they keep the splits of the run, so that rows
    of training are not scored as unseen ones.

    Args:
        found: the rows, with splits made here.
        own_rows: gives the rows of the run.
        split: the split that is scored.
    """
    notes = found.notes[:-1]  # without the one on the splits made here
    try:
        own = own_rows().records
    except MarnetError:  # a run whose rows are lost can still be scored on others
        own = ()
    if list(map(_content, own)) == list(map(_content, found.records)):
        splits = [record.split for record in own]
        note = f"{found.source} names no splits and holds the rows of the run, which keep the splits they have there."
    else:
        scored = split if split in SPLITS else "val"
        splits = [UNLABELLED if row.split == UNLABELLED else scored for row in found.records]
        labelled = "" if UNLABELLED not in splits else " that have a label"
        note = f"{found.source} names no splits: all its {splits.count(scored)} rows{labelled} are scored."
    records = tuple(row._replace(split=each) for row, each in zip(found.records, splits, strict=True))
    return dataclasses.replace(found, records=records, notes=(*notes, note), made_splits=False)


def _content(record: Record) -> tuple[str, str, str]:
    return Path(name_of(record.image)).name, record.text, record.label
