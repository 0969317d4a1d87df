"""The order of an epoch: every row once, or every class equally often; a function of seed and epoch alone."""

from collections.abc import Iterator, Sized
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import DistributedSampler, Sampler

from marnet.data.dataset import SampleKey


class _KeySampler(Sampler[SampleKey]):
    """Keys of N rows in an order that depends on the epoch, shared out to the training processes.

    Of N keys each process gets equally many, N // `processes`, so that all take equally many steps.
    """

    def __init__(self, n: int, *, seed: int, process: int, processes: int) -> None:
        if not 0 <= process < processes:
            raise ValueError(
                f"`process` is {process} of {processes} processes, but it must be from 0 to their number less one."
            )
        self.n = n
        self.seed = seed
        self.process = process
        self.processes = processes
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration; Lightning calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.n // self.processes

    def _stream(self, number: int) -> np.random.Generator:
        """Return a stream of random numbers of this epoch."""
        return np.random.default_rng((self.seed, self.epoch, number))

    def _own(self) -> slice:
        """Return the part of this process: neighbours, so that processes share few files."""
        first = self.process * len(self)
        return slice(first, first + len(self))


class EpochSampler(_KeySampler):
    """Every row once per epoch; order and augmentation are a function of seed and epoch.

    So two runs, any number of loader processes, and a resumed run see the same pixels. Of several training processes
    each gets rows of its own, all equally many: of N rows, N mod `processes` are left out, others in each epoch.

    Args:
        n: rows of the dataset.
        seed: of order and augmentation.
        shuffle: False keeps the rows in order.
        offsets: `(N, 2)` int64, the number of the file that holds each row and its offset in that file: shuffle so that
            each file is read once, mostly from front to end. None: a row may come after any other.
        buffer: with `offsets`, rows that are mixed; a few batches at least, better as many as a shard or two hold.
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
        offsets: np.ndarray | None = None,
        buffer: int = 2000,
        process: int = 0,
        processes: int = 1,
    ) -> None:
        super().__init__(n, seed=seed, process=process, processes=processes)
        if buffer < 1:
            raise ValueError(f"`buffer` is {buffer}, but it must be 1 or more.")
        self.shuffle = shuffle
        self.offsets = offsets
        self.buffer = buffer

    def __iter__(self) -> Iterator[SampleKey]:
        seeds = self._stream(0).integers(2**63, size=self.n)
        order = np.arange(self.n)
        generator = self._stream(1)
        if self.shuffle and self.offsets is not None:
            order = nearby_order(self.offsets, self.buffer, generator)
        elif self.shuffle:
            generator.shuffle(order)
        return (SampleKey(row, int(seeds[row])) for row in order[self._own()].tolist())


class ClassBalancedSampler(_KeySampler):
    """As many keys per epoch as there are rows, evenly over the classes that have any; a function of seed and epoch.

    Of N keys each of C classes gets N // C or one more. A class with fewer rows repeats them, none once more than
    another; one with more rows shows that many of them, others each epoch. A repeated row is augmented anew.

    Args:
        labels: `(N,)` int64, the class of each row.
        seed: of order and augmentation.
        process: number of this training process, from 0 (rank).
        processes: of them (world size).

    Raises:
        ValueError: there is no such process.
    """

    def __init__(self, labels: np.ndarray, *, seed: int, process: int = 0, processes: int = 1) -> None:
        super().__init__(len(labels), seed=seed, process=process, processes=processes)
        self.labels = labels

    def __iter__(self) -> Iterator[SampleKey]:
        # Other streams than those of `EpochSampler`: 0 is its augmentation, 1 its order.
        seeds = self._stream(2).integers(2**63, size=self.n)
        generator = self._stream(3)
        classes = generator.permutation(np.unique(self.labels))  # the first ones get the keys that are left over
        base, more = divmod(self.n, len(classes))
        order = np.concatenate(
            [
                _cycle(np.flatnonzero(self.labels == number), base + (turn < more), generator)
                for turn, number in enumerate(classes)
            ]
        )
        generator.shuffle(order)
        own = self._own()
        return (SampleKey(row, seed) for row, seed in zip(order[own].tolist(), seeds[own].tolist(), strict=True))


def evaluation_sampler(dataset: Sized, *, process: int, processes: int) -> Sampler[Any] | None:
    """Return the rows in order, row i for process i mod `processes`; None, the order of the dataset, for one process.

    All processes take equally many steps. Where the rows do not go round, the last processes are given a row of another
    one on top, which `own_rows` leaves out.
    """
    if processes == 1:
        return None
    return DistributedSampler(dataset, processes, process, shuffle=False)  # type: ignore[arg-type]


def own_rows(indices: Tensor, *, process: int, processes: int) -> Tensor:
    """Return which of the rows `(B,)` that `evaluation_sampler` gave to a process count there, as bool `(B,)`.

    Over all processes, each row counts once.

    >>> import torch
    >>> own_rows(torch.tensor([1, 3, 0]), process=1, processes=2)
    tensor([ True,  True, False])
    """
    return indices % processes == process


def nearby_order(offsets: np.ndarray, buffer: int, generator: np.random.Generator) -> np.ndarray:
    """Return a random order of N rows `(N,)` that takes the files in random turn and mixes rows like a shuffle buffer.

    `offsets` and `buffer` are those of `EpochSampler`.
    """
    files, starts = offsets[:, 0], offsets[:, 1]
    turn = generator.permutation(int(files.max(initial=0)) + 1)  # of each file in the epoch
    order = np.lexsort((starts, turn[files]))
    # A buffer that is kept full and gives out a random row at a time holds each one back for a random time.
    delays = generator.exponential(buffer, len(order)) if buffer > 1 else np.zeros(len(order))
    return np.asarray(order[np.argsort(np.arange(len(order)) + delays, kind="stable")])


def _cycle(rows: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Return `count` of the rows, all of them in random order before any comes again."""
    rounds = -(-count // len(rows))
    return np.concatenate([generator.permutation(rows) for _ in range(rounds)])[:count]
