"""`label_errors`: the labels of a data source, of features or of a run that are probably wrong."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from marnet.building import text_vectors
from marnet.choices import LabelForm
from marnet.config import Config, make_config
from marnet.config.flat import flat_settings
from marnet.config.nested import merge_settings, unflatten
from marnet.config.schema import TextConfig
from marnet.data.manifest import Record, label_indices
from marnet.data.tables import write_table
from marnet.errors import ConfigError, DataError, list_some
from marnet.evaluation.feature_rows import (
    FeatureRows,
    open_feature_set,
    rows_of_features,
    rows_of_run,
)
from marnet.inference import Predictor
from marnet.runs.code import AllowCode
from marnet.semantic.datasets.label_errors import audit_labels, import_cleanlab

_logger = logging.getLogger("marnet")


class LabelSuspect(NamedTuple):
    """A row and what its image and its text say about its label."""

    record: Record
    likely: str  # the most probable class; the given one if no other is more probable
    score: float  # quality of the label between 0 and 1; 0: certainly wrong
    by_image: float  # probability of the given label by the image alone
    by_text: float | None  # by the text alone; None without a text, or where the texts are no witness

    @property
    def given(self) -> str:
        """The label of the row."""
        return self.record.label


class LabelErrors(NamedTuple):
    """The labels of all rows, the most suspicious first."""

    suspects: tuple[LabelSuspect, ...]
    expected: int  # number of wrong labels, by cleanlab's estimate
    unjudged: tuple[Record, ...]  # rows whose class has no row that they could be compared with
    classes: int
    no_text_because: str  # why the texts are no witness, "" if they are


def label_errors(
    data: Any = None,
    *,
    run: Path | str | Predictor | None = None,
    features: Path | str | None = None,
    backbone: str | None = None,
    pretrained: bool = False,
    settings: dict[str, Any] | None = None,
    allow_code: AllowCode = False,
) -> LabelErrors:
    """Find the labels that are probably wrong in all splits, with cleanlab (`pip install 'marnet[audit]'`).

    Each row is judged by linear models that were fitted without it: one on the features of images, one on texts.

    Args:
        data: a source of rows, the features of whose images are computed first; with `run`, rows in any form that
            `evaluate` takes.
        run: a run directory or a `Predictor`, whose backbone computes the features; without `data`, of its own rows.
        features: a folder written by 'marnet embed', in place of `data` and `run`.
        backbone: for `data` without a run, the name of an image model, see `list_backbones`.
        pretrained: for `backbone`, start from its published weights; without them the features say little.
        settings: further settings by name, dotted or nested, such as `text.name`; with `run` those of the text alone.
        allow_code: import code that the run or the features name (`module:PACKAGE.NAME`).

    Raises:
        ConfigError: what was given does not name one set of rows.
        DataError: there are too few rows, images have several classes, or cleanlab is missing.

    Example:
        >>> import marnet
        >>> found = marnet.label_errors("products.csv", backbone="timm:test_resnet")
        >>> len(found.suspects), found.classes
        (60, 3)
        >>> found.suspects[0].score <= found.suspects[1].score
        True
    """
    given = {
        "data.source": None if data is None or run is not None else str(data),
        "data.features": None if features is None else str(features),
        "backbone.name": backbone,
        "backbone.pretrained": pretrained or None,
    }
    named = unflatten({name: value for name, value in given.items() if value is not None})
    config = make_config(merge_settings(unflatten(settings or {}), named))
    if run is not None:
        return label_errors_of_run(run, config, data=data, allow_code=allow_code)
    return label_errors_of(config, allow_code=allow_code)


def label_errors_of(config: Config, *, allow_code: AllowCode = False) -> LabelErrors:
    """Find label errors among the rows or features that a configuration names; see `label_errors`."""
    import_cleanlab()  # before features are computed
    _check_single(config.data.labels, config.data.source)
    rows = rows_of_features(open_feature_set(config, allow_code=allow_code))
    return _audit(rows, config.text, seed=config.training.seed)


def label_errors_of_run(
    run: Path | str | Predictor, config: Config, *, data: Any = None, allow_code: AllowCode = False
) -> LabelErrors:
    """Find label errors among the rows of a run, or of other data, with the features of its backbone.

    Of the configuration only the text and the seed are read; a text that nobody set is that of the run.
    """
    import_cleanlab()
    set_by_user = flat_settings(config, only_given=True)
    others = [name for name in set_by_user if not name.startswith(("text.", "training.seed"))]
    if others:
        raise ConfigError(
            f"A run brings its own data and backbone, but {', '.join(f'`{name}`' for name in others)} was given as "
            f"well. Leave that out, or name a source of rows in place of the run."
        )
    predictor = run if isinstance(run, Predictor) else Predictor(run, allow_code=allow_code)
    _check_single(predictor.config.data.labels, str(predictor.run))
    if not predictor.config.backbone.freeze:
        _logger.warning(
            "The backbone of %s was trained on labels, and may have learned wrong ones by heart, which hides them. The "
            "features of a backbone that has not seen them find more: name the rows as a source, with a pretrained "
            "backbone.",
            predictor.run,
        )
    own_text = any(name.startswith("text.") for name in set_by_user)
    section = config.text if own_text else predictor.config.text
    return _audit(rows_of_run(predictor, predictor.rows(data)), section, seed=config.training.seed)


def _check_single(label_form: LabelForm, source: str) -> None:
    if label_form != "single":
        raise DataError(
            f"{source} has images with several classes, but label errors are found where each image has one. Name rows "
            f"with one class per image."
        )


def _audit(rows: FeatureRows, section: TextConfig, *, seed: int) -> LabelErrors:
    _check_single(rows.label_form, rows.source)
    texts = [record.text for record in rows.records]
    labels = label_indices(rows.records, rows.classes)
    found = audit_labels(rows.features, labels, text_vectors(section, texts), texts, groups=rows.groups, seed=seed)
    suspects = tuple(
        LabelSuspect(
            record=rows.records[row],
            likely=rows.classes[found.likely[row]],
            score=float(found.score[row]),
            by_image=float(found.by_image[row]),
            by_text=None if found.by_text is None or np.isnan(found.by_text[row]) else float(found.by_text[row]),
        )
        for row in found.ranked
    )
    return LabelErrors(
        suspects=suspects,
        expected=found.expected,
        unjudged=tuple(rows.records[row] for row in np.flatnonzero(np.isnan(found.score))),
        classes=len(np.unique(labels)),
        no_text_because=found.no_text_because,
    )


def describe_label_errors(found: LabelErrors) -> list[str]:
    """Return sentences on how many labels are wrong, what was left out, and what the texts added."""
    sentences = [
        f"cleanlab expects {found.expected} wrong labels. The score is the probability of the given label by all "
        f"witnesses, for rows that they were not fitted on; a low score can also be an unusual image."
    ]
    if found.no_text_because:
        sentences.append(f"The texts are no witness: {found.no_text_because}. Images alone decided.")
    if found.unjudged:
        sentences.append(
            f"{len(found.unjudged)} rows could not be judged, because no other row has their class: "
            f"{list_some(Path(record.image).name for record in found.unjudged)}."
        )
    return sentences


def write_label_errors(suspects: Sequence[LabelSuspect], path: Path) -> None:
    """Write rows as CSV, JSONL or Parquet, with their labels to correct in the column `label`.

    The columns image, text, label and split are those that marnet reads; the others say why a row is there.

    Raises:
        DataError: the suffix is unknown, or the file cannot be written.
    """
    records = [each.record for each in suspects]
    write_table(
        path,
        {
            "image": [record.image for record in records],
            "text": [record.text for record in records],
            "label": [record.label for record in records],
            "split": [record.split for record in records],
            "likely": [each.likely for each in suspects],
            "score": [f"{each.score:.6f}" for each in suspects],
            "by_image": [f"{each.by_image:.6f}" for each in suspects],
            "by_text": ["" if each.by_text is None else f"{each.by_text:.6f}" for each in suspects],
        },
    )
