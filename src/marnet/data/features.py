"""A dataset of features in place of images, computed before by a frozen backbone."""

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from marnet.data.dataset import Batch, Sample, SampleKey, first_sample, rows_and_seeds


class FeatureDataset(Dataset[Sample]):
    """Rows of features with their texts and labels; nothing about them is random.

    Args:
        features: `(N, D_v)` float32.
        texts: N texts, "" for none.
        labels: of `label_targets`, `(N,)` int64 or `(N, C)` float32.
    """

    def __init__(self, features: Tensor, texts: Sequence[str], labels: np.ndarray) -> None:
        if not len(features) == len(texts) == len(labels):
            raise ValueError(
                f"Found {len(features)} features, {len(texts)} texts and {len(labels)} labels. Their numbers must be "
                "equal."
            )
        self.features = features
        self.texts = list(texts)
        self.labels = labels

    def select(self, rows: np.ndarray, labels: np.ndarray) -> Self:
        """Return some rows `(M,)` with other labels, of M rows."""
        texts = [self.texts[row] for row in rows.tolist()]
        return type(self)(self.features[torch.from_numpy(rows)], texts, labels)

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, index: int | SampleKey) -> Sample:
        return first_sample(self.__getitems__([index]))

    def __getitems__(self, indices: Sequence[int | SampleKey]) -> Batch:
        """Return a batch, which torch's loaders ask for as a whole; its `images` are features `(B, D_v)`."""
        rows, _ = rows_and_seeds(indices)
        numbers = torch.from_numpy(rows)
        texts = [self.texts[row] for row in rows.tolist()]
        return Batch(self.features[numbers], texts, torch.from_numpy(self.labels[rows]), numbers)
