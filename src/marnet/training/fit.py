"""`fit`: data, model, training and the first metrics, from one configuration into one run directory."""

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from marnet.building import OWN_BACKBONE, build_backbone, build_model
from marnet.cache import cache_directory
from marnet.config import Config
from marnet.data.dataset import ImageTextDataset, open_splits
from marnet.data.features import FeatureDataset
from marnet.data.image_bytes import shard_offsets
from marnet.data.images import BrokenImage
from marnet.data.loading import make_loader
from marnet.data.manifest import Manifest, check_trainable
from marnet.data.moved import moved_rows, refuse_missing_images
from marnet.data.recorded import read_recorded, write_recorded
from marnet.data.sampling import ClassBalancedSampler, EpochSampler, evaluation_sampler
from marnet.data.sources import open_data
from marnet.data.transforms import ImageSpec, eval_transform, train_transform
from marnet.encoders.downloads import no_downloads
from marnet.encoders.text import check_text_encoder_name, has_text
from marnet.encoders.visual import Backbone, rebuild_backbone
from marnet.errors import ConfigError, DataError
from marnet.inference import Predictor, collect_outputs, load
from marnet.inference.calibration import cross_fit, fit_calibration
from marnet.jsonfile import write_json
from marnet.methods import find_method, resolve
from marnet.metrics import Metrics, MultiLabelMetrics
from marnet.model import MARNet
from marnet.runs.calibration import apply_calibration, write_calibration
from marnet.runs.code import AllowCode, allows_downloads, named_code, named_models, refuse_code, trust_code
from marnet.runs.directory import BACKBONE, HISTORY, METRICS, read_history, read_image_spec, read_run_config
from marnet.runs.lock import claimed
from marnet.runs.overwriting import keeping_replaced
from marnet.runs.starting import check_run_directory, start_run_directory
from marnet.runs.weights import load_run
from marnet.stopping import stoppable
from marnet.tasks import TASKS, Task, make_task
from marnet.training.features import config_on_features, open_features
from marnet.training.lightning import OnEpoch, is_first_process, seed_everything, train_with_lightning
from marnet.training.processes import follow_first
from marnet.training.resuming import check_resumed_size, resumed_config
from marnet.training.stopping import way_on_of_run


class TrainedRun(NamedTuple):
    """A finished run; wherever a run directory is asked for, it may stand for its path.

    Example:
        >>> import marnet
        >>> run = marnet.train("products.csv", out="runs/one", backbone="timm:test_resnet",
        ...     settings={"training.epochs": 1, "data.image_size": 32})
        >>> run.path.is_dir(), 0 <= run.metrics.top1 <= 1
        (True, True)
        >>> run.load().classes
        ('apple', 'eel', 'lime')
    """

    path: Path  # the run directory
    metrics: Metrics | MultiLabelMetrics  # on val, of the kept weights

    def load(self, *, backbone: nn.Module | None = None, device: str = "auto") -> Predictor:
        """Load the run for prediction.

        Args:
            backbone: the module that the run was trained with, where it was handed over in Python.
            device: where to compute; "auto" takes a GPU if there is one.
        """
        return load(self.path, backbone=backbone, device=device, allow_code=True)  # this process trained with it

    def __fspath__(self) -> str:
        return str(self.path)

    @property
    def run(self) -> Path:
        """The run directory; `path` by its name until 0.1."""
        return self.path


class _TrainingData(NamedTuple):
    """The rows, images or features, and backbone that a run trains on."""

    manifest: Manifest
    train: ImageTextDataset | FeatureDataset
    val: ImageTextDataset | FeatureDataset
    spec: ImageSpec
    backbone: nn.Module
    skipped: list[BrokenImage]
    offsets: np.ndarray | None  # of the training images in their shards, where order matters to reading them


