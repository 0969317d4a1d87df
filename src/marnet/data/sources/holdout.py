"""A val split for data that is published with train and test alone."""

import dataclasses

from marnet.data.manifest import Manifest
from marnet.data.splits import split_by_classes


def hold_out_val(manifest: Manifest, *, share: float, seed: int) -> Manifest:
    """Move a stratified share of train to val, where there is none; test stays as published.

    Args:
        manifest: one with a split val, or without rows in train, is returned as it is.
        share: share of train's rows, class by class.
        seed: of the choice.
    """
    rows = [record for record in manifest.records if record.split == "train"]
    if not rows or "val" in manifest.splits():
        return manifest
    splits = split_by_classes(
        [row.image for row in rows],
        [manifest.names(row) for row in rows],
        groups=[row.group for row in rows],
        val_share=share,
        test_share=0,
        seed=seed,
    )
    drawn = iter(splits)
    records = tuple(
        record._replace(split=next(drawn)) if record.split == "train" else record for record in manifest.records
    )
    note = (
        f"{manifest.source} has no split val: {splits.count('val')} of {len(rows)} images of train became it, "
        f"stratified, with seed {seed}."
    )
    return dataclasses.replace(manifest, records=records, notes=(*manifest.notes, note))


def split_unsplit(manifest: Manifest, *, val_share: float, test_share: float, seed: int) -> Manifest:
    """Give every row of a manifest without splits (all "") one of a stratified split.

    Raises:
        DataError: the shares leave nothing for train.
    """
    splits = split_by_classes(
        [row.image for row in manifest.records],
        [manifest.names(row) for row in manifest.records],
        groups=[row.group for row in manifest.records],
        val_share=val_share,
        test_share=test_share,
        seed=seed,
    )
    records = tuple(record._replace(split=split) for record, split in zip(manifest.records, splits, strict=True))
    made = dataclasses.replace(manifest, records=records, made_splits=True)
    counts = ", ".join(f"{name} {count}" for name, count in made.splits().items())
    note = f"{manifest.source} names no splits: made a stratified one with seed {seed}, {counts}."
    return dataclasses.replace(made, notes=(*manifest.notes, note))
