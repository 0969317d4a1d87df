"""The figures of one run on one split."""

from pathlib import Path

from marnet.choices import LabelForm
from marnet.data.manifest import Manifest
from marnet.data.sources import open_data
from marnet.errors import ConfigError
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
