"""Recall and ranks against the mean over every order of tied candidates."""

from itertools import permutations

import numpy as np
import pytest
from scipy.sparse import csr_array

from marnet.semantic.search import retrieval
from marnet.semantic.search.retrieval import rank_metrics


def over_all_orders(similar: np.ndarray, relevant: np.ndarray) -> tuple[float, float]:
    """R@1 and mean rank, with equal candidates in each order in turn."""
    hits, ranks = [], []
    for own, wanted in zip(similar, relevant, strict=True):
        firsts = []
        for order in permutations(range(len(own))):
            listed = sorted(order, key=lambda candidate: -own[candidate])  # stable: ties keep it
            firsts.append(1 + next(place for place, candidate in enumerate(listed) if wanted[candidate]))
        hits.append(np.mean([first == 1 for first in firsts]))
        ranks.append(np.mean(firsts))
    return float(np.mean(hits)), float(np.mean(ranks))


@pytest.mark.parametrize("seed", range(5))
def test_ties_and_several_relevant_ones_count_as_their_mean(seed: int) -> None:
    random = np.random.default_rng(seed)
    similar = random.integers(0, 3, (4, 6)).astype(float)  # many ties
    relevant = random.random((4, 6)) < 0.3
    relevant[np.arange(4), random.integers(0, 6, 4)] = True
    found = rank_metrics(similar, np.eye(6), csr_array(relevant.astype(float)))
    expected = over_all_orders(similar, relevant)
    assert (found.recall_at_1, found.mean_rank) == pytest.approx(expected)
    assert (found.queries, found.candidates) == (4, 6)


def test_similarities_that_are_all_equal_score_at_chance() -> None:
    found = rank_metrics(np.ones((40, 3)), np.ones((40, 3)), csr_array(np.eye(40)))
    assert found.recall_at_1 == pytest.approx(1 / 40)
    assert found.recall_at_10 == pytest.approx(10 / 40)
    assert found.mean_rank == found.median_rank == pytest.approx(20.5)


def test_a_difference_in_the_last_bits_is_a_tie() -> None:
    similar = np.array([[0.1 + 0.2, 0.3]])
    assert similar[0, 0] != similar[0, 1]
    assert rank_metrics(similar, np.eye(2), csr_array([[1.0, 0.0]])).recall_at_1 == pytest.approx(0.5)


def test_worked_by_hand() -> None:
    similar = np.array([[0.9, 0.1, 0.5], [0.2, 0.8, 0.1], [0.7, 0.6, 0.1]])
    found = rank_metrics(similar, np.eye(3), csr_array(np.eye(3)))  # ranks 1, 1, 3
    assert found.recall_at_1 == pytest.approx(2 / 3)
    assert found.recall_at_5 == found.recall_at_10 == 1
    assert found.mean_rank == pytest.approx(5 / 3)
    assert found.median_rank == 1


def test_sparse_vectors_and_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    queries, candidates = random.random((30, 5)), random.random((20, 5))
    relevant = csr_array(np.eye(30, 20) + np.eye(30, 20, -20))
    dense = rank_metrics(queries, candidates, relevant)
    monkeypatch.setattr(retrieval, "_BLOCK", 50)
    assert rank_metrics(queries, candidates, relevant) == pytest.approx(dense)
    assert rank_metrics(csr_array(queries), csr_array(candidates), relevant) == pytest.approx(dense)
