"""A search by clusters finds what faiss's own index of such clusters finds, and nearly all that the exact one does."""

import numpy as np
import pytest

from marnet.semantic.search.clustering import find_clusters
from marnet.semantic.search.clusters import ClusteredVectors, Clusters
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


def in_clusters(vectors: np.ndarray) -> tuple[ClusteredVectors, Clusters]:
    clusters = find_clusters(vectors, pytest.importorskip("faiss"))
    return ClusteredVectors(vectors[clusters.rows], clusters), clusters


def test_clusters_follow_the_guidelines() -> None:
    vectors = around_centres(6000)
    vectors[::100] = 0
    search, clusters = in_clusters(vectors)
    assert clusters.centroids.shape == (4 * 77, WIDTH)  # 77 is the root of 6000
    assert np.linalg.norm(clusters.centroids, axis=1) == pytest.approx(1, abs=1e-4)
    assert clusters.sizes.sum() == 5940
    assert clusters.rows[5940:].tolist() == list(range(0, 6000, 100))
    members = np.repeat(np.arange(308), clusters.sizes)
    nearest_centroid = (search.stored[:5940] @ clusters.centroids.T).argmax(1)
    assert (members == nearest_centroid).mean() > 0.999  # but for the last bits
    assert np.array_equal(search.vectors, vectors)
    assert not np.isin(search.nearest(vectors[1:2], 6000).rows, range(0, 6000, 100)).any()


def test_nearly_all_of_the_nearest_are_found() -> None:
    vectors = around_centres(6000)
    random = np.random.default_rng(1)
    queries = unit(vectors[:200] + 0.5 * random.standard_normal((200, WIDTH)) / np.sqrt(WIDTH))
    search, _ = in_clusters(vectors)
    assert search.probes == 2 * 17
    found, exact = search.nearest(queries, 10), nearest(vectors, queries, 10)
    recall = np.mean([len(set(own) & set(true)) / 10 for own, true in zip(found.rows, exact.rows, strict=True)])
    assert 0.95 <= recall < 1
    assert found.cosines == pytest.approx((vectors[found.rows] * queries[:, None]).sum(-1), abs=1e-6)


def test_the_same_as_the_index_of_faiss() -> None:
    faiss = pytest.importorskip("faiss")
    vectors, queries = around_centres(6000), around_centres(50, seed=2)
    search, clusters = in_clusters(vectors)
    means = faiss.IndexFlatIP(WIDTH)
    means.add(clusters.centroids)
    reference = faiss.IndexIVFFlat(means, WIDTH, len(clusters.centroids), faiss.METRIC_INNER_PRODUCT)
    reference.add(vectors)
    reference.nprobe = search.probes
    cosines, rows = reference.search(queries, 10)
    found = search.nearest(queries, 10)
    assert (found.rows == rows).mean() > 0.99  # but for neighbours whose cosines differ in the last bits
    assert found.cosines == pytest.approx(cosines, abs=1e-5)


@pytest.mark.parametrize("count", [500, 497])
def test_equal_vectors_come_in_the_order_of_their_rows(count: int) -> None:
    search, _ = in_clusters(np.concatenate([around_centres(count)] * 4))
    for row in range(0, count, 9):
        query = search.vectors[row][None]
        copies = [row, row + count, row + 2 * count, row + 3 * count]
        assert search.nearest(query, 4).rows.tolist() == [copies]
        assert search.nearest(query, 3).rows.tolist() == [copies[:3]]
        assert search.nearest(query, 4 * count).rows[0, :4].tolist() == copies  # compared with all


def test_many_are_found_exactly() -> None:
    """Where more are asked for than a tenth of what the nearest clusters hold, no vector is left out."""
    vectors, query = around_centres(6000), around_centres(1, seed=2)
    search, _ = in_clusters(vectors)
    for top in (1000, 6000, 9000):
        found, exact = search.nearest(query, top), nearest(vectors, query, top)
        assert found.rows.shape == (1, min(top, 6000))
        assert found.cosines == pytest.approx(exact.cosines, abs=1e-6)
        assert (found.rows == exact.rows).mean() > 0.99  # but for neighbours whose cosines differ in the last bits
    assert search.nearest(query[:0], 5).rows.shape == (0, 5)


def test_clusters_without_vectors_do_no_harm() -> None:
    stored = np.repeat(np.eye(3, dtype=np.float32), 20, axis=0)
    centroids = np.concatenate([-np.eye(3), np.eye(3)]).astype(np.float32)
    search = ClusteredVectors(stored, Clusters(centroids, np.repeat([0, 20], 3), np.arange(60)))
    for axis in range(3):
        assert search.nearest(stored[[20 * axis]], 2).rows.tolist() == [[20 * axis, 20 * axis + 1]]
    assert search.nearest(-stored[:1], 1).rows.tolist() == [[20]]  # its nearest cluster is empty
    silent = ClusteredVectors(0 * stored, Clusters(centroids, np.zeros(6, np.int64), np.arange(60)))
    assert silent.nearest(stored[:2], 5).rows.shape == (2, 0)
