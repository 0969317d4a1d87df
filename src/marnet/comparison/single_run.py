"""One run of a comparison: train it in OUT/work, judge it, make its record, and clear up behind it."""

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

from marnet.comparison.judge import judge
from marnet.comparison.plan import ComparisonConfig, ComparisonData, PlannedRun
from marnet.comparison.progress import ComparisonProgress
from marnet.comparison.records import RunRecord
from marnet.comparison.training_rows import keep_labels, keep_texts, shuffle_texts
from marnet.config import Config
from marnet.data.manifest import Manifest
from marnet.errors import ConfigError, MarnetError
from marnet.evaluation.robustness import corruption_accuracy
from marnet.inference import Predictor
from marnet.jsonfile import read_json, write_json
from marnet.runs.directory import CONFIG, RESUME_POINT, read_run_config
from marnet.training.fit import fit
from marnet.training.resuming import run_config


def perform(
    run: PlannedRun, comparison: ComparisonConfig, data: ComparisonData, out: Path, progress: ComparisonProgress
) -> RunRecord:
    """Train and judge one run; an unfinished one with the same key goes on after its last epoch.

    Args:
        run: what to train.
        comparison: what it belongs to.
        data: all rows; the run is judged on a split of them as they are.
        out: the folder of the comparison.
        progress: told of every epoch.
    """
    work = out / "work" / run.name
    progress.started(run)
    state = _state_path(work)
    config = _on_one_device(run.config)
    resume, seconds = _resumable(work, run.key)
    if resume:  # with its own settings: the key leaves out those that its method does not read
        config = run_config(work, _without_effect(config))
    else:
        shutil.rmtree(work, ignore_errors=True)
        state.parent.mkdir(parents=True, exist_ok=True)
        write_json(state, {"key": run.key, "seconds": 0.0})
    start = time.monotonic() - seconds

    def after_epoch(epoch: int, epochs: int) -> None:
        write_json(state, {"key": run.key, "seconds": time.monotonic() - start})
        progress.epoch(epoch, epochs)

    rows = training_rows(run, comparison, data.manifest)
    fit(config, work, manifest=rows, resume=resume, on_epoch=after_epoch)
    seconds = time.monotonic() - start
    progress.trained()
    predictor = Predictor(work, device="cpu" if run.config.training.devices.startswith("cpu") else "auto")
    record = judge(predictor, data.manifest, comparison.split, arm=run.arm.name).record
    robustness = corruption_accuracy(predictor, data.manifest, comparison.split) if comparison.corruptions else None
    known = {
        "key": run.key,
        "source": data.manifest.source,
        "placebo": run.arm.placebo,
        "label_budget": comparison.label_budget,
        "text_budget": comparison.text_budget,
        "rows": data.fingerprint,
        "robustness": robustness,
        "config": run.config.model_dump(mode="json"),  # with the devices that were asked for
        "seconds": seconds,
    }
    return record.model_copy(update=known)


def training_rows(run: PlannedRun, comparison: ComparisonConfig, manifest: Manifest) -> Manifest:
    """The rows that a run trains on: budgets first, which are the same for every arm, then the placebo."""
    if comparison.label_budget < 1:
        manifest = keep_labels(manifest, comparison.label_budget, run.seed)
    if comparison.text_budget < 1:
        manifest = keep_texts(manifest, comparison.text_budget, run.seed)
    return shuffle_texts(manifest, run.seed) if run.arm.placebo == "shuffled" else manifest


def clear_work(out: Path, run: PlannedRun, *, keep: bool) -> None:
    """Remove what a recorded run leaves in OUT/work: all of it, or what only resuming needs."""
    work = out / "work" / run.name
    shutil.rmtree(work / RESUME_POINT.parent if keep else work, ignore_errors=True)
    for leftover in (_state_path(work), work.with_name(work.name + ".lock")):
        leftover.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold the lock of a file, of which a process that dies lets go; gives False if another process has it.

    Where the system has no such locks (Windows) everything is free.
    """
    try:
        import fcntl
    except ImportError:
        yield True
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


def _state_path(work: Path) -> Path:
    return work.with_name(work.name + ".state.json")


def _resumable(work: Path, key: str) -> tuple[bool, float]:
    """Return whether `work` holds an unfinished run of that key, and the seconds spent on it."""
    if not (work / RESUME_POINT).is_file() or not (work / CONFIG).is_file() or not _state_path(work).is_file():
        return False, 0.0
    try:
        state: dict[str, Any] = read_json(_state_path(work))
        with ZipFile(work / RESUME_POINT) as archive:  # torch's format
            damaged = archive.testzip()
        read_run_config(work)
    except (MarnetError, OSError, BadZipFile):
        return False, 0.0
    if damaged or state.get("key") != key:
        return False, 0.0
    return True, float(state.get("seconds", 0.0))


def _without_effect(config: Config) -> dict[str, Any]:
    """Return the settings that change nothing about what a run learns."""
    data = {"workers": config.data.workers, "cache": config.data.cache}
    return {"data": data, "training": {"devices": config.training.devices}}


def _on_one_device(config: Config) -> Config:
    """One device a run: several training processes would each start the whole comparison.

    Raises:
        ConfigError: the configuration asks for several devices.
    """
    devices = config.training.devices
    count = devices if devices.isdigit() else devices.partition(":")[2]
    if count not in ("", "1"):
        raise ConfigError(
            f"A comparison trains each run on one device; found training.devices {devices!r}. Needed auto, cpu, "
            f"cuda:1 or mps; started several times with the same --out, a comparison shares its runs out."
        )
    one = {"auto": "1", "cuda": "cuda:1"}.get(devices, devices)
    return config.model_copy(update={"training": config.training.model_copy(update={"devices": one})})
