"""What is wrong with a data source before anything is trained on it."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, Literal, NamedTuple

import numpy as np

from marnet.data.fingerprints import NEAR_BITS, Fingerprints, equal_groups, fingerprint, near_pairs
from marnet.data.images import MAX_PIXELS
from marnet.data.manifest import Manifest, Record
from marnet.data.splits import SPLITS
from marnet.data.statistics import false_negatives
from marnet.errors import DataError

Severity = Literal["error", "warning", "note"]
IMBALANCE = 10  # times as many images in the largest class as in the smallest
_FEW_FALSE_NEGATIVES = 0.01  # of the rows; fewer are not worth a word


class Finding(NamedTuple):
    """One thing that a user should know.

    An error makes training impossible or figures wrong: no training or validation rows, classes without a training
    image, broken images, equal images in several splits. A warning may well spoil a result; a note is for information.
    """

    severity: Severity
    code: str  # a fixed name such as "broken-images"
    message: str
    examples: tuple[dict[str, Any], ...] = ()  # all of them, save near duplicates beyond the nearest 1000


class CheckResult(NamedTuple):
    """The findings, errors first."""

    source: str
    images: int
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        return sum(finding.severity == "error" for finding in self.findings)


def check_manifest(
    manifest: Manifest, *, batch_size: int = 64, near_bits: int = NEAR_BITS, max_pixels: int = MAX_PIXELS
) -> CheckResult:
    """Read every image and every text and say what may go wrong.

    Args:
        manifest: what to check.
        batch_size: of the training whose identity mask is judged.
        near_bits: perceptual hashes (64 bits) that differ in no more are near duplicates.
        max_pixels: images with more are broken.

    Raises:
        DataError: the manifest has no rows.
    """
    records = manifest.records
    if not records:
        raise DataError(f"{manifest.source} has no rows; needed one for each image.")
    paths = list(dict.fromkeys(record.image for record in records))  # a file that several rows name is read once
    prints = fingerprint(paths, max_pixels=max_pixels)
    findings = [*check_splits(manifest), *check_texts(manifest, batch_size=batch_size)]
    findings += check_images(records, paths, prints, near_bits=near_bits)
    order = {"error": 0, "warning": 1, "note": 2}
    return CheckResult(manifest.source, len(paths), tuple(sorted(findings, key=lambda each: order[each.severity])))


def check_splits(manifest: Manifest) -> Iterator[Finding]:
    """Splits without rows, classes that a split lacks, imbalance."""
    counts = {name: Counter(each.label for each in manifest.records if each.split == name) for name in SPLITS}
    present = [name for name in SPLITS if counts[name]]
    for name in ("train", "val"):
        if name not in present:
            yield Finding("error", "empty-split", f"Split {name!r} has no rows; training needs train and val.")
    if "test" not in present:
        yield Finding("note", "empty-split", "Split 'test' has no rows: figures can be had for val only.")
    for name in present:
        missing = [label for label in manifest.classes if not counts[name][label]]
        if missing and name == "train":
            yield Finding(
                "error",
                "classes-without-training-images",
                f"{_some(missing, 'classes')} without a training image; move images of them to train, or remove them.",
                _label_examples(missing, counts),
            )
        elif missing:
            yield Finding(
                "warning",
                "classes-missing-from-split",
                f"{_some(missing, 'classes')} without an image in {name}: its figures say nothing about them.",
                _label_examples(missing, counts),
            )
    alone = [label for label in manifest.classes if sum(bool(counts[name][label]) for name in present) == 1]
    if alone and len(present) > 1:
        yield Finding(
            "warning",
            "classes-in-one-split",
            f"{_some(alone, 'classes')} with images in one split only: learned and never judged, or judged and never "
            f"learned.",
            _label_examples(alone, counts),
        )
    yield from _check_balance(counts["train"])


def check_texts(manifest: Manifest, *, batch_size: int) -> Iterator[Finding]:
    """Blank texts, texts that only repeat the class, texts that name the label, equal texts in a batch."""
    rows = [record for record in manifest.records if record.split == "train"]
    texts = [record.text for record in rows]
    blank = sum(not text.strip() for text in texts)
    if blank:
        yield Finding(
            "note" if blank < len(rows) else "warning",
            "blank-texts",
            f"{_share(blank, len(rows))} of the training rows have no text; nothing is learned from text there.",
        )
    if blank == len(rows):
        return
    if _one_text_a_class(rows):
        yield Finding(
            "note",
            "class-level-texts",
            "Every class has one text of its own, shared by all its images: it tells which classes are alike, and "
            "nothing about the single image.",
        )
    yield from _check_leaks(rows)
    expected = false_negatives(texts, batch_size)
    if expected is not None and expected.rows_share >= _FEW_FALSE_NEGATIVES:
        yield Finding(
            "note",
            "false-negatives",
            f"With positives 'identity' and batches of {expected.batch_size}, {100 * expected.rows_share:.1f} % of the "
            f"rows would be pushed away from an equal text in their batch ({expected.per_row:.2f} such rows each, "
            f"{100 * expected.pair_share:.2f} % of all pairs). Keep alignment.positives at its default 'text'.",
            (expected._asdict(),),
        )


def check_images(
    records: Sequence[Record], paths: Sequence[str], prints: Fingerprints, *, near_bits: int = NEAR_BITS
) -> Iterator[Finding]:
    """Broken images; equal ones and near ones across splits; equal ones with different labels.

    Args:
        records: all rows.
        paths: the image files that they name, each once.
        prints: of these files.
        near_bits: see `check_manifest`.
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
            f"--on-bad-image skip.",
            tuple(each._asdict() for each in prints.broken),
        )
    yield from _check_equal(uses, prints)
    flat = int((prints.flat & np.array([bool(value) for value in prints.exact])).sum())
    if flat:
        where = [path for path, is_flat, exact in zip(paths, prints.flat, prints.exact, strict=True) if is_flat and exact]
        yield Finding("warning", "flat-images", f"{flat} images show one colour only.", tuple({"image": p} for p in where))
    yield from _check_near(uses, prints, near_bits)


