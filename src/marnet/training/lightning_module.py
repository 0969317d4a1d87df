"""The bridge to Lightning, and the only file that knows it: devices, precision, the loop, progress and resuming.

The model stays a plain `nn.Module`; `examples/plain_torch_loop.py` trains it without this file.
"""

import logging
import math
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, Checkpoint, EarlyStopping, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric

from marnet.choices import Keep
from marnet.config import LossConfig, TrainingConfig
from marnet.data.dataset import Batch
from marnet.data.sampling import own_rows
from marnet.data.transforms import ImageSpec, model_input
from marnet.errors import ConfigError, NonFiniteLossError
from marnet.losses import LossTerms
from marnet.metrics import percent
from marnet.model import MARNet
from marnet.runs.directory import HISTORY, RESUME_POINT, read_history, write_history
from marnet.runs.layout import TENSORBOARD
from marnet.runs.legacy import upgrade_names
from marnet.runs.weights import save_weights
from marnet.tasks import Task
from marnet.training.averaging import AveragedWeights
from marnet.training.event_log import EventLog
from marnet.training.parameter_groups import clipped_together, parameter_groups
from marnet.training.processes import start_others, together
from marnet.training.resume_points import choose_resume_point, write_resume_point
from marnet.training.schedule import warmup_cosine
from marnet.training.stopping import way_on_of_run

RESUME_SECONDS = 10.0  # at least, between two resume points
logger = logging.getLogger("marnet")

