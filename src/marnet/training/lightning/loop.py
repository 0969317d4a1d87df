"""The loop: a trainer for the devices and the precision that were asked for, and what it calls."""

import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import lightning
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_only

from marnet.config import TrainingConfig
from marnet.data.image_spec import ImageSpec
from marnet.errors import ConfigError
from marnet.model import MARNet
from marnet.runs.directory import HISTORY, RESUME_POINT
from marnet.tasks import Task
from marnet.training.lightning.callbacks import (
    Announcement,
    EventLogger,
    History,
    KeptWeights,
    OwnHandler,
    Patience,
    ProgressBar,
    ResumePoint,
    ResumePointFiles,
    log_epoch,
)
from marnet.training.lightning.module import MakeLoader, OnEpoch, TrainingModule
from marnet.training.processes import start_others, together
from marnet.training.resume_points import choose_resume_point
from marnet.training.stopping import way_on_of_run


def train_with_lightning(
    model: MARNet,
    train: MakeLoader,
    val: MakeLoader,
    *,
    spec: ImageSpec,
    run: Path,
    task: Task,
    settings: TrainingConfig,
    resume: bool,
    on_epoch: OnEpoch | None = None,
) -> int:
    """Train `model` in place; write weights, history, logs and the resume point into `run`.

    Args:
        model: the model to train.
        train: makes the loader of a training process; its sampler has `set_epoch`, which is called before every epoch.
        val: makes the loader of the batches to validate on after every epoch.
        spec: how images are normalised.
        run: the run directory.
        task: scores the epochs.
        settings: settings of the optimisation.
        resume: go on from the resume point in `run`.
        on_epoch: called after every epoch, instead of a progress bar or a line in the log.

    Returns:
        The number of epochs trained, including those before a resume.

    Raises:
        NonFiniteLossError: a loss became NaN or infinite; the weights that were last saved stay in `run`.
        ConfigError: this machine lacks the devices or cannot compute in the precision.
    """
    show_bar = on_epoch is None and sys.stderr.isatty()
    callbacks: list[Callback] = [
        History(run / HISTORY, task),
        KeptWeights(run, settings.keep, task.score),  # before the resume point, which must not be ahead of it
        ResumePoint(
            run / RESUME_POINT.parent,
            filename=RESUME_POINT.stem,  # one file, replaced time and again
            enable_version_counter=False,
            save_on_train_epoch_end=True,
        ),
    ]
    callbacks.append(OwnHandler())
    if show_bar:
        callbacks.append(ProgressBar(console_kwargs={"stderr": True}))
    else:
        callbacks.append(Announcement(on_epoch or log_epoch(run / HISTORY, task)))
    if settings.patience is not None:
        callbacks.append(Patience(f"val/{task.score}", mode="max", patience=settings.patience))
    with _quiet():
        trainer = _make_trainer(settings, run, callbacks, show_bar=show_bar)
    module = TrainingModule(
        model,
        train,
        val,
        spec=spec,
        task=task,
        settings=settings,
    )
    checkpoint = choose_resume_point(run) if resume else None
    with _quiet(), together(partial(way_on_of_run, run)):
        _start_others(trainer)
        _run(trainer, module, checkpoint)
    return int(trainer.current_epoch)


def _run(trainer: lightning.Trainer, module: lightning.LightningModule, checkpoint: Path | None) -> None:
    try:
        trainer.fit(module, ckpt_path=checkpoint, weights_only=True)
        trainer.strategy.barrier()  # no process leaves before all have trained
    except SystemExit as end:
        if isinstance(end.__context__, KeyboardInterrupt):  # Lightning turns Ctrl-C into an exit
            raise KeyboardInterrupt from None
        raise


def _start_others(trainer: lightning.Trainer) -> None:
    """Start the other processes of a training on several devices, unless this is one or something else starts them."""
    launcher, environment = trainer.strategy.launcher, getattr(trainer.strategy, "cluster_environment", None)
    if launcher is None or launcher.is_interactive_compatible:  # one process, or forks of a notebook
        return
    if environment is not None and not environment.creates_processes_externally:
        start_others(trainer.world_size, address=environment.main_address, port=environment.main_port)


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch, and the loaders' processes."""
    lightning.seed_everything(seed, workers=True, verbose=False)


def is_first_process() -> bool:
    """Return whether this is the training process that writes files; with one process it is."""
    return int(getattr(rank_zero_only, "rank", 0) or 0) == 0


def _make_trainer(
    settings: TrainingConfig, run: Path, callbacks: Sequence[Callback], *, show_bar: bool
) -> lightning.Trainer:
    accelerator, _, count = settings.devices.partition(":")
    if accelerator.isdigit():
        accelerator, count = "auto", accelerator
    if count and not (count.isdecimal() and len(count) <= 4):
        raise ConfigError(
            f"`training.devices={settings.devices}` is not known. Expected auto, a count, cpu, cpu:2, cuda:1 or mps."
        )
    devices: int | str = int(count) if count else ("auto" if accelerator in ("auto", "cuda") else 1)
    several = isinstance(devices, int) and devices > 1
    try:
        return lightning.Trainer(
            accelerator=accelerator,
            devices=devices,
            # Rows without text leave some weights without a gradient in a step.
            strategy="ddp_find_unused_parameters_true" if several else "auto",
            precision=settings.precision,
            max_epochs=settings.epochs,
            gradient_clip_val=settings.gradient_clip,
            callbacks=list(callbacks),
            plugins=[ResumePointFiles()],
            logger=EventLogger(run),
            num_sanity_val_steps=0,
            use_distributed_sampler=False,  # our loaders share the rows out themselves
            log_every_n_steps=10,
            enable_model_summary=False,
            enable_progress_bar=show_bar,
        )
    except (ValueError, ModuleNotFoundError, MisconfigurationException) as error:
        raise ConfigError(
            f"This machine cannot train with `training.devices={settings.devices}` and "
            f"`training.precision={settings.precision}`: {error}"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's remarks on devices, loaders and its other products off the screen; errors still come through."""
    log = logging.getLogger("lightning.pytorch")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        log.setLevel(level)