def names_label(text: str, label: str) -> bool:
    """Whether a text contains a label as whole words; case is ignored, hyphens and underscores are spaces."""
    pattern = _label_pattern(label)
    return pattern is not None and pattern.search(_plain(text)) is not None


def _check_balance(counts: Counter[str]) -> Iterator[Finding]:
    if len(counts) < 2:
        return
    (largest, most), *_, (smallest, least) = counts.most_common()
    if most >= IMBALANCE * least:
        yield Finding(
            "warning",
            "class-imbalance",
            f"The largest class, {largest!r}, has {most} training images, the smallest, {smallest!r}, {least}: "
            f"{most / least:.0f} times as many. Judge by macro F1 rather than top-1.",
            ({"largest": largest, "most": most, "smallest": smallest, "least": least},),
        )
    single = sorted(label for label, count in counts.items() if count == 1)
    if single:
        yield Finding(
            "warning",
            "single-image-classes",
            f"{_some(single, 'classes')} with a single training image, of which little can be learned.",
            _label_examples(single, {"train": counts}),
        )


def _one_text_a_class(rows: Sequence[Record]) -> bool:
    texts, labels = defaultdict(set), defaultdict(set)
    for row in rows:
        if row.text.strip():
            texts[row.label].add(row.text)
            labels[row.text].add(row.label)
    repeated = len(rows) > len(labels)  # else every image has a text of its own
    return repeated and all(len(found) == 1 for found in (*texts.values(), *labels.values()))


def _check_leaks(rows: Sequence[Record]) -> Iterator[Finding]:
    leaking: dict[str, list[Record]] = defaultdict(list)
    known: dict[tuple[str, str], bool] = {}  # texts repeat
    for row in rows:
        key = (row.text, row.label)
        if key not in known:
            known[key] = names_label(*key)
        if known[key]:
            leaking[row.label].append(row)
    if not leaking:
        return
    classes = len({row.label for row in rows})
    count = sum(map(len, leaking.values()))
    named = sum(bool(row.text.strip()) for row in rows)
    yield Finding(
        "warning",
        "label-in-text",
        f"The text contains the name of the label in {_share(count, named)} of the training rows with text, in "
        f"{len(leaking)} of {classes} classes: there it can teach the name instead of what is to be seen.",
        tuple({"label": name, "rows": len(found), "text": found[0].text} for name, found in sorted(leaking.items())),
    )


