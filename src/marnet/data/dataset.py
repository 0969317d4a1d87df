"""Datasets and batches whose random draws are a function of seed, epoch and row alone."""

import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from marnet.data.images import BrokenImage, decode_images
from marnet.data.manifest import Manifest, Record, check_trainable, label_targets
from marnet.data.transforms import ImageSpec, Transform, cache_size, normalise
from marnet.errors import DataError

_logger = logging.getLogger("marnet")


class Draw(NamedTuple):
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
    """B rows of a dataset, as the model takes them."""

    images: Tensor  # (B, 3, S, S) float32, normalised, channels last
    texts: list[str]
    labels: Tensor  # (B,) int64; where images have several classes, (B, C) float32
    indices: Tensor  # (B,) int64, rows of the dataset


class OpenedSplit(NamedTuple):
    """A split whose images are decoded; row i of the dataset is `records[i]`."""

    dataset: "ImageTextDataset"
    records: tuple[Record, ...]
    skipped: list[BrokenImage]


class ImageTextDataset(Dataset[Sample]):
    """Decoded images with their texts and labels.

    Indexed with an int it leaves torch's random state alone, as evaluation wants it; indexed with a `Draw`, as
    `EpochSampler` yields them, the transform draws from the draw's own seed.

    Args:
        images: `(M, S', S', 3)` uint8, possibly memory-mapped.
        texts: N texts, "" for none.
        labels: of `label_targets`, `(N,)` int64 or `(N, C)` float32.
        transform: from uint8 `(3, S', S')` to uint8 `(3, S, S)`.
        rows: `(N,)`, the image of each row; None if M = N and row i has image i.
    """

    def __init__(
        self,
        images: np.ndarray,
        texts: Sequence[str],
        labels: np.ndarray,
        transform: Transform,
        *,
        rows: np.ndarray | None = None,
    ) -> None:
        self.rows = np.arange(len(images)) if rows is None else rows
        if not len(self.rows) == len(texts) == len(labels):
            raise ValueError(
                f"Found {len(self.rows)} images, {len(texts)} texts and {len(labels)} labels; needed as many of each."
            )
        self.images = images
        self.texts = list(texts)
        self.labels = labels
        self.transform = transform

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int | Draw) -> Sample:
        if isinstance(index, Draw):
            return self._sample(index.row, index.seed)
        return self._sample(index, None)

    def __getstate__(self) -> dict[str, Any]:
        """A memory map travels to loader processes by its file name; pickled as it is, all pixels would be copied."""
        state = self.__dict__.copy()
        if isinstance(self.images, np.memmap) and self.images.filename is not None:
            state["images"] = Path(self.images.filename)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if isinstance(self.images, Path):
            self.images = np.load(self.images, mmap_mode="r")

    def _sample(self, row: int, seed: int | None) -> Sample:
        pixels = np.array(self.images[self.rows[row]])  # a copy: torch needs it writable
        image = torch.from_numpy(pixels).permute(2, 0, 1)  # (S', S', 3) -> (3, S', S')
        image = self.transform(image) if seed is None else _transform_seeded(self.transform, image, seed)
        return Sample(image, self.texts[row], self.labels[row], row)


def _transform_seeded(transform: Transform, image: Tensor, seed: int) -> Tensor:
    """Apply a transform that draws from torch's CPU generator as if seeded with `seed`, and put the state back.

    `torch.random.fork_rng` would do the same and touch every GPU besides.
    """
    generator = torch.default_generator
    state = generator.get_state()
    try:
        generator.manual_seed(seed)
        return transform(image)
    finally:
        generator.set_state(state)


class EpochSampler(Sampler[Draw]):
    """Every row once an epoch; order and augmentation are a function of seed and epoch.

    So two runs, any number of loader processes, and a resumed run see the same pixels.

    Args:
        n: rows of the dataset.
        seed: of order and augmentation.
        shuffle: False keeps the rows in order.
    """

    def __init__(self, n: int, *, seed: int, shuffle: bool) -> None:
        self.n = n
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration is for; Lightning calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[Draw]:
        seeds = np.random.default_rng((self.seed, self.epoch, 0)).integers(2**63, size=self.n)
        order = np.arange(self.n)
        if self.shuffle:
            np.random.default_rng((self.seed, self.epoch, 1)).shuffle(order)
        return (Draw(row, int(seeds[row])) for row in order.tolist())


class Collate:
    """Stack samples into a `Batch`, normalised for a model."""

    def __init__(self, spec: ImageSpec) -> None:
        self.spec = spec

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        """Stack B samples."""
        images = torch.stack([sample.image for sample in samples])  # (B, 3, S, S) uint8
        return Batch(
            normalise(images, self.spec),
            [sample.text for sample in samples],
            torch.from_numpy(np.array([sample.label for sample in samples])),
            torch.tensor([sample.row for sample in samples]),
        )


def open_splits(
    manifest: Manifest,
    transforms: Mapping[str, Transform],
    *,
    spec: ImageSpec,
    on_bad_image: str = "stop",
    max_pixels: int,
    cache: Path | None,
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

    Raises:
        DataError: a split is empty, an image is broken and not to be skipped, what remains cannot be trained on, or
            the cache cannot be written.
    """
    decoded = {
        name: decode_images(
            [record.image for record in manifest.split(name)],
            size=cache_size(spec),
            interpolation=spec.interpolation,
            max_pixels=max_pixels,
            cache=cache,
        )
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
            label_targets(kept, manifest.classes, manifest.labels),
            transform,
            rows=rows,
        )
        opened[name] = OpenedSplit(dataset, kept, broken[name])
    _check_remaining(manifest, opened)
    return opened


def _report_broken(manifest: Manifest, broken: Mapping[str, list[BrokenImage]], *, skip: bool) -> None:
    rows = sum(len(manifest.split(name)) for name in broken)
    every = [each for listed in broken.values() for each in listed]
    listing = "\n  ".join(f"{each.path} {each.reason}" for each in every)
    counts = ", ".join(f"{name} {len(listed)}" for name, listed in broken.items())
    if skip:
        _logger.warning("Skipped %d of %d images, which cannot be read (%s):\n  %s", len(every), rows, counts, listing)
        return
    raise DataError(
        f"{len(every)} of {rows} images of {manifest.source} cannot be read ({counts}):\n  {listing}\n"
        f"Mend or remove them, or go on without them: --on-bad-image skip."
    )


def _check_remaining(manifest: Manifest, opened: Mapping[str, OpenedSplit]) -> None:
    """What skipping left must still be usable."""
    if not any(each.skipped for each in opened.values()):
        return
    for name, each in opened.items():
        if not each.records:
            raise DataError(
                f"Every image of split {name!r} of {manifest.source} is broken; needed at least one that can be read."
            )
    if {"train", "val"} <= set(opened):
        kept = tuple(record for each in opened.values() for record in each.records)
        source = f"{manifest.source} without its broken images"
        check_trainable(dataclasses.replace(manifest, records=kept, source=source))
