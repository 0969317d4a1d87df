"""Images straight out of WebDataset shards, for data that is too large to unpack and to keep decoded.

A tar file says in its headers where each image lies, so shards can be read like an array: `ShardImages` takes the
place of the decoded images in an `ImageTextDataset`. `ShardSampler` gives an order that jumps little within the shards,
shares the rows out among training processes, and can start in the middle of an epoch. A torch DataLoader hands batches
to its processes in turn, so what is trained on does not depend on their number. The files must be local or mounted: a
pipe cannot be sought in.
"""

import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import numpy as np
from PIL import Image
from torch.utils.data import Sampler

from marnet.data.dataset import Draw, ImageTextDataset
from marnet.data.images import MAX_PIXELS, fit_square, to_rgb
from marnet.data.manifest import Record, label_targets
from marnet.data.shards import Shard, ShardIndex, read_shard_fields
from marnet.data.transforms import ImageSpec, Transform, cache_size
from marnet.errors import DataError, ImageError

_OPEN_FILES = 16  # an order that jumps little has two or three shards in use


class ShardSplit(NamedTuple):
    """A split that stays in its shards; row i of the dataset is `records[i]` and lies at `places[i]`."""

    dataset: ImageTextDataset
    records: tuple[Record, ...]  # `image` is "SHARD!MEMBER", a name for messages
    places: np.ndarray  # (N, 3) int64, see `ShardImages`


class ShardImages:
    """The images of shards as an array `(N, S', S', 3)` uint8 that decodes a row when it is asked for.

    The pixels are those of `decode_images` on the files that the shards were made of.

    Args:
        files: the tar files.
        places: `(N, 3)` int64: number of the file, offset and size of the image in bytes.
        size: S', side of the squares in pixels.
        interpolation: "bicubic" or "bilinear".
        max_pixels: refuse an image with more.
    """

    def __init__(
        self,
        files: Sequence[Path],
        places: np.ndarray,
        *,
        size: int,
        interpolation: str = "bicubic",
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.files = list(files)
        self.places = places
        self.size = size
        self.interpolation = interpolation
        self.max_pixels = max_pixels
        self._open: dict[int, IO[bytes]] = {}
        self._process = os.getpid()

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, row: int) -> np.ndarray:
        """The square `(S', S', 3)` of one row.

        Raises:
            ImageError: the image is damaged or too large.
        """
        number, offset, size = self.places[row].tolist()
        try:
            file = self._file(number)
            file.seek(offset)
            return self._decode(file.read(size))
        except Exception as error:  # damaged bytes make Pillow's decoders raise almost anything
            raise ImageError(
                f"The image in row {row}, at byte {offset} of {self.files[number]}, cannot be read ({error}). Run "
                f"'marnet data check' on the shards, and leave it out when they are written again."
            ) from None

    def __getstate__(self) -> dict[str, Any]:
        """Loader processes open the files themselves."""
        return self.__dict__ | {"_open": {}}

    def _decode(self, content: bytes) -> np.ndarray:
        with Image.open(io.BytesIO(content)) as picture:
            width, height = picture.size
            if width * height > self.max_pixels:
                raise ValueError(f"it has {width * height:,} pixels; the limit is {self.max_pixels:,}")
            picture.draft(None, (2 * self.size, 2 * self.size))  # as `decode_images` does
            square = fit_square(to_rgb(picture), self.size, interpolation=self.interpolation)
            return square.permute(1, 2, 0).numpy()  # (3, S', S') -> (S', S', 3)

    def _file(self, number: int) -> IO[bytes]:
        if self._process != os.getpid():  # after a fork both processes would move one file position
            self._open, self._process = {}, os.getpid()
        file = self._open.pop(number, None) or self.files[number].open("rb")
        if len(self._open) >= _OPEN_FILES:
            self._open.pop(next(iter(self._open))).close()  # the one that was not used for longest
        self._open[number] = file
        return file


