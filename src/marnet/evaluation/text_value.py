"""`text_value`: what the texts of a data source hold, before any training."""

from pathlib import Path
from typing import Any

import numpy as np

from marnet.building import text_vectors
from marnet.config import Config, make_config
from marnet.config.nested import merge_settings, unflatten
from marnet.encoders.unique_texts import has_text
from marnet.evaluation.feature_rows import open_feature_set
from marnet.runs.code import AllowCode
from marnet.semantic.datasets.text_value import TextValue, measure_text_value
from marnet.training.features import FeatureSet

_SPLIT = "train"


def text_value(
    data: Path | str | None = None,
    *,
    features: Path | str | None = None,
    backbone: str | None = None,
    pretrained: bool = False,
    settings: dict[str, Any] | None = None,
    allow_code: AllowCode = False,
) -> TextValue:
    """Measure what the texts of the training rows hold that image features do not, without training a network.

    Args:
        data: a source of rows; the features of its images are computed first.
        features: a folder written by 'marnet embed', in place of `data`.
        backbone: for `data`, the name of an image model, see `list_backbones`.
        pretrained: for `data`, start from the published weights of the backbone; without them the features say little.
        settings: further settings by name, dotted or nested, such as `text.name` and `data.image_size`.
        allow_code: import code that the features name (`module:PACKAGE.NAME`).

    Raises:
        ConfigError: neither `data` nor `features` was given, or both.
        DataError: there are too few rows with text.

    Example:
        >>> import marnet
        >>> found = marnet.text_value("synthetic:images=5,classes=12", backbone="timm:test_resnet")
        >>> found.rows, found.classes
        (60, 12)
    """
    given = {
        "data.source": None if data is None else str(data),
        "data.features": None if features is None else str(features),
        "backbone.name": backbone,
        "backbone.pretrained": pretrained or None,
    }
    named = unflatten({name: value for name, value in given.items() if value is not None})
    return text_value_of(make_config(merge_settings(unflatten(settings or {}), named)), allow_code=allow_code)


def text_value_of(config: Config, *, allow_code: AllowCode = False) -> TextValue:
    """Measure the text value of the rows or features that a configuration names; see `text_value`."""
    return _measure(open_feature_set(config, allow_code=allow_code), config)


def _measure(found: FeatureSet, config: Config) -> TextValue:
    records = found.manifest.split(_SPLIT)
    kept = [row for row, record in enumerate(records) if has_text(record.text)]
    dataset = found.dataset(_SPLIT)
    texts = [records[row].text for row in kept]
    vectors = text_vectors(config.text, texts)
    groups = [records[row].group or records[row].image for row in kept]
    return measure_text_value(
        found.splits[_SPLIT].numpy()[kept],
        vectors,
        np.asarray(dataset.labels)[kept],
        groups=groups if any(records[row].group for row in kept) else None,
        without_text=len(records) - len(kept),
        seed=config.training.seed,
    )
