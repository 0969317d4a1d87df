"""Scoring: from a trained run and the images of a split to the run's record."""

from typing import NamedTuple

from marnet.comparison.records import RunRecord
from marnet.data.manifest import Manifest
from marnet.inference import Predictor, SplitOutputs
from marnet.jsonfile import read_json
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
        MarnetError: the run is damaged, the split is empty, or an image cannot be read.
    """
    outputs = predictor.outputs(manifest, split)
    return ScoredRun(record_outputs(predictor, outputs, split, arm=arm, source=manifest.source), outputs)


def record_outputs(predictor: Predictor, outputs: SplitOutputs, split: str, *, arm: str, source: str) -> RunRecord:
    """Return the record of a run with these outputs on a split; `source` names the data of a run that names none."""
    answers = predictor.task.answers(outputs.logits, outputs.labels, thresholds=outputs.thresholds)
    metrics = predictor.task.metrics(outputs.logits, outputs.labels, thresholds=outputs.thresholds)._asdict()
    return RunRecord(
        arm=arm,
        seed=predictor.config.training.seed,
        key="",
        source=predictor.config.data.source or source,
        split=split,
        label_form=predictor.config.data.labels,
        classes=list(predictor.classes),
        metrics={name: float(value) for name, value in metrics.items()},
        labels=answers.labels,
        predictions=answers.predictions,
        confidences=answers.confidences,
        history=read_history(predictor.run / HISTORY),
        config=predictor.config.model_dump(mode="json"),
        environment=read_json(predictor.run / ENVIRONMENT),
    )
