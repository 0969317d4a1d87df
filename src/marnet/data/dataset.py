"""Datasets and batches of images with texts and labels; the random draws for a row are a function of its key."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from marnet.data.decoded import StreamedImages, decode_images
from marnet.data.image_spec import ImageSpec, cache_size
from marnet.data.images import BrokenImage
from marnet.data.manifest import Manifest, Record, label_targets
from marnet.data.squares import Target
from marnet.data.trainable import check_trainable
from marnet.data.transforms import Transform
from marnet.errors import DataError

_EXAMPLES = 5  # broken images that a message names
_logger = logging.getLogger("marnet")


class PixelRows(Protocol):
    """Images by row: an array `(M, S', S', 3)` uint8, possibly memory-mapped, or images decoded on demand.

    Indexed with rows `(B,)` it gives their squares `(B, S', S', 3)`.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray: ...


class SampleKey(NamedTuple):
    """A row to augment, and the seed of its augmentation."""

    row: int
    seed: int


class Sample(NamedTuple):
    """One row of a dataset."""

    image: Tensor  # (3, S, S) uint8
    text: str
    label: int | np.ndarray  # its number; where images have several classes, (C,) float32 of 0 and 1
    row: int


class Batch(NamedTuple):
    """B rows of a dataset.

    Images stay uint8, a quarter of the bytes to carry between processes and to a GPU; `model_input` turns them into the
    input of the model.
    """

    images: Tensor  # (B, 3, S, S) uint8, channels last; or features (B, D_v) float32
    texts: list[str]
    labels: Tensor  # (B,) int64; where images have several classes, or a teacher labels them, (B, C) float32
    indices: Tensor  # (B,) int64, rows of the dataset


class OpenedSplit(NamedTuple):
    """A split whose images are decoded; row i of the dataset is `records[i]`."""

    dataset: "ImageTextDataset"
    records: tuple[Record, ...]
    skipped: list[BrokenImage]


class _Decoded(NamedTuple):
    """The images of a split, and those that cannot be read."""

    pixels: PixelRows
    broken: list[BrokenImage]


class ImageTextDataset(Dataset[Sample]):
    """Decoded images with their texts and labels.

    Indexed with an int, the transform has no seed, as evaluation wants it; indexed with a `SampleKey`, as the samplers
    yield them, its random draws are a function of the key's seed.

    Args:
        images: M squares `(S', S', 3)` uint8.
        texts: N texts, "" for none.
        labels: of `label_targets`, `(N,)` int64 or `(N, C)` float32.
        transform: from uint8 `(B, 3, S', S')` to uint8 `(B, 3, S, S)`.
        rows: `(N,)`, the image of each row; None if M = N and row i has image i.
    """

    def __init__(
        self,
        images: PixelRows,
        texts: Sequence[str],
        labels: np.ndarray,
        transform: Transform,
        *,
        rows: np.ndarray | None = None,
    ) -> None:
        self.rows = np.arange(len(images)) if rows is None else rows
        if not len(self.rows) == len(texts) == len(labels):
            raise ValueError(
                f"Found {len(self.rows)} images, {len(texts)} texts and {len(labels)} labels. Their "
                f"numbers must be equal."
            )
        self.images = images
        self.texts = list(texts)
        self.labels = labels
        self.transform = transform

    def select(self, rows: np.ndarray, labels: np.ndarray, *, transform: Transform | None = None) -> Self:
        """Return some rows `(M,)` with other labels, of M rows, and another transform if one is given."""
        texts = [self.texts[row] for row in rows.tolist()]
        return type(self)(self.images, texts, labels, transform or self.transform, rows=self.rows[rows])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int | SampleKey) -> Sample:
        return first_sample(self.__getitems__([index]))

    def __getitems__(self, indices: Sequence[int | SampleKey]) -> Batch:
        """Return a batch; torch's loaders ask for it as a whole, several times faster than one image at a time."""
        rows, seeds = rows_and_seeds(indices)
        pixels = np.asarray(self.images[self.rows[rows]])  # (B, S', S', 3), a copy: torch needs it writable
        images = self.transform(torch.from_numpy(pixels).permute(0, 3, 1, 2), seeds)  # (B, 3, S, S)
        texts = [self.texts[row] for row in rows.tolist()]
        return Batch(images, texts, torch.from_numpy(self.labels[rows]), torch.from_numpy(rows))

    def __getstate__(self) -> dict[str, Any]:
        """Send a memory map to loader processes by its file name; pickled as it is, all pixels would be copied."""
        state = self.__dict__.copy()
        if isinstance(self.images, np.memmap) and self.images.filename is not None:
            state["images"] = Path(self.images.filename)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if isinstance(self.images, Path):
            self.images = np.load(self.images, mmap_mode="r")


