"""The nearest of very many vectors, approximately: a query is compared with those of the nearest clusters only.

This is an inverted file of whole vectors, as faiss's `IndexIVFFlat` with inner products. Only finding the clusters
takes faiss (`clustering.py`); the search is numpy's, so that an index is read and searched without it.
"""

import math
from typing import NamedTuple

import numpy as np

from marnet.semantic.search.nearest import Array, Nearest, largest

_FEWEST_COMPARED = 10  # vectors for each one that is asked for; with fewer, too many of the nearest would be missed


class Clusters(NamedTuple):
    """The order of N vectors by cluster. Those of zeros are in none and come last."""

    centroids: Array  # (L, D) float32, of unit length
    sizes: Array  # (L,) int64, how many vectors each cluster has
    rows: Array  # (N,) int64, the row of each vector before


class ClusteredVectors:
    """N vectors in L clusters, to be searched. A query is compared with the vectors of the 2 sqrt(L) nearest clusters.

    Where these hold fewer than ten vectors for each one that is asked for, the query is compared with all vectors.

    Args:
        stored: `(N, D)` float32, of unit length or zero, in the order of their clusters.
        clusters: of these vectors.

    Attributes:
        probes: the number of clusters that a query is compared with.

    Example:
        >>> import numpy as np
        >>> stored = np.repeat(np.eye(2, dtype=np.float32), 50, axis=0)
        >>> clusters = Clusters(np.eye(2, dtype=np.float32), np.array([50, 50]), np.arange(100)[::-1])
        >>> ClusteredVectors(stored, clusters).nearest(stored[60:61], top=3).rows.tolist()
        [[0, 1, 2]]
    """

    def __init__(self, stored: Array, clusters: Clusters) -> None:
        self.stored = stored
        self._clusters = clusters
        self._ends = np.cumsum(clusters.sizes)
        self.probes = min(len(clusters.centroids), 2 * math.isqrt(len(clusters.centroids)))

    @property
    def vectors(self) -> Array:
        """A copy of the vectors `(N, D)` in the order of their rows."""
        vectors = np.empty_like(self.stored)
        vectors[self._clusters.rows] = self.stored
        return vectors

    def nearest(self, queries: Array, top: int) -> Nearest:
        """Return the K vectors of largest cosine with each of `(Q, D)` queries; of equal ones, those of lower rows."""
        count = min(top, int(self._ends[-1]))
        rows, cosines = np.zeros((len(queries), count), np.int64), np.zeros((len(queries), count), np.float32)
        if count == 0:
            return Nearest(rows, cosines)
        for number, query in enumerate(queries):
            rows[number], cosines[number] = self._nearest(query, count)
        return Nearest(rows, cosines)

    def _nearest(self, query: Array, count: int) -> tuple[Array, Array]:
        probed = largest(_cosines(self._clusters.centroids, query), self.probes)
        sizes, ends = self._clusters.sizes[probed], self._ends[probed]
        if sizes.sum() < _FEWEST_COMPARED * count:
            spans = [slice(0, int(self._ends[-1]))]
        else:
            spans = [slice(end - size, end) for size, end in zip(sizes.tolist(), ends.tolist(), strict=True)]
        rows = np.concatenate([self._clusters.rows[span] for span in spans])
        cosines = np.concatenate([_cosines(self.stored[span], query) for span in spans])
        chosen = largest(cosines, count, rows)
        return rows[chosen], cosines[chosen]


def _cosines(vectors: Array, query: Array) -> Array:
    """Return the dot products `(n,)`; not by BLAS, whose threads take longer to start than the few products do."""
    return np.asarray(np.einsum("nd,d->n", vectors, query))
