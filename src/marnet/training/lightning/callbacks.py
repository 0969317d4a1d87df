"""What happens around the steps of a training: weights, resume points, history, progress."""

import logging
import math
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback, Checkpoint, EarlyStopping, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_only

from marnet.choices import Keep
from marnet.metrics import percent
from marnet.runs.directory import read_history, write_history
from marnet.runs.layout import TENSORBOARD
from marnet.runs.weights import save_weights
from marnet.tasks import Task
from marnet.training.event_log import EventLog
from marnet.training.lightning.module import OnEpoch, TrainingModule
from marnet.training.resume_points import write_resume_point

RESUME_SECONDS = 10.0  # at least, between two resume points
_logger = logging.getLogger("marnet")


class OwnHandler(Callback):
    """The handler of SIGTERM that was there before: in Lightning's, processes wait for each other."""

    def __init__(self) -> None:
        self.handler = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        in_main_thread = threading.current_thread() is threading.main_thread()
        if trainer.world_size > 1 and in_main_thread and self.handler is not None:
            signal.signal(signal.SIGTERM, self.handler)


class KeptWeights(Checkpoint):
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
        if due and trainer.is_global_zero and isinstance(pl_module, TrainingModule):
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


class Patience(EarlyStopping):
    """Early stopping with the patience of this call, even if the run was started with another."""

    @property
    def state_key(self) -> str:  # that of Lightning, so that resume points of any version fit
        return super().state_key.replace(type(self).__qualname__, EarlyStopping.__qualname__, 1)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({**state_dict, "patience": self.patience})


class ResumePoint(ModelCheckpoint):
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


class ResumePointFiles(TorchCheckpointIO):
    """Resume points as files that are written whole or not at all; Lightning's own pass through another folder."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        write_resume_point(checkpoint, Path(path))


class EventLogger(Logger):
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


class ProgressBar(RichProgressBar):
    """Lightning's bar, with the metrics under their plain names."""

    def get_metrics(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> Any:
        shown = super().get_metrics(trainer, pl_module)
        if isinstance(pl_module, TrainingModule):
            shown |= {name: float(mean) for name, mean in pl_module.means().items()}
        return {name.removeprefix("train/"): value for name, value in shown.items() if name != "v_num"}


class History(Callback):
    """One CSV row per epoch; a resumed run goes on below the rows that it does not repeat."""

    def __init__(self, path: Path, task: Task) -> None:
        self.path = path
        self.task = task

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if isinstance(pl_module, TrainingModule):
            pl_module.log_dict(pl_module.means(), sync_dist=True)
        metrics = {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}  # all processes add
        if not trainer.is_global_zero:
            return
        epoch = trainer.current_epoch + 1
        row = {"epoch": epoch, "lr": max(group["lr"] for group in trainer.optimizers[0].param_groups), **metrics}
        write_history(self.path, [kept for kept in read_history(self.path) if kept["epoch"] < epoch] + [row])


class Announcement(Checkpoint):
    """The call of `on_epoch` after all that an epoch writes; Lightning calls checkpoints last, in the order given."""

    def __init__(self, on_epoch: OnEpoch) -> None:
        self.on_epoch = on_epoch

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.is_global_zero:
            self.on_epoch(trainer.current_epoch + 1, trainer.max_epochs or 0)


def log_epoch(history: Path, task: Task) -> OnEpoch:
    """Return a function that logs an epoch in one line, from the last row of history.csv."""

    def log(epoch: int, epochs: int) -> None:
        row = read_history(history)[-1]
        _logger.info(
            "epoch %d of %d: loss %.3f, val %s %s",
            epoch,
            epochs,
            row["train/loss"],
            task.score_title,
            percent(row[f"val/{task.score}"]),
        )

    return log