Loader = DataLoader[Any]
OnEpoch = Callable[[int, int], None]  # the epoch that ended, from 1, and the number of epochs
MakeLoader = Callable[[int, int], Loader]  # takes the number of a training process (rank) and how many there are


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
        _History(run / HISTORY, task),
        _KeptWeights(run, settings.keep, task.score),  # before the resume point, which must not be ahead of it
        _ResumePoint(
            run / RESUME_POINT.parent,
            filename=RESUME_POINT.stem,  # one file, replaced time and again
            enable_version_counter=False,
            save_on_train_epoch_end=True,
        ),
    ]
    callbacks.append(_OwnHandler())
    if show_bar:
        callbacks.append(_ProgressBar(console_kwargs={"stderr": True}))
    else:
        callbacks.append(_Announcement(on_epoch or _log_epoch(run / HISTORY, task)))
    if settings.patience is not None:
        callbacks.append(_Patience(f"val/{task.score}", mode="max", patience=settings.patience))
    with _quiet():
        trainer = _make_trainer(settings, run, callbacks, show_bar=show_bar)
    module = _TrainingModule(
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


class _TrainingModule(lightning.LightningModule):
    """One optimisation step and one validation step of a MARNet."""

    def __init__(
        self,
        model: MARNet,
        train: MakeLoader,
        val: MakeLoader,
        *,
        task: Task,
        spec: ImageSpec,
        settings: TrainingConfig,
    ) -> None:
        super().__init__()
        self.model = model
        self.make_train_loader = train
        self.make_val_loader = val
        self.spec = spec
        self.task = task
        self.settings = settings
        self.score = task.score_metric()
        self.nll = MeanMetric()
        self.sums: dict[str, Tensor | int] = {}
        self.steps = 0
        self.average: AveragedWeights | None = None
        self._average_so_far: dict[str, Any] | None = None  # of a resume point

    def on_fit_start(self) -> None:
        if self.settings.keep == "averaged":
            steps = int(self.trainer.estimated_stepping_batches)
            self.average = AveragedWeights(self.model, steps=steps, share=self.settings.averaged_share)
            if self._average_so_far is not None:
                self.average.load_state_dict(self._average_so_far)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.average is not None:
            checkpoint["averaged_weights"] = self.average.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # Resume points of older versions name the weights differently.
        prefix = "model."
        state = {name.removeprefix(prefix): tensor for name, tensor in checkpoint["state_dict"].items()}
        checkpoint["state_dict"] = {f"{prefix}{name}": tensor for name, tensor in upgrade_names(state).items()}
        self._average_so_far = checkpoint.get("averaged_weights")

    def train_dataloader(self) -> Loader:
        return self.make_train_loader(self.global_rank, self.trainer.world_size)

    def val_dataloader(self) -> Loader:
        return self.make_val_loader(self.global_rank, self.trainer.world_size)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        images = model_input(batch.images, self.spec)
        return batch._replace(images=images.double() if self.settings.precision == "64" else images)

    def on_train_start(self) -> None:
        # Of a resumed run with another number of processes, an epoch has another number of steps.
        schedule, steps = self.lr_schedulers(), self.current_epoch * int(self.trainer.num_training_batches)
        if isinstance(schedule, torch.optim.lr_scheduler.LambdaLR) and schedule.last_epoch != steps:
            schedule.last_epoch = steps - 1
            schedule.step()

    def on_train_epoch_start(self) -> None:
        # Random draws depend on seed and epoch alone, so that a resumed run repeats what an unbroken one does.
        torch.manual_seed((self.settings.seed + 1) * 1_000_003 + self.current_epoch * 1_009 + self.global_rank)
        self.sums, self.steps = {}, 0
        if self.settings.probe_epochs:
            self.model.freeze_backbone(self.current_epoch < self.settings.probe_epochs)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        outputs = self.model.training_outputs(batch.images, batch.texts)
        loss: LossTerms = self.model.objective(outputs, batch.labels)
        if not bool(torch.isfinite(loss.total)):
            self._refuse(loss.terms, batch_idx)
        for name, term in {"loss": loss.total, **loss.terms}.items():
            self.sums[name] = self.sums.get(name, 0) + term.detach()
        self.steps += 1
        return loss.total

    def means(self) -> dict[str, Tensor]:
        """Return the mean of each loss over the steps of this epoch so far, by its name in the history.

        Lightning's own log would do the same, but it takes a tenth of the time of training on features.
        """
        return {f"train/{name}": torch.as_tensor(total / self.steps) for name, total in self.sums.items()}

    def on_validation_epoch_start(self) -> None:
        if self.average is not None and self.trainer.world_size > 1:  # the statistics of norms differ by process
            for tensor in self.average.tensors.values():
                torch.distributed.broadcast(tensor, 0)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        logits = self.model(batch.images) if self.average is None else self.average.predict(batch.images)
        if not bool(torch.isfinite(logits).all()):
            self._refuse({"validation prediction": logits.sum()}, batch_idx)
        labels = batch.labels
        if self.trainer.world_size > 1:
            own = own_rows(batch.indices, process=self.global_rank, processes=self.trainer.world_size)
            logits, labels = logits[own], labels[own]
        if len(labels):
            self.score.update(logits, labels)
            self.nll(self.task.loss(logits, labels), len(labels))
        self.log(f"val/{self.task.score}", self.score, prog_bar=True, on_step=False, on_epoch=True)
        self.log("val/nll", self.nll, on_epoch=True)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        if self.average is not None:
            self.average.update()

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        if self.settings.clip_by == "model" or gradient_clip_val is None:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        for parameters in clipped_together(self.model):
            torch.nn.utils.clip_grad_norm_(parameters, gradient_clip_val)

    def configure_optimizers(self) -> Any:
        settings = self.settings
        groups = parameter_groups(
            self.model, lr=settings.lr, weight_decay=settings.weight_decay, layer_decay=settings.layer_decay
        )
        # The fused step takes a fraction of the time on small models; in mixed precision it cannot be clipped.
        fused = not settings.precision.endswith("-mixed")
        optimizer = torch.optim.AdamW(groups, lr=settings.lr, betas=(0.9, 0.999), fused=fused)
        steps = int(self.trainer.estimated_stepping_batches)
        warmup = round(self.settings.warmup_epochs * steps / self.settings.epochs)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: warmup_cosine(step, warmup, steps, self.settings.min_lr_share)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _refuse(self, terms: dict[str, Tensor], step: int) -> None:
        broken = [name for name, term in terms.items() if not bool(torch.isfinite(term))] or ["total"]
        weighted = [name for name in broken if name in LossConfig.model_fields]
        smaller = f", or a smaller weight with `losses.{weighted[0]}`" if weighted else ""
        raise NonFiniteLossError(
            f"The loss term {', '.join(repr(name) for name in broken)} became NaN or infinite in epoch "
            f"{self.current_epoch + 1}, step {step + 1}; training stopped. The weights that were last "
            f"saved are kept. Try a lower `training.lr`, `training.precision=32`{smaller}."
        )


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
            plugins=[_ResumePointFiles()],
            logger=_EventLogger(run),
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


class _OwnHandler(Callback):
    """The handler of SIGTERM that was there before: in Lightning's, processes wait for each other."""

    def __init__(self) -> None:
        self.handler = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        in_main_thread = threading.current_thread() is threading.main_thread()
        if trainer.world_size > 1 and in_main_thread and self.handler is not None:
            signal.signal(signal.SIGTERM, self.handler)


class _KeptWeights(Checkpoint):
    """The weights of a run: averaged, of the last epoch, or of the one with the best score (of equals, the lower nll).

    Those that no epoch is chosen for are saved like resume points: not if that was done moments ago.
    """

    def __init__(self, run: Path, keep: Keep, score: str) -> None:
        self.run = run
        self.keep = keep
        self.score = score
        self.best = (-math.inf, -math.inf)
        self.saved = -math.inf

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        found = trainer.callback_metrics
        score = (float(found[f"val/{self.score}"]), -float(found["val/nll"]))
        due = score > self.best if self.keep == "best" else _is_due(trainer, self.saved)
        self.best = max(self.best, score)
        if due and trainer.is_global_zero and isinstance(pl_module, _TrainingModule):
            average = pl_module.average
            save_weights(self.run, pl_module.model, state=None if average is None else average.weights())
            self.saved = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        return {"best": list(self.best)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        score, nll = state_dict["best"]
        self.best = (score, nll)

    @property
    def state_key(self) -> str:  # of version 0.1, so that its resume points fit
        return "_BestWeights"


class _Patience(EarlyStopping):
    """Early stopping with the patience of this call, even if the run was started with another."""

    @property
    def state_key(self) -> str:  # that of Lightning, so that resume points of any version fit
        return super().state_key.replace(type(self).__qualname__, EarlyStopping.__qualname__, 1)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({**state_dict, "patience": self.patience})


class _ResumePoint(ModelCheckpoint):
    """The state that resuming needs, saved after an epoch unless it was saved moments ago and training goes on.

    On features an epoch takes less time than the writing. Resuming repeats the epochs since, to the same weights.
    """

    saved = -math.inf

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        due = _is_due(trainer, self.saved)
        if trainer.strategy.reduce_boolean_decision(due, all=False):  # all processes save, or none
            super().on_train_epoch_end(trainer, pl_module)
            self.saved = time.monotonic()


def _is_due(trainer: lightning.Trainer, saved: float) -> bool:
    """Return whether to save after this epoch: it is the last one, or the last time was `RESUME_SECONDS` ago."""
    over = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
    return over or time.monotonic() - saved >= RESUME_SECONDS


class _ResumePointFiles(TorchCheckpointIO):
    """Resume points as files that are written whole or not at all; Lightning's own pass through another folder."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        write_resume_point(checkpoint, Path(path))


class _EventLogger(Logger):
    """The run's log for TensorBoard, in place of Lightning's."""

    name = version = None

    def __init__(self, run: Path) -> None:
        super().__init__()
        self.log = EventLog(run / TENSORBOARD)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.log.write(metrics, step)

    def log_hyperparams(self, params: Any, *args: Any) -> None:
        """Do nothing: the settings are in config.yaml."""

    def finalize(self, status: str) -> None:
        self.log.close()


class _ProgressBar(RichProgressBar):
    """Lightning's bar, with the metrics under their plain names."""

    def get_metrics(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> Any:
        shown = super().get_metrics(trainer, pl_module)
        if isinstance(pl_module, _TrainingModule):
            shown |= {name: float(mean) for name, mean in pl_module.means().items()}
        return {name.removeprefix("train/"): value for name, value in shown.items() if name != "v_num"}


class _History(Callback):
    """One CSV row per epoch; a resumed run goes on below the rows that it does not repeat."""

    def __init__(self, path: Path, task: Task) -> None:
        self.path = path
        self.task = task

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if isinstance(pl_module, _TrainingModule):
            pl_module.log_dict(pl_module.means(), sync_dist=True)
        metrics = {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}  # all processes add
        if not trainer.is_global_zero:
            return
        epoch = trainer.current_epoch + 1
        row = {"epoch": epoch, "lr": max(group["lr"] for group in trainer.optimizers[0].param_groups), **metrics}
        write_history(self.path, [kept for kept in read_history(self.path) if kept["epoch"] < epoch] + [row])


class _Announcement(Checkpoint):
    """The call of `on_epoch` after all that an epoch writes; Lightning calls checkpoints last, in the order given."""

    def __init__(self, on_epoch: OnEpoch) -> None:
        self.on_epoch = on_epoch

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.is_global_zero:
            self.on_epoch(trainer.current_epoch + 1, trainer.max_epochs or 0)


def _log_epoch(history: Path, task: Task) -> OnEpoch:
    def log(epoch: int, epochs: int) -> None:
        row = read_history(history)[-1]
        logger.info(
            "epoch %d of %d: loss %.3f, val %s %s",
            epoch,
            epochs,
            row["train/loss"],
            task.score_title,
            percent(row[f"val/{task.score}"]),
        )

    return log
