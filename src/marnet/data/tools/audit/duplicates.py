"""What the pictures tell: broken ones, equal ones, and near ones across splits."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from itertools import combinations
from typing import Any

from marnet.data.manifest import Record
from marnet.data.splits import ALL_SPLITS, UNLABELLED, trained_on
from marnet.data.tools.audit.findings import Finding, count_of
from marnet.data.tools.audit.fingerprints import HASH_BITS, NEAR_BITS, Fingerprints, Pair, equal_groups, near_pairs


def check_images(
    records: Sequence[Record], paths: Sequence[str], prints: Fingerprints, *, near_bits: int = NEAR_BITS
) -> Iterator[Finding]:
    """Find broken images; pictures of one colour; equal and near ones across splits; equal ones with different labels.

    Args:
        records: all rows.
        paths: the image files that they name, each once.
        prints: of these files.
        near_bits: perceptual hashes that differ in no more bits are near duplicates.
    """
    rows: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        rows[record.image].append(record)
    uses = [rows[path] for path in paths]
    if prints.broken:
        yield Finding(
            "error",
            "broken-images",
            f"{len(prints.broken)} of {len(paths)} images cannot be read. Mend or remove them, or train with "
            f"`data.on_bad_image=skip`.",
            tuple(each._asdict() for each in prints.broken),
        )
    flat = tuple({"image": path} for path, one_colour in zip(paths, prints.flat, strict=True) if one_colour)
    if flat:
        yield Finding(
            "warning", "flat-images", f"Of one colour, with nothing to see: {count_of(len(flat), 'image')}.", flat
        )
    yield from _check_equal(uses, prints.exact)
    yield from _check_near(uses, prints, near_bits)


def _check_equal(uses: Sequence[list[Record]], exact: Sequence[bytes]) -> Iterator[Finding]:
    """Find equal pixels, whether two files hold them or two rows name one file."""
    groups = [[use for row in rows for use in uses[row]] for rows in equal_groups(exact)]
    grouped = {use.image for group in groups for use in group}
    groups += [each for each in uses if len(each) > 1 and each[0].image not in grouped]
    across = [group for group in groups if _in_several({use.split for use in group})]
    if across:
        yield Finding(
            "error",
            "duplicates-across-splits",
            f"In more than one split with equal pixels: {count_of(len(across), 'picture')}. Metrics are too "
            f"optimistic; keep each in one split.",
            tuple(_rows(group) for group in across),
        )
    differing = [group for group in groups if len({use.label for use in group if use.split != UNLABELLED}) > 1]
    if differing:
        yield Finding(
            "warning",
            "duplicates-with-different-labels",
            f"Under more than one label with equal pixels: {count_of(len(differing), 'picture')}. At most one label of "
            f"each is correct.",
            tuple(_rows(group) for group in differing),
        )
    within = [group for group in groups if not _in_several({use.split for use in group})]
    if within:
        yield Finding(
            "note",
            "duplicates-within-a-split",
            f"More than once in one split with equal pixels: {count_of(len(within), 'picture')}.",
            tuple(_rows(group) for group in within),
        )


def _check_near(uses: Sequence[list[Record]], prints: Fingerprints, bits: int) -> Iterator[Finding]:
    usable = _rows_to_compare(uses, prints)
    for one, other in combinations([name for name in ALL_SPLITS if name in usable], 2):
        if not _in_several({one, other}):
            continue
        # A picture that stands in both splits is reported as equal, and is no near duplicate of itself.
        both = {prints.exact[row] for row in usable[one]} & {prints.exact[row] for row in usable[other]}
        others = [row for row in usable[other] if prints.exact[row] not in both]
        found = near_pairs(prints.hashes[usable[one]], prints.hashes[others], bits=bits)
        if found.number:
            yield Finding(
                "warning",
                "near-duplicates-across-splits",
                f"In {other} and much like an image of {one}: {count_of(int(found.second.sum()), 'image')} (hashes "
                f"within {bits} of {HASH_BITS} bits, {count_of(found.number, 'pair')}). Look at them: metrics may "
                f"be too optimistic.",
                tuple(_pair(uses[usable[one][pair.first]], uses[others[pair.second]], pair) for pair in found.pairs),
            )
    for name, rows in usable.items():
        found = near_pairs(prints.hashes[rows], bits=bits)
        count = int((found.first | found.second).sum())
        if found.number:
            yield Finding(
                "note",
                "near-duplicates-within-a-split",
                f"In {name} and much like another image there: {count_of(count, 'image')} (hashes within {bits} of "
                f"{HASH_BITS} bits, {count_of(found.number, 'pair')}). Mind them if you split these rows anew.",
                tuple(_pair(uses[rows[pair.first]], uses[rows[pair.second]], pair) for pair in found.pairs),
            )


def _in_several(splits: Collection[str]) -> bool:
    """Return True for splits that must share no image; training may learn twice from one, so it counts once."""
    return len({"train" if trained_on(split) else split for split in splits}) > 1


def _rows_to_compare(uses: Sequence[list[Record]], prints: Fingerprints) -> dict[str, list[int]]:
    """By split: no broken and no one-coloured images, and of equal ones the first."""
    chosen: dict[str, list[int]] = defaultdict(list)
    seen: set[tuple[str, bytes]] = set()
    for row, exact in enumerate(prints.exact):
        for split in {use.split for use in uses[row]}:
            if exact and not prints.flat[row] and (split, exact) not in seen:
                seen.add((split, exact))
                chosen[split].append(row)
    return chosen


def _rows(group: Sequence[Record]) -> dict[str, Any]:
    return {"rows": [{"image": use.image, "split": use.split, "label": use.label} for use in group]}


def _pair(first: Sequence[Record], second: Sequence[Record], pair: Pair) -> dict[str, Any]:
    return {"bits": pair.bits, **_rows([first[0], second[0]])}
