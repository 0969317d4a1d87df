"""Scoring: from a trained run and the images of a split to the run's record."""

from typing import NamedTuple

from marnet.comparison.records import RunRecord
from marnet.data.manifest import Manifest
from marnet.evaluation.evaluate import require_one_class
from marnet.inference import Predictor, SplitOutputs
from marnet.jsonfile import read_json
from marnet.metrics import classification_metrics
from marnet.runs.directory import ENVIRONMENT, HISTORY, read_history


class ScoredRun(NamedTuple):
    """A run with its record and its outputs on a split."""

    record: RunRecord
    outputs: SplitOutputs


def score_run(predictor: Predictor, manifest: Manifest, split: str, *, arm: str) -> ScoredRun:
    """Score a run on a split.

    The record belongs to no comparison yet: it has no key, no placebo and no budget.

    Args:
        predictor: the run.
        manifest: the rows to score it on.
        split: train, val or test.
        arm: the name of the run in tables and plots.

    Raises:
        ConfigError: the run has images with several classes.
        MarnetError: the run is damaged, the split is empty, or an image cannot be read.
    """
    require_one_class(predictor.config.data.labels, f"The run {predictor.run}", "A report or a comparison")
    outputs = predictor.outputs(manifest, split)
    confidences, predictions = outputs.logits.double().softmax(-1).max(-1)
    metrics = classification_metrics(outputs.logits, outputs.labels)._asdict()
    record = RunRecord(
        arm=arm,
        seed=predictor.config.training.seed,
        key="",
        source=predictor.config.data.source or manifest.source,
        split=split,
        classes=list(predictor.classes),
        metrics={name: float(value) for name, value in metrics.items()},
        labels=outputs.labels.tolist(),
        predictions=predictions.tolist(),
        confidences=confidences.tolist(),
        history=read_history(predictor.run / HISTORY),
        config=predictor.config.model_dump(mode="json"),
        environment=read_json(predictor.run / ENVIRONMENT),
    )
    return ScoredRun(record, outputs)