def rows_and_seeds(indices: Sequence[int | SampleKey]) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the rows `(B,)` int64 and the seeds `(B,)` int64 of a batch; the seeds are None for plain indices.

    Raises:
        ValueError: some are sample keys and some are not.
    """
    keys = [index for index in indices if isinstance(index, SampleKey)]
    if not keys:
        return np.array(indices, np.int64), None
    if len(keys) < len(indices):
        raise ValueError(f"{len(keys)} of {len(indices)} indices are sample keys. Give keys alone, or rows alone.")
    rows, seeds = np.array(keys, np.int64).T.copy()
    return rows, seeds


def first_sample(batch: Batch) -> Sample:
    """Return the first row of a batch."""
    label = batch.labels[0]
    return Sample(batch.images[0], batch.texts[0], label.numpy() if label.ndim else int(label), int(batch.indices[0]))


def open_splits(
    manifest: Manifest,
    transforms: Mapping[str, Transform],
    *,
    spec: ImageSpec,
    on_bad_image: str = "stop",
    max_pixels: int,
    cache: Path | None,
    stream: bool = False,
) -> dict[str, OpenedSplit]:
    """Decode the images of the splits that `transforms` names.

    Args:
        manifest: where the rows come from.
        transforms: the transform of each split to open.
        spec: what the model takes.
        on_bad_image: "stop" refuses to go on with the list of all broken images of all these splits; "skip" drops
            their rows.
        max_pixels: images with more are broken.
        cache: where to keep the decoded images; None keeps them in memory.
        stream: keep none and decode each image whenever it is needed; broken ones are met only then.

    Raises:
        DataError: a split is empty, an image is broken and not to be skipped, what remains cannot be trained on, or
            the cache cannot be written.
    """
    target = Target(cache_size(spec), spec.interpolation, max_pixels)
    decoded = {
        name: _decode([record.image for record in manifest.split(name)], target, cache=cache, stream=stream)
        for name in transforms
    }
    broken = {name: each.broken for name, each in decoded.items()}
    if any(broken.values()):
        _report_broken(manifest, broken, skip=on_bad_image == "skip")
    opened = {}
    for name, transform in transforms.items():
        lost = {each.path for each in broken[name]}
        records = manifest.split(name)
        rows = np.array([row for row, record in enumerate(records) if record.image not in lost], np.int64)
        kept = tuple(records[row] for row in rows)
        dataset = ImageTextDataset(
            decoded[name].pixels,
            [record.text for record in kept],
            label_targets(kept, manifest.classes, manifest.label_form),
            transform,
            rows=rows,
        )
        opened[name] = OpenedSplit(dataset, kept, broken[name])
    _check_remaining(manifest, opened)
    return opened


def _decode(images: Sequence[str], target: Target, *, cache: Path | None, stream: bool) -> _Decoded:
    if stream:
        return _Decoded(StreamedImages(images, target), [])
    decoded = decode_images(
        images, size=target.size, interpolation=target.interpolation, max_pixels=target.max_pixels, cache=cache
    )
    return _Decoded(decoded.pixels, decoded.broken)


def _report_broken(manifest: Manifest, broken: Mapping[str, list[BrokenImage]], *, skip: bool) -> None:
    rows = sum(len(manifest.split(name)) for name in broken)
    every = [each for listed in broken.values() for each in listed]
    listing = "\n  ".join(f"{each.path} {each.reason}" for each in every[:_EXAMPLES])
    if len(every) > _EXAMPLES:
        listing += f"\n  ... and {len(every) - _EXAMPLES:,} more; 'marnet data check' names all of them in its JSON."
    counts = ", ".join(f"{name} {len(listed)}" for name, listed in broken.items())
    if skip:
        _logger.warning("Skipped %d of %d images, which cannot be read (%s):\n  %s", len(every), rows, counts, listing)
        return
    raise DataError(
        f"{len(every)} of {rows} images of {manifest.source} cannot be read ({counts}):\n  {listing}\n"
        f"Mend or remove them, or go on without them: `data.on_bad_image=skip`."
    )


def _check_remaining(manifest: Manifest, opened: Mapping[str, OpenedSplit]) -> None:
    """Refuse what skipping left if it cannot be used."""
    if not any(each.skipped for each in opened.values()):
        return
    for name, each in opened.items():
        if not each.records:
            raise DataError(
                f"Every image of split {name!r} of {manifest.source} is broken. At least one must be readable."
            )
    if {"train", "val"} <= set(opened):
        kept = tuple(record for each in opened.values() for record in each.records)
        source = f"{manifest.source} without its broken images"
        check_trainable(dataclasses.replace(manifest, records=kept, source=source))
