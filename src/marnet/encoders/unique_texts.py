"""One vector a different text: a fixed text is encoded once, however many images have it."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def has_text(text: str) -> bool:
    """Whether a row has a text at all; white space alone is none."""
    return bool(text.strip())


class UniqueTextTable(nn.Module):
    """Remembers the vector of every text it has seen, so that a fixed text is encoded once and not once a step.

    Args:
        encode: maps n texts to a float array `(n, width)`; called with unseen texts only.
        width: the width of those vectors.
    """

    table: Tensor

    def __init__(self, encode: Callable[[Sequence[str]], np.ndarray[Any, Any]], width: int) -> None:
        super().__init__()
        self._encode = encode
        self._rows: dict[str, int] = {}
        self.register_buffer("table", torch.zeros(0, width), persistent=False)  # (unique texts, width)

    def forward(self, texts: Sequence[str]) -> Tensor:
        """Vectors `(B, width)` of B texts."""
        unseen = [text for text in dict.fromkeys(texts) if text not in self._rows]
        if unseen:
            vectors = torch.as_tensor(self._encode(unseen), dtype=torch.float32, device=self.table.device)
            first = len(self._rows)
            self._rows.update((text, first + i) for i, text in enumerate(unseen))
            self.table = torch.cat([self.table, vectors])
        rows = torch.tensor([self._rows[text] for text in texts], dtype=torch.long, device=self.table.device)
        return self.table[rows]
