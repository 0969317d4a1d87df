"""`fit`: data, model, training and the first metrics, from one configuration into one run directory."""

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import nn

from marnet.building import build_model
from marnet.config import OWN_BACKBONE, Config
from marnet.data.manifest import Manifest
from marnet.data.recorded import write_recorded
from marnet.encoders.downloads import no_downloads
from marnet.encoders.visual import Backbone
from marnet.inference import Predictor
from marnet.methods import resolve
from marnet.metrics import Metrics, MultiLabelMetrics
from marnet.model import MARNet
from marnet.runs.code import AllowCode, allows_downloads, named_code, named_models, refuse_code, trust_code
from marnet.runs.directory import read_run_config
from marnet.runs.lock import claimed
from marnet.runs.overwriting import keeping_replaced
from marnet.runs.starting import check_run_directory, start_run_directory
from marnet.stopping import stoppable
from marnet.tasks import make_task
from marnet.training.finishing import finish_run
from marnet.training.lightning import OnEpoch, is_first_process, seed_everything, train_with_lightning
from marnet.training.processes import follow_first, started_by_first
from marnet.training.resuming import resumed_config
from marnet.training.stopping import way_on_of_run
from marnet.training.training_data import load_data, train_loader, val_loader
from marnet.training.unlabelled import settle_unlabelled, write_taught


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
        return Predictor(self.path, backbone=backbone, device=device, allow_code=True)  # this process trained with it

    def __fspath__(self) -> str:
        return str(self.path)

    @property
    def run(self) -> Path:
        """The run directory; `path` by its name until 0.1."""
        return self.path


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
    if backbone is not None:
        config = config.model_copy(update={"backbone": config.backbone.model_copy(update={"name": OWN_BACKBONE})})
    config = resolve(config)
    if resume:
        config = resumed_config(run, config)
    seed_everything(config.training.seed)  # before all draws: every method starts from the same backbone
    strange = resume and not allows_downloads(named_models(config), allow_code=allow_code)
    with no_downloads(refused=strange):
        config, data = load_data(config, run, backbone, manifest, resume=resume, allow_code=allow_code)
        data, taught = settle_unlabelled(config, data, run if resume or started_by_first() else None)
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
            write_taught(taught, run)
        epochs = train_with_lightning(
            model,
            partial(train_loader, config, data),
            partial(val_loader, config, data),
            spec=data.spec,
            run=run,
            task=task,
            settings=config.training,
            resume=resume,
            on_epoch=on_epoch,
        )
        metrics = finish_run(run, config, data, task, epochs=epochs)
    return TrainedRun(run, metrics)


def _check_code(config: Config, run: Path | None, allow_code: AllowCode, *, own_backbone: bool) -> None:
    """Allow the code that the caller names; that of a run to resume only if `allow_code` does."""
    if run is None:
        trust_code(config)
        return
    not_read = ("backbone.name",) if own_backbone else ()
    refuse_code(run, named_code(read_run_config(run)), allow_code=allow_code, but=not_read)
