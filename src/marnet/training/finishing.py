"""The end of a run: the calibration of the kept weights is fitted on val, and the metrics are written."""

from pathlib import Path
from typing import Any

import torch

from marnet.config import Config
from marnet.inference import collect_outputs
from marnet.inference.calibration import cross_fit, fit_calibration
from marnet.jsonfile import write_json
from marnet.metrics import Metrics, MultiLabelMetrics
from marnet.runs.calibration import apply_calibration, write_calibration
from marnet.runs.class_means import write_class_means
from marnet.runs.directory import HISTORY, METRICS, read_history
from marnet.runs.weights import load_run
from marnet.tasks import Task
from marnet.training.class_means import make_class_means
from marnet.training.lightning import is_first_process
from marnet.training.training_data import TrainingData, describe_data


def finish_run(
    run: Path, config: Config, data: TrainingData, task: Task, *, epochs: int
) -> Metrics | MultiLabelMetrics:
    """Fit the calibration of the kept weights on val, and write the metrics."""
    model = load_run(run, backbone=data.backbone, allow_code=True).model.float()  # double where training was
    apply_calibration(model, None)
    labels = torch.as_tensor(data.val.labels)
    outputs = collect_outputs(model, data.val, data.spec, batch_size=config.training.batch_size)
    metrics = before = task.metrics(outputs.logits, labels)
    balanced = config.training.balance != "none"
    if config.training.calibrate:
        model.calibration.class_means = make_class_means(model, config, data)
        logits, thresholds = cross_fit(model, outputs, labels, balanced=balanced)
        if config.data.threshold is not None:
            thresholds = None
        metrics = task.metrics(logits, labels, thresholds=thresholds)
    if is_first_process():
        if config.training.calibrate:
            if model.calibration.class_means is not None:
                write_class_means(run, model.calibration.class_means)
            write_calibration(run, fit_calibration(model, outputs, labels, balanced=balanced))
        report = {
            "val": metrics._asdict(),
            "val_uncalibrated": before._asdict(),
            "kept": _describe_kept(run, config, task),
            "data": describe_data(data),
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
