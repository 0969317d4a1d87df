"""Changes of a comparison to the rows: classes left out, budgets of labels and texts, and placebos of the texts.

Pure functions of a manifest and a seed. Apart from classes that are left out, only rows that training learns from
change. Every draw depends on the seed alone, so all arms of one seed see the same rows.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from random import Random

from marnet.data.manifest import Manifest, Record, count_classes
from marnet.data.splits import UNLABELLED, trained_on
from marnet.encoders.unique_texts import has_text
from marnet.errors import ConfigError, DataError
from marnet.semantic.classes.maker import FEWEST_CLASSES


def draw_classes(manifest: Manifest, count: int, seed: int) -> list[str]:
    """Return the `count` classes that the seed leaves out.

    Raises:
        ConfigError: too few classes would be left, or images have several classes.
    """
    if manifest.label_form != "single" or len(manifest.classes) - count < FEWEST_CLASSES:
        raise ConfigError(
            f"{count} classes cannot be left out of {manifest.source}, which has {len(manifest.classes)} classes with "
            f"labels of the form {manifest.label_form!r}: it takes one class per image, and {FEWEST_CLASSES} classes "
            f"that stay. Lower `leave_classes_out`."
        )
    classes = sorted(manifest.classes)
    Random(f"left-out classes {seed}").shuffle(classes)
    return sorted(classes[:count])


def without_classes(manifest: Manifest, left_out: Sequence[str]) -> Manifest:
    """Return the rows of all other classes."""
    gone = set(left_out)
    return replace(
        manifest,
        records=tuple(record for record in manifest.records if record.label not in gone),
        classes=tuple(name for name in manifest.classes if name not in gone),
    )


def keep_labels(manifest: Manifest, share: float, seed: int, *, keep_unlabelled: bool = False) -> Manifest:
    """Keep a share of the training rows, class by class and at least one of each; drop the others.

    With `keep_unlabelled` the others lose their labels alone, and become rows of the split "unlabelled".

    A row of several classes counts as one of its rarest class, as in a generated split. With the same seed, a smaller
    share keeps a subset of a larger one.
    """
    rows = _training_rows(manifest)
    counts = count_classes(manifest, "train")
    having: dict[str, list[int]] = defaultdict(list)  # positions of the rows with a class, "" for rows without any
    rarest: dict[int, str] = {}
    for position, record in rows:
        names = manifest.names(record)
        rarest[position] = min(names, key=lambda name: (counts[name], name), default="")
        for name in names or ("",):
            having[name].append(position)
    kept: set[int] = set()
    for name, members in having.items():
        shuffled = list(members)
        Random(f"labels {seed} {name}").shuffle(shuffled)
        own = [position for position in shuffled if rarest[position] == name]
        kept.update(own[: _round(share * len(own))])
        kept.update(shuffled[:1])  # so that every class can be learned
    dropped = {position for position, _ in rows} - kept
    if keep_unlabelled:
        records = [
            record._replace(label="", split=UNLABELLED) if position in dropped else record
            for position, record in enumerate(manifest.records)
        ]
    else:
        records = [record for position, record in enumerate(manifest.records) if position not in dropped]
    return replace(manifest, records=tuple(records))


def keep_texts(manifest: Manifest, share: float, seed: int) -> Manifest:
    """Keep a share of the training texts, at least one, those of unlabelled rows among them; blank the others.

    With the same seed, a smaller share keeps a subset of a larger one.
    """
    with_text = [position for position, record in _all_training_rows(manifest) if has_text(record.text)]
    Random(f"texts {seed}").shuffle(with_text)
    blanked = dict.fromkeys(with_text[max(1, _round(share * len(with_text))) :], "")
    return _with_texts(manifest, blanked)


def shuffle_texts(manifest: Manifest, seed: int) -> Manifest:
    """Replace every training text with that of a random training row of another class, always the same other class.

    A derangement of the classes decides whose texts a class gets, so that no class keeps its own. Where rows have
    several classes, each set of classes that occurs is treated as a class. Blank texts stay blank.

    Where rows have no label, the texts of all training rows are permuted at random instead: a class that kept the texts
    of another one would still be told by them, and a teacher could label the rest as well as with their own.

    Raises:
        DataError: fewer than two classes have texts.
    """
    if UNLABELLED in manifest.splits():
        return _permute_texts(manifest, seed)
    texts: dict[str, list[str]] = defaultdict(list)
    for _, record in _training_rows(manifest):
        if has_text(record.text):
            texts[record.label].append(record.text)
    if len(texts) < 2:
        raise DataError(
            f"{manifest.source} has training texts in {len(texts)} of its classes, but shuffling texts between classes "
            f"takes at least two. Fill the text column, or leave out the arms with shuffled texts."
        )
    giver = derangement(sorted(texts), seed)
    draw = Random(f"shuffled texts {seed}")
    given = {
        position: draw.choice(texts[giver[record.label]])
        for position, record in _training_rows(manifest)
        if has_text(record.text)
    }
    return _with_texts(manifest, given)


def _permute_texts(manifest: Manifest, seed: int) -> Manifest:
    with_text = [(position, record.text) for position, record in _all_training_rows(manifest) if has_text(record.text)]
    texts = [text for _, text in with_text]
    Random(f"permuted texts {seed}").shuffle(texts)
    return _with_texts(manifest, {position: text for (position, _), text in zip(with_text, texts, strict=True)})


def repeat_one_text(manifest: Manifest, seed: int) -> Manifest:
    """Replace every training text with one of them, drawn by the seed. Blank texts stay blank."""
    with_text = [(position, record.text) for position, record in _all_training_rows(manifest) if has_text(record.text)]
    if not with_text:
        return manifest
    _, text = Random(f"constant text {seed}").choice(with_text)
    return _with_texts(manifest, dict.fromkeys((position for position, _ in with_text), text))


def derangement(names: Sequence[str], seed: int) -> dict[str, str]:
    """Return a random permutation of two or more names that leaves none in its place, each equally likely."""
    random = Random(f"derangement {seed}")
    while True:  # about one permutation in e qualifies
        shuffled = list(names)
        random.shuffle(shuffled)
        if all(a != b for a, b in zip(names, shuffled, strict=True)):
            return dict(zip(names, shuffled, strict=True))


def _training_rows(manifest: Manifest) -> list[tuple[int, Record]]:
    return [(position, record) for position, record in enumerate(manifest.records) if record.split == "train"]


def _all_training_rows(manifest: Manifest) -> list[tuple[int, Record]]:
    """Return the rows that training learns from, those without a label among them."""
    return [(position, record) for position, record in enumerate(manifest.records) if trained_on(record.split)]


def _with_texts(manifest: Manifest, texts: dict[int, str]) -> Manifest:
    records = tuple(
        record._replace(text=texts.get(position, record.text)) for position, record in enumerate(manifest.records)
    )
    return replace(manifest, records=records)


def _round(value: float) -> int:
    return math.floor(value + 0.5)
