"""The nearest of many vectors, exactly: all cosines in blocks, then the largest by a partial sort."""

from typing import NamedTuple

import numpy as np

Array = np.ndarray

_BLOCK = 2**24  # cosines that are held at a time


class Nearest(NamedTuple):
    """The nearest vectors to each of Q queries, the nearest first."""

    rows: Array  # (Q, K) int64
    cosines: Array  # (Q, K) float32


def nearest(vectors: Array, queries: Array, top: int) -> Nearest:
    """Return the K vectors of largest cosine with each query; of equal ones, those of lower rows.

    Args:
        vectors: `(N, D)` float32, of unit length.
        queries: `(Q, D)` float32, of unit length.
        top: K; all N where there are fewer.

    Example:
        >>> found = nearest(np.eye(3, dtype=np.float32), np.array([[0.6, 0.8, 0.0]], np.float32), top=2)
        >>> found.rows.tolist(), found.cosines.round(3).tolist()
        ([[1, 0]], [[0.800000011920929, 0.6000000238418579]])
    """
    count = min(top, len(vectors))
    rows, cosines = np.zeros((len(queries), count), np.int64), np.zeros((len(queries), count), np.float32)
    if count == 0:
        return Nearest(rows, cosines)
    size = max(1, _BLOCK // len(vectors))
    for first in range(0, len(queries), size):
        similar = (vectors @ queries[first : first + size].T).T  # in this order a single query is faster
        for number, row in enumerate(similar, start=first):
            rows[number] = largest(row, count)
            cosines[number] = row[rows[number]]
    return Nearest(rows, cosines)


def largest(cosines: Array, count: int, rows: Array | None = None) -> Array:
    """Return the positions `(count,)` of the largest of `(N,)` cosines, the largest first.

    Args:
        cosines: `(N,)`.
        count: from 1 to N.
        rows: `(N,)`, of which the lower ones come first where cosines are equal; None takes the positions.

    Example:
        >>> largest(np.array([0.1, 0.5, 0.9, 0.5]), 2).tolist()
        [2, 1]
    """
    least = np.partition(cosines, -count)[-count]
    chosen = np.flatnonzero(cosines >= least)  # more than `count` where cosines are equal
    return chosen[np.lexsort((chosen if rows is None else rows[chosen], -cosines[chosen]))[:count]]


class ExactVectors:
    """N vectors to be searched, each of which is compared with a query. Those of zeros are never found.

    Args:
        vectors: `(N, D)` float32, of unit length or zero.
    """

    def __init__(self, vectors: Array) -> None:
        self.stored = self.vectors = vectors
        self._telling = np.flatnonzero(vectors.any(1))
        self._searched = vectors if len(self._telling) == len(vectors) else vectors[self._telling]

    def nearest(self, queries: Array, top: int) -> Nearest:
        """Return the K vectors of largest cosine with each of `(Q, D)` queries; see `nearest`."""
        found = nearest(self._searched, queries, top)
        return found._replace(rows=self._telling[found.rows])
