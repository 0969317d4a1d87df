"""The metrics of one run on one split."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from marnet.data.dataset import ImageTextDataset
from marnet.data.features import FeatureDataset
from marnet.data.images import BrokenImage
from marnet.data.manifest import Record
from marnet.errors import ConfigError, DataError
from marnet.inference import ExportedPredictor, Predictor, SplitOutputs
from marnet.inference.conformal import SetMetrics, prediction_sets, set_metrics
from marnet.inference.exported.scoring import ExportScorer, open_scorer
from marnet.inference.rows import check_labels_known
from marnet.metrics import Metrics, MultiLabelMetrics
from marnet.runs.code import AllowCode
from marnet.semantic.stored_features import features_for


class OpenedRows(NamedTuple):
    """The rows of a split; row i of the dataset is `records[i]`."""

    dataset: ImageTextDataset | FeatureDataset
    records: Sequence[Record]
    skipped: Sequence[BrokenImage] = ()


def evaluate(
    run: Path | str | Predictor | ExportedPredictor,
    data: Any = None,
    *,
    split: str = "val",
    features: Path | str | None = None,
    device: str = "auto",
    allow_code: AllowCode = False,
) -> Metrics | MultiLabelMetrics:
    """Return how good a run is on a split of its own rows, or of other data.

    Args:
        run: the run directory, a `TrainedRun`, a file of `export_run`, or what `marnet.load` gave of one of these. A
            file has no rows of its own: name `data`.
        data: rows instead of those that the run was trained with, in any form that `train` takes; their labels are
            matched by name. Where they name no splits, all of them are scored (rows of the run keep their split).
        split: train, val or test.
        features: a folder written by 'marnet embed' with the backbone of the run, in place of `data`; its rows are
            scored, and no image is opened.
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
    predictor = open_scorer(run, device=device, allow_code=allow_code)
    outputs = split_outputs(predictor, data, split=split, features=features, allow_code=allow_code)
    return predictor.task.metrics(outputs.logits, outputs.labels, thresholds=outputs.thresholds)


def evaluate_sets(
    run: Path | str | Predictor | ExportedPredictor,
    data: Any = None,
    *,
    error: float,
    split: str = "val",
    features: Path | str | None = None,
    device: str = "auto",
    allow_code: AllowCode = False,
) -> SetMetrics:
    """Return how prediction sets with a rate of error do on a split; see `marnet.inference.conformal`.

    Args:
        run: as for `evaluate`.
        data: as for `evaluate`.
        error: the rate at which the true class may be missing from a set, such as 0.05.
        split: train, val or test. The sets are made from val, so that their coverage there says little.
        features: as for `evaluate`.
        device: as for `evaluate`.
        allow_code: as for `evaluate`.

    Raises:
        ConfigError: the run's held-out rows cannot promise this rate, or its images have several classes.
        MarnetError: as for `evaluate`.
    """
    predictor = open_scorer(run, device=device, allow_code=allow_code)
    predictor.least_probability(error)  # refuses a rate before anything is computed
    outputs = split_outputs(predictor, data, split=split, features=features, allow_code=allow_code)
    return score_sets(predictor, outputs, error)


def score_sets(predictor: Predictor | ExportScorer, outputs: SplitOutputs, error: float) -> SetMetrics:
    """Return how prediction sets with a rate of error do on the outputs of a split; see `evaluate_sets`."""
    least = predictor.least_probability(error)
    probabilities = predictor.task.probabilities(outputs.logits).numpy()
    return set_metrics(prediction_sets(probabilities, least), outputs.labels.numpy())


def open_rows(
    predictor: Predictor | ExportScorer,
    data: Any = None,
    *,
    split: str,
    features: Path | str | None = None,
    allow_code: AllowCode = False,
) -> OpenedRows:
    """Return the rows of a split, with their images or with the features in their place; see `evaluate`.

    Raises:
        ConfigError: both `data` and `features` were given, or another backbone computed the features.
        DataError: the split is empty, or a label or an image cannot be used.
    """
    if features is None:
        opened = predictor.open_split(predictor.rows(data, split), split)
        return OpenedRows(opened.dataset, opened.records, opened.skipped)
    if data is not None:
        raise ConfigError("Both `data` and `features` were given, but one of them brings the rows. Leave one out.")
    if isinstance(predictor, ExportScorer):
        raise ConfigError(f"{predictor.run} is an exported file, which takes images. Name `data`, not `features`.")
    found = features_for(predictor, features, allow_code=allow_code)
    rows = found.manifest
    if rows.label_form != predictor.config.data.labels:
        raise DataError(
            f"{rows.source} has labels of the form {rows.label_form!r}, but {predictor.run} was trained with "
            f"{predictor.config.data.labels!r}. Name other features."
        )
    check_labels_known(rows, split, predictor.classes)
    own = found._replace(manifest=dataclasses.replace(rows, classes=predictor.classes))
    return OpenedRows(own.dataset(split), rows.split(split))


def split_outputs(
    predictor: Predictor | ExportScorer,
    data: Any = None,
    *,
    split: str,
    features: Path | str | None = None,
    allow_code: AllowCode = False,
) -> SplitOutputs:
    """Return the outputs of a run for the rows of a split; the arguments and errors are those of `open_rows`."""
    opened = open_rows(predictor, data, split=split, features=features, allow_code=allow_code)
    return predictor.outputs_of(opened.dataset, opened.records, skipped=len(opened.skipped))