def open_shard_split(
    index: ShardIndex, split: str, transform: Transform, *, spec: ImageSpec, max_pixels: int = MAX_PIXELS
) -> ShardSplit:
    """A split of shards as a dataset, its rows in the order of the manifest that was written.

    Reads the headers of the tar files and the texts, not the images.

    Args:
        index: of the shards.
        split: its name.
        transform: from uint8 `(3, S', S')` to uint8 `(3, S, S)`.
        spec: what the model takes.
        max_pixels: refuse an image with more.

    Raises:
        DataError: there is no such split, or a shard is damaged.
    """
    shards = [shard for shard in index.shards if shard.split == split]
    if not shards:
        found = ", ".join(dict.fromkeys(shard.split for shard in index.shards))
        raise DataError(f"The shards in {index.folder} have no split {split!r}; found {found}.")
    rows: list[tuple[int, tuple[int, int, int], Record]] = []
    for number, shard in enumerate(shards):
        rows += _read_headers(index, shard, number)
    rows.sort(key=lambda row: row[0])
    places = np.array([place for _, place, _ in rows], np.int64)
    records = tuple(record for _, _, record in rows)
    images = ShardImages(
        [index.folder / shard.name for shard in shards],
        places,
        size=cache_size(spec),
        interpolation=spec.interpolation,
        max_pixels=max_pixels,
    )
    dataset = ImageTextDataset(
        cast(np.ndarray, images),  # of an array it needs the length and single rows
        [record.text for record in records],
        label_targets(records, index.classes, index.labels),
        transform,
    )
    return ShardSplit(dataset, records, places)


class ShardSampler(Sampler[Draw]):
    """An order of an epoch that reads each shard once, mostly from front to end.

    The shards in random order, rows mixed as by a shuffle buffer; all a function of seed and epoch. Every training
    process gets a run of neighbouring rows, all of them equally many: of N rows, N mod `processes` are left out, other
    ones each epoch. Without shuffling nothing is left out. Augmentation is seeded as by `EpochSampler`.

    Args:
        places: `(N, 3)` int64, where each row lies; see `ShardImages`.
        seed: of order and augmentation.
        shuffle: False keeps the rows in order.
        buffer: rows that are mixed; at least a few batches, better as many as a shard or two hold.
        process: number of this training process, from 0 (rank).
        processes: of them (world size).
    """

    def __init__(
        self,
        places: np.ndarray,
        *,
        seed: int,
        shuffle: bool = True,
        buffer: int = 2000,
        process: int = 0,
        processes: int = 1,
    ) -> None:
        if not 0 <= process < processes or buffer < 1:
            raise ValueError(
                f"Found process {process} of {processes} and a buffer of {buffer}; needed a process from 0 to the "
                f"number of processes less one, and a buffer of 1 or more."
            )
        self.places = places
        self.seed = seed
        self.shuffle = shuffle
        self.buffer = buffer
        self.process = process
        self.processes = processes
        self.epoch = 0
        self.skip = 0

    def set_epoch(self, epoch: int, *, skip: int = 0) -> None:
        """Choose the next epoch, and how many of this process's rows have been trained on already (steps x batch)."""
        self.epoch = epoch
        self.skip = skip

    def __len__(self) -> int:
        return max(0, len(self._own(np.arange(len(self.places)))) - self.skip)

    def __iter__(self) -> Iterator[Draw]:
        seeds = np.random.default_rng((self.seed, self.epoch, 0)).integers(2**63, size=len(self.places))
        order = self._shuffled() if self.shuffle else np.arange(len(self.places))
        return (Draw(row, int(seeds[row])) for row in self._own(order)[self.skip :].tolist())

    def _own(self, order: np.ndarray) -> np.ndarray:
        if self.shuffle:
            share = len(order) // self.processes
            return order[self.process * share : (self.process + 1) * share]
        return np.array_split(order, self.processes)[self.process]

    def _shuffled(self) -> np.ndarray:
        generator = np.random.default_rng((self.seed, self.epoch, 1))
        shards, offsets = self.places[:, 0], self.places[:, 1]
        turn = generator.permutation(int(shards.max(initial=0)) + 1)  # of each shard in the epoch
        order = np.lexsort((offsets, turn[shards]))
        # A buffer that is kept full and gives out a random row at a time holds each one back for a random time.
        delays = generator.exponential(self.buffer, len(order)) if self.buffer > 1 else np.zeros(len(order))
        return order[np.argsort(np.arange(len(order)) + delays, kind="stable")]


def _read_headers(index: ShardIndex, shard: Shard, number: int) -> Iterator[tuple[int, tuple[int, int, int], Record]]:
    for row, image, text, label in read_shard_fields(index, shard):
        record = Record(f"{index.folder / shard.name}!{image.name}", text, label, shard.split)
        yield row, (number, image.offset_data, image.size), record
