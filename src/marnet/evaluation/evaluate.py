"""The figures of one run on one split."""

from pathlib import Path

from marnet.data.sources import open_source
from marnet.inference import load
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
    if source is None:
        manifest = predictor.manifest()
    else:
        manifest = open_source(predictor.config.data.model_copy(update={"source": source}))
    outputs = predictor.outputs(manifest, split)
    return predictor.task.metrics(outputs.logits, outputs.labels)
