"""Clusters of very many vectors, by the k-means of faiss (extra `faiss`), which is imported nowhere else."""

import importlib.util
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from marnet.semantic.search.clusters import Clusters
from marnet.semantic.search.index_file import StoredIndex
from marnet.semantic.search.nearest import Array

EXACT_UP_TO = 10**6  # vectors; a query among so many takes some tenths of a second
# As faiss's guidelines have it: from 4 to 16 sqrt(N) clusters of N vectors, found from 30 to 256 vectors each.
_CLUSTERS = 4
_LEARNED_FROM = 40
_ROUNDS = 10
_BLOCK = 2**16  # vectors that are assigned at a time
_logger = logging.getLogger("marnet")


def add_clusters(stored: StoredIndex) -> StoredIndex:
    """Return an index with clusters of its images and of its texts, where these are too many for an exact search.

    Clusters that are there stay. Without faiss the index stays as it is, and that is logged.
    """
    missing = _unclustered(stored)
    if not missing:
        return stored
    try:
        import faiss
    except ImportError:
        _logger.warning(
            "A query is compared with each of %s. The extra faiss makes this faster: pip install 'marnet[faiss]'",
            _count(missing),
        )
        return stored
    _logger.info("Finding clusters of %s, which takes minutes ...", _count(missing))
    for name, vectors in missing.items():
        found = find_clusters(vectors, faiss)
        stored = stored.with_clusters(name, vectors[found.rows], found)
    return stored


def describe_unclustered(file: Path, stored: StoredIndex) -> str:
    """Return a sentence on an index that was written without faiss, which is here now; "" for any other."""
    missing = _unclustered(stored)
    if not missing or importlib.util.find_spec("faiss") is None:
        return ""
    return (
        f"{file} was written without faiss, so that a query is compared with each of {_count(missing)}. To make this "
        f"faster, save it again in Python: marnet.SearchIndex.load(FILE, RUN).save(FILE)"
    )


def find_clusters(vectors: Array, faiss: Any) -> Clusters:
    """Return 4 sqrt(N) clusters of `(N, D)` float32 unit vectors, by spherical k-means on a sample of them."""
    count, width = vectors.shape
    number = min(count, _CLUSTERS * math.isqrt(count))
    means = faiss.Kmeans(
        width,
        number,
        niter=_ROUNDS,
        seed=0,
        spherical=True,
        min_points_per_centroid=1,  # below, faiss would print a warning
        max_points_per_centroid=_LEARNED_FROM,
    )
    means.train(vectors)
    blocks = [vectors[first : first + _BLOCK] for first in range(0, count, _BLOCK)]
    members = np.concatenate([means.index.search(block, 1)[1][:, 0] for block in blocks])
    members[~vectors.any(1)] = number  # behind all clusters
    sizes = np.bincount(members, minlength=number)[:number]
    return Clusters(np.ascontiguousarray(means.centroids, np.float32), sizes, np.argsort(members, kind="stable"))


def _unclustered(stored: StoredIndex) -> dict[str, Array]:
    large = {name: vectors for name, vectors in stored.searched.items() if len(vectors) > EXACT_UP_TO}
    return {name: vectors for name, vectors in large.items() if name not in stored.clusters}


def _count(vectors: Mapping[str, Array]) -> str:
    return " and ".join(f"{len(each):,} {name}" for name, each in vectors.items())
