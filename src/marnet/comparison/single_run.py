"""One run of a comparison: train it in OUT/work, score it, return its record, and clear its work folder."""

import shutil
import time
from pathlib import Path
from typing import Any

from marnet.comparison.data import ComparisonData
from marnet.comparison.long_tail import keep_long_tail, score_parts
from marnet.comparison.new_classes import measure_new_classes
from marnet.comparison.plan import ComparisonConfig, PlannedRun
from marnet.comparison.progress import ComparisonProgress
from marnet.comparison.records import RunRecord
from marnet.comparison.scoring import record_outputs, score_run
from marnet.comparison.training_rows import (
    draw_classes,
    keep_labels,
    keep_texts,
    repeat_one_text,
    shuffle_texts,
    without_classes,
)
from marnet.config import Config
from marnet.data.manifest import Manifest, count_classes
from marnet.errors import ConfigError, MarnetError
from marnet.evaluation.robustness import corruption_scores
from marnet.inference import Predictor
from marnet.jsonfile import read_json, write_json
from marnet.runs.directory import CONFIG, RESUME_POINT, read_run_config
from marnet.training.fit import fit
from marnet.training.resume_points import find_resume_point
from marnet.training.resuming import run_config


def perform(
    run: PlannedRun, comparison: ComparisonConfig, data: ComparisonData, out: Path, progress: ComparisonProgress
) -> RunRecord:
    """Train and score one run; an unfinished run with the same key resumes after its last epoch.

    Args:
        run: the run to train.
        comparison: the comparison that it belongs to.
        data: all rows; the run is scored on a split of them, unchanged, and on their features if it trains on features.
        out: the folder of the comparison.
        progress: informed of every epoch.
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
        write_json(state, {"key": run.key, "seconds": time.monotonic() - start}, sync=False)
        progress.epoch(epoch, epochs)

    rows = training_rows(run, comparison, data.manifest)
    fit(config, work, manifest=rows, resume=resume, on_epoch=after_epoch)
    seconds = time.monotonic() - start
    progress.trained()
    device = "cpu" if run.config.training.devices.startswith("cpu") else "auto"
    predictor = Predictor(work, device=device)
    left_out = (
        draw_classes(data.manifest, comparison.leave_classes_out, run.seed) if comparison.leave_classes_out else []
    )
    scored = data.without_classes(left_out) if left_out else data
    record = _score(predictor, scored, comparison.split, arm=run.arm.name)
    metrics = record.metrics
    if comparison.long_tail > 1:
        metrics = metrics | score_parts(record, count_classes(rows, "train"))
    if left_out:
        metrics = metrics | measure_new_classes(
            predictor, data, comparison.split, left_out, comparison.new_class_images, seed=run.seed
        )
    robustness = corruption_scores(predictor, scored.manifest, comparison.split) if comparison.corruptions else None
    known = {
        "key": run.key,
        "metrics": metrics,
        "long_tail": comparison.long_tail,
        "leave_classes_out": comparison.leave_classes_out,
        "new_class_images": comparison.new_class_images if left_out else [],
        "source": data.manifest.source,
        "placebo": run.arm.placebo,
        "label_budget": comparison.label_budget,
        "keep_unlabelled": comparison.keep_unlabelled,
        "text_budget": comparison.text_budget,
        "rows_digest": data.fingerprint,
        "features_digest": "" if data.features is None else data.features.digest,
        "robustness": robustness,
        "config": run.config.model_dump(mode="json"),  # with the devices that the user asked for
        "seconds": seconds,
    }
    return record.model_copy(update=known)


def _score(predictor: Predictor, data: ComparisonData, split: str, *, arm: str) -> RunRecord:
    """Return the record of a run: from the images, or from their features where it trained on features."""
    if data.features is None:
        return score_run(predictor, data.manifest, split, arm=arm).record
    found = data.features.found
    outputs = predictor.outputs_of(found.dataset(split), found.manifest.split(split))
    return record_outputs(predictor, outputs, split, arm=arm, source=data.manifest.source)


def training_rows(run: PlannedRun, comparison: ComparisonConfig, manifest: Manifest) -> Manifest:
    """Return the rows that a run trains on: without the classes that are left out, cut, and last with its placebo.

    All but the placebo are the same for every arm.
    """
    if comparison.leave_classes_out:
        manifest = without_classes(manifest, draw_classes(manifest, comparison.leave_classes_out, run.seed))
    if comparison.long_tail > 1:
        manifest = keep_long_tail(manifest, comparison.long_tail, run.seed)
    if comparison.label_budget < 1:
        manifest = keep_labels(manifest, comparison.label_budget, run.seed, keep_unlabelled=comparison.keep_unlabelled)
    if comparison.text_budget < 1:
        manifest = keep_texts(manifest, comparison.text_budget, run.seed)
    match run.arm.placebo:
        case "shuffled":
            return shuffle_texts(manifest, run.seed)
        case "constant":
            return repeat_one_text(manifest, run.seed)
        case _:  # random vectors come from the text encoder
            return manifest


def clear_work(out: Path, run: PlannedRun, *, keep: bool) -> None:
    """Remove the leftovers of a recorded run from OUT/work: with `keep`, only the files that resuming needs."""
    work = out / "work" / run.name
    shutil.rmtree(work / RESUME_POINT.parent if keep else work, ignore_errors=True)
    for leftover in (_state_path(work), work.with_name(work.name + ".lock")):
        leftover.unlink(missing_ok=True)


def _state_path(work: Path) -> Path:
    return work.with_name(work.name + ".state.json")


def _resumable(work: Path, key: str) -> tuple[bool, float]:
    """Return whether `work` holds an unfinished run with that key, and the seconds spent on it so far."""
    if not (work / CONFIG).is_file() or not _state_path(work).is_file():
        return False, 0.0
    try:
        state: dict[str, Any] = read_json(_state_path(work))
        read_run_config(work)
    except (MarnetError, OSError):
        return False, 0.0
    if state.get("key") != key or find_resume_point(work) is None:
        return False, 0.0
    return True, float(state.get("seconds", 0.0))


def _without_effect(config: Config) -> dict[str, Any]:
    """Return the settings that change nothing about what a run learns."""
    data: dict[str, Any] = {"workers": config.data.workers, "cache": config.data.cache}
    if config.data.features is not None:  # which may be at another place by now
        data["features"] = config.data.features
    return {"data": data, "training": {"devices": config.training.devices}}


def _on_one_device(config: Config) -> Config:
    """Return the configuration with a single device: several training processes would each start the whole comparison.

    Raises:
        ConfigError: the configuration asks for several devices.
    """
    devices = config.training.devices
    count = devices if devices.isdigit() else devices.partition(":")[2]
    if count not in ("", "1"):
        raise ConfigError(
            f"A comparison trains each run on one device, but `training.devices` is {devices!r}. Expected auto, cpu, "
            f"cuda:1 or mps. To use several devices, start the comparison several times with the same `out`: the "
            f"processes share the runs."
        )
    one = {"auto": "1", "cuda": "cuda:1"}.get(devices, devices)
    return config.model_copy(update={"training": config.training.model_copy(update={"devices": one})})
