"""Draws that are even over the classes, as a function of seed and epoch."""

from collections import Counter

import numpy as np
import pytest

from marnet.data.dataset import SampleKey
from marnet.data.sampling import ClassBalancedSampler

LABELS = np.array([0] * 70 + [1] * 25 + [3] * 5)


def draw(epoch: int, seed: int = 0, labels: np.ndarray = LABELS) -> list[SampleKey]:
    sampler = ClassBalancedSampler(labels, seed=seed)
    sampler.set_epoch(epoch)
    keys = list(sampler)
    assert len(keys) == len(sampler)
    return keys


@pytest.mark.parametrize("epoch", range(3))
def test_every_class_comes_up_equally_often_and_no_row_more_than_once_above_another(epoch: int) -> None:
    rows = Counter(each.row for each in draw(epoch))
    assert sum(rows.values()) == 100
    by_class = {number: [rows[row] for row in np.flatnonzero(number == LABELS)] for number in (0, 1, 3)}
    assert sorted(map(sum, by_class.values())) == [33, 33, 34]
    assert all(max(counts) - min(counts) <= 1 for counts in by_class.values())


def test_even_classes_show_every_row_once() -> None:
    assert sorted(each.row for each in draw(0, labels=np.arange(12) % 3)) == list(range(12))


def test_keys_follow_seed_and_epoch() -> None:
    assert draw(2, seed=5) == draw(2, seed=5)
    assert [each.row for each in draw(0)] != [each.row for each in draw(1)]
    assert [each.row for each in draw(0)] != [each.row for each in draw(0, seed=1)]


def test_a_repeated_row_is_augmented_anew() -> None:
    keys = draw(0) + draw(1)
    assert len({each.seed for each in keys}) == len(keys)


def test_a_large_class_shows_its_other_rows_in_other_epochs() -> None:
    seen = {each.row for epoch in range(20) for each in draw(epoch)}
    assert seen == set(range(100))


def test_classes_are_mixed_within_the_epoch() -> None:
    first = Counter(int(LABELS[each.row]) for each in draw(0)[:50])
    assert min(first[number] for number in (0, 1, 3)) >= 8


def test_several_processes_share_the_keys_out_and_take_equally_many() -> None:
    labels = np.array([0] * 20 + [1] * 3)
    alone = ClassBalancedSampler(labels, seed=4)
    shares = [ClassBalancedSampler(labels, seed=4, process=number, processes=3) for number in range(3)]
    for epoch in range(2):
        for sampler in (alone, *shares):
            sampler.set_epoch(epoch)
        drawn = [list(sampler) for sampler in shares]
        assert [len(each) for each in drawn] == [len(sampler) for sampler in shares] == [7, 7, 7]  # 23 keys
        assert [key for each in drawn for key in each] == list(alone)[:21]
