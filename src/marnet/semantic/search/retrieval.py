"""How well queries find what is relevant to them: recall at K and ranks, with ties and duplicates counted fairly."""

from typing import Any, NamedTuple

import numpy as np
from scipy.special import gammaln

Array = np.ndarray

_CUTOFFS = (1, 5, 10)
_BLOCK = 2**24  # similarities that are held at a time
_DIGITS = 6  # similarities that agree in so many are equal: their last bits depend on the order of the sums


class RankMetrics(NamedTuple):
    """How Q queries rank the first relevant one of N candidates; recalls are shares of 1."""

    recall_at_1: float
    recall_at_5: float
    recall_at_10: float
    mean_rank: float  # from 1
    median_rank: float
    queries: int
    candidates: int


def rank_metrics(queries: Any, candidates: Any, relevant: Any) -> RankMetrics:
    """Return how the candidates rank by their dot product with each query.

    Any of several relevant candidates will do: the rank is that of the first. Candidates with equal similarity are
    taken to be in random order; the recalls and the rank are what that gives on average, so that similarities that are
    all equal score at chance.

    Args:
        queries: `(Q, D)`, an array or a sparse matrix of scipy.
        candidates: `(N, D)`, likewise.
        relevant: a sparse matrix `(Q, N)`, not zero where a candidate is relevant to a query; each query has one.

    Example:
        >>> from scipy.sparse import csr_array
        >>> found = rank_metrics(np.eye(2), np.array([[0.9, 0.5], [0.1, 0.5]]), csr_array(np.eye(2)))
        >>> found.recall_at_1, found.mean_rank  # the second query ties
        (0.75, 1.25)
    """
    count, number = relevant.shape
    size = max(1, _BLOCK // number)
    blocks = [_ranks(queries[at : at + size], candidates, relevant[at : at + size]) for at in range(0, count, size)]
    ranks = np.concatenate([block.expected for block in blocks])
    reached = np.concatenate([block.reached for block in blocks])
    first, fifth, tenth = reached.mean(0).tolist()
    return RankMetrics(first, fifth, tenth, float(ranks.mean()), float(np.median(ranks)), count, number)


class _Ranks(NamedTuple):
    expected: Array  # (B,) rank of the first relevant candidate
    reached: Array  # (B, 3), the probability that it is among the first 1, 5 and 10


def _ranks(queries: Any, candidates: Any, relevant: Any) -> _Ranks:
    product = queries @ candidates.T
    similar = np.round(np.asarray(product.toarray() if hasattr(product, "toarray") else product, float), _DIGITS)
    wanted = relevant.toarray() != 0
    best = np.where(wanted, similar, -np.inf).max(1, keepdims=True)
    above, tied = (similar > best).sum(1), similar == best
    right, wrong = (tied & wanted).sum(1), (tied & ~wanted).sum(1)  # in random order behind those above
    return _Ranks(
        above + (right + wrong + 1) / (right + 1),
        np.stack([1 - _all_wrong(right, wrong, cutoff - above) for cutoff in _CUTOFFS], 1),
    )


def _all_wrong(right: Array, wrong: Array, drawn: Array) -> Array:
    """Return the probability `(B,)` that so many draws without replacement, of right and wrong ones, are all wrong."""
    drawn = np.maximum(drawn, 0)
    possible = np.minimum(drawn, wrong)
    ways = gammaln(wrong + 1) - gammaln(wrong - possible + 1)
    every = gammaln(right + wrong + 1) - gammaln(right + wrong - possible + 1)
    return np.where(drawn > wrong, 0.0, np.exp(ways - every))
