"""Scoring rows with labels by an exported file, as `Predictor` does by a run directory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from marnet.config.schema import DataConfig
from marnet.data.dataset import ImageTextDataset, OpenedSplit
from marnet.data.features import FeatureDataset
from marnet.data.loading import make_loader
from marnet.data.manifest import Manifest, Record
from marnet.errors import DataError
from marnet.inference.batch_size import affordable_batch
from marnet.inference.exported.predictor import LOGITS, OF_BRANCH, ExportedPredictor
from marnet.inference.image_predictor import BATCH
from marnet.inference.loading import load
from marnet.inference.outputs import SplitOutputs
from marnet.inference.predictor import Predictor
from marnet.inference.rows import RunRows
from marnet.runs.code import AllowCode
from marnet.tasks import TASKS, Task


class ExportScorer:
    """Computes the outputs of an exported file for rows with labels.

    The calibration is in the graph, so that rows it was fitted on are not predicted by cross-fitting.

    Args:
        predictor: of the file.

    Attributes:
        run: the file.
        classes: the C class names.
        label_form: "single" or "multi".
        task: for metrics.
        added: the names of the classes that were added after training.
    """

    def __init__(self, predictor: ExportedPredictor) -> None:
        found = predictor.description
        self.predictor = predictor
        self.run = predictor.run
        self.classes = predictor.classes
        self.label_form = found.label_form
        self.added = found.classes[len(found.classes) - found.added :]
        threshold = 0.5 if found.thresholds is None else torch.tensor(found.thresholds)
        self.task: Task = TASKS[found.label_form](len(found.classes), threshold)
        config = DataConfig.model_validate(predictor.artefact.data or {})
        self._rows = RunRows(predictor.run, config, predictor.classes, predictor.spec)

    def rows(self, data: Any, split: str) -> Manifest:
        """Return the rows to score; see `Predictor.rows`.

        Raises:
            DataError: `data` is None, or cannot be read.
        """
        if data is None:
            raise DataError(f"{self.run} is an exported file, which has no rows of its own. Name some with `data`.")
        return self._rows.read(data, split)

    def open_split(self, manifest: Manifest, split: str) -> OpenedSplit:
        """Return the images of a split as the model sees them; see `Predictor.open_split`."""
        return self._rows.open(manifest, split)

    def outputs(self, manifest: Manifest, split: str) -> SplitOutputs:
        """Return all outputs for a split; see `Predictor.outputs`."""
        opened = self.open_split(manifest, split)
        return self.outputs_of(opened.dataset, opened.records, skipped=len(opened.skipped))

    def outputs_of(
        self, dataset: ImageTextDataset | FeatureDataset, records: Sequence[Record], *, skipped: int = 0
    ) -> SplitOutputs:
        """Return all outputs for a dataset of images; see `Predictor.outputs_of`."""
        size = affordable_batch(BATCH, self.predictor.spec.size)
        batches = [self.predictor.compute(batch.images.numpy()) for batch in make_loader(dataset, batch_size=size)]
        found = {name: torch.from_numpy(np.concatenate([each[name] for each in batches])) for name in batches[0]}
        branches = {
            name.removeprefix(OF_BRANCH): each.clamp(min=torch.finfo(each.dtype).tiny).log()
            for name, each in found.items()
            if name.startswith(OF_BRANCH)
        }
        return SplitOutputs(
            logits=found[LOGITS],
            labels=torch.as_tensor(dataset.labels),
            branch_logits=branches,
            x_v=found["x_v"],
            x_cdr=found.get("x_cdr"),
            records=tuple(records),
            skipped=skipped,
        )

    def least_probability(self, error: float) -> float:
        """Return the probability that a class needs to be in a prediction set; see `Predictor.least_probability`."""
        return self.predictor.least_probability(error)


def open_scorer(
    run: Path | str | Predictor | ExportedPredictor, *, device: str = "auto", allow_code: AllowCode = False
) -> Predictor | ExportScorer:
    """Return what scores rows with a run directory or an exported file; see `marnet.load`."""
    known = run if isinstance(run, Predictor | ExportedPredictor) else load(run, device=device, allow_code=allow_code)
    return ExportScorer(known) if isinstance(known, ExportedPredictor) else known
