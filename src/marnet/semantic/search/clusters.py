"""The nearest of very many vectors, approximately: a query is compared with those of the nearest clusters only.

This is an inverted file of whole vectors, as faiss's `IndexIVFFlat` with inner products. Only finding the clusters
takes faiss (`clustering.py`); the search is numpy's, so that an index is read and searched without it.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np

from marnet.semantic.search.nearest import Array, Nearest, nearest

_FEWEST_COMPARED = 10  # vectors for each one that is asked for; with fewer, too many of the nearest would be missed


class Clusters(NamedTuple):
    """N vectors in L clusters."""

    centroids: Array  # (L, D) float32, of unit length
    members: Array  # (N,) int32, the cluster of each vector

    def take(self, rows: Array) -> Self:
        """Return some of the vectors, in the same clusters."""
        return self._replace(members=self.members[rows])


class ClusteredVectors:
    """N vectors in L clusters, to be searched. A query is compared with the vectors of the sqrt(L) nearest clusters.

    Where these hold fewer than ten vectors for each one that is asked for, the query is compared with all vectors.

    Args:
        vectors: `(N, D)` float32, of unit length.
        clusters: of these vectors.

    Attributes:
        probes: the number of clusters that a query is compared with.

    Example:
        >>> import numpy as np
        >>> vectors = np.repeat(np.eye(2, dtype=np.float32), 50, axis=0)
        >>> clusters = Clusters(np.eye(2, dtype=np.float32), np.repeat(np.arange(2, dtype=np.int32), 50))
        >>> ClusteredVectors(vectors, clusters).nearest(vectors[60:61], top=3).rows.tolist()
        [[50, 51, 52]]
    """

    def __init__(self, vectors: Array, clusters: Clusters) -> None:
        self._vectors = vectors
        self._centroids = clusters.centroids
        self._by_cluster = np.argsort(clusters.members, kind="stable")  # (N,) rows, those of a cluster together
        sizes = np.bincount(clusters.members, minlength=len(clusters.centroids))
        self._ends = np.cumsum(sizes)
        self._begins = self._ends - sizes
        self.probes = math.isqrt(len(clusters.centroids))

    def nearest(self, queries: Array, top: int) -> Nearest:
        """Return the K vectors of largest cosine with each of `(Q, D)` queries; of equal ones, those of lower rows."""
        found = [self._nearest(query[None], top) for query in queries]
        if not found:
            return nearest(self._vectors, queries, top)
        return Nearest(np.concatenate([each.rows for each in found]), np.concatenate([each.cosines for each in found]))

    def _nearest(self, query: Array, top: int) -> Nearest:
        compared = self._rows_of(nearest(self._centroids, query, self.probes).rows[0].tolist())
        if len(compared) < _FEWEST_COMPARED * min(top, len(self._vectors)):
            return nearest(self._vectors, query, top)
        found = nearest(self._vectors[compared], query, top)
        return found._replace(rows=compared[found.rows])

    def _rows_of(self, clusters: Sequence[int]) -> Array:
        """Return the rows of the vectors of some clusters, in order, which decides between equal cosines."""
        return np.sort(np.concatenate([self._by_cluster[self._begins[at] : self._ends[at]] for at in clusters]))
