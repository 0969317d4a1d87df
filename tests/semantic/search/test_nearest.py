"""The nearest vectors are those of a full sort, in its order, however the work is cut into blocks."""

import numpy as np
import pytest

from marnet.semantic.search import nearest as module
from marnet.semantic.search.nearest import nearest


def unit(count: int, width: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


@pytest.mark.parametrize("block", [2**24, 1, 700])
def test_equals_a_full_sort(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", block)
    vectors, queries = unit(300, 16, 0), unit(5, 16, 1)
    found = nearest(vectors, queries, 7)
    exact = queries.astype(float) @ vectors.T.astype(float)
    assert found.rows.tolist() == np.argsort(-exact, 1)[:, :7].tolist()
    assert np.allclose(found.cosines, -np.sort(-exact, 1)[:, :7], atol=1e-6)


def test_equal_vectors_come_in_the_order_of_their_rows() -> None:
    vectors = np.tile(np.array([[1, 0]], np.float32), (50, 1))
    vectors[30] = (0, 1)
    found = nearest(vectors, np.array([[0, 1], [1, 0]], np.float32), 3)
    assert found.rows.tolist() == [[30, 0, 1], [0, 1, 2]]


def test_fewer_vectors_than_asked_for() -> None:
    assert nearest(unit(2, 4, 0), unit(1, 4, 1), 20).rows.shape == (1, 2)
    empty = nearest(np.zeros((0, 4), np.float32), unit(3, 4, 1), 20)
    assert empty.rows.shape == empty.cosines.shape == (3, 0)
