"""Which images to label or to describe next: images that stand for many others, where wanted those in doubt.

K-means makes as many clusters as there are images to choose, each image weighed by what is to be learned from it, and
the image nearest to a centre stands for its cluster.

Source: Zhdanov, Diverse mini-batch Active Learning (2019).
"""

import warnings
from typing import NamedTuple

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from marnet.data.folds import reduced

_LEAST = 1e-3  # weight of a row from which nothing is to be learned, so that there are as many clusters as asked for

Array = np.ndarray


class Choice(NamedTuple):
    """A chosen row."""

    row: int
    stands_for: int  # rows of its cluster, itself included


def uncertainty(probabilities: Array) -> Array:
    """Return how unsure a model is, `(N,)` from 0 to 1: 1 minus the margin of the two most probable of C classes.

    Args:
        probabilities: `(N, C)`, C at least 2.

    Example:
        >>> uncertainty(np.array([[0.5, 0.5, 0.0], [0.75, 0.25, 0.0]])).tolist()
        [1.0, 0.5]
    """
    ordered = np.sort(probabilities, axis=1)
    return np.asarray(1 - (ordered[:, -1] - ordered[:, -2]))


def choose_spread(features: Array, weights: Array, budget: int, *, seed: int = 0) -> list[Choice]:
    """Return rows that stand for all, those first whose clusters weigh most; all rows if there are few.

    Args:
        features: of N images, `(N, D)`.
        weights: what is to be learned from each, `(N,)`, from 0 to 1.
        budget: how many rows to choose, at least 1. Equal images count once, so that there can be fewer.
        seed: of the clusters.
    """
    if len(features) <= budget:
        return [Choice(int(row), 1) for row in np.argsort(-weights, kind="stable")]
    vectors = reduced(features.astype(float))
    clusters = KMeans(budget, n_init=1, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different images than the budget
        of = clusters.fit_predict(vectors, sample_weight=np.maximum(weights, _LEAST))
    distances = ((vectors - clusters.cluster_centers_[of]) ** 2).sum(1)
    ranked = []
    for cluster in np.unique(of):
        rows = np.flatnonzero(of == cluster)
        ranked.append((float(weights[rows].sum()), Choice(int(rows[distances[rows].argmin()]), len(rows))))
    return [choice for _, choice in sorted(ranked, key=lambda each: -each[0])]
