"""Add classes to a trained run from a description, a few images or both, without training; and remove them."""

import dataclasses
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from marnet.data.manifest import Manifest
from marnet.encoders.downloads import no_downloads
from marnet.encoders.text import has_text
from marnet.errors import ConfigError, DataError, list_some, suggest
from marnet.inference import Predictor, SplitOutputs
from marnet.inference.class_means.fit import MOST_ROWS
from marnet.inference.class_means.texts import ClassText, class_similarity, sentence_encoder
from marnet.runs.code import AllowCode
from marnet.runs.copying import check_free, copy_run
from marnet.runs.directory import read_classes
from marnet.runs.new_classes import AddedClass, AddedClasses, read_new_classes, write_new_classes
from marnet.semantic.classes.balance import ClassRows
from marnet.semantic.classes.maker import NewClassData, NewClassMaker
from marnet.semantic.stored_features import features_for

TRAIN, HELD = "train", "val"


class NewClass(NamedTuple):
    """A class to add to a trained run; it needs a text, images, or both.

    Example:
        >>> import marnet
        >>> marnet.NewClass("blood orange", "A small orange with red flesh.").images
        ()
    """

    name: str
    text: str | None = None  # a description; None: images alone
    images: Sequence[Any] = ()  # in any form that `Predictor` takes


def add_classes(
    run: Path | str,
    classes: Sequence[NewClass],
    out: Path | str,
    *,
    data: Any = None,
    features: Path | str | None = None,
    text_encoder: str | None = None,
    device: str = "auto",
    allow_code: AllowCode = False,
) -> Path:
    """Add classes to a trained run, without training. The logits of its own classes stay as they are.

    The rows that the run was trained on show where its classes lie among the image features, and how texts lead there;
    the new classes are placed by that (`marnet.inference.class_means.space`). They compete with a bias that is fitted
    by leaving trained classes out in turn (`marnet.semantic.classes.balance`).

    Args:
        run: the run directory; classes that were added to it before stay.
        classes: the new classes.
        out: the directory of the new run, a copy with the classes added.
        data: the rows of the run at another place, see `marnet.data.sources.open_data`; None: where they were.
        features: a folder with their features, written by 'marnet embed' with the backbone of the run; it saves the
            time of computing them.
        text_encoder: compares texts of classes: a sentence encoder as in `text.name`, or "tfidf" for words alone. None:
            that of the run if it is one (hf:NAME), else one that needs no download, else words alone.
        device: where to compute.
        allow_code: import code that the run names (`module:PACKAGE.NAME`).

    Returns:
        `out`.

    Raises:
        ConfigError: a class is known already, or has neither text nor image, or the run has several classes per image.
        MarnetError: the run, its rows or an image cannot be used.

    Example:
        >>> import marnet
        >>> added = marnet.add_classes("runs/p", [marnet.NewClass("kiwi", "brown and sour", ["b.jpg"])], "runs/kiwi")
        >>> marnet.load(added).classes
        ('apple', 'eel', 'lime', 'kiwi')
    """
    run, out = Path(run), Path(out)
    check_free(out)  # before anything is computed
    predictor = Predictor(run, device=device, allow_code=allow_code)
    _check_classes(predictor, classes)
    trained = read_classes(run)
    before = read_new_classes(run, trained)
    kept = () if before is None else before.classes
    manifest, train, held = _read_rows(predictor, data, features, trained, allow_code)
    shown = _shown(before) + [_encode(predictor, each) for each in classes]
    all_new = [*kept, *(AddedClass(each.name, _text(each), len(each.images)) for each in classes)]
    similarity, similarity_new = None, None
    if any(each.text is not None for each in all_new):
        encoder = sentence_encoder(text_encoder, of_run=predictor.config.text.name)
        new_texts = [ClassText(each.name, (each.text or "",)) for each in all_new]
        with no_downloads(refused=text_encoder is None):  # nothing is fetched that nobody named
            similarity, similarity_new = class_similarity(_class_texts(manifest, trained), new_texts, encoder)
    placed = [
        NewClassData(None if similarity_new is None or each.text is None else similarity_new[number], own.numpy())
        for number, (each, own) in enumerate(zip(all_new, shown, strict=True))
    ]
    rows, held_rows = (_class_rows(each, len(trained)) for each in (train, held))
    maker = NewClassMaker(rows, held_rows, learned=not predictor.config.backbone.freeze)
    module = maker.make(similarity, placed)
    with torch.inference_mode():
        logits = module(held.logits[:, : len(trained)], held.x_v)
    confidences = [round(float(each), 6) for each in logits.softmax(-1).amax(-1).sort().values]
    copy_run(run, out)
    write_new_classes(out, AddedClasses(tuple(all_new), module, torch.cat(shown), tuple(confidences)))
    return out


