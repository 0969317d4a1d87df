"""The metrics of one run on one split."""

from pathlib import Path
from typing import Any

from marnet.data.manifest import Manifest
from marnet.data.sources import open_data
from marnet.inference import Predictor, load
from marnet.metrics import Metrics, MultiLabelMetrics
from marnet.runs.code import AllowCode


def evaluate(
    run: Path | str | Predictor,
    data: Any = None,
    *,
    split: str = "val",
    device: str = "auto",
    allow_code: AllowCode = False,
) -> Metrics | MultiLabelMetrics:
    """Return how good a run is on a split of its own rows, or of other data.

    Args:
        run: the run directory, a `TrainedRun`, or a `Predictor`.
        data: rows instead of those that the run was trained with, in any form that `train` takes; their labels are
            matched by name.
        split: train, val or test.
        device: where to compute; "auto" takes a GPU if there is one. A `Predictor` has its own.
        allow_code: import code that the run names (`module:PACKAGE.NAME`); without it, such a run is refused.

    Raises:
        MarnetError: the run is damaged, the split is empty, or a label or an image cannot be used.

    Example:
        >>> import marnet
        >>> marnet.evaluate("runs/p", split="val").n
        9
        >>> marnet.evaluate("runs/p", "products.csv", split="test").n
        9
    """
    predictor = run if isinstance(run, Predictor) else load(run, device=device, allow_code=allow_code)
    return predictor.evaluate(data, split=split)


def rows_to_score(predictor: Predictor, source: str | None) -> Manifest:
    """Return the rows of a source, or of the run itself if `source` is None.

    Raises:
        MarnetError: the run is damaged, or the source cannot be used.
    """
    if source is None:
        return predictor.manifest()
    return open_data(source, predictor.config.data)
