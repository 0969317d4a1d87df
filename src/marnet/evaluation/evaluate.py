"""The figures of one run on one split."""

from pathlib import Path

from marnet.data.manifest import Manifest
from marnet.data.sources import open_source
from marnet.inference import Predictor, load
from marnet.metrics import Metrics, MultiLabelMetrics


def evaluate(run: Path | str, *, split: str = "val", source: str | None = None) -> Metrics | MultiLabelMetrics:
    """Judge a run on a split of its own rows, or of another source.

    Args:
        run: the run directory.
        split: train, val or test.
        source: a data source instead of the rows that the run was trained with; its labels are matched by name.

    Raises:
        MarnetError: the run is damaged, the split is empty, or a label or an image cannot be used.
    """
    predictor = load(run)
    outputs = predictor.outputs(rows_to_judge(predictor, source), split)
    return predictor.task.metrics(outputs.logits, outputs.labels)


def rows_to_judge(predictor: Predictor, source: str | None) -> Manifest:
    """Return the rows of a source, or of the run itself where `source` is None.

    Raises:
        MarnetError: the run is damaged, or the source cannot be used.
    """
    if source is None:
        return predictor.manifest()
    return open_source(predictor.config.data.model_copy(update={"source": source}))
