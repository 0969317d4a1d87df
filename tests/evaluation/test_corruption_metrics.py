"""Means and relative errors under corruption, worked by hand; groups are whole or have no figure."""

import pytest

from marnet.evaluation.corruption_metrics import (
    corruption_metrics,
    groups_of,
    is_measured,
    mean_accuracy,
    relative_corruption_error,
    relative_errors,
)
from marnet.evaluation.corruptions import HELD_OUT, OURS, STANDARD


def group(names: tuple[str, ...], accuracy: float) -> dict[str, list[float]]:
    return {name: [accuracy] * 5 for name in names}


def test_means_by_hand() -> None:
    accuracies = {"fog": [1.0, 0.5, 0.0], "snow": [0.5, 0.5, 0.5], "frost": [0.0, 0.0, 0.0]}
    assert mean_accuracy(accuracies, ("fog", "snow")) == pytest.approx(0.5)
    assert mean_accuracy(accuracies, ("fog", "snow", "frost")) == pytest.approx(1 / 3)
    assert mean_accuracy({name: [0.25] * 5 for name in STANDARD}) == pytest.approx(0.25)
    with pytest.raises(ValueError, match="measured under fog, but fog, snow must be among them"):
        mean_accuracy({"fog": [1.0]}, ("fog", "snow"))


def test_relative_errors_by_hand() -> None:
    """Errors under fog 0.2 + 0.4 over 0.4 + 0.8, under snow 0.3 + 0.3 over 0.1 + 0.3: 1/2 and 3/2, on average 1."""
    method = {"fog": [0.8, 0.6], "snow": [0.7, 0.7], "frost": [0.9, 0.9]}
    baseline = {"fog": [0.6, 0.2], "snow": [0.9, 0.7], "frost": [1.0, 1.0]}
    ratios = relative_errors(method, baseline)
    assert ratios["fog"] == pytest.approx(0.5)
    assert ratios["snow"] == pytest.approx(1.5)
    assert ratios["frost"] is None  # over no error at all
    assert relative_corruption_error(method, baseline, ("fog", "snow")) == pytest.approx(1.0)
    assert relative_corruption_error(method, baseline, ("fog", "frost")) is None
    assert relative_corruption_error(method, method, ("fog", "snow", "frost")) == pytest.approx(1.0)
    with pytest.raises(ValueError, match=r"snow was measured at 2 and 1 severities\. Measure the same ones"):
        relative_errors(method, {**baseline, "snow": [0.9]})
    with pytest.raises(ValueError, match="measured under fog, but fog, snow must be among them"):
        relative_corruption_error(method, {"fog": [0.5, 0.5]}, ("fog", "snow"))


def test_each_group_has_metrics_of_its_own() -> None:
    method = group(STANDARD, 0.6) | group(HELD_OUT, 0.7) | group(OURS, 0.8)
    baseline = group(STANDARD, 0.5) | group(HELD_OUT, 0.5) | group(OURS, 0.9)
    assert corruption_metrics(method, baseline) == {
        "mean_corruption_accuracy": pytest.approx(0.6),
        "mean_corruption_accuracy_held_out": pytest.approx(0.7),
        "mean_corruption_accuracy_ours": pytest.approx(0.8),
        "relative_corruption_error": pytest.approx(0.8),
        "relative_corruption_error_held_out": pytest.approx(0.6),
        "relative_corruption_error_ours": pytest.approx(2.0),
    }
    assert list(corruption_metrics(method)) == [f"mean_corruption_accuracy{end}" for end in ("", "_held_out", "_ours")]


def test_a_group_that_lacks_anything_has_no_figure() -> None:
    whole = group(STANDARD, 0.6) | group(OURS, 0.8)
    assert corruption_metrics(whole)["mean_corruption_accuracy_held_out"] is None
    lacking = {name: values for name, values in whole.items() if name != "fog"}
    for found in (lacking, {**whole, "fog": [0.6] * 4}):
        assert not is_measured(found, STANDARD)
        metrics = corruption_metrics(found, whole)
        assert metrics["mean_corruption_accuracy"] is None
        assert metrics["relative_corruption_error"] is None
        assert metrics["relative_corruption_error_ours"] == pytest.approx(1.0)
        assert corruption_metrics(whole, found)["relative_corruption_error"] is None


def test_corruptions_from_outside_form_a_group_of_their_own() -> None:
    outside = {"module:weather.hail": [0.5, 0.4, 0.3, 0.2, 0.1], "module:weather.rain": [0.9] * 5}
    method = group(STANDARD, 0.6) | outside
    baseline = group(STANDARD, 0.5) | {name: [0.4] * 5 for name in outside}
    assert groups_of(method)[-1].names == tuple(outside)
    assert groups_of(STANDARD) == groups_of(STANDARD + OURS)
    found = corruption_metrics(method, baseline)
    assert found["mean_corruption_accuracy"] == pytest.approx(0.6)
    assert found["mean_corruption_accuracy_ours"] is None
    assert found["mean_corruption_accuracy_other"] == pytest.approx((0.3 + 0.9) / 2)
    assert found["relative_corruption_error_other"] == pytest.approx((0.7 / 0.6 + 0.1 / 0.6) / 2)
    assert corruption_metrics(method, group(STANDARD, 0.5))["relative_corruption_error_other"] is None