class ModelFactory(Protocol):
    """Builds the model to train; `build_model` is the default."""

    def __call__(
        self, config: Config, *, num_classes: int, texts: list[str], labels: np.ndarray, backbone: nn.Module | None
    ) -> MARNet:
        """Return the model for `num_classes` classes that learns from `texts` with their `labels`, on `backbone`."""
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
    on_epoch: OnEpoch | None = None,
    allow_code: AllowCode = False,
) -> TrainedRun:
    """Train what `config` describes and leave a self-contained run directory.

    Args:
        config: every setting; `config.training.seed` fixes weights, order, augmentation and noise.
        out: the run directory to write.
        backbone: your own module, with the input it needs, instead of the one in `config.backbone`.
        manifest: rows to use instead of `config.data.source`; with `config.data.features`, some of their rows, which
            may have other texts and labels; when resuming, the rows of the run with images that were moved.
        model_factory: builds the model.
        overwrite: replace a run that `out` already holds.
        resume: continue the run that `out` holds from its resume point: the last finished epoch or, if epochs take
            seconds, one up to ten seconds earlier. The run keeps its settings (`marnet.training.resuming`); only how
            long, on which devices and in which precision it trains may change.
        on_epoch: called after every epoch with its number from 1 and the number of epochs, instead of a progress bar
            or a line in the log.
        allow_code: when resuming, or with features, import code that the run or the features name
            (`module:PACKAGE.NAME`), and download models that the run names (`hf:NAME`); those that `config` names for a
            new run need no permission.

    Raises:
        ConfigError: no data was named, something stands next to features that they bring themselves, or resuming would
            change the run's settings.
        MarnetError: the data, the backbone, the configuration or `out` cannot be used, or the loss became NaN.
        TrainingProcessError: one of several training processes was killed or failed.
        KeyboardInterrupt: Ctrl-C was pressed; the log says how to go on.
        SystemExit: SIGTERM came; the log says how to go on, and the exit code is 143.

    Example:
        >>> import marnet
        >>> config = marnet.make_config(
        ...     {
        ...         "data": {"source": "products.csv", "image_size": 32},
        ...         "backbone": {"name": "timm:test_resnet"},
        ...         "training": {"epochs": 1},
        ...     }
        ... )
        >>> marnet.fit(config, "runs/fitted").metrics.n
        9
    """
    run = Path(out)
    follow_first(partial(way_on_of_run, run))
    if is_first_process():
        check_run_directory(run, overwrite=overwrite, resume=resume)
    _check_code(config, run if resume else None, allow_code, own_backbone=backbone is not None)
    config = resolve(config)
    if backbone is not None:
        config = config.model_copy(update={"backbone": config.backbone.model_copy(update={"name": OWN_BACKBONE})})
    if resume:
        config = resumed_config(run, config)
    seed_everything(config.training.seed)  # before all draws: every method starts from the same backbone
    strange = resume and not allows_downloads(named_models(config), allow_code=allow_code)
    with no_downloads(refused=strange):
        config, data = _load_data(config, run, backbone, manifest, resume=resume, allow_code=allow_code)
        classes, labels = data.manifest.classes, data.train.labels
        model = model_factory(
            config, num_classes=len(classes), texts=data.train.texts, labels=labels, backbone=data.backbone
        )
    task = make_task(config, len(classes))
    training = config.training
    model.objective.classify = task.balanced_loss(training.balance, labels, tau=training.logit_adjustment)
    model = model.to(memory_format=torch.channels_last)
    with ExitStack() as stack:
        if is_first_process():
            stack.enter_context(claimed(run))
            stack.enter_context(keeping_replaced(run))
            stack.enter_context(stoppable(partial(way_on_of_run, run)))  # it tells before the old run is put back
            start_run_directory(run, config, classes, data.spec, overwrite=overwrite, resume=resume)
            write_recorded(data.manifest, run)
        epochs = train_with_lightning(
            model,
            partial(_train_loader, config, data),
            partial(_val_loader, config, data),
            spec=data.spec,
            run=run,
            task=task,
            settings=config.training,
            resume=resume,
            on_epoch=on_epoch,
        )
        metrics = _finish(run, config, data, task, epochs=epochs)
    return TrainedRun(run, metrics)


