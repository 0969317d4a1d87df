"""The prediction for one image, and which classes it names."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_SHOWN = 5  # classes per image by default, where an image has one class


class Prediction(NamedTuple):
    """Classes of one image, the most probable first; where images have several classes, possibly none.

    Example:
        >>> import marnet
        >>> prediction = marnet.load("runs/p").predict("a.jpg", top=2)
        >>> prediction.image, len(prediction.labels), prediction.probabilities[0] >= prediction.probabilities[1]
        ('a.jpg', 2, True)
    """

    image: str  # its path, or "image 3" by its position where it has none
    labels: tuple[str, ...]
    probabilities: tuple[float, ...]
    abstained: bool | None = None  # with `abstain`: the set has not exactly one class, so that a person should look
    unknown: bool | None = None  # with `open_set`: the image is of none of the classes


def read_classes(
    probabilities: np.ndarray, top: int | None, *, thresholds: float | Sequence[float] | None
) -> list[list[int]]:
    """Return the classes to show a user for each row, the most probable first; of equal ones the first class.

    Args:
        probabilities: `(B, C)`.
        top: how many classes; None shows five, or where images have several classes, those that reach their threshold.
        thresholds: the least probability of a class, one for all or `(C,)`; None for one class per image.

    Example:
        >>> rows = np.array([[0.2, 0.7, 0.6]])
        >>> read_classes(rows, 2, thresholds=None), read_classes(rows, None, thresholds=0.65)
        ([[1, 2]], [[1]])
    """
    order = np.argsort(-probabilities, axis=-1, kind="stable").tolist()
    if top is not None or thresholds is None:
        return [row[: top or _SHOWN] for row in order]
    reached = probabilities >= np.asarray(thresholds, probabilities.dtype)
    return [[column for column in row if has[column]] for row, has in zip(order, reached, strict=True)]
