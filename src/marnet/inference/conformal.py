"""Prediction sets with a promised rate of error: split conformal prediction (Vovk et al., 2005; Sadinle et al., 2019).

The set of an image has every class whose probability is high enough. Among held-out rows, the true class was left out
of at most a share `error` of the sets. If new images are like the held-out ones, the same holds for them.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from marnet.errors import ConfigError


class SetMetrics(NamedTuple):
    """How prediction sets did on N images."""

    coverage: float  # share of the images whose true class is in the set
    set_size: float  # mean number of classes
    answered: float  # share of the images with exactly one class in the set; the others are abstained from
    error_answered: float  # share of these that are wrong; NaN if none is answered


def least_probability(scores: Sequence[float], error: float) -> float:
    """Return the probability that a class needs to be in the set.

    Args:
        scores: 1 - p(true class) of N held-out rows.
        error: the rate of error to keep, between 0 and 1.

    Raises:
        ConfigError: `error` is not between 0 and 1, or so small that N rows cannot promise it.

    Example:
        >>> round(least_probability([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], 0.2), 6)
        0.2
    """
    if not 0 < error < 1:
        raise ConfigError(f"`abstain` is {error:g}, but a rate of error lies between 0 and 1. Try 0.05.")
    rank = math.ceil((len(scores) + 1) * (1 - error) - 1e-9)
    if rank > len(scores):
        raise ConfigError(
            f"An error rate of {error:g} cannot be promised from {len(scores)} held-out rows; it needs "
            f"{rows_needed(error)} or more. Give a larger `abstain`, or train with more rows in val."
        )
    return max(0.0, 1 - sorted(scores)[rank - 1])


def rows_needed(error: float) -> int:
    """Return how many held-out rows it takes at least to promise a rate of error between 0 and 1.

    Example:
        >>> [rows_needed(error) for error in (0.01, 0.05, 0.1)]
        [99, 19, 9]
    """
    return math.ceil(1 / error - 1e-9) - 1


def prediction_sets(probabilities: np.ndarray, least: float) -> np.ndarray:
    """Return which classes are in the set of each image, `(N, C)` bool, of probabilities `(N, C)`.

    The most probable class always is: an empty set would tell a user nothing.
    """
    sets = probabilities >= np.asarray(least - 1e-6, probabilities.dtype)  # the scores are kept with six digits
    sets[np.arange(len(sets)), probabilities.argmax(1)] = True
    return sets


def read_sets(probabilities: np.ndarray, least: float) -> list[list[int]]:
    """Return the classes in the set of each image, the most probable first."""
    sizes = prediction_sets(probabilities, least).sum(1).tolist()
    order = np.argsort(-probabilities, axis=1, kind="stable").tolist()
    return [row[:size] for row, size in zip(order, sizes, strict=True)]


def set_metrics(sets: np.ndarray, labels: np.ndarray) -> SetMetrics:
    """Score sets `(N, C)` bool against labels `(N,)` int64."""
    covered = sets[np.arange(len(sets)), labels]
    sizes = sets.sum(1)
    single = sizes == 1
    wrong = float((~covered[single]).mean()) if single.any() else math.nan
    return SetMetrics(float(covered.mean()), float(sizes.mean()), float(single.mean()), wrong)
