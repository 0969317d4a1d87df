"""Datasets and batches whose random draws are a function of seed, epoch and row alone."""

import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from marnet.data.decoded import DecodedImages, StreamedImages, decode_images
from marnet.data.images import BrokenImage, Target
from marnet.data.manifest import Manifest, Record, check_trainable, label_targets
from marnet.data.transforms import ImageSpec, Transform, cache_size
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
    """B rows of a dataset.

    Images stay uint8, a quarter of the bytes to carry between processes and to a GPU; `model_input` makes of them what
    the model takes.
    """

    images: Tensor  # (B, 3, S, S) uint8, channels last; or features (B, D_v) float32
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

    Indexed with an int, the transform has no seed, as evaluation wants it; indexed with a `Draw`, as `EpochSampler`
    yields them, what it draws is a function of the draw's seed.

    Args:
        images: `(M, S', S', 3)` uint8, possibly memory-mapped.
        texts: N texts, "" for none.
        labels: of `label_targets`, `(N,)` int64 or `(N, C)` float32.
        transform: from uint8 `(B, 3, S', S')` to uint8 `(B, 3, S, S)`.
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
        return first_sample(self.__getitems__([index]))

    def __getitems__(self, indices: Sequence[int | Draw]) -> Batch:
        """A batch, which torch's loaders ask for as a whole; one image at a time takes several times longer."""
        rows, seeds = rows_and_seeds(indices)
        pixels = np.asarray(self.images[self.rows[rows]])  # (B, S', S', 3), a copy: torch needs it writable
        images = self.transform(torch.from_numpy(pixels).permute(0, 3, 1, 2), seeds)  # (B, 3, S, S)
        texts = [self.texts[row] for row in rows.tolist()]
        return Batch(images, texts, torch.from_numpy(self.labels[rows]), torch.from_numpy(rows))

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


def rows_and_seeds(indices: Sequence[int | Draw]) -> tuple[np.ndarray, np.ndarray | None]:
    """The rows `(B,)` int64 and the seeds `(B,)` int64 of a batch; the seeds are None where there are plain indices.

    Raises:
        ValueError: some are draws and some are not.
    """
    draws = [index for index in indices if isinstance(index, Draw)]
    if not draws:
        return np.array(indices, np.int64), None
    if len(draws) < len(indices):
        raise ValueError(f"Found {len(draws)} draws among {len(indices)} indices; needed draws alone, or none.")
    rows, seeds = np.array(draws, np.int64).T.copy()
    return rows, seeds


def first_sample(batch: Batch) -> Sample:
    """The first row of a batch."""
    label = batch.labels[0]
    return Sample(batch.images[0], batch.texts[0], label.numpy() if label.ndim else int(label), int(batch.indices[0]))


class EpochSampler(Sampler[Draw]):
    """Every row once an epoch; order and augmentation are a function of seed and epoch.

    So two runs, any number of loader processes, and a resumed run see the same pixels. Of several training processes
    each gets rows of its own, all equally many: of N rows, N mod `processes` are left out, others in each epoch.

    Args:
        n: rows of the dataset.
        seed: of order and augmentation.
        shuffle: False keeps the rows in order.
        places: `(N, 2)` int64, the number of the file that holds each row and the offset in it: shuffle so that each
            file is read once, mostly from front to end. None: a row may come after any other.
        buffer: with `places`, rows that are mixed; a few batches at least, better as many as a shard or two hold.
        process: number of this training process, from 0 (rank).
        processes: of them (world size).

    Raises:
        ValueError: there is no such process, or the buffer is empty.
    """

    def __init__(
        self,
        n: int,
        *,
        seed: int,
        shuffle: bool,
        places: np.ndarray | None = None,
        buffer: int = 2000,
        process: int = 0,
        processes: int = 1,
    ) -> None:
        if not 0 <= process < processes or buffer < 1:
            raise ValueError(
                f"Found process {process} of {processes} and a buffer of {buffer}; needed a process from 0 to the "
                f"number of processes less one, and a buffer of 1 or more."
            )
        self.n = n
        self.seed = seed
        self.shuffle = shuffle
        self.places = places
        self.buffer = buffer
        self.process = process
        self.processes = processes
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration is for; Lightning calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.n // self.processes

    def __iter__(self) -> Iterator[Draw]:
        seeds = np.random.default_rng((self.seed, self.epoch, 0)).integers(2**63, size=self.n)
        order = np.arange(self.n)
        generator = np.random.default_rng((self.seed, self.epoch, 1))
        if self.shuffle and self.places is not None:
            order = nearby_order(self.places, self.buffer, generator)
        elif self.shuffle:
            generator.shuffle(order)
        first = self.process * len(self)  # neighbours, so that processes share few files
        return (Draw(row, int(seeds[row])) for row in order[first : first + len(self)].tolist())


def nearby_order(places: np.ndarray, buffer: int, generator: np.random.Generator) -> np.ndarray:
    """A random order of N rows `(N,)` that takes the files in random turn and mixes rows as a shuffle buffer does.

    `places` and `buffer` are those of `EpochSampler`.
    """
    files, offsets = places[:, 0], places[:, 1]
    turn = generator.permutation(int(files.max(initial=0)) + 1)  # of each file in the epoch
    order = np.lexsort((offsets, turn[files]))
    # A buffer that is kept full and gives out a random row at a time holds each one back for a random time.
    delays = generator.exponential(buffer, len(order)) if buffer > 1 else np.zeros(len(order))
    return np.asarray(order[np.argsort(np.arange(len(order)) + delays, kind="stable")])


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
            label_targets(kept, manifest.classes, manifest.labels),
            transform,
            rows=rows,
        )
        opened[name] = OpenedSplit(dataset, kept, broken[name])
    _check_remaining(manifest, opened)
    return opened


def _decode(images: Sequence[str], target: Target, *, cache: Path | None, stream: bool) -> DecodedImages:
    if stream:
        return DecodedImages(cast(np.ndarray, StreamedImages(images, target)), [])  # rows of an array are all it needs
    return decode_images(
        images, size=target.size, interpolation=target.interpolation, max_pixels=target.max_pixels, cache=cache
    )


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