def _finish(run: Path, config: Config, data: _TrainingData, task: Task, *, epochs: int) -> Metrics | MultiLabelMetrics:
    """Fit the calibration of the kept weights on val, and write the metrics."""
    model = load_run(run, backbone=data.backbone, allow_code=True).model.float()  # double where training was
    apply_calibration(model, None)
    labels = torch.as_tensor(data.val.labels)
    outputs = collect_outputs(model, data.val, data.spec, batch_size=config.training.batch_size)
    metrics = before = task.metrics(outputs.logits, labels)
    if config.training.calibrate:
        logits, thresholds = cross_fit(model, outputs, labels)
        if config.data.threshold is not None:
            thresholds = None
        metrics = task.metrics(logits, labels, thresholds=thresholds)
    if is_first_process():
        if config.training.calibrate:
            write_calibration(run, fit_calibration(model, outputs, labels))
        report = {
            "val": metrics._asdict(),
            "val_uncalibrated": before._asdict(),
            "kept": _describe_kept(run, config, task),
            "data": _describe_data(data),
            "epochs": epochs,
        }
        write_json(run / METRICS, report)
    return metrics


def _describe_kept(run: Path, config: Config, task: Task) -> dict[str, Any]:
    """Return which weights were kept, and by how much choosing an epoch by its val score flatters that score."""
    scores = [row[f"val/{task.score}"] for row in read_history(run / HISTORY)]
    end = scores[-max(1, len(scores) // 4) :]  # nobody chose these epochs
    flatters = max(scores) - sum(end) / len(end) if config.training.keep == "best" else 0.0
    return {"weights": config.training.keep, f"last_quarter_{task.score}": sum(end) / len(end), "flatters": flatters}


def _check_code(config: Config, run: Path | None, allow_code: AllowCode, *, own_backbone: bool) -> None:
    """Allow the code that the caller names; that of a run to resume only if `allow_code` does."""
    if run is None:
        trust_code(config)
        return
    not_read = ("backbone.name",) if own_backbone else ()
    refuse_code(run, named_code(read_run_config(run)), allow_code=allow_code, but=not_read)


def _load_data(
    config: Config,
    run: Path,
    backbone: Backbone | None,
    manifest: Manifest | None,
    *,
    resume: bool,
    allow_code: AllowCode,
) -> tuple[Config, "_TrainingData"]:
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


def _load_images(config: Config, manifest: Manifest, backbone: Backbone | None) -> tuple[Config, "_TrainingData"]:
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
    data = _TrainingData(manifest, train, val, spec, backbone.module, skipped, offsets)
    return config.model_copy(update={"data": section}), data


def _load_features(
    config: Config, folder: Path, rows: Manifest | None, *, allow_code: AllowCode
) -> tuple[Config, "_TrainingData"]:
    """Return features of a frozen backbone, all or those of some rows, and the configuration with what they bring."""
    found = open_features(folder, allow_code=allow_code)
    found = found if rows is None else found.with_rows(rows)
    config = config_on_features(config, found.config)
    check_trainable(found.manifest)
    _check_texts(config, found.manifest)
    _check_balance(config, found.manifest)
    training = _TrainingData(
        found.manifest,
        found.dataset("train"),
        found.dataset("val"),
        found.spec,
        found.backbone,
        [],
        None,
    )
    return config, training


def _train_loader(config: Config, data: _TrainingData, process: int, processes: int) -> DataLoader[Any]:
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


def _val_loader(config: Config, data: _TrainingData, process: int, processes: int) -> DataLoader[Any]:
    sampler = evaluation_sampler(data.val, process=process, processes=processes)
    return make_loader(data.val, batch_size=config.training.batch_size, workers=config.data.workers, sampler=sampler)


def _describe_data(data: _TrainingData) -> dict[str, Any]:
    return {
        "source": data.manifest.source,
        "classes": len(data.manifest.classes),
        "train": len(data.train),
        "val": len(data.val),
        "train_without_text": sum(not has_text(text) for text in data.train.texts),
        "skipped_images": [broken._asdict() for broken in data.skipped],
        "notes": list(data.manifest.notes),
    }
