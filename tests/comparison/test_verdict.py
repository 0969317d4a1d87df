"""The verdict: whole sentences for whole situations."""

import pytest

from marnet.comparison.arms import KNOWN_ARMS, find_roles
from marnet.comparison.records import RunRecord
from marnet.comparison.statistics import PairedDifference
from marnet.comparison.verdict import Differences, describe_outcome, format_p, points

EIGHT, FIVE = tuple(range(8)), tuple(range(5))
LEAD = (PairedDifference(8, 0.021, 0.01, 0.009, 0.032, 2 / 256), EIGHT)
CHANCE = (PairedDifference(8, 0.004, 0.01, -0.002, 0.011, 0.3125), EIGHT)
TRAIL = (PairedDifference(8, -0.021, 0.01, -0.032, -0.009, 0.0001), EIGHT)
SHORT = (PairedDifference(5, 0.021, 0.001, 0.02, 0.022, 0.0625), FIVE)
BASE, PLACEBO, RANDOM = ("marnet", "image-only"), ("marnet", "marnet-shuffled"), ("marnet", "marnet-random")
ARMS = ["image-only", "marnet"]


def describe(arms: list[str], differences: Differences, baseline: str) -> str:
    """The verdict on arms that marnet knows by name."""
    records = {
        arm: RunRecord(
            arm=arm, seed=0, key="", source="s", split="val", placebo=KNOWN_ARMS[arm].placebo, classes=["a"],
            metrics={}, labels=[], predictions=[], confidences=[], config={"method": KNOWN_ARMS[arm].method},
        )
        for arm in arms
    }  # fmt: skip
    return describe_outcome(find_roles(records), differences, baseline)


def test_a_lead_and_what_of_it_is_the_text() -> None:
    assert describe([*ARMS, "marnet-shuffled"], {BASE: LEAD, PLACEBO: CHANCE}, "image-only") == (
        "marnet leads image-only by 2.1 points (95 % interval 0.9 to 3.2, p = 0.008, 8 seeds); of that, the text "
        "accounts for 0.4 points against shuffled text (95 % interval −0.2 to 1.1, p = 0.31, which may be chance) "  # noqa: RUF001
        "(its placebo shows the rest)."
    )


def test_two_placebos() -> None:
    arms = [*ARMS, "marnet-shuffled", "marnet-random"]
    found = describe(arms, {BASE: LEAD, PLACEBO: LEAD, RANDOM: CHANCE}, "image-only")
    assert "2.1 points against shuffled text (95 % interval 0.9 to 3.2, p = 0.008) and 0.4 points against" in found
    assert found.endswith("(the placebos show the rest).")


def test_a_lag_is_called_one() -> None:
    assert describe(ARMS, {BASE: TRAIL}, "image-only") == (
        "marnet trails image-only by 2.1 points (95 % interval −3.2 to −0.9, p < 0.001, 8 seeds). "  # noqa: RUF001
        "No placebo was run, so it is unknown what the text contributed."
    )


def test_chance_is_called_chance() -> None:
    found = describe([*ARMS, "marnet-shuffled"], {BASE: CHANCE, PLACEBO: LEAD}, "image-only")
    assert found == (
        "marnet is 0.4 points ahead of image-only (95 % interval −0.2 to 1.1, p = 0.31, 8 seeds), which may be "  # noqa: RUF001
        "chance. The text contributed 2.1 points against shuffled text (95 % interval 0.9 to 3.2, p = 0.008, 8 seeds)."
    )
    level = (PairedDifference(8, 0.0001, 0.01, -0.01, 0.01, 0.9), EIGHT)
    assert describe(ARMS, {BASE: level}, "image-only").startswith("marnet and image-only are level (95 %")


def test_five_seeds_cannot_show_anything_and_that_is_said() -> None:
    assert (
        "marnet is 2.1 points ahead of image-only (95 % interval 2.0 to 2.2, p = 0.063, 5 seeds), which may be chance. "
        "With 5 seeds the smallest possible two-sided p is 2/2^5 = 0.0625, so no difference could have been "
        "significant; at least 6 seeds are needed."
    ) in describe(ARMS, {BASE: SHORT}, "image-only")
    one = (PairedDifference(1, 0.03, float("nan"), 0.03, 0.03, 1.0), (0,))
    found = describe(ARMS, {BASE: one}, "image-only")
    assert found.startswith("marnet is 3.0 points ahead of image-only (one seed), which may be chance. With 1 seed the")


def test_parts_are_no_parts_where_the_seeds_differ() -> None:
    found = describe([*ARMS, "marnet-shuffled"], {BASE: LEAD, PLACEBO: SHORT}, "image-only")
    assert "of that" not in found
    assert ". The text contributed 2.1 points against shuffled text (95 % interval 2.0 to 2.2, p = 0.063, 5" in found


def test_missing_runs_are_said() -> None:
    assert describe(["image-only"], {}, "image-only") == (
        "Only image-only has runs, so there is nothing to compare it with."
    )
    assert describe(ARMS, {BASE: (None, ())}, "image-only") == (
        "marnet and image-only have no seed in common, so their difference is unknown."
    )
    found = describe([*ARMS, "marnet-random"], {BASE: LEAD, RANDOM: (None, ())}, "image-only")
    assert "an unknown part against random text (no seed in common)" in found
    assert describe(["image-only", "match"], {("match", "image-only"): LEAD}, "image-only").startswith("match ")


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(0.021, "2.1"), (-0.021, "−2.1"), (0.0004, "0.0"), (-0.0004, "0.0")],  # noqa: RUF001
)
def test_points(fraction: float, text: str) -> None:
    assert points(fraction) == text
    assert points(0.021, sign=True) == "+2.1"


@pytest.mark.parametrize(
    ("p", "text"), [(0.0009, "< 0.001"), (0.0078125, "0.008"), (0.0625, "0.063"), (0.3125, "0.31"), (1.0, "1.00")]
)
def test_p_values(p: float, text: str) -> None:
    assert format_p(p) == text
