"""The images that a search looks through, with their texts: a folder, rows of a source, or stored features."""

import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from marnet.data.dataset import ImageTextDataset
from marnet.data.decoded import decode_images
from marnet.data.features import FeatureDataset
from marnet.data.image_bytes import file_of
from marnet.data.image_paths import image_path
from marnet.data.image_spec import cache_size
from marnet.data.images import BrokenImage
from marnet.data.manifest import Manifest, Record
from marnet.data.moved import refuse_missing_images
from marnet.data.sources.folder_files import images_below
from marnet.data.transforms import eval_transform
from marnet.encoders.text import has_text
from marnet.errors import ConfigError, DataError
from marnet.inference import Predictor
from marnet.runs.code import AllowCode
from marnet.semantic.space import UnifiedSpace
from marnet.semantic.stored_features import features_for
from marnet.training.features import FEATURES

_CHUNK = 1024  # images that are held at a time
_ABSENT = (-1, -1)
_logger = logging.getLogger("marnet")


class Collection(NamedTuple):
    """N images with their texts."""

    images: tuple[str, ...]  # each once, by absolute path or as manifests name a piece of a tar file
    texts: tuple[tuple[str, ...], ...]  # N; of each image, those that are not blank, each once
    source: str  # for messages
    features: str = ""  # the file of stored features, where vectors come from them and not from the images
    x_v: Tensor | None = None  # (N, D_v), those features

    def unique_texts(self) -> tuple[str, ...]:
        """Return the different texts of all images, in their order."""
        return tuple(dict.fromkeys(text for own in self.texts for text in own))

    def take(self, kept: Iterable[int]) -> Self:
        """Return some of the images."""
        rows = list(kept)
        chosen = None if self.x_v is None else self.x_v[rows]
        return self._replace(
            images=tuple(self.images[row] for row in rows), texts=tuple(self.texts[row] for row in rows), x_v=chosen
        )

    def stamps(self) -> np.ndarray:
        """Return size in bytes and time of change in ns of the file behind each image, `(N, 2)` int64; -1 for none."""
        if self.features:
            return np.tile(np.array(_stamp(self.features), np.int64), (len(self.images), 1))
        return np.array([_stamp(file_of(image)) for image in self.images], np.int64).reshape(-1, 2)


class PlacedCollection(NamedTuple):
    """The images that could be read, as unit vectors."""

    collection: Collection  # of N images
    vectors: np.ndarray  # (N, width) float32
    unreadable: tuple[str, ...]


def list_collection(
    predictor: Predictor,
    *,
    images: Path | str | Sequence[Path | str] | None = None,
    data: Any = None,
    features: Path | str | None = None,
    split: str | None = None,
    allow_code: AllowCode = False,
) -> Collection:
    """Return the images to search, which are not opened yet.

    Args:
        predictor: of the run; without any other argument, its own rows are searched.
        images: a folder, which is searched at any depth, or paths of images; they have no texts.
        data: rows, in any form that `train` takes.
        features: a folder written by 'marnet embed' with the backbone of the run.
        split: of the rows, "train", "val" or "test"; None: all.
        allow_code: import code that the features name (`module:PACKAGE.NAME`).

    Raises:
        ConfigError: more than one collection is named, or a split of images that have none.
        DataError: the collection is empty or cannot be read.
    """
    named = [name for name, value in (("images", images), ("data", data), ("features", features)) if value is not None]
    if len(named) > 1:
        raise ConfigError(f"`{named[0]}` and `{named[1]}` both name what is searched. Leave one of them out.")
    if images is not None:
        if split is not None:
            raise ConfigError(f"`split` is {split!r}, but images without rows have no splits. Leave it out.")
        return _of_images(images)
    if features is not None:
        found = features_for(predictor, features, allow_code=allow_code)
        chosen = list(found.splits) if split is None else [split]
        rows = [record for name in chosen for record in found.manifest.split(name)]
        x_v = torch.cat([found.splits[name] for name in chosen])
        return _of_rows(rows, str(features), features=os.path.abspath(Path(features) / FEATURES), x_v=x_v)  # noqa: PTH100 (keeps dots)
    manifest: Manifest = predictor.rows(data, split or "val")
    rows = list(manifest.records if split is None else manifest.split(split))
    source = str(predictor.run) if data is None else manifest.source
    if data is None:
        refuse_missing_images(rows, f"The run {predictor.run}", skip=predictor.config.data.on_bad_image == "skip")
    return _of_rows(rows, source)


