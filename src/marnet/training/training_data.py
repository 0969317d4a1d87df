"""The rows, images or features that a run trains on: read, checked, and handed out in batches."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import nn
from torch.utils.data import DataLoader

from marnet.building import build_backbone
from marnet.cache import cache_directory
from marnet.config import Config
from marnet.data.dataset import ImageTextDataset, open_splits
from marnet.data.features import FeatureDataset
from marnet.data.image_bytes import shard_offsets
from marnet.data.image_spec import ImageSpec
from marnet.data.images import BrokenImage
from marnet.data.loading import make_loader
from marnet.data.manifest import Manifest, Record
from marnet.data.moved import moved_rows, refuse_missing_images
from marnet.data.recorded import read_recorded
from marnet.data.sampling import ClassBalancedSampler, EpochSampler, evaluation_sampler
from marnet.data.sources import open_data
from marnet.data.splits import UNLABELLED
from marnet.data.trainable import check_trainable
from marnet.data.transforms import eval_transform, train_transform
from marnet.encoders.text import check_text_encoder_name, has_text
from marnet.encoders.visual import Backbone, rebuild_backbone
from marnet.errors import ConfigError, DataError
from marnet.methods import find_method
from marnet.runs.code import AllowCode
from marnet.runs.directory import BACKBONE, read_image_spec
from marnet.tasks import TASKS
from marnet.training.features import config_on_features, open_features
from marnet.training.resuming import check_resumed_size


class UnlabelledRows(NamedTuple):
    """The rows without a label, and how training uses them."""

    rows: int  # of the data
    used: int  # of them that training learns from
    reason: str  # a sentence
    measured: Mapping[str, Any] = {}  # the measurements behind it


class TrainingData(NamedTuple):
    """The rows, images or features, and backbone that a run trains on."""

    manifest: Manifest
    train: ImageTextDataset | FeatureDataset
    val: ImageTextDataset | FeatureDataset
    spec: ImageSpec
    backbone: nn.Module
    skipped: list[BrokenImage]
    records: tuple[Record, ...]  # of the rows of `train`
    unlabelled: UnlabelledRows | None = None  # None: the data has no rows without a label
    in_order: bool = False  # reading the images takes long unless it follows the order of their files

    @property
    def offsets(self) -> np.ndarray | None:
        """Where the training images lie in their shards, see `EpochSampler`; None where any order will do."""
        return shard_offsets([record.image for record in self.records]) if self.in_order else None

    def labelled(self) -> ImageTextDataset | FeatureDataset:
        """Return the training rows that came with a label, without those that a teacher labelled; targets `(N,)`."""
        labels = self.train.labels
        if self.unlabelled is None or not self.unlabelled.used:
            return self.train
        count = len(labels) - self.unlabelled.used
        return self.train.select(np.arange(count), labels[:count].argmax(1))


def load_data(
    config: Config,
    run: Path,
    backbone: Backbone | None,
    manifest: Manifest | None,
    *,
    resume: bool,
    allow_code: AllowCode,
) -> tuple[Config, TrainingData]:
    """Return the rows, images or features, and the backbone to train on, and the configuration with what they say."""
    if config.data.features is not None:
        if backbone is not None:
            raise ConfigError(
                "`data.features` brings its own backbone, but `backbone` was given as well. Leave that out."
            )
        config, data = _load_features(config, config.data.features, manifest, allow_code=allow_code)
        if resume:
            _check_same_rows(run, data.manifest)
            check_resumed_size(run, config, len(data.manifest.classes), backbone=data.backbone)
        return config, data
    if manifest is None:
        manifest = _recorded_rows(run, config) if resume else open_data(config.data.source, config.data)
    elif resume:
        manifest = moved_rows(read_recorded(run, label_form=config.data.labels), manifest)
    if resume:
        own = None if backbone is None else backbone.module
        check_resumed_size(run, config, len(manifest.classes), backbone=own)
        backbone = backbone or _resumed_backbone(run, config)
    return _load_images(config, manifest, backbone)


def _resumed_backbone(run: Path, config: Config) -> Backbone:
    """Return the backbone of a run with random weights, because the resume point has all of them."""
    if not (run / BACKBONE).is_dir():
        section = config.backbone.model_copy(update={"pretrained": False})
        return build_backbone(config.model_copy(update={"backbone": section}))
    spec = read_image_spec(run)
    module = rebuild_backbone(run / BACKBONE, image_size=spec.size).train()
    return Backbone(module, spec.mean, spec.std, spec.size, spec.interpolation)


def _recorded_rows(run: Path, config: Config) -> Manifest:
    manifest = read_recorded(run, label_form=config.data.labels)
    for split in manifest.splits():
        if split == "test":
            continue
        subject = f"The run {run}, split {split!r}"
        refuse_missing_images(manifest.split(split), subject, skip=config.data.on_bad_image == "skip")
    return manifest


def _check_same_rows(run: Path, manifest: Manifest) -> None:
    """Refuse features of other rows, which a folder at another place may hold."""
    recorded = read_recorded(run, label_form=manifest.label_form)
    if recorded.records != manifest.records:
        raise ConfigError(
            f"The features have {len(manifest.records)} rows that are not the {len(recorded.records)} rows of "
            f"{recorded.source}. Name the features that the run was trained on with `data.features=FOLDER`."
        )


def _check_texts(config: Config, manifest: Manifest) -> None:
    method = find_method(config.method)
    if not method.needs_text:
        return
    check_text_encoder_name(method.text_encoder(config).name)
    rows = manifest.split("train")
    if not any(has_text(record.text) for record in rows):
        raise DataError(
            f"Method {config.method!r} learns from text, but all {len(rows)} training rows of {manifest.source} have a "
            f"blank text. Fill the text column, or train with `method=image-only`."
        )


def _check_balance(config: Config, manifest: Manifest) -> None:
    TASKS[manifest.label_form](len(manifest.classes), 0.5).check_balance(config.training.balance)


def _load_images(config: Config, manifest: Manifest, backbone: Backbone | None) -> tuple[Config, TrainingData]:
    """Return decoded images and the backbone for them, and the configuration with the size of the images."""
    check_trainable(manifest)
    _check_texts(config, manifest)
    _check_balance(config, manifest)
    backbone = backbone or build_backbone(config)
    size = config.data.image_size or backbone.image_size
    section = config.data.model_copy(update={"image_size": size, "labels": manifest.label_form})
    spec = ImageSpec(size, backbone.mean, backbone.std, backbone.interpolation)
    rows, unlabelled = rows_to_train_on(config, manifest)
    opened = open_splits(
        rows,
        {"train": train_transform(section.augmentation, spec), "val": eval_transform(spec)},
        spec=spec,
        on_bad_image=section.on_bad_image,
        max_pixels=section.max_pixels,
        cache=cache_directory() if section.cache else None,
        stream=section.stream,
    )
    skipped = [broken for each in opened.values() for broken in each.skipped]
    train, val = opened["train"].dataset, opened["val"].dataset
    records = opened["train"].records
    data = TrainingData(manifest, train, val, spec, backbone.module, skipped, records, unlabelled, section.stream)
    return config.model_copy(update={"data": section}), data


def _load_features(
    config: Config, folder: Path, rows: Manifest | None, *, allow_code: AllowCode
) -> tuple[Config, TrainingData]:
    """Return features of a frozen backbone, all or those of some rows, and the configuration with what they bring."""
    found = open_features(folder, allow_code=allow_code)
    found = found if rows is None else found.with_rows(rows)
    config = config_on_features(config, found.config)
    check_trainable(found.manifest)
    _check_texts(config, found.manifest)
    _check_balance(config, found.manifest)
    manifest, unlabelled = rows_to_train_on(config, found.manifest)
    used = found.with_rows(manifest)
    train, val = used.dataset("train"), used.dataset("val")
    data = TrainingData(found.manifest, train, val, found.spec, found.backbone, [], manifest.split("train"), unlabelled)
    return config, data


def rows_to_train_on(config: Config, manifest: Manifest) -> tuple[Manifest, UnlabelledRows | None]:
    """Return the rows with those without a label at the end of train, where training can learn from them at all.

    Else a sentence says why not.
    """
    count = manifest.splits().get(UNLABELLED, 0)
    if not count:
        return manifest, None
    reason = None
    if config.training.unlabelled == "never":
        reason = "`training.unlabelled` is never"
    elif manifest.label_form == "multi":
        reason = "a teacher's labels did harm where images have several classes (docs/labels.md)"
    elif not find_method(config.method).needs_text:
        reason = f"method {config.method!r} learns from no text"
    labelled = tuple(record for record in manifest.records if record.split != UNLABELLED)
    if reason is not None:
        sentence = f"{count} rows without a label are left out of training: {reason}."
        return dataclasses.replace(manifest, records=labelled), UnlabelledRows(count, 0, sentence)
    more = tuple(record._replace(split="train") for record in manifest.split(UNLABELLED))
    return dataclasses.replace(manifest, records=(*labelled, *more)), UnlabelledRows(count, count, "")


def train_loader(config: Config, data: TrainingData, process: int, processes: int) -> DataLoader[Any]:
    """Return the loader of a training process; its sampler has `set_epoch`."""
    seed = config.training.seed
    sampler: EpochSampler | ClassBalancedSampler
    if config.training.balance == "sampler":
        labels = data.train.labels
        classes = labels.argmax(1) if labels.ndim == 2 else labels  # of a teacher's labels the most probable one
        sampler = ClassBalancedSampler(classes, seed=seed, process=process, processes=processes)
    else:
        sampler = EpochSampler(
            len(data.train), seed=seed, shuffle=True, offsets=data.offsets, process=process, processes=processes
        )
    batch_size = config.training.batch_size
    return make_loader(
        data.train,
        batch_size=batch_size,
        workers=config.data.workers,
        sampler=sampler,
        drop_last=len(sampler) > batch_size,  # batch norm cannot learn from a batch of one
    )


def val_loader(config: Config, data: TrainingData, process: int, processes: int) -> DataLoader[Any]:
    """Return the loader of the batches that a process validates on."""
    sampler = evaluation_sampler(data.val, process=process, processes=processes)
    return make_loader(data.val, batch_size=config.training.batch_size, workers=config.data.workers, sampler=sampler)


def describe_data(data: TrainingData) -> dict[str, Any]:
    """Return counts of rows and what was left out, for metrics.json."""
    unlabelled, labelled = data.unlabelled, data.labelled()
    return {
        "source": data.manifest.source,
        "classes": len(data.manifest.classes),
        "train": len(labelled),
        "val": len(data.val),
        "train_without_text": sum(not has_text(text) for text in labelled.texts),
        **({} if unlabelled is None else {"unlabelled": unlabelled._asdict()}),
        "skipped_images": [broken._asdict() for broken in data.skipped],
        "notes": list(data.manifest.notes),
    }
