"""The figures of one run on one split."""

from pathlib import Path
from typing import Any

from marnet.choices import LabelForm
from marnet.data.manifest import Manifest
from marnet.data.sources import open_data
from marnet.errors import ConfigError
from marnet.inference import Predictor, load
from marnet.metrics import Metrics, MultiLabelMetrics


def evaluate(
    run: Path | str | Predictor, data: Any = None, *, split: str = "val", device: str = "auto"
) -> Metrics | MultiLabelMetrics:
    """Return how good a run is on a split of its own rows, or of other data.

    Args:
        run: the run directory, a `TrainedRun`, or a `Predictor`.
        data: rows instead of those that the run was trained with, in any form that `train` takes; their labels are
            matched by name.
        split: train, val or test.
        device: where to compute; "auto" takes a GPU if there is one. A `Predictor` has its own.

    Raises:
        MarnetError: the run is damaged, the split is empty, or a label or an image cannot be used.

    Example:
        >>> import marnet
        >>> marnet.evaluate("runs/p", split="val").n
        9
        >>> marnet.evaluate("runs/p", "products.csv", split="test").n
        9
    """
    predictor = run if isinstance(run, Predictor) else load(run, device=device)
    return predictor.evaluate(data, split=split)


def rows_to_judge(predictor: Predictor, source: str | None) -> Manifest:
    """Return the rows of a source, or of the run itself where `source` is None.

    Raises:
        MarnetError: the run is damaged, or the source cannot be used.
    """
    if source is None:
        return predictor.manifest()
    return open_data(source, predictor.config.data)


def require_one_class(labels: LabelForm, what: str, purpose: str) -> None:
    """Refuse what has several classes an image, where right and wrong are of one class an image.

    Args:
        labels: their form.
        what: has them, such as "The run RUN".
        purpose: needs one class an image, such as "A report".

    Raises:
        ConfigError: they are lists.
    """
    if labels != "single":
        raise ConfigError(
            f"{what} has images with several classes (data.labels {labels!r}). {purpose} needs one class an image "
            f"(data.labels 'single'). The figures of a run with several are printed by 'marnet evaluate RUN', without "
            f"--corruptions."
        )
