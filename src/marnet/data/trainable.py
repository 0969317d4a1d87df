"""Whether a classifier can learn from the rows of a manifest, and be scored on them."""

import logging
from collections import Counter

from marnet.data.manifest import Manifest, count_classes, count_splits
from marnet.data.splits import SPLITS
from marnet.errors import DataError, list_some

_logger = logging.getLogger("marnet")


def check_trainable(manifest: Manifest) -> None:
    """Refuse a manifest that no classifier can learn from and be scored on.

    Raises:
        DataError: train or val is empty or names no class, train has one class only, or a class has no training image.
    """
    rows = {name: count_classes(manifest, name) for name in SPLITS}
    present = manifest.splits()
    for name in ("train", "val"):
        if name not in present:
            found = count_splits(record.split for record in manifest.records)
            raise DataError(
                f"{manifest.source} has no rows in split {name!r}; found {found}. Training needs train and val: give "
                f"some rows that split, or leave the split column out and let a stratified split be made."
            )
        if not rows[name]:
            raise DataError(
                f"{manifest.source} names no class in any of the {present[name]} rows of split {name!r}. "
                f"Training needs classes to learn and to score. Check the label column."
            )
    if len(rows["train"]) < 2:
        only, count = rows["train"].most_common(1)[0]
        raise DataError(
            f"{manifest.source} has only one class in split 'train': {only!r} ({count} images). A classifier needs two "
            f"or more. Check the label column."
        )
    unlearned = [name for name in manifest.classes if name not in rows["train"]]
    if unlearned:
        listed = ", ".join(f"{name!r} ({_count_label(rows, name)})" for name in unlearned[:5])
        listed += f" and {len(unlearned) - 5:,} more" if len(unlearned) > 5 else ""
        raise DataError(
            f"{manifest.source} has labels without a training image: {listed}. Move images of these classes to train, "
            f"or remove their rows."
        )
    single = [name for name in manifest.classes if rows["train"][name] == 1]
    if single:
        _logger.warning(
            "%s has classes with a single training image, from which little can be learned: %s.",
            manifest.source,
            list_some(single),
        )


def _count_label(rows: dict[str, Counter[str]], label: str) -> str:
    return ", ".join(f"{split} {counts[label]}" for split, counts in rows.items() if counts[label]) or "no rows"
