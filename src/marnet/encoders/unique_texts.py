"""One vector per different text: a text is encoded once, however many images share it."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def has_text(text: str) -> bool:
    """Return True if there is a text; white space alone is none.

    Example:
        >>> [has_text(text) for text in ("red", "", " ")]
        [True, False, False]
    """
    return bool(text.strip())


class UniqueTextTable(nn.Module):
    """A table of the vectors of all texts seen so far, so that a text is encoded once and not once per step.

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
        """Return vectors `(B, width)` of B texts."""
        unseen = [text for text in dict.fromkeys(texts) if text not in self._rows]
        if unseen:
            vectors = torch.as_tensor(self._encode(unseen), dtype=torch.float32, device=self.table.device)
            first = len(self._rows)
            self._rows.update((text, first + i) for i, text in enumerate(unseen))
            self.table = torch.cat([self.table, vectors])
        rows = torch.tensor([self._rows[text] for text in texts], dtype=torch.long, device=self.table.device)
        return self.table[rows]
