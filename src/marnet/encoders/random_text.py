"""`random:NAME`: a placebo for the text encoder NAME. Equal texts stay equal; what they mean is gone."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from marnet.encoders.unique_texts import UniqueTextTable


class RandomText(nn.Module):
    """A random unit vector for each different text, fixed by the text alone.

    Args:
        width: D_s, that of the encoder whose place it takes.
    """

    trainable = False

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.table = UniqueTextTable(self._encode, width)

    def forward(self, texts: Sequence[str]) -> Tensor:
        """x_s `(B, D_s)` of B texts."""
        return self.table(texts)  # type: ignore[no-any-return]

    def _encode(self, texts: Sequence[str]) -> np.ndarray[Any, Any]:
        return np.stack([random_unit_vector(text, self.width) for text in texts])


def random_unit_vector(text: str, width: int) -> np.ndarray[Any, Any]:
    """A vector `(width,)` of length 1, evenly spread over directions; a function of the text."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    vector = np.random.default_rng(seed).standard_normal(width)
    return np.asarray(vector / np.linalg.norm(vector))
