"""Answers of a model image by image, and the score of answers that come batch by batch."""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from marnet.metrics import mean_average_precision

Labels = list[int] | list[list[int]]  # one class per image, or a list of them
Confidences = list[float] | list[list[float]]
_DIGITS = 8  # of a probability in a record, about as many as a float32 has


class Answers(NamedTuple):
    """Labels and predictions of N images as plain lists, for records."""

    labels: Labels  # true classes
    predictions: Labels
    confidences: Confidences  # the probability of the predicted class; of several labels, of every class


class Tally(Protocol):
    """The score of probabilities that come batch by batch."""

    def add(self, probabilities: Tensor, targets: Tensor) -> None:
        """Take in the probabilities `(B, C)` and targets of a batch, on the CPU."""
        ...

    def score(self) -> float:
        """Return the score of all images so far."""
        ...


class CorrectTally:
    """The share of images whose most probable class is the true one; targets are `(B,)` int64."""

    def __init__(self) -> None:
        self.correct = 0
        self.images = 0

    def add(self, probabilities: Tensor, targets: Tensor) -> None:
        """Count a batch."""
        self.correct += int((probabilities.argmax(-1) == targets).sum())
        self.images += len(targets)

    def score(self) -> float:
        """Return top-1."""
        return self.correct / self.images


class PrecisionTally:
    """The mean average precision; targets are `(B, C)` of 0 and 1."""

    def __init__(self) -> None:
        self.batches: list[tuple[Tensor, Tensor]] = []

    def add(self, probabilities: Tensor, targets: Tensor) -> None:
        """Keep a batch."""
        self.batches.append((probabilities, targets))

    def score(self) -> float:
        """Return mAP."""
        probabilities, targets = (torch.cat(each) for each in zip(*self.batches, strict=True))
        return mean_average_precision(probabilities, targets)


def one_class(probabilities: Tensor, targets: Tensor) -> Answers:
    """Return the answers of probabilities `(N, C)` for targets `(N,)`: the most probable class of each image."""
    confidences, predictions = probabilities.max(-1)
    return Answers(targets.tolist(), predictions.tolist(), confidences.tolist())


def several_classes(probabilities: Tensor, targets: Tensor, chosen: Tensor) -> Answers:
    """Return the answers of probabilities `(N, C)` for targets `(N, C)`, where `chosen` `(N, C)` are the predictions.

    Probabilities have eight significant digits.
    """
    rounded = [[float(f"{value:.{_DIGITS}g}") for value in row] for row in probabilities.tolist()]
    return Answers(_columns(targets > 0.5), _columns(chosen), rounded)


def _columns(flags: Tensor) -> list[list[int]]:
    return [torch.nonzero(row).flatten().tolist() for row in flags]
