"""The rows, images or features that a run trains on: read, checked, and handed out in batches."""

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
from marnet.data.images import BrokenImage
from marnet.data.loading import make_loader
from marnet.data.manifest import Manifest, check_trainable
from marnet.data.moved import moved_rows, refuse_missing_images
from marnet.data.recorded import read_recorded
from marnet.data.sampling import ClassBalancedSampler, EpochSampler, evaluation_sampler
from marnet.data.sources import open_data
from marnet.data.transforms import ImageSpec, eval_transform, train_transform
from marnet.encoders.text import check_text_encoder_name, has_text
from marnet.encoders.visual import Backbone, rebuild_backbone
from marnet.errors import ConfigError, DataError
from marnet.methods import find_method
from marnet.runs.code import AllowCode
from marnet.runs.directory import BACKBONE, read_image_spec
from marnet.tasks import TASKS
from marnet.training.features import config_on_features, open_features
from marnet.training.resuming import check_resumed_size


class TrainingData(NamedTuple):
    """The rows, images or features, and backbone that a run trains on."""

    manifest: Manifest
    train: ImageTextDataset | FeatureDataset
    val: ImageTextDataset | FeatureDataset
    spec: ImageSpec
    backbone: nn.Module
    skipped: list[BrokenImage]
    offsets: np.ndarray | None  # of the training images in their shards, where order matters to reading them


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
    for split in ("train", "val"):
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
    opened = open_splits(
        manifest,
        {"train": train_transform(section.augmentation, spec), "val": eval_transform(spec)},
        spec=spec,
        on_bad_image=section.on_bad_image,
        max_pixels=section.max_pixels,
        cache=cache_directory() if section.cache else None,
        stream=section.stream,
    )
    skipped = [broken for each in opened.values() for broken in each.skipped]
    train, val = opened["train"].dataset, opened["val"].dataset
    offsets = shard_offsets([record.image for record in opened["train"].records]) if section.stream else None
    data = TrainingData(manifest, train, val, spec, backbone.module, skipped, offsets)
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
    training = TrainingData(
        found.manifest,
        found.dataset("train"),
        found.dataset("val"),
        found.spec,
        found.backbone,
        [],
        None,
    )
    return config, training


def train_loader(config: Config, data: TrainingData, process: int, processes: int) -> DataLoader[Any]:
    """Return the loader of a training process; its sampler has `set_epoch`."""
    seed = config.training.seed
    sampler: EpochSampler | ClassBalancedSampler
    if config.training.balance == "sampler":
        sampler = ClassBalancedSampler(data.train.labels, seed=seed, process=process, processes=processes)
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
    return {
        "source": data.manifest.source,
        "classes": len(data.manifest.classes),
        "train": len(data.train),
        "val": len(data.val),
        "train_without_text": sum(not has_text(text) for text in data.train.texts),
        "skipped_images": [broken._asdict() for broken in data.skipped],
        "notes": list(data.manifest.notes),
    }