def place_collection(space: UnifiedSpace, collection: Collection) -> PlacedCollection:
    """Compute where images lie in a space; those that cannot be read are left out and named once.

    Raises:
        DataError: none can be read.
    """
    if collection.x_v is not None:
        return PlacedCollection(collection, space.rows(_unlabelled_features(collection.x_v)).numpy(), ())
    console = Console(stderr=True)
    firsts = range(0, len(collection.images), _CHUNK)
    quiet = len(firsts) < 2 or not console.is_terminal
    vectors: list[np.ndarray] = []
    broken: dict[str, str] = {}
    for first in track(firsts, description="Placing images", console=console, transient=True, disable=quiet):
        dataset, unreadable = _decode(space.predictor, collection.images[first : first + _CHUNK])
        vectors.append(space.rows(dataset).numpy())
        broken |= {each.path: each.reason for each in unreadable}
    kept = [row for row, image in enumerate(collection.images) if image not in broken]
    if broken:
        image, reason = next(iter(broken.items()))
        sentence = f"{len(broken)} of {len(collection.images)} images cannot be read, such as {image}, which {reason}"
        if not kept:
            raise DataError(f"{sentence} At least one must be readable.")
        _logger.warning("Left out: %s", sentence)
    return PlacedCollection(collection.take(kept), np.concatenate(vectors), tuple(broken))


def _decode(predictor: Predictor, images: Sequence[str]) -> tuple[ImageTextDataset, list[BrokenImage]]:
    """Return the images that can be read, in memory, and the others."""
    spec = predictor.spec
    decoded = decode_images(
        images,
        size=cache_size(spec),
        interpolation=spec.interpolation,
        max_pixels=predictor.config.data.max_pixels,
    )
    lost = {each.path for each in decoded.broken}
    rows = np.array([row for row, image in enumerate(images) if image not in lost], np.int64)
    labels = np.zeros(len(rows), np.int64)
    return ImageTextDataset(decoded.pixels, [""] * len(rows), labels, eval_transform(spec), rows=rows), decoded.broken


def _unlabelled_features(x_v: Tensor) -> FeatureDataset:
    return FeatureDataset(x_v, [""] * len(x_v), np.zeros(len(x_v), np.int64))


def _of_images(images: Path | str | Sequence[Path | str]) -> Collection:
    if not isinstance(images, str | os.PathLike):
        paths, source = [os.fspath(image) for image in images], f"{len(images)} images"
    else:
        folder = Path(images).expanduser()
        if not folder.is_dir():
            raise DataError(f"{folder} is no folder of images. Name one that exists, or a list of paths in Python.")
        paths, source = images_below(folder), str(folder)
        if not paths:
            raise DataError(f"{folder} holds no image at any depth. Name another folder as `images`.")
    if not paths:
        raise DataError("There is no image to search. Name one or more as `images`.")
    names = tuple(dict.fromkeys(image_path(Path.cwd(), path) for path in paths))
    return Collection(names, ((),) * len(names), source)


def _of_rows(rows: Sequence[Record], source: str, *, features: str = "", x_v: Tensor | None = None) -> Collection:
    """Return the images of rows; an image of several rows has all their texts."""
    if not rows:
        raise DataError(f"{source} has no rows to search. Name others.")
    texts: dict[str, dict[str, None]] = {}
    first: list[int] = []
    for number, row in enumerate(rows):
        if row.image not in texts:
            first.append(number)
        own = texts.setdefault(row.image, {})
        if has_text(row.text):
            own[row.text] = None
    found = Collection(tuple(texts), tuple(tuple(own) for own in texts.values()), source, features)
    return found if x_v is None else found._replace(x_v=x_v[first])


def _stamp(file: Path | str) -> tuple[int, int]:
    try:
        status = os.stat(file)  # noqa: PTH116 (speed)
    except (OSError, ValueError):
        return _ABSENT
    return status.st_size, status.st_mtime_ns