def _check_equal(uses: Sequence[list[Record]], prints: Fingerprints) -> Iterator[Finding]:
    """Equal pixels, whether the same file is named twice or two files hold them."""
    grouped = {row for rows in equal_groups(prints.exact) for row in rows}
    groups = [[use for row in rows for use in uses[row]] for rows in equal_groups(prints.exact)]
    groups += [each for row, each in enumerate(uses) if len(each) > 1 and row not in grouped and prints.exact[row]]
    across = [group for group in groups if len({use.split for use in group}) > 1]
    if across:
        yield Finding(
            "error",
            "duplicates-across-splits",
            f"{len(across)} images stand in more than one split with equal pixels, so that figures flatter. Keep each "
            f"in one split.",
            tuple(_group_example(group) for group in across),
        )
    differing = [group for group in groups if len({use.label for use in group}) > 1]
    if differing:
        yield Finding(
            "warning",
            "duplicates-with-different-labels",
            f"{len(differing)} images stand under more than one label with equal pixels; at most one label is right.",
            tuple(_group_example(group) for group in differing),
        )
    within = [group for group in groups if len({use.split for use in group}) == 1]
    if within:
        yield Finding(
            "note",
            "duplicates-within-a-split",
            f"{len(within)} images stand more than once in their split with equal pixels.",
            tuple(_group_example(group) for group in within),
        )


def _check_near(uses: Sequence[list[Record]], prints: Fingerprints, bits: int) -> Iterator[Finding]:
    usable: dict[str, list[int]] = defaultdict(list)
    seen: set[tuple[str, bytes]] = set()  # equal images are reported as such; one of them stands for all
    for row, exact in enumerate(prints.exact):
        for split in dict.fromkeys(use.split for use in uses[row]):
            if exact and not prints.flat[row] and (split, exact) not in seen:
                seen.add((split, exact))
                usable[split].append(row)
    for one, other in combinations([name for name in SPLITS if name in usable], 2):
        # An image that stands in both splits is no near duplicate of itself.
        in_both = {prints.exact[row] for row in usable[one]} & {prints.exact[row] for row in usable[other]}
        others = [row for row in usable[other] if prints.exact[row] not in in_both]
        found = near_pairs(prints.hashes[usable[one]], prints.hashes[others], bits=bits)
        if found.count:
            yield Finding(
                "warning",
                "near-duplicates-across-splits",
                f"{found.second.sum()} images of {other} look the same as one of {one} (perceptual hashes within {bits} of 64 "
                f"bits, {found.count} pairs). Look at them; figures on {other} may flatter.",
                tuple(
                    _pair_example(uses[usable[one][pair.first]][0], uses[others[pair.second]][0], pair.bits)
                    for pair in found.pairs
                ),
            )
    for name, rows in usable.items():
        found = near_pairs(prints.hashes[rows], bits=bits)
        if found.count:
            yield Finding(
                "note",
                "near-duplicates-within-a-split",
                f"{(found.first | found.second).sum()} images of {name} look the same as another one there ({found.count} "
                f"pairs); a random split of these rows would tear such pairs apart.",
                tuple(_pair_example(uses[rows[pair.first]][0], uses[rows[pair.second]][0], pair.bits) for pair in found.pairs),
            )


def _group_example(group: Sequence[Record]) -> dict[str, Any]:
    return {"rows": [{"image": use.image, "split": use.split, "label": use.label} for use in group]}


def _pair_example(first: Record, second: Record, bits: int) -> dict[str, Any]:
    return {"bits": bits, **_group_example([first, second])}


def _label_examples(labels: Sequence[str], counts: Mapping[str, Counter[str]]) -> tuple[dict[str, Any], ...]:
    return tuple(
        {"label": label, **{name: found[label] for name, found in counts.items() if found}} for label in labels
    )


def _label_pattern(label: str) -> re.Pattern[str] | None:
    plain = _plain(label)
    return re.compile(rf"(?<!\w){re.escape(plain)}(?!\w)") if plain else None


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[-_]", " ", text).casefold().split())


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole} ({100 * part / whole:.1f} %)"


def _some(names: Sequence[str], noun: str) -> str:
    """`"3 classes ('a', 'b', 'c')"`, the first few by name."""
    shown = ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "")
    return f"{len(names)} {noun} ({shown})"
