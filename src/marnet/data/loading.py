"""From a dataset to a loader of batches."""

from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from marnet.data.dataset import Sample


def make_loader(
    dataset: Dataset[Sample],
    *,
    batch_size: int,
    workers: int = 0,
    sampler: Sampler[Any] | None = None,
    drop_last: bool = False,
) -> DataLoader[Any]:
    """Batches of a dataset in the order of `sampler`, or in its own; loader processes live as long as the loader."""
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        collate_fn=_whole,
        drop_last=drop_last,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=workers > 0,
        generator=torch.Generator(),  # of its own: a loader otherwise draws from the one that the noise comes from
    )


def _whole(batch: Any) -> Any:
    """Our datasets give whole batches, with nothing left to collate."""
    return batch
