"""Rows with the features of their images, from a run, a folder of features or a source."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from marnet.choices import LabelForm
from marnet.config import Config
from marnet.data.manifest import Manifest, Record
from marnet.errors import ConfigError
from marnet.inference import Predictor
from marnet.runs.code import AllowCode
from marnet.training.features import FeatureSet, embed, open_features


class FeatureRows(NamedTuple):
    """N rows with the features of their images; rows of one split stand together."""

    records: tuple[Record, ...]
    features: np.ndarray  # (N, D_v)
    classes: tuple[str, ...]
    label_form: LabelForm
    source: str

    @property
    def groups(self) -> list[str] | None:
        """Return the group of each row, a row without one being its own; None if no row has one."""
        if not any(record.group for record in self.records):
            return None
        return [record.group or record.image for record in self.records]


def open_feature_set(config: Config, *, allow_code: AllowCode = False) -> FeatureSet:
    """Return the features that a configuration names, or compute those of its source.

    Raises:
        ConfigError: it names neither, or both.
        MarnetError: the features, the data or the backbone cannot be used.
    """
    if (config.data.features is None) == (not config.data.source):
        raise ConfigError(
            "One set of rows is read. Give either `data`, a source of rows, or `features`, a folder written by "
            "'marnet embed'."
        )
    if config.data.features is not None:
        return open_features(config.data.features, allow_code=allow_code)
    with tempfile.TemporaryDirectory(prefix="marnet-") as folder:
        return open_features(embed(config, Path(folder) / "features"), allow_code=allow_code)


def rows_of_features(found: FeatureSet) -> FeatureRows:
    """Return the labelled rows of all splits of a set of features."""
    manifest, names = found.manifest, found.manifest.labelled_splits()
    features = np.concatenate([found.splits[name].numpy() for name in names])
    return _feature_rows(manifest, [manifest.split(name) for name in names], features)


def rows_of_run(predictor: Predictor, manifest: Manifest) -> FeatureRows:
    """Return the labelled rows of all splits of a manifest with the features x_v of a run's backbone.

    Raises:
        DataError: an image or a label cannot be used.
    """
    outputs = [predictor.outputs(manifest, name) for name in manifest.labelled_splits()]
    features = np.concatenate([each.x_v.float().numpy() for each in outputs])
    return _feature_rows(manifest, [each.records for each in outputs], features)


def _feature_rows(manifest: Manifest, splits: Sequence[Sequence[Record]], features: np.ndarray) -> FeatureRows:
    records = tuple(record for split in splits for record in split)
    return FeatureRows(records, features, manifest.classes, manifest.label_form, manifest.source)
