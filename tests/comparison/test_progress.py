"""How a comparison says how far it is."""

import pytest

from marnet.comparison.progress import duration, seconds_left


def test_the_time_left_follows_from_what_each_arm_took() -> None:
    done = [("image-only", 10.0), ("image-only", 14.0), ("marnet", 30.0)]
    assert seconds_left(["image-only", "marnet"], done) == pytest.approx(12 + 30)
    # An arm that has not run yet is taken as the mean over the arms that have: (12 + 30) / 2.
    assert seconds_left(["regress", "regress"], done) == pytest.approx(42)


def test_without_anything_to_go_by_there_is_no_time() -> None:
    assert seconds_left(["marnet"], []) is None
    assert seconds_left([], [("marnet", 3.0)]) is None


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59.0, "59 s"), (61, "1 min"), (3599, "1 h 0 min"), (7500, "2 h 5 min")]
)
def test_times_as_people_read_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words
