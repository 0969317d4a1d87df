"""Leave classes out of a comparison, and measure how a run takes them in afterwards, without training.

The seed draws the classes that a run is not trained for, the same for all arms. They are then added to it
(`marnet.semantic.classes.maker`) from 0 or more of their images: with their texts, without, and as a placebo with
the texts of other classes. Images of new classes that were not shown, and the held-out images of the others, say how
well old and new compete. What the bias is fitted on, and what is scored, are different halves of the held-out images,
each in its turn.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from marnet.comparison.data import ComparisonData
from marnet.comparison.training_rows import derangement
from marnet.data.manifest import Manifest, Record
from marnet.evaluation.new_classes import new_class_metrics
from marnet.inference import Predictor, SplitOutputs
from marnet.inference.class_means.texts import ClassText, class_similarity, sentence_encoder
from marnet.semantic.classes.balance import ClassRows
from marnet.semantic.classes.maker import NewClassData, NewClassMaker

VARIANTS = ("images", "text", "shuffled")  # the class is made from: its images alone; a text as well; a wrong text
NEW_CLASS = "new_"  # begins the names of their metrics


def metric_name(variant: str, images: int, metric: str) -> str:
    """Return the name of a metric in records.

    Example:
        >>> metric_name("text", 0, "harmonic")
        'new_text_0_harmonic'
    """
    return f"{NEW_CLASS}{variant}_{images}_{metric}"


def measure_new_classes(
    predictor: Predictor,
    data: ComparisonData,
    split: str,
    left_out: Sequence[str],
    images: Sequence[int],
    *,
    seed: int,
) -> dict[str, float]:
    """Return the metrics of classes that a run was not trained for, by `metric_name`.

    Args:
        predictor: the run.
        data: all rows, those of the classes that were left out as well.
        split: whose rows of trained classes are held out.
        left_out: the new classes.
        images: numbers of images from which each new class is made; a class with few gives at most half of them.
        seed: draws the images, the halves and the placebo.
    """
    draw = np.random.default_rng(seed)
    classes = len(predictor.classes)
    train, held = (_rows(_outputs(predictor, data, each, predictor.classes)) for each in ("train", split))
    parts = [
        (_outputs(predictor, data, name, left_out), name == "train")
        for name in data.manifest.labelled_splits()
        if name != "test"
    ]
    features = np.concatenate([np.asarray(each.x_v, float) for each, _ in parts])
    logits = torch.cat([each.logits for each, _ in parts])
    labels = np.array([list(left_out).index(record.label) for each, _ in parts for record in each.records])
    may_be_shown = np.concatenate([np.full(len(each.records), shown) for each, shown in parts])
    texts = _similarities(predictor, data.manifest, left_out, seed)
    halves = [
        ClassRows(*(part[rows] for part in held)) for rows in np.array_split(draw.permutation(len(held.labels)), 2)
    ]
    learned = not predictor.config.backbone.freeze
    makers = [NewClassMaker(train, half, learned=learned, seed=seed) for half in halves]
    found: dict[str, float] = {}
    for count in images:
        shown = [
            draw.permutation(np.flatnonzero(may_be_shown & (labels == label)))[
                : min(count, int((labels == label).sum()) // 2)
            ]
            for label in range(len(left_out))
        ]
        rest = np.setdiff1d(np.arange(len(labels)), np.concatenate(shown))
        for variant in VARIANTS:
            if variant == "images" and not count:
                continue
            similarity, of_new = texts[variant]
            new = [
                NewClassData(None if of_new is None else of_new[label], features[rows])
                for label, rows in enumerate(shown)
            ]
            scored = []
            for maker, tested in zip(makers, reversed(halves), strict=True):
                added = maker.make(similarity, new)
                with torch.inference_mode():
                    answers = torch.cat(
                        [
                            added(torch.from_numpy(tested.logits), torch.from_numpy(tested.features)),
                            added(logits[rest].double(), torch.from_numpy(features[rest])),
                        ]
                    )
                truth = torch.from_numpy(np.concatenate([tested.labels, classes + labels[rest]]))
                scored.append(new_class_metrics(answers, truth, classes)._asdict())
            for name in scored[0]:
                found[metric_name(variant, count, name)] = float(np.mean([each[name] for each in scored]))
    return found


def _outputs(predictor: Predictor, data: ComparisonData, split: str, classes: Sequence[str]) -> SplitOutputs:
    """Return the outputs for the rows of a split that have one of `classes`; labels of other classes mean nothing."""
    wanted = set(classes)
    records = [record for record in data.manifest.split(split) if record.label in wanted]
    known = set(predictor.classes)
    named = [record if record.label in known else record._replace(label=predictor.classes[0]) for record in records]
    manifest = replace(data.manifest, records=tuple(named), classes=predictor.classes)
    if data.features is None:
        outputs = predictor.outputs(manifest, split)
    else:
        found = data.features.found.with_rows(manifest)
        outputs = predictor.outputs_of(found.dataset(split), found.manifest.split(split))
    own = {record.image: record for record in records}
    return outputs._replace(records=tuple(own[record.image] for record in outputs.records))


def _rows(outputs: SplitOutputs) -> ClassRows:
    return ClassRows(np.asarray(outputs.x_v, float), np.asarray(outputs.labels), np.asarray(outputs.logits, float))


def _similarities(
    predictor: Predictor, manifest: Manifest, left_out: Sequence[str], seed: int
) -> dict[str, tuple[np.ndarray | None, np.ndarray | None]]:
    """Return the similarities of texts of trained and of new classes, for each variant."""
    encoder = sentence_encoder(None, of_run=predictor.config.text.name)
    said = {name: class_text(name, manifest.records) for name in manifest.classes}
    other = derangement(sorted(said), seed)
    wrong = {name: said[other[name]] for name in said}
    return {
        "images": (None, None),
        "text": class_similarity(
            [said[name] for name in predictor.classes], [said[name] for name in left_out], encoder
        ),
        "shuffled": class_similarity(
            [wrong[name] for name in predictor.classes], [wrong[name] for name in left_out], encoder
        ),
    }


def class_text(name: str, records: Sequence[Record]) -> ClassText:
    """Return what the rows of a class say of it."""
    return ClassText(name, tuple(sorted({record.text for record in records if record.label == name})))
