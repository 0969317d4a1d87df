"""The images to label next: unsure ones, spread over what the model is unsure about."""

import numpy as np
import pytest

from marnet.semantic.datasets.next_to_label import choose_spread, uncertainty


def test_uncertainty_is_one_minus_the_margin() -> None:
    found = uncertainty(np.array([[0.5, 0.5, 0.0], [0.1, 0.2, 0.7], [1.0, 0.0, 0.0]]))
    assert found == pytest.approx([1.0, 0.5, 0.0])


def heaps(sizes: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return images in tight heaps far from one another, and the heap of each."""
    random = np.random.default_rng(0)
    of = np.repeat(np.arange(len(sizes)), sizes)
    return 10 * np.eye(len(sizes))[of] + 0.01 * random.normal(size=(len(of), len(sizes))), of


def test_one_image_of_each_heap_is_chosen_the_heaviest_heap_first() -> None:
    features, of = heaps([40, 10, 20])
    chosen = choose_spread(features, np.ones(70), 3)
    assert [of[each.row] for each in chosen] == [0, 2, 1]
    assert [each.stands_for for each in chosen] == [40, 20, 10]


def test_heaps_that_the_model_is_sure_about_are_passed_over() -> None:
    random = np.random.default_rng(1)
    features = random.normal(size=(300, 5))
    weights = (features[:, 0] > 1).astype(float)  # unsure in one corner only
    chosen = choose_spread(features, weights, 10)
    assert len(chosen) == 10
    assert sum(weights[each.row] for each in chosen) >= 9
    spread = choose_spread(features, np.ones(300), 10)
    assert sum(weights[each.row] for each in spread) <= 4


def test_a_budget_for_all_takes_all_the_most_unsure_first() -> None:
    chosen = choose_spread(np.eye(3), np.array([0.1, 0.9, 0.5]), 3)
    assert [each.row for each in chosen] == [1, 2, 0]


def test_equal_images_count_once() -> None:
    features = np.repeat(np.eye(2), 10, axis=0)
    chosen = choose_spread(features, np.ones(20), 5)
    assert sorted(each.row // 10 for each in chosen) == [0, 1]
    assert [each.stands_for for each in chosen] == [10, 10]


def test_one_seed_gives_one_choice() -> None:
    features = np.random.default_rng(2).normal(size=(200, 4))
    assert choose_spread(features, np.ones(200), 8, seed=3) == choose_spread(features, np.ones(200), 8, seed=3)
