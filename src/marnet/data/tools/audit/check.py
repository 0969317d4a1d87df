"""What is wrong with a data source before anything is trained on it."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from marnet.data.groups import Crossing, groups_across_splits, groups_sentence, texts_across_splits, texts_sentence
from marnet.data.images import MAX_PIXELS
from marnet.data.manifest import Manifest, Record, count_classes
from marnet.data.splits import SPLITS
from marnet.data.tools.audit.duplicates import check_images
from marnet.data.tools.audit.findings import Finding, Severity, share, some
from marnet.data.tools.audit.fingerprints import NEAR_BITS, fingerprint
from marnet.data.tools.audit.statistics import false_negatives
from marnet.errors import DataError

IMBALANCE = 10  # times as many images in the largest class as in the smallest
_FEW_FALSE_NEGATIVES = 0.01  # of the rows; fewer are not worth a word


class CheckResult(NamedTuple):
    """The findings, errors first."""

    source: str
    images: int
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> int:
        """Return the number of findings that are errors."""
        return sum(finding.severity == "error" for finding in self.findings)


def check_manifest(
    manifest: Manifest, *, batch_size: int = 64, near_bits: int = NEAR_BITS, max_pixels: int = MAX_PIXELS
) -> CheckResult:
    """Read every image and every text and say what may go wrong.

    Args:
        manifest: what to check.
        batch_size: of the training, for how often equal texts meet in a batch.
        near_bits: perceptual hashes (64 bits) that differ in no more are near duplicates.
        max_pixels: images with more are broken.

    Raises:
        DataError: the manifest has no rows.
    """
    records = manifest.records
    if not records:
        raise DataError(f"{manifest.source} has no rows. It must have one per image.")
    paths = list(dict.fromkeys(record.image for record in records))  # a file that several rows name is read once
    prints = fingerprint(paths, max_pixels=max_pixels)
    findings = [*check_splits(manifest), *check_crossings(manifest), *check_texts(manifest, batch_size=batch_size)]
    findings += check_images(records, paths, prints, near_bits=near_bits)
    order: dict[Severity, int] = {"error": 0, "warning": 1, "note": 2}
    return CheckResult(manifest.source, len(paths), tuple(sorted(findings, key=lambda each: order[each.severity])))


def check_splits(manifest: Manifest) -> Iterator[Finding]:
    """Find splits without rows, classes that a split lacks, imbalance."""
    counts = {name: count_classes(manifest, name) for name in SPLITS}
    present = list(manifest.labelled_splits())
    for name in ("train", "val"):
        if name not in present:
            yield Finding("error", "empty-split", f"Split {name!r} has no rows; training needs train and val.")
    if "test" not in present:
        yield Finding("note", "empty-split", "Split 'test' has no rows: there are metrics for val only.")
    for name in present:
        missing = [label for label in manifest.classes if not counts[name][label]]
        if missing and name == "train":
            yield Finding(
                "error",
                "classes-without-training-images",
                f"{some(missing, 'classes')} without a training image; move images of them to train, or remove them.",
                _label_examples(missing, counts),
            )
        elif missing:
            yield Finding(
                "warning",
                "classes-missing-from-split",
                f"{some(missing, 'classes')} without an image in {name}: its metrics say nothing about them.",
                _label_examples(missing, counts),
            )
    alone = [label for label in manifest.classes if sum(bool(counts[name][label]) for name in present) == 1]
    if alone and len(present) == 3:  # of two splits, the finding above says the same
        yield Finding(
            "warning",
            "classes-in-one-split",
            f"{some(alone, 'classes')} with images in one split only: learned and never scored, or scored and never "
            f"learned.",
            _label_examples(alone, counts),
        )
    for name in present:
        if not counts[name]:
            severity: Severity = "warning" if name == "test" else "error"
            yield Finding(severity, "no-classes", f"No image of split {name!r} has a class: nothing to learn or score.")
    yield from _check_balance(counts["train"])


def check_crossings(manifest: Manifest) -> Iterator[Finding]:
    """Find groups, and texts that may be those of one product, in more than one split."""
    groups = groups_across_splits(manifest)
    if groups:
        examples = tuple({"group": each.name, **_crossing_rows(each)} for each in groups)
        yield Finding("warning", "groups-across-splits", groups_sentence(groups), examples)
    texts = texts_across_splits(manifest)
    if texts:
        examples = tuple({"text": each.name, **_crossing_rows(each)} for each in texts)
        yield Finding("warning", "texts-across-splits", texts_sentence(texts), examples)


def check_texts(manifest: Manifest, *, batch_size: int) -> Iterator[Finding]:
    """Find blank texts, texts that only repeat the class, texts that name the label, equal texts in a batch."""
    rows = [record for record in manifest.records if record.split == "train"]
    texts = [record.text for record in rows]
    blank = sum(not text.strip() for text in texts)
    if blank:
        yield Finding(
            "note" if blank < len(rows) else "warning",
            "blank-texts",
            f"{share(blank, len(rows))} of the training rows have no text; nothing is learned from text there.",
        )
    if blank == len(rows):
        return
    if manifest.label_form == "single" and _one_text_a_class(rows):
        yield Finding(
            "note",
            "class-level-texts",
            "Every class has one text of its own, shared by all its images: it tells which classes are alike, and "
            "nothing about the single image.",
        )
    yield from _check_leaks(manifest, rows)
    expected = false_negatives(texts, batch_size)
    if expected is not None and expected.rows_share >= _FEW_FALSE_NEGATIVES:
        yield Finding(
            "note",
            "false-negatives",
            f"With positives 'identity' and batches of {expected.batch_size}, {100 * expected.rows_share:.1f} % of the "
            f"rows would find an equal text in their batch counted as no match ({expected.per_row:.2f} such rows "
            f"each, {100 * expected.pair_share:.2f} % of all pairs); the default 'text' counts it as one.",
            (expected._asdict(),),
        )


def names_label(text: str, label: str) -> bool:
    """Return True if a text contains a label as whole words; case is ignored, hyphens and underscores are spaces."""
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
            f"{most / least:.0f} times as many. Look at macro F1 rather than top-1, and see `training.balance`.",
            ({"largest": largest, "most": most, "smallest": smallest, "least": least},),
        )
    single = sorted(label for label, count in counts.items() if count == 1)
    if single:
        yield Finding(
            "warning",
            "single-image-classes",
            f"{some(single, 'classes')} with a single training image, from which little can be learned.",
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


def _check_leaks(manifest: Manifest, rows: Sequence[Record]) -> Iterator[Finding]:
    leaking: dict[str, list[Record]] = defaultdict(list)
    known: dict[tuple[str, str], bool] = {}  # texts repeat
    for row in rows:
        for name in manifest.names(row):
            key = (row.text, name)
            if key not in known:
                known[key] = names_label(*key)
            if known[key]:
                leaking[name].append(row)
    if not leaking:
        return
    classes = len({name for row in rows for name in manifest.names(row)})
    count = sum(any(known[row.text, name] for name in manifest.names(row)) for row in rows)
    named = sum(bool(row.text.strip()) for row in rows)
    yield Finding(
        "warning",
        "label-in-text",
        f"The text contains the name of the label in {share(count, named)} of the training rows with text, in "
        f"{len(leaking)} of {classes} classes: there it can teach the name instead of what is to be seen.",
        tuple({"label": name, "rows": len(found), "text": found[0].text} for name, found in sorted(leaking.items())),
    )


def _crossing_rows(crossing: Crossing) -> dict[str, int]:
    counts = Counter(record.split for record in crossing.records)
    return {split: counts[split] for split in crossing.splits}


def _label_examples(labels: Sequence[str], counts: Mapping[str, Counter[str]]) -> tuple[dict[str, Any], ...]:
    return tuple(
        {"label": label, **{name: found[label] for name, found in counts.items() if found}} for label in labels
    )


def _label_pattern(label: str) -> re.Pattern[str] | None:
    plain = _plain(label)
    return re.compile(rf"(?<!\w){re.escape(plain)}(?!\w)") if plain else None


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[-_]", " ", text).casefold().split())
