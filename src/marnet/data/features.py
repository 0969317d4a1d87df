"""A dataset of features that a frozen backbone computed before, in place of images."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from marnet.data.dataset import Batch, Draw, Sample


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
                f"Found {len(features)} features, {len(texts)} texts and {len(labels)} labels; needed as many of each."
            )
        self.features = features
        self.texts = list(texts)
        self.labels = labels

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, index: int | Draw) -> Sample:
        row = index.row if isinstance(index, Draw) else index
        return Sample(self.features[row], self.texts[row], self.labels[row], row)


def collate_features(samples: Sequence[Sample]) -> Batch:
    """Stack B samples; the batch's `images` are features `(B, D_v)`, which `MARNet` takes as well."""
    return Batch(
        torch.stack([sample.image for sample in samples]),
        [sample.text for sample in samples],
        torch.from_numpy(np.array([sample.label for sample in samples])),
        torch.tensor([sample.row for sample in samples]),
    )
