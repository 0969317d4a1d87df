"""A search by clusters finds what faiss's own index of such clusters finds, and nearly all that the exact one does."""

import numpy as np
import pytest

from marnet.semantic.search.clustering import add_clusters
from marnet.semantic.search.clusters import ClusteredVectors, Clusters
from marnet.semantic.search.index_file import IMAGES, StoredIndex
from marnet.semantic.search.nearest import nearest

WIDTH = 32


def unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / lengths, np.float32)


def around_centres(count: int, seed: int = 0) -> np.ndarray:
    """Return unit vectors around 60 centres, which they leave as far as the centres are long."""
    random = np.random.default_rng(seed)
    centres = unit(random.standard_normal((60, WIDTH)))
    noise = random.standard_normal((count, WIDTH)) / np.sqrt(WIDTH)
    return unit(centres[random.integers(60, size=count)] + noise)


def find_clusters(vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> Clusters:
    monkeypatch.setattr("marnet.semantic.search.clustering.EXACT_UP_TO", 10)
    none, stamps = vectors[:0], np.zeros((len(vectors), 2), np.int64)
    names = tuple(map(str, range(len(vectors))))
    stored = StoredIndex("", "", "", "", names, ((),) * len(vectors), (), vectors, none, stamps)
    return add_clusters(stored).clusters[IMAGES]


@pytest.fixture
def clusters(monkeypatch: pytest.MonkeyPatch) -> Clusters:
    pytest.importorskip("faiss")
    return find_clusters(around_centres(6000), monkeypatch)


def test_clusters_follow_the_guidelines(clusters: Clusters) -> None:
    vectors = around_centres(6000)
    assert clusters.centroids.shape == (4 * 77, WIDTH)  # 77 is the root of 6000
    assert np.linalg.norm(clusters.centroids, axis=1) == pytest.approx(1, abs=1e-4)
    assert (clusters.members == (vectors @ clusters.centroids.T).argmax(1)).mean() > 0.999  # but for the last bits


def test_nearly_all_of_the_nearest_are_found(clusters: Clusters) -> None:
    vectors = around_centres(6000)
    random = np.random.default_rng(1)
    queries = unit(vectors[:200] + 0.5 * random.standard_normal((200, WIDTH)) / np.sqrt(WIDTH))
    search = ClusteredVectors(vectors, clusters)
    assert search.probes == 17
    found, exact = search.nearest(queries, 10), nearest(vectors, queries, 10)
    recall = np.mean([len(set(own) & set(true)) / 10 for own, true in zip(found.rows, exact.rows, strict=True)])
    assert 0.95 <= recall < 1
    assert found.cosines == pytest.approx((vectors[found.rows] * queries[:, None]).sum(-1), abs=1e-6)


def test_the_same_as_the_index_of_faiss(clusters: Clusters) -> None:
    faiss = pytest.importorskip("faiss")
    vectors, queries = around_centres(6000), around_centres(50, seed=2)
    means = faiss.IndexFlatIP(WIDTH)
    means.add(clusters.centroids)
    reference = faiss.IndexIVFFlat(means, WIDTH, len(clusters.centroids), faiss.METRIC_INNER_PRODUCT)
    reference.add(vectors)
    search = ClusteredVectors(vectors, clusters)
    reference.nprobe = search.probes
    cosines, rows = reference.search(queries, 10)
    found = search.nearest(queries, 10)
    assert (found.rows == rows).mean() > 0.99  # but for neighbours whose cosines differ in the last bits
    assert found.cosines == pytest.approx(cosines, abs=1e-5)


def test_equal_vectors_come_in_the_order_of_their_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    once = around_centres(500)
    vectors = np.concatenate([once, once, once, once])
    search = ClusteredVectors(vectors, find_clusters(vectors, monkeypatch))
    for row in (0, 123, 499):
        assert search.nearest(vectors[row][None], 4).rows.tolist() == [[row, row + 500, row + 1000, row + 1500]]
        assert search.nearest(vectors[row][None], 3).rows.tolist() == [[row, row + 500, row + 1000]]


def test_many_are_found_exactly(clusters: Clusters) -> None:
    """Where more are asked for than a tenth of what the nearest clusters hold, no vector is left out."""
    vectors, query = around_centres(6000), around_centres(1, seed=2)
    search = ClusteredVectors(vectors, clusters)
    for top in (1000, 6000, 9000):
        found, exact = search.nearest(query, top), nearest(vectors, query, top)
        assert np.array_equal(found.rows, exact.rows)
        assert found.rows.shape == (1, min(top, 6000))
    assert search.nearest(query[:0], 5).rows.shape == (0, 5)


def test_clusters_without_vectors_do_no_harm() -> None:
    vectors = np.repeat(np.eye(3, dtype=np.float32), 20, axis=0)
    centroids = np.concatenate([np.eye(3), -np.eye(3)]).astype(np.float32)
    search = ClusteredVectors(vectors, Clusters(centroids, np.repeat(np.arange(3, dtype=np.int32), 20)))
    for axis in range(3):
        assert search.nearest(np.eye(3, dtype=np.float32)[[axis]], 2).rows.tolist() == [[20 * axis, 20 * axis + 1]]
    opposite = search.nearest(-np.eye(3, dtype=np.float32)[:1], 1)  # whose nearest cluster is empty
    assert opposite.rows.tolist() == [[20]]
