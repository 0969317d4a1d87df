"""Predicting the words of the text from the image, the second task of the rival method `multitask`."""

from typing import NamedTuple

from torch import Tensor, nn


class WordsOutput(NamedTuple):
    """Which words a text has, and what the image says of it."""

    logits: Tensor  # (M, V)
    targets: Tensor  # (M, V), 1 where the text has the word, else 0


class WordPrediction(nn.Module):
    """A linear multi-label head on the image features, as food recognition has it for ingredients.

    Args:
        visual_width: D_v, the width of the image features.
        width: V, the number of words.
    """

    def __init__(self, visual_width: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.head = nn.Linear(visual_width, width)

    def forward(self, x_v: Tensor, x_s: Tensor) -> WordsOutput:
        """Logits and targets for image features `(M, D_v)` and multi-hot texts `(M, V)`; a word is an entry above 0."""
        logits: Tensor = self.head(x_v)
        return WordsOutput(logits, (x_s > 0).to(logits.dtype))
