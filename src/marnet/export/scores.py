"""What fewer bits cost: the score of a run and of its exported file on the same held-out rows."""

from typing import Any, NamedTuple

import torch

from marnet.data.loading import make_loader
from marnet.errors import DataError
from marnet.inference import ExportedPredictor, Predictor
from marnet.inference.batch_size import affordable_batch
from marnet.inference.exported.predictor import PROBABILITIES
from marnet.inference.image_predictor import BATCH

_SPLIT = "val"


class Scores(NamedTuple):
    """The score of a run and of its file on the rows of val."""

    title: str  # of the metric, such as "top-1"
    rows: int
    run: float  # with the calibration as it is in the file, without cross-fitting
    file: float


def compare_scores(run: Predictor, file: ExportedPredictor, data: Any = None) -> Scores | None:
    """Return the scores on val; None if its images cannot be read.

    Args:
        run: the run.
        file: what was exported from it.
        data: the rows of the run at a new place, or None.
    """
    try:
        dataset = run.open_split(run.rows(data, _SPLIT), _SPLIT).dataset
    except DataError:
        return None
    before, after = run.task.tally(), run.task.tally()
    for batch in make_loader(dataset, batch_size=affordable_batch(BATCH, run.spec.size)):
        before.add(run.probabilities(batch.images), batch.labels)
        after.add(torch.from_numpy(file.compute(batch.images.numpy())[PROBABILITIES]), batch.labels)
    return Scores(run.task.score_title, len(dataset), before.score(), after.score())
