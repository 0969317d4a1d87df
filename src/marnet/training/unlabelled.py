"""Rows without a label in training: a teacher labels them if that helps, else they are left out."""

import json
import logging
from pathlib import Path

import numpy as np
import torch

from marnet.atomic import replacing
from marnet.building import text_vectors
from marnet.config import Config
from marnet.data.dataset import ImageTextDataset
from marnet.data.features import FeatureDataset
from marnet.data.transforms import eval_transform
from marnet.encoders.text import has_text
from marnet.errors import RunDirectoryError
from marnet.methods import find_method
from marnet.runs.layout import UNLABELLED
from marnet.runs.tensor_files import load_tensors, read_header, save_tensors
from marnet.training.features import compute_features
from marnet.training.lightning import is_first_process
from marnet.training.teacher import Outcome, Taught, teach
from marnet.training.training_data import TrainingData, UnlabelledRows

_LABELS = "labels"  # the tensor of the file
_WAY_OUT = "Train again with `overwrite=True`."
_logger = logging.getLogger("marnet")


def settle_unlabelled(config: Config, data: TrainingData, stored: Path | None) -> tuple[TrainingData, Taught | None]:
    """Return the rows to train on: with the teacher's labels, or without the rows that have none.

    Where they are used, targets are the shares `(N, C)` that classes have in a row. Nothing random is drawn, so that a
    run that leaves them out is the run on the labelled rows alone.

    Args:
        config: the configuration of the run.
        data: rows without a label have the target -1 and come last.
        stored: the run directory that has the labels already, if one does.

    Raises:
        RunDirectoryError: the labels in `stored` are missing or damaged.
    """
    if data.unlabelled is None or not data.unlabelled.used:
        return _told(data), None
    labels = np.asarray(data.train.labels)
    count, classes = int((labels >= 0).sum()), len(data.manifest.classes)
    unlabelled = len(labels) - count
    taught = _read(stored, unlabelled, classes) if stored is not None else _teach(config, data, count)
    use = taught is not None and taught.outcome.used
    kept = np.arange(len(labels) if use else count)
    targets = labels[:count]
    if taught is not None and use:
        targets = np.vstack([np.eye(classes, dtype=np.float32)[targets], taught.probabilities])
    outcome = None if taught is None else taught.outcome
    settled = UnlabelledRows(
        data.unlabelled.rows, len(kept) - count, _sentence(outcome, unlabelled), outcome._asdict() if outcome else {}
    )
    data = data._replace(train=data.train.select(kept, targets), records=data.records[: len(kept)], unlabelled=settled)
    return _told(data), taught


def write_taught(taught: Taught | None, run: Path) -> None:
    """Write the teacher's labels into a run directory, for resuming and for other training processes."""
    if taught is None:
        return
    with replacing(run / UNLABELLED) as partial:
        metadata = {"outcome": json.dumps(taught.outcome._asdict())}
        save_tensors(partial, {_LABELS: torch.from_numpy(taught.probabilities)}, metadata)


def _teach(config: Config, data: TrainingData, count: int) -> Taught | None:
    texts = data.train.texts
    if is_first_process():
        _logger.info("%d of %d training rows have no label; a teacher is measured.", len(texts) - count, len(texts))
    with torch.random.fork_rng():  # all else is drawn as without these rows
        torch.manual_seed(config.training.seed)
        image = _image_features(data)
        choice = find_method(config.method).text_encoder(config)
        text = text_vectors(config.text.model_copy(update={"name": choice.name}), texts)
    records = data.records[:count]
    groups = [record.group or record.image for record in records] if any(each.group for each in records) else None
    return teach(
        image,
        text,
        np.array([has_text(each) for each in texts]),
        np.asarray(data.train.labels)[:count],
        len(data.manifest.classes),
        groups=groups,
        seed=config.training.seed,
    )


def _image_features(data: TrainingData) -> np.ndarray:
    """Return the features `(N, D_v)` of the training images by the backbone as it starts, without augmentation."""
    if isinstance(data.train, FeatureDataset):
        return np.asarray(data.train.features.numpy())
    train: ImageTextDataset = data.train
    plain = train.select(np.arange(len(train)), train.labels, transform=eval_transform(data.spec))
    modes = [(module, module.training) for module in data.backbone.modules()]
    features = compute_features(data.backbone, plain, data.spec, "train")
    for module, mode in modes:
        module.training = mode
    return np.asarray(features.numpy())


def _read(run: Path, unlabelled: int, classes: int) -> Taught | None:
    """Return the labels that a run was started with; None if it has none, because nothing could be measured."""
    file = run / UNLABELLED
    if not file.exists():
        return None
    header = read_header(file, way_out=_WAY_OUT)
    if header.shapes != {_LABELS: (unlabelled, classes)}:
        raise RunDirectoryError(
            f"{file} holds tensors of the shapes {header.shapes}, but the run has {unlabelled} rows without a label "
            f"and {classes} classes. {_WAY_OUT}"
        )
    try:
        outcome = Outcome(**json.loads(header.metadata["outcome"]))
    except (KeyError, TypeError, ValueError):
        raise RunDirectoryError(f"{file} does not say whether its labels are used. {_WAY_OUT}") from None
    return Taught(load_tensors(file, way_out=_WAY_OUT)[_LABELS].numpy(), outcome)


def _sentence(outcome: Outcome | None, unlabelled: int) -> str:
    if outcome is None:
        return (
            f"{unlabelled} rows without a label are left out of training: no class has two labelled rows to hold one "
            f"out, so that nobody can tell whether a teacher's labels would help."
        )
    with_them, without, error, teacher = (
        f"{100 * share:.1f}"
        for share in (outcome.with_unlabelled, outcome.without, outcome.standard_error, outcome.teacher)
    )
    measured = (
        f"on held-out labelled rows, a linear probe on image features gets {with_them} % right with these labels and "
        f"{without} % without (standard error of the difference {error}), the teacher itself {teacher} %"
    )
    if outcome.used:
        return (
            f"Training learns from {unlabelled} rows without a label, which a teacher with image and text labels: "
            f"{measured}."
        )
    return (
        f"{unlabelled} rows without a label are left out of training, because a teacher's labels do not help: "
        f"{measured}."
    )


def _told(data: TrainingData) -> TrainingData:
    """Log once how rows without a label are used."""
    if data.unlabelled is not None and is_first_process():
        _logger.warning("%s", data.unlabelled.reason)
    return data
