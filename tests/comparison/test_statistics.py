"""Statistics: values worked by hand, scipy as the oracle, and planted effects in simulated runs."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from marnet.comparison.statistics import (
    bootstrap_interval,
    mcnemar,
    mean_sd,
    paired_difference,
    permutation_p_value,
    smallest_p_value,
)


def test_spread_by_hand() -> None:
    # Squared deviations from 5: 9 + 1 + 1 + 1 + 1 + 25 = 38; 38 / 5 = 7.6.
    assert mean_sd([2, 4, 4, 4, 6, 10]) == (6, 5.0, pytest.approx(math.sqrt(7.6)))
    assert mean_sd([1, 3]) == (2, 2.0, pytest.approx(math.sqrt(2)))
    assert math.isnan(mean_sd([0.5]).sd)
    with pytest.raises(ValueError, match=r"The values have the shape \(0,\)\. Expected \(n,\) with n >= 1"):
        mean_sd([])


def test_permutation_by_hand() -> None:
    # All of the same sign: of 2^n patterns only the observed one and its mirror image are as far from 0.
    assert permutation_p_value([1, 2, 3, 4, 5]) == 2 / 32
    # Sums of 1, 2, -4 with all signs: 7 5 1 3 and their negatives... |observed| = 1; all 8 are at least as far.
    assert permutation_p_value([1, 2, -4]) == 1.0
    # 1 + 2 + 4 - 1 = 6. Patterns of (1, 2, 4, 1) with |sum| >= 6: 8 (one), 6 (two: either 1 negative); twice.
    assert permutation_p_value([1, 2, 4, -1]) == 6 / 16
    assert permutation_p_value([0, 0, 0]) == 1.0
    assert permutation_p_value([5]) == 1.0


def test_equal_sums_count_though_their_last_digits_differ() -> None:
    """0.1 + 0.2 + 0.3 - 0.6 and its rearrangements are 0 on paper only."""
    assert permutation_p_value([0.1, 0.2, 0.3, -0.6]) == 1.0
    for order in itertools.permutations([0.3, 0.1, 0.1, -0.1]):
        # |observed| = 0.4; patterns of (3, 1, 1, 1) with |sum| >= 4: 6 (one), 4 (three); twice.
        assert permutation_p_value(order) == 8 / 16


@pytest.mark.parametrize("n", [2, 5, 8, 11])
def test_permutation_agrees_with_scipy(n: int) -> None:
    differences = np.random.default_rng(n).normal(0.5, 1, n)
    oracle = stats.permutation_test(
        (differences, np.zeros(n)), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=np.inf
    )
    assert permutation_p_value(differences.tolist()) == pytest.approx(oracle.pvalue, abs=1e-12)


def test_permutation_of_many_pairs_is_sampled_and_never_zero() -> None:
    differences = [1.0] * 30
    assert permutation_p_value(differences, draws=999) == 1 / 1000
    mixed = np.random.default_rng(0).normal(0.3, 1, 25).tolist()
    assert permutation_p_value(mixed, seed=1) == permutation_p_value(mixed, seed=1)
    # Twenty of the pairs exactly, the same twenty sampled by adding pairs without a difference.
    exact = permutation_p_value(mixed[:20])
    assert permutation_p_value([*mixed[:20], 0.0]) == pytest.approx(exact, abs=0.006)  # 4 standard errors


def test_the_smallest_p_value_is_reached_and_not_undercut() -> None:
    for n in range(1, 12):
        assert smallest_p_value(n) == permutation_p_value(list(range(1, n + 1)))
    assert smallest_p_value(5) == 0.0625
    assert smallest_p_value(0) == 1.0
    assert smallest_p_value(21) == permutation_p_value([1.0] * 21)


def test_bootstrap_agrees_with_scipy() -> None:
    values = np.random.default_rng(3).normal(2, 1, 9)
    for seed in (0, 5):
        draws = np.random.default_rng(seed)
        oracle = stats.bootstrap((values,), np.mean, n_resamples=5000, method="percentile", random_state=draws)
        found = bootstrap_interval(values.tolist(), resamples=5000, seed=seed)
        assert found == pytest.approx(tuple(oracle.confidence_interval), rel=1e-12)  # the same draws
        assert found == bootstrap_interval(values.tolist(), resamples=5000, seed=seed)


def test_bootstrap_by_hand() -> None:
    # Means of two draws from {0, 1}: 0, 1/2, 1 with 1/4, 1/2, 1/4; the quantiles 0.3 and 0.7 are both 1/2.
    assert bootstrap_interval([0, 1], confidence=0.4) == (0.5, 0.5)
    assert bootstrap_interval([0, 1]) == (0, 1)
    assert bootstrap_interval([0.1]) == (0.1, 0.1)
    assert bootstrap_interval([0.3] * 7) == (0.3, 0.3)


@pytest.mark.parametrize(("n", "share"), [(5, 0.83), (8, 0.88)])
def test_the_interval_holds_the_truth_as_often_as_its_docstring_says(n: int, share: float) -> None:
    generator = np.random.default_rng(2)
    intervals = [bootstrap_interval(generator.normal(size=n).tolist(), resamples=500) for _ in range(3000)]
    assert np.mean([low <= 0 <= high for low, high in intervals]) == pytest.approx(share, abs=0.02)


def test_mcnemar_by_hand() -> None:
    labels = [0] * 14
    first = [0] * 10 + [1, 0, 1, 1]
    second = [1] * 9 + [0, 0, 0, 1, 2]  # only the first is correct on nine, only the second on one
    found = mcnemar(labels, first, second)
    # Binomial(10, 1/2): P(9 or 10) = 11 / 1024, and as much on the other side.
    assert found == (9, 1, pytest.approx(22 / 1024))
    assert mcnemar(labels, second, first) == (1, 9, pytest.approx(22 / 1024))
    assert mcnemar(labels, first, first) == (0, 0, 1.0)


def test_mcnemar_is_a_sum_of_binomials() -> None:
    for only_first, only_second in [(3, 3), (0, 5), (12, 4), (40, 61)]:
        n = only_first + only_second
        tail = sum(math.comb(n, k) for k in range(min(only_first, only_second) + 1)) / 2**n
        found = mcnemar([1] * n, [1] * only_first + [0] * only_second, [0] * only_first + [1] * only_second)
        assert found.p == pytest.approx(min(1.0, 2 * tail))


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match=r"3, 2 and 3 entries\. Pass as many of each"):
        mcnemar([0, 0, 0], [0, 0], [0, 0, 0])
    with pytest.raises(ValueError, match=r"2 and 1 values cannot be paired\. Pass as many of each"):
        paired_difference([1, 2], [1])


def simulate(effect: float, seeds: int, experiments: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Accuracies of two arms in points: what a seed gives both has a deviation of 1, what it gives each one as well."""
    generator = np.random.default_rng(7)
    runs = []
    for _ in range(experiments):
        common, own = generator.normal(60, 1, seeds), generator.normal(0, 1, (2, seeds))
        runs.append((common + own[0] + effect, common + own[1]))
    return runs


def test_a_planted_effect_is_found() -> None:
    found = [paired_difference(first, second) for first, second in simulate(3, seeds=8, experiments=300)]
    assert np.mean([each.p < 0.05 for each in found]) > 0.95
    assert np.mean([each.low > 0 for each in found]) > 0.97
    assert np.mean([each.mean for each in found]) == pytest.approx(3, abs=0.1)
    assert np.mean([each.sd for each in found]) == pytest.approx(math.sqrt(2), abs=0.1)


def test_a_planted_null_is_rejected_at_the_nominal_rate_only() -> None:
    p = np.array([permutation_p_value(first - second) for first, second in simulate(0, seeds=8, experiments=4000)])
    assert (p <= 0.05).mean() == pytest.approx(12 / 256, abs=0.01)  # the largest level below 0.05 that eight pairs have
    assert (p <= 0.25).mean() == pytest.approx(0.25, abs=0.02)
    five = [permutation_p_value(first - second) for first, second in simulate(0, seeds=5, experiments=500)]
    assert min(five) == 0.0625
