"""A val split for data that is published with train and test alone."""

import dataclasses

from marnet.data.manifest import Manifest, left_out_notes
from marnet.data.splits import UNLABELLED, fill_splits, trained_on


def hold_out_val(manifest: Manifest, *, share: float, seed: int) -> Manifest:
    """Move a stratified share of train to val, where there is none; test stays as published.

    Args:
        manifest: one with a split val, or without rows in train, is returned as it is.
        share: share of train's rows, class by class.
        seed: of the choice.
    """
    rows = [record for record in manifest.records if trained_on(record.split)]
    labelled = manifest.splits().get("train", 0)
    if not labelled or "val" in manifest.splits():
        return manifest
    splits = fill_splits(
        [UNLABELLED if row.split == UNLABELLED else "" for row in rows],
        [row.image for row in rows],
        [manifest.names(row) for row in rows],
        groups=[row.group for row in rows],
        val_share=share,
        test_share=0,
        seed=seed,
    )
    drawn = iter(splits)
    filled = (record._replace(split=next(drawn)) if trained_on(record.split) else record for record in manifest.records)
    records = tuple(record for record in filled if record.split)
    note = (
        f"{manifest.source} has no split val: {splits.count('val')} of {labelled} images of train became it, "
        f"stratified, with seed {seed}."
    )
    more = left_out_notes(manifest.source, splits.count(""))
    return dataclasses.replace(manifest, records=records, notes=(*manifest.notes, *more, note))


def split_unsplit(manifest: Manifest, *, val_share: float, test_share: float, seed: int) -> Manifest:
    """Give every row of a manifest without splits (all "", or "unlabelled") one of a stratified split.

    Raises:
        DataError: the shares leave nothing for train.
    """
    splits = fill_splits(
        [row.split for row in manifest.records],
        [row.image for row in manifest.records],
        [manifest.names(row) for row in manifest.records],
        groups=[row.group for row in manifest.records],
        val_share=val_share,
        test_share=test_share,
        seed=seed,
    )
    filled = (record._replace(split=split) for record, split in zip(manifest.records, splits, strict=True))
    records = tuple(record for record in filled if record.split)
    made = dataclasses.replace(manifest, records=records, made_splits=True)
    counts = ", ".join(f"{name} {count}" for name, count in made.splits().items())
    note = f"{manifest.source} names no splits: made a stratified one with seed {seed}, {counts}."
    more = left_out_notes(manifest.source, splits.count(""))
    return dataclasses.replace(made, notes=(*manifest.notes, *more, note))
