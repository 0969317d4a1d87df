"""The metrics of one run on one split."""

from pathlib import Path

from marnet.choices import LabelForm
from marnet.data.manifest import Manifest
from marnet.data.sources import open_data
from marnet.errors import ConfigError
from marnet.inference import Predictor, load
from marnet.metrics import Metrics, MultiLabelMetrics


def evaluate(run: Path | str, *, split: str = "val", source: str | None = None) -> Metrics | MultiLabelMetrics:
    """Evaluate a run on a split of its own rows, or of another source.

    Args:
        run: the run directory.
        split: train, val or test.
        source: a data source instead of the run's own rows; its labels are matched by name.

    Raises:
        MarnetError: the run is damaged, the split is empty, or a label or an image cannot be used.
    """
    predictor = load(run)
    outputs = predictor.outputs(rows_to_score(predictor, source), split)
    return predictor.task.metrics(outputs.logits, outputs.labels)


def rows_to_score(predictor: Predictor, source: str | None) -> Manifest:
    """Return the rows of a source, or of the run itself if `source` is None.

    Raises:
        MarnetError: the run is damaged, or the source cannot be used.
    """
    if source is None:
        return predictor.manifest()
    return open_data(source, predictor.config.data)


def require_one_class(labels: LabelForm, what: str, purpose: str) -> None:
    """Refuse images with several classes, for purposes that need one class per image.

    Args:
        labels: the form of the labels.
        what: the subject of the error, such as "The run RUN".
        purpose: the purpose that needs one class per image, such as "A report".

    Raises:
        ConfigError: images have several classes.
    """
    if labels != "single":
        raise ConfigError(
            f"{what} has images with several classes (`data.labels` is {labels!r}). {purpose} needs one class per "
            f"image (`data.labels=single`). For runs with several classes, use 'marnet evaluate' without corruptions."
        )
