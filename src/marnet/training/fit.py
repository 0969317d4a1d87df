"""`fit`: data, model, training and the first figures, from one configuration into one run directory."""

from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import nn
from torch.utils.data import DataLoader

from marnet.checkpoint import (
    MANIFEST,
    METRICS,
    OWN_BACKBONE,
    check_run_directory,
    load_run,
    start_run_directory,
    write_json,
)
from marnet.config import Config, cache_directory
from marnet.data.dataset import Collate, EpochSampler, ImageTextDataset, OpenedSplit, open_splits
from marnet.data.manifest import Manifest, check_trainable, read_manifest, write_manifest
from marnet.data.sources import open_source
from marnet.data.transforms import ImageSpec, eval_transform, train_transform
from marnet.encoders.text import check_text_encoder_name, has_text
from marnet.encoders.visual import Backbone, make_backbone
from marnet.errors import DataError
from marnet.inference import collect_outputs, make_loader
from marnet.metrics import Metrics, classification_metrics
from marnet.model import MARNet, build_model
from marnet.training.lightning_module import is_first_process, seed_everything, train_with_lightning


class FitResult(NamedTuple):
    """Where the run is and how good its best epoch is on val."""

    run: Path
    metrics: Metrics


class ModelFactory(Protocol):
    """Builds the model to train; `build_model` is the default, comparisons hand in others."""

    def __call__(self, config: Config, *, num_classes: int, texts: list[str], backbone: nn.Module | None) -> MARNet:
        """The model for `num_classes` classes that learns from `texts`, on `backbone`."""
        ...


def fit(
    config: Config,
    out: Path | str,
    *,
    backbone: Backbone | None = None,
    manifest: Manifest | None = None,
    model_factory: ModelFactory = build_model,
    overwrite: bool = False,
    resume: bool = False,
) -> FitResult:
    """Train what `config` describes and leave a self-contained run directory.

    Args:
        config: every setting; `config.training.seed` fixes weights, order, augmentation and noise.
        out: the run directory to write.
        backbone: your own module, with the input it needs, instead of that of `config.backbone`.
        manifest: rows instead of `config.data.source`.
        model_factory: builds the model.
        overwrite: replace a run that `out` already holds.
        resume: continue the run that `out` holds from its last finished epoch.

    Raises:
        MarnetError: the data, the backbone, the configuration or `out` cannot be used, or the loss became NaN.
    """
    run = Path(out)
    if is_first_process():
        check_run_directory(run, overwrite=overwrite, resume=resume)
    if backbone is not None:
        config = config.model_copy(update={"backbone": config.backbone.model_copy(update={"name": OWN_BACKBONE})})
    if manifest is None:
        manifest = read_manifest(run / MANIFEST) if resume else open_source(config.data)
    check_trainable(manifest)
    _check_texts(config, manifest)
    seed_everything(config.training.seed)  # before all draws: every method starts from the same backbone
    backbone = backbone or _named_backbone(config)
    size = config.data.image_size or backbone.image_size
    config = config.model_copy(update={"data": config.data.model_copy(update={"image_size": size})})
    spec = ImageSpec(size, backbone.mean, backbone.std, backbone.interpolation)
    train, val = _open_train_and_val(config, manifest, spec)
    texts = [record.text for record in train.records]
    model = model_factory(config, num_classes=len(manifest.classes), texts=texts, backbone=backbone.module)
    model = model.to(memory_format=torch.channels_last)
    if is_first_process():
        start_run_directory(run, config, manifest.classes, spec, resume=resume)
        write_manifest(manifest, run / MANIFEST)
    epochs = train_with_lightning(
        model,
        lambda epoch: _train_loader(config, train.dataset, spec, epoch),
        make_loader(val.dataset, spec, batch_size=config.training.batch_size, workers=config.data.workers),
        run=run,
        settings=config.training,
        losses=config.losses,
        positives=config.alignment.positives,
        resume=resume,
    )
    best = load_run(run, backbone=backbone.module).model
    outputs = collect_outputs(best, val.dataset, spec, batch_size=config.training.batch_size)
    metrics = classification_metrics(outputs.logits, torch.as_tensor(val.dataset.labels))
    if is_first_process():
        report = {"val": metrics._asdict(), "data": _describe_data(manifest, train, val), "epochs": epochs}
        write_json(run / METRICS, report)
    return FitResult(run, metrics)


def _named_backbone(config: Config) -> Backbone:
    section = config.backbone
    return make_backbone(
        section.name, image_size=config.data.image_size, pretrained=section.pretrained, weights=section.weights
    )


def _check_texts(config: Config, manifest: Manifest) -> None:
    if config.needs_text:
        check_text_encoder_name(config.text.name)
    rows = manifest.split("train")
    if config.needs_text and not any(has_text(record.text) for record in rows):
        raise DataError(
            f"Method {config.method!r} learns from text, but all {len(rows)} training rows of {manifest.source} have a "
            f"blank text; needed some with text. Fill the text column, or train with --method image-only."
        )


def _open_train_and_val(config: Config, manifest: Manifest, spec: ImageSpec) -> tuple[OpenedSplit, OpenedSplit]:
    data = config.data
    opened = open_splits(
        manifest,
        {"train": train_transform(data.augmentation, spec), "val": eval_transform(spec)},
        spec=spec,
        on_bad_image=data.on_bad_image,
        max_pixels=data.max_pixels,
        cache=cache_directory() if data.cache else None,
    )
    return opened["train"], opened["val"]


def _train_loader(config: Config, dataset: ImageTextDataset, spec: ImageSpec, epoch: int) -> DataLoader[Any]:
    sampler = EpochSampler(len(dataset), seed=config.training.seed, shuffle=True)
    sampler.set_epoch(epoch)
    return DataLoader(
        dataset,
        batch_size=config.training.batch_size,
        sampler=sampler,
        num_workers=config.data.workers,
        collate_fn=Collate(spec),
        drop_last=len(dataset) > config.training.batch_size,  # batch norm cannot learn from a batch of one
        generator=torch.Generator(),  # of its own: a loader otherwise draws from the one that the noise comes from
    )


def _describe_data(manifest: Manifest, train: OpenedSplit, val: OpenedSplit) -> dict[str, Any]:
    return {
        "source": manifest.source,
        "classes": len(manifest.classes),
        "train": len(train.records),
        "val": len(val.records),
        "train_without_text": sum(not has_text(record.text) for record in train.records),
        "skipped_images": [broken._asdict() for opened in (train, val) for broken in opened.skipped],
        "notes": list(manifest.notes),
    }
