"""An order of an epoch in which every class comes up equally often."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from marnet.data.dataset import Draw


class ClassBalancedSampler(Sampler[Draw]):
    """As many draws an epoch as there are rows, evenly over the classes that have any; a function of seed and epoch.

    Of N draws each of C classes gets N // C or one more. A class with fewer rows repeats them, none once more than
    another; one with more rows shows that many of them, others each epoch. A repeated row is augmented anew.

    Args:
        labels: `(N,)` int64, the class of each row.
        seed: of order and augmentation.
        process, processes: the draws are shared out to several training processes; this is one of them, from 0.
    """

    def __init__(self, labels: np.ndarray, *, seed: int, process: int = 0, processes: int = 1) -> None:
        self.labels = labels
        self.seed = seed
        self.process = process
        self.processes = processes
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration is for; Lightning calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.labels) // self.processes  # all take equally many steps

    def __iter__(self) -> Iterator[Draw]:
        # Other streams than those of `EpochSampler`, of which 0 is augmentation and 1 order.
        seeds = np.random.default_rng((self.seed, self.epoch, 2)).integers(2**63, size=len(self.labels))
        generator = np.random.default_rng((self.seed, self.epoch, 3))
        classes = generator.permutation(np.unique(self.labels))  # the first ones get the draws that are left over
        base, more = divmod(len(self.labels), len(classes))
        order = np.concatenate(
            [
                _cycle(np.flatnonzero(self.labels == number), base + (turn < more), generator)
                for turn, number in enumerate(classes)
            ]
        )
        generator.shuffle(order)
        first = self.process * len(self)
        mine = slice(first, first + len(self))
        return (Draw(row, seed) for row, seed in zip(order[mine].tolist(), seeds[mine].tolist(), strict=True))


def _cycle(rows: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """`count` of the rows, all of them in random order before any comes again."""
    rounds = -(-count // len(rows))
    return np.concatenate([generator.permutation(rows) for _ in range(rounds)])[:count]
