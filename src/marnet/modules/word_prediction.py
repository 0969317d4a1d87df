"""Predicting the words of the text from the image, the second task of the baseline `multitask`."""

from typing import NamedTuple

from torch import Tensor, nn


class WordsOutput(NamedTuple):
    """The words of each text, and the logits that the image gives them."""

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
        """Return logits and targets of image features `(M, D_v)` and texts `(M, V)`; an entry above 0 is a word."""
        logits: Tensor = self.head(x_v)
        return WordsOutput(logits, (x_s > 0).to(logits.dtype))
