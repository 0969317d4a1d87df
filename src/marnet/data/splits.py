"""The names of splits, and the seeded stratified split of rows that have none."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from random import Random

from marnet.errors import DataError

SPLITS = ("train", "val", "test")
_OTHER_NAMES = {
    "training": "train",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "testing": "test",
}


def normalise_split(name: str) -> str | None:
    """Return one of `SPLITS` for it or another common name of it in any case; None if the name is unknown."""
    name = name.strip().lower()
    name = _OTHER_NAMES.get(name, name)
    return name if name in SPLITS else None


def stratified_split(
    images: Sequence[str], labels: Sequence[str], *, val_share: float, test_share: float, seed: int
) -> list[str]:
    """Assign each of N rows to a split, class by class; the order of the rows does not matter.

    A class with few images gives its first to train, its second to val and its third to test. Rows of one image stay
    together.

    Raises:
        DataError: the shares leave nothing for train.
    """
    if val_share < 0 or test_share < 0 or val_share + test_share >= 1:
        raise DataError(
            f"`data.val_share` is {val_share} and `data.test_share` {test_share}, but they must be 0 or more and their "
            f"sum less than 1, so that something is left for train."
        )
    by_class: dict[str, set[str]] = defaultdict(set)
    for image, label in zip(images, labels, strict=True):
        by_class[label].add(image)
    chosen: dict[tuple[str, str], str] = {}
    for label, members in by_class.items():
        # A generator for each class, so that adding one leaves the split of the others as it was.
        shuffled = sorted(members)
        Random(f"{seed} {label}").shuffle(shuffled)
        val, test = _counts(len(shuffled), val_share, test_share)
        for position, image in enumerate(shuffled):
            chosen[label, image] = "val" if position < val else "test" if position < val + test else "train"
    return [chosen[label, image] for image, label in zip(images, labels, strict=True)]


def split_by_classes(
    images: Sequence[str], names: Sequence[Sequence[str]], *, val_share: float, test_share: float, seed: int
) -> list[str]:
    """Make a `stratified_split` of rows with any number of classes, by the rarest class of each (ours).

    All rows of an image come into one split: it has the classes of all of them. Rare classes are the ones that chance
    would leave out of a split, so an image counts as one of its rarest class. A class without any image in train gets
    one of its images back there.

    Args:
        images: of the N rows.
        names: the classes of each row.
        val_share: share of val.
        test_share: share of test.
        seed: of the choice.
    """
    counts = Counter(name for row in names for name in row)
    together: dict[str, set[str]] = defaultdict(set)
    for image, row in zip(images, names, strict=True):
        together[image].update(row)
    rarest = [min(together[image], key=lambda name: (counts[name], name), default="") for image in images]
    splits = stratified_split(images, rarest, val_share=val_share, test_share=test_share, seed=seed)
    learned = {name for row, split in zip(names, splits, strict=True) if split == "train" for name in row}
    for name in sorted(set(counts) - learned):
        if name in learned:  # came with another's image
            continue
        own = sorted({image for image, row in zip(images, names, strict=True) if name in row})
        back = Random(f"{seed} {name}").choice(own)
        moved = [number for number, image in enumerate(images) if image == back]
        splits = ["train" if number in moved else split for number, split in enumerate(splits)]
        learned |= {other for number in moved for other in names[number]}
    return splits


def _counts(n: int, val_share: float, test_share: float) -> tuple[int, int]:
    """Return how many of a class's `n` images go to val and test."""
    val = max(1, round(n * val_share)) if val_share and n >= 2 else 0
    test = max(1, round(n * test_share)) if test_share and n >= 3 else 0
    while val + test >= n:  # train needs one
        if val > test:
            val -= 1
        else:
            test -= 1
    return val, test
