"""The names of splits, and the seeded stratified split of rows that have none.

Rows of `UNLABELLED` have no label: training may learn from them, nothing is scored on them.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from random import Random

from marnet.errors import DataError

SPLITS = ("train", "val", "test")
UNLABELLED = "unlabelled"
ALL_SPLITS = (*SPLITS, UNLABELLED)
_OTHER_NAMES = {
    "training": "train",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "testing": "test",
}
_OTHER_UNLABELLED = ("unlabeled", "unsupervised")


def normalise_split(name: str) -> str | None:
    """Return one of `SPLITS` for it or another common name of it in any case; None if the name is unknown."""
    name = name.strip().lower()
    name = _OTHER_NAMES.get(name, name)
    return name if name in SPLITS else None


def split_of_cell(cell: str) -> str | None:
    """Return the split that a cell of a table names, as `normalise_split` does; it may be `UNLABELLED` as well."""
    name = cell.strip().lower()
    return UNLABELLED if name in (UNLABELLED, *_OTHER_UNLABELLED) else normalise_split(name)


def trained_on(split: str) -> bool:
    """Return True for the splits that training learns from, which must share no image with val and test."""
    return split in ("train", UNLABELLED)


def units_of(images: Sequence[str], groups: Sequence[str] = ()) -> list[str]:
    """Return a name for each of N rows, equal for the rows that belong together: those of one image, or of one group.

    Images that two groups share join these groups. The name is that of the unit's first image in alphabetical order,
    so that it does not depend on the order of the rows, and each image is its own unit where there are no groups.

    Args:
        images: of the rows.
        groups: of the rows, "" for none; empty if no row has one.

    Example:
        >>> units_of(["b.jpg", "a.jpg", "c.jpg"], ["mug", "mug", ""])
        ['a.jpg', 'a.jpg', 'c.jpg']
    """
    above: dict[str, str] = {}  # another image of the same unit, nearer to its first one

    def first_of(image: str) -> str:
        while image in above:
            if above[image] in above:
                above[image] = above[above[image]]
            image = above[image]
        return image

    any_of: dict[str, str] = {}
    for image, group in zip(images, groups, strict=True) if groups else ():
        if group:
            one, other = sorted((first_of(image), first_of(any_of.setdefault(group, image))))
            if one != other:
                above[other] = one
    return [first_of(image) for image in images]


def stratified_split(
    images: Sequence[str],
    labels: Sequence[str],
    *,
    groups: Sequence[str] = (),
    val_share: float,
    test_share: float,
    seed: int,
) -> list[str]:
    """Assign each of N rows to a split, class by class; the order of the rows does not matter.

    A class with few units (images, or groups of them) gives its first to train, its second to val and its third to
    test. Rows of one unit and class stay together. Groups of several images come as near to the shares as they can:
    one that exceeds what val and test still lack by more than half of its images goes to train.

    Raises:
        DataError: the shares leave nothing for train.
    """
    if val_share < 0 or test_share < 0 or val_share + test_share >= 1:
        raise DataError(
            f"`data.val_share` is {val_share} and `data.test_share` {test_share}, but they must be 0 or more and their "
            f"sum less than 1, so that something is left for train."
        )
    units = units_of(images, groups)
    by_class: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for image, unit, label in zip(images, units, labels, strict=True):
        by_class[label][unit].add(image)
    chosen: dict[tuple[str, str], str] = {}
    for label, members in by_class.items():
        # A generator for each class, so that adding one leaves the split of the others as it was.
        shuffled = sorted(members)
        Random(f"{seed} {label}").shuffle(shuffled)
        sizes = [len(members[unit]) for unit in shuffled]
        splits = _fill(sizes, val_share, test_share)
        chosen.update(((label, unit), split) for unit, split in zip(shuffled, splits, strict=True))
    return [chosen[label, unit] for unit, label in zip(units, labels, strict=True)]


def split_by_classes(
    images: Sequence[str],
    names: Sequence[Sequence[str]],
    *,
    groups: Sequence[str] = (),
    val_share: float,
    test_share: float,
    seed: int,
) -> list[str]:
    """Make a `stratified_split` of rows with any number of classes, by the rarest class of each (ours).

    All rows of an image and all rows of a group come into one split; such a unit has the classes of all of them. Rare
    classes are the ones that chance would leave out of a split, so a unit counts as one of its rarest class. A class
    without any image in train gets one of its units back there.

    Args:
        images: of the N rows.
        names: the classes of each row.
        groups: of the rows, "" for none; empty if no row has one.
        val_share: share of val.
        test_share: share of test.
        seed: of the choice.
    """
    counts = Counter(name for row in names for name in row)
    units = units_of(images, groups)
    together: dict[str, set[str]] = defaultdict(set)
    for unit, row in zip(units, names, strict=True):
        together[unit].update(row)
    rarest_of = {unit: min(own, key=lambda name: (counts[name], name), default="") for unit, own in together.items()}
    rarest = [rarest_of[unit] for unit in units]
    splits = stratified_split(images, rarest, groups=groups, val_share=val_share, test_share=test_share, seed=seed)
    learned = {name for row, split in zip(names, splits, strict=True) if split == "train" for name in row}
    for name in sorted(set(counts) - learned):
        if name in learned:  # came with another's image
            continue
        own = sorted({unit for unit, row in zip(units, names, strict=True) if name in row})
        back = Random(f"{seed} {name}").choice(own)
        splits = ["train" if unit == back else split for unit, split in zip(units, splits, strict=True)]
        learned |= together[back]
    return splits


def fill_splits(
    splits: Sequence[str],
    images: Sequence[str],
    names: Sequence[Sequence[str]],
    *,
    groups: Sequence[str],
    val_share: float,
    test_share: float,
    seed: int,
) -> list[str]:
    """Return the splits of N rows, of which "" is given one of `split_by_classes`; rows of `UNLABELLED` keep theirs.

    An unlabelled row whose image or group came into val or test gets "": training on it would make metrics there too
    optimistic, so it is to be left out.

    Args:
        splits: of the rows, each "" or `UNLABELLED`.
        images: of the rows.
        names: the classes of each row.
        groups: of the rows, "" for none.
        val_share: share of val.
        test_share: share of test.
        seed: of the choice.
    """
    open_rows = [row for row, split in enumerate(splits) if not split]
    made = split_by_classes(
        [images[row] for row in open_rows],
        [names[row] for row in open_rows],
        groups=[groups[row] for row in open_rows],
        val_share=val_share,
        test_share=test_share,
        seed=seed,
    )
    filled = list(splits)
    for row, split in zip(open_rows, made, strict=True):
        filled[row] = split
    if len(open_rows) == len(splits):
        return filled
    units = units_of(images, groups)
    held = {unit for unit, split in zip(units, filled, strict=True) if not trained_on(split)}
    return ["" if split == UNLABELLED and unit in held else split for unit, split in zip(units, filled, strict=True)]


def _fill(sizes: Sequence[int], val_share: float, test_share: float) -> list[str]:
    """Return a split for each unit of a class, in their order, given how many images each has."""
    if len(sizes) == 1:
        return ["train"]
    lacking = dict(zip(("val", "test"), _counts(sum(sizes), val_share, test_share), strict=True))
    splits = []
    for size in sizes:
        # Nearer to the number of images that the split should have with this unit than without it.
        split = next((name for name, count in lacking.items() if size <= 2 * count), "train")
        if split in lacking:
            lacking[split] -= size
        splits.append(split)
    if "train" not in splits:
        splits[splits.index(max(("test", "val"), key=splits.count))] = "train"
    for name, share, least in (("val", val_share, 2), ("test", test_share, 3)):
        if share and name not in splits and len(sizes) >= least:
            giver = next((split for split in SPLITS if splits.count(split) > 1), "test")  # val comes before test
            given = [number for number, split in enumerate(splits) if split == giver]
            splits[min(given, key=lambda number: sizes[number])] = name
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