def remove_class(run: Path | str, name: str, out: Path | str) -> Path:
    """Remove a class that was added to a run. The odds of all others stay as they are.

    Args:
        run: the run directory.
        name: of an added class.
        out: the directory of the new run.

    Returns:
        `out`.

    Raises:
        ConfigError: the run has no such class, or was trained for it.
        RunDirectoryError: the run is damaged, or `out` already holds something.

    Example:
        >>> import marnet
        >>> added = marnet.add_classes("runs/p", [marnet.NewClass("kiwi", "brown and sour")], "runs/with-kiwi")
        >>> marnet.load(marnet.remove_class(added, "kiwi", "runs/without-kiwi")).classes
        ('apple', 'eel', 'lime')
    """
    run, out = Path(run), Path(out)
    trained = read_classes(run)
    before = read_new_classes(run, trained)
    names = [each.name for each in before.classes] if before else []
    if before is None or name not in names:
        if name in trained:
            raise ConfigError(
                f"{run} was trained for the class {name!r}, and only classes that were added can be removed: "
                f"{list_some(names or ['none was'])}. Train a run without that class."
            )
        raise ConfigError(
            f"{run} has no added class {name!r}; it has {list_some(names or ['none'])}.{suggest(name, names)} Name one "
            f"of these."
        )
    position = names.index(name)
    images = list(torch.split(before.features, [each.images for each in before.classes]))
    del images[position]
    left = before.classes[:position] + before.classes[position + 1 :]
    copy_run(run, out)
    features = torch.cat(images) if images else before.features[:0]
    write_new_classes(out, AddedClasses(left, before.module.without(position), features, before.confidences))
    return out


def _text(new: NewClass) -> str | None:
    return new.text if new.text is not None and has_text(new.text) else None


def _check_classes(predictor: Predictor, classes: Sequence[NewClass]) -> None:
    """Refuse classes that cannot be added.

    Raises:
        ConfigError: see `add_classes`.
    """
    if predictor.config.data.labels != "single":
        raise ConfigError(
            f"{predictor.run} was trained with `data.labels=multi`, and classes can be added to a run with one class "
            f"per image only. Train a run with the new classes."
        )
    if not classes:
        raise ConfigError("No class was given to add. Give one or more, each with a name and a text or images.")
    names = [each.name for each in classes]
    blank = [position for position, name in enumerate(names) if not has_text(name)]
    if blank:
        raise ConfigError(f"The class at position {blank[0]} has a blank name. Name it.")
    taken = sorted(set(names) & set(predictor.classes)) or sorted({name for name in names if names.count(name) > 1})
    if taken:
        known = set(predictor.classes) & set(taken)
        reason = f"{predictor.run} knows already" if known else "were given twice"
        raise ConfigError(
            f"The classes to add must be new, but these {reason}: {list_some(taken)}. Rename or drop them."
        )
    bare = [each.name for each in classes if _text(each) is None and not len(each.images)]
    if bare:
        raise ConfigError(
            f"A new class needs a text, images or both, but these have neither: {list_some(bare)}. A description of "
            f"what it looks like is best; its name as the text is better than nothing."
        )


def _read_rows(
    predictor: Predictor, data: Any, features: Path | str | None, trained: Sequence[str], allow_code: AllowCode
) -> tuple[Manifest, SplitOutputs, SplitOutputs]:
    """Return the rows of a run, and the outputs of its model for a sample of those of train and of val."""
    if features is None:
        manifest = predictor.rows(data, TRAIN)
        sample = _sample(manifest)
        train, held = (predictor.outputs(sample, split) for split in (TRAIN, HELD))
    else:
        if data is not None:
            raise ConfigError("Both `data` and `features` were given, but one of them brings the rows. Leave one out.")
        found = features_for(predictor, features, allow_code=allow_code)
        manifest = found.manifest
        _check_same_classes(manifest, trained)
        found = found.with_rows(dataclasses.replace(_sample(manifest), classes=tuple(predictor.classes)))
        train, held = (
            predictor.outputs_of(found.dataset(split), found.manifest.split(split)) for split in (TRAIN, HELD)
        )
    return manifest, train, held


def _sample(manifest: Manifest) -> Manifest:
    """Return at most as many rows of each split and class as count."""
    seen: dict[tuple[str, str], int] = {}
    kept = []
    records = list(manifest.records)
    random.Random(0).shuffle(records)
    for record in records:
        key = record.split, record.label
        seen[key] = seen.get(key, 0) + 1
        if seen[key] <= MOST_ROWS:
            kept.append(record)
    chosen = set(map(id, kept))
    return dataclasses.replace(manifest, records=tuple(each for each in manifest.records if id(each) in chosen))


def _check_same_classes(manifest: Manifest, trained: Sequence[str]) -> None:
    unknown = sorted(set(manifest.classes) - set(trained))
    if unknown:
        raise DataError(
            f"{manifest.source} has classes that the run was not trained for: {list_some(unknown)}. Name the features "
            f"that it was trained on."
        )


def _shown(before: AddedClasses | None) -> list[Tensor]:
    """Return the features of the images that each class was made from before, `(k, D_v)`."""
    return [] if before is None else list(torch.split(before.features, [each.images for each in before.classes]))


def _encode(predictor: Predictor, new: NewClass) -> Tensor:
    """Return the features of the images of a new class, `(k, D_v)`."""
    return torch.from_numpy(predictor.encode(list(new.images))).float()


def _class_texts(manifest: Manifest, trained: Sequence[str]) -> list[ClassText]:
    texts: dict[str, set[str]] = {name: set() for name in trained}
    for record in manifest.split(TRAIN):
        texts.setdefault(record.label, set()).add(record.text)
    return [ClassText(name, tuple(sorted(texts[name]))) for name in trained]


def _class_rows(outputs: SplitOutputs, classes: int) -> ClassRows:
    """Return rows of trained classes as arrays."""
    own = outputs.labels < classes
    return ClassRows(
        np.asarray(outputs.x_v[own], float),
        np.asarray(outputs.labels[own]),
        np.asarray(outputs.logits[own, :classes], float),
    )
