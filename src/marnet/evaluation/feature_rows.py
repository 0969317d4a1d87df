"""Rows with the features of their images, from a run, a folder of features or a source, and vectors of their texts."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from marnet.cache import cache_directory
from marnet.choices import LabelForm
from marnet.config import Config
from marnet.config.schema import TextConfig
from marnet.data.manifest import Manifest, Record
from marnet.encoders.text import build_text_encoder
from marnet.encoders.text_encoder import TextOptions
from marnet.encoders.unique_texts import has_text
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
    """Return the rows of all splits of a set of features."""
    manifest = found.manifest
    features = np.concatenate([tensor.numpy() for tensor in (found.splits[name] for name in manifest.splits())])
    return _feature_rows(manifest, [manifest.split(name) for name in manifest.splits()], features)


def rows_of_run(predictor: Predictor, manifest: Manifest) -> FeatureRows:
    """Return the rows of all splits of a manifest with the features x_v of a run's backbone.

    Raises:
        DataError: an image or a label cannot be used.
    """
    outputs = [predictor.outputs(manifest, name) for name in manifest.splits()]
    features = np.concatenate([each.x_v.float().numpy() for each in outputs])
    return _feature_rows(manifest, [each.records for each in outputs], features)


def text_vectors(section: TextConfig, texts: Sequence[str]) -> np.ndarray:
    """Return the vectors `(N, D_s)` of N texts by an encoder that learns from them; `(N, 1)` where all are blank."""
    if not any(has_text(text) for text in texts):
        return np.zeros((len(texts), 1))
    options = TextOptions(
        dimensions=section.dimensions,
        max_vocabulary=section.max_vocabulary,
        pooling=section.pooling,
        max_length=section.max_length,
        cache=cache_directory(),
    )
    with torch.inference_mode():
        return np.asarray(build_text_encoder(section.name, texts, options)(list(texts)).numpy())


def _feature_rows(manifest: Manifest, splits: Sequence[Sequence[Record]], features: np.ndarray) -> FeatureRows:
    records = tuple(record for split in splits for record in split)
    return FeatureRows(records, features, manifest.classes, manifest.label_form, manifest.source)
