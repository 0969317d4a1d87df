"""The data of a comparison: the rows that all runs share, and the features that they train on instead of images."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from marnet.comparison.training_rows import without_classes
from marnet.config import Config
from marnet.data.image_bytes import file_of
from marnet.data.manifest import Manifest
from marnet.data.sources import open_data
from marnet.errors import ConfigError, DataError
from marnet.training.features import FeatureSet, features_digest, open_features


class SharedFeatures(NamedTuple):
    """The features that all runs train on."""

    found: FeatureSet
    digest: str

    @property
    def encoder(self) -> Config:
        """The settings of the encoder: its backbone and its data."""
        return self.found.config


class ComparisonData(NamedTuple):
    """The rows that all runs share."""

    manifest: Manifest
    fingerprint: str
    features: SharedFeatures | None = None  # of all rows, where runs train on features

    def without_classes(self, classes: Sequence[str]) -> "ComparisonData":
        """Return the rows of all other classes, with their features."""
        manifest = without_classes(self.manifest, classes)
        if self.features is None:
            return self._replace(manifest=manifest)
        return self._replace(
            manifest=manifest, features=self.features._replace(found=self.features.found.with_rows(manifest))
        )


def open_comparison_data(config: Config, manifest: Manifest | None = None) -> ComparisonData:
    """Return the rows of a comparison.

    Args:
        config: the settings that all arms share; `data.features` or `data.source` names the rows.
        manifest: rows instead of those of `data.source`.

    Raises:
        ConfigError: rows were given next to features, which have their own.
        MarnetError: the data or the features cannot be used.
    """
    folder = config.data.features
    if folder is None:
        manifest = manifest or open_data(config.data.source, config.data)
        return ComparisonData(manifest, fingerprint(manifest))
    if manifest is not None:
        raise ConfigError("`data.features` brings its own rows, but `data` was given as well. Leave one of them out.")
    found = open_features(folder)
    rows = dataclasses.replace(found.manifest, source=str(folder))
    return ComparisonData(rows, fingerprint(rows, sizes=False), SharedFeatures(found, features_digest(folder)))


def check_images(data: ComparisonData, split: str) -> None:
    """Refuse features whose images of a split are gone, which accuracy under corruption needs.

    Raises:
        DataError: images are missing.
    """
    if data.features is None:
        return  # training names the fault
    rows = data.manifest.split(split)
    missing = [record.image for record in rows if not os.path.lexists(file_of(record.image))]
    if missing:
        raise DataError(
            f"Corruptions change images, but of the {len(rows)} images of split {split!r} that the features in "
            f"{data.manifest.source} belong to, {len(missing)} do not exist any more: {missing[0]}"
            f"{' ...' if missing[1:] else '.'} Restore them, or set `corruptions=false`."
        )


def fingerprint(manifest: Manifest, *, sizes: bool = True) -> str:
    """Return a hash of the rows and the sizes of their image files; the place of the data makes no difference.

    Args:
        manifest: the rows.
        sizes: False leaves out the sizes, for rows whose images need not be there.
    """
    root = os.path.commonpath([Path(record.image).parent for record in manifest.records])
    digest = hashlib.sha256(json.dumps(manifest.classes).encode())
    for record in manifest.records:
        name = Path(record.image).relative_to(root).as_posix()
        row = [name, *([_size(record.image)] if sizes else []), record.text, record.label, record.split]
        digest.update(json.dumps(row).encode())
    return digest.hexdigest()[:16]


def _size(image: str) -> int:
    try:
        return Path(image).stat().st_size
    except OSError:
        return -1  # training names the fault
