"""The summary of records: figures worked by hand, incomplete grids, placebos, and refusals."""

import math
from collections.abc import Callable

import pytest

from marnet.comparison.arms import KNOWN_ARMS
from marnet.comparison.records import RunRecord
from marnet.comparison.result_tables import result_tables
from marnet.comparison.statistics import MeanSD, PairedDifference
from marnet.comparison.summary import summarise
from marnet.errors import RunDirectoryError
from marnet.evaluation.corruption_metrics import MEAN_ACCURACY, RELATIVE_ERROR
from marnet.evaluation.corruptions import STANDARD


def record(arm: str, seed: int, right: int, *, images: int = 10, **changes: object) -> RunRecord:
    """A run that gets the first `right` of its images right; arms by a name that marnet knows are what it says."""
    known = KNOWN_ARMS[arm]
    fields = {
        "placebo": known.placebo, "config": {"method": known.method},
        "arm": arm, "seed": seed, "key": "k", "source": "s", "split": "test", "classes": ["a", "b"],
        "metrics": {"top1": right / images, "n": float(images)},
        "labels": [0] * images, "predictions": [0] * right + [1] * (images - right), "confidences": [0.6] * images,
    }  # fmt: skip
    return RunRecord.model_validate(fields | changes)


def test_metrics_by_hand() -> None:
    results = summarise(
        [
            record("image-only", 0, 5), record("image-only", 1, 6), record("image-only", 2, 7),
            record("marnet", 0, 7), record("marnet", 1, 7), record("marnet", 2, 9),
        ]
    )  # fmt: skip
    assert [arm.arm for arm in results.arms] == ["image-only", "marnet"]
    assert results.arm("image-only").metrics == {"top1": MeanSD(3, pytest.approx(0.6), pytest.approx(0.1))}
    difference = results.contrast("marnet", "image-only").metrics["top1"]
    # 0.2, 0.1, 0.2; all of one sign: p = 2 / 8; the mean of the squared deviations 1/900, 4/900, 1/900 over 2 is 1/300
    assert difference[:3] == (3, pytest.approx(0.5 / 3), pytest.approx(math.sqrt(1 / 300)))
    assert difference.p == 0.25
    assert 0.1 - 1e-12 <= difference.low < difference.mean < difference.high <= 0.2 + 1e-12
    assert results.contrast("marnet", "image-only").mcnemar == (2, 0, 0.5)
    assert (results.images, results.classes, results.split) == ((10,), 2, "test")
    assert results.arm("regress") is None


def test_the_end_of_training_is_the_last_quarter_of_its_epochs_on_val() -> None:
    def trained(arm: str, curve: list[float], split: str = "val") -> RunRecord:
        return record(arm, 0, 9, split=split, history=[{"epoch": 1.0 + i, "val/top1": x} for i, x in enumerate(curve)])

    long, short = trained("image-only", [0.1] * 6 + [0.4, 0.6]), trained("marnet", [0.2, 0.7])
    results = summarise([long, short])
    assert [arm.metrics["top1_end"].mean for arm in results.arms] == [pytest.approx(0.5), pytest.approx(0.7)]
    assert results.contrast("marnet", "image-only").metrics["top1_end"].mean == pytest.approx(0.2)
    other = summarise([trained("marnet", [0.2, 0.7], split="test")])  # on other images nothing was chosen
    assert "top1_end" not in other.arms[0].metrics
    averaged = long.model_copy(
        update={"config": {"training": {"keep": "averaged"}}}
    )  # nor if no epoch was chosen at all
    assert "top1_end" not in summarise([averaged]).arms[0].metrics


def test_pairs_are_the_seeds_in_common() -> None:
    runs = [record("image-only", seed, 5) for seed in (0, 1, 2)]
    runs += [record("marnet", 2, 9), record("marnet", 1, 7), record("marnet", 5, 1)]
    runs += [record("marnet-random", 7, 5)]
    results = summarise(runs)
    contrast = results.contrast("marnet", "image-only")
    assert contrast.seeds == (1, 2)
    assert not contrast.all_seeds
    assert contrast.metrics["top1"].mean == pytest.approx(0.3)
    assert contrast.mcnemar == (2, 0, 0.5)  # of seed 1
    alone = results.contrast("marnet", "marnet-random")
    assert (alone.seeds, alone.metrics, alone.mcnemar) == ((), {}, None)
    assert results.notes[:2] == (
        "image-only has no run of seeds 5, 7; it is compared on the seeds that it shares with the other arm.",
        "marnet has no run of seeds 0, 7; it is compared on the seeds that it shares with the other arm.",
    )


def test_corruptions_by_hand() -> None:
    def robust(arm: str, seed: int, *, fog: float, others: float) -> RunRecord:
        accuracies = {name: [fog if name == "fog" else others] * 5 for name in STANDARD}
        return record(arm, seed, 8, robustness=accuracies | {"viewpoint": [0.0] * 5})

    results = summarise(
        [
            robust("image-only", 0, fog=0.7, others=0.55),
            robust("marnet", 0, fog=0.85, others=0.55),
            robust("image-only", 1, fog=0.6, others=0.55),
            record("marnet", 1, 8, robustness={"fog": [0.1] * 5}),  # one of fifteen is no mean of fifteen
        ]
    )
    plain, ours = results.arms
    # (0.7 + 14 * 0.55) / 15 = 0.56 and (0.6 + 14 * 0.55) / 15 = 8.3 / 15
    assert plain.metrics[MEAN_ACCURACY].mean == pytest.approx((0.56 + 8.3 / 15) / 2)
    assert plain.metrics[RELATIVE_ERROR] == (2, pytest.approx(1), pytest.approx(0))
    assert ours.metrics[MEAN_ACCURACY][:2] == (1, pytest.approx(0.57))
    assert ours.metrics[RELATIVE_ERROR][:2] == (1, pytest.approx((0.15 / 0.3 + 14) / 15))
    assert [name for name in plain.metrics if name.endswith(("_ours", "_held_out"))] == []  # one of three, none of four
    assert [each.mean for each in plain.corruptions["fog"]] == pytest.approx([0.65] * 5)
    difference = results.contrast("marnet", "image-only").metrics[MEAN_ACCURACY]
    assert difference[:2] == (1, pytest.approx(0.01))


def test_a_planted_effect_and_its_placebo_are_told_apart(make_records: Callable[..., list[RunRecord]]) -> None:
    arms = {"image-only": 0.0, "marnet": 3.0, "marnet-shuffled": 0.0}
    results = summarise(make_records(8, arms))
    assert results.contrast("marnet", "image-only").metrics["top1"].p <= 2 / 128
    assert results.contrast("marnet", "marnet-shuffled").metrics["top1"].p <= 2 / 128
    assert results.contrast("marnet-shuffled", "image-only").metrics["top1"].p > 0.05
    assert results.verdict.startswith("marnet leads image-only by ")
    null = summarise(make_records(8, {"image-only": 0.0, "marnet": 0.0}))
    assert null.contrast("marnet", "image-only").metrics["top1"].p > 0.05
    assert "which may be chance" in null.verdict


def test_the_order_of_the_records_does_not_matter(make_records: Callable[..., list[RunRecord]]) -> None:
    records = make_records(3)
    assert summarise(records) == summarise(records[::-1])
    assert [arm.arm for arm in summarise(records, "match").arms][:2] == ["match", "image-only"]


def test_a_metric_that_only_some_runs_have() -> None:
    with_brier = {"metrics": {"top1": 0.5, "brier": 0.3}}
    results = summarise(
        [
            record("image-only", 0, 5, **with_brier), record("image-only", 1, 5),
            record("marnet", 0, 5, **with_brier), record("marnet", 1, 5, metrics={"top1": 0.5, "brier": math.nan}),
        ]
    )  # fmt: skip
    assert results.arm("image-only").metrics["brier"].n == 1
    assert results.arm("marnet").metrics["brier"].n == 1
    assert results.contrast("marnet", "image-only").metrics["brier"] == PairedDifference(
        1, 0.0, pytest.approx(math.nan, nan_ok=True), 0.0, 0.0, 1.0
    )


def test_without_a_baseline_there_are_metrics_but_no_differences() -> None:
    results = summarise([record("marnet", 0, 5), record("marnet", 1, 7), record("marnet-random", 0, 4)])
    assert results.arm("marnet").metrics["top1"].mean == pytest.approx(0.6)
    assert [(each.arm, each.against) for each in results.contrasts] == [("marnet", "marnet-random")]
    assert results.verdict == "image-only has no run, so there is nothing to compare marnet with."


@pytest.mark.parametrize(
    ("records", "sentence"),
    [
        ([], r"There is no record of a run to summarise\. Train"),
        ([record("image-only", 0, 5)] * 2, r"Arm 'image-only' has two records of seed 0\. Remove"),
        (
            [record("image-only", 0, 5), record("marnet", 0, 5, split="val")],
            r"'marnet', seed 0, and 'image-only', seed 0, differ in their split: 'val' and 'test'\. All records of",
        ),
        (
            [record("image-only", 0, 5), record("marnet", 0, 5, classes=["a", "c"])],
            r"differ in their classes\. All records of a comparison must agree",
        ),
        (
            [record("image-only", 0, 5), record("marnet", 0, 5, images=9)],
            r"'marnet' and 'image-only' of seed 0 were scored on different images \(9 and 10 of them\)",
        ),
    ],
)
def test_records_that_cannot_be_compared_are_refused(records: list[RunRecord], sentence: str) -> None:
    with pytest.raises(RunDirectoryError, match=sentence):
        summarise(records)


def test_a_placebo_is_what_its_record_says_and_of_the_arm_that_is_set_up_the_same() -> None:
    def run(arm: str, placebo: str | None, text: str, **training: object) -> RunRecord:
        config = {"method": "marnet", "text": {"name": text}, "training": {"lr": 0.1, **training}}
        return record("marnet", 0, 5).model_copy(update={"arm": arm, "placebo": placebo, "config": config})

    results = summarise(
        [
            run("wide", None, "bow", seed=0, devices="cpu"),
            run("control", "random", "random:bow", seed=1, devices="cuda:1"),  # seed and device do not matter
            run("wide-shuffled", "shuffled", "tags"),  # of a text encoder that no other arm has
            run("meaning-random", None, "tags", lr=0.2),  # a method whose name ends like a placebo's
        ]
    )
    assert results.roles == {
        "meaning-random": ("method", None, None),
        "wide": ("method", None, None),
        "control": ("placebo", "wide", "random"),
        "wide-shuffled": ("placebo", None, "shuffled"),
    }
    assert [(each.arm, each.against) for each in results.contrasts] == [("wide", "control")]
    assert result_tables(results)["text"].rows[0][0] == "wide minus random text"


def test_the_full_method_is_compared_with_the_baselines_that_learn_from_text_by_hand() -> None:
    runs = [record("image-only", seed, 5) for seed in (0, 1)]
    runs += [record("marnet", 0, 7), record("marnet", 1, 8), record("regress", 0, 8), record("regress", 1, 8)]
    results = summarise(runs)
    contrast = results.contrast("marnet", "regress")
    assert (contrast.kind, contrast.seeds) == ("text-baseline", (0, 1))
    assert contrast.metrics["top1"].mean == pytest.approx(-0.05)
    (row,) = result_tables(results)["baselines"].rows
    assert (row[0], row[1], row[2].text[:4]) == ("marnet minus regress", 2, "\N{MINUS SIGN}5.0")
    assert "baselines" not in result_tables(summarise(runs[:4]))
    against = summarise(runs, "regress")  # as the comparison's baseline it is not listed twice
    assert [each.kind for each in against.contrasts if each.against == "regress"] == ["baseline", "baseline"]
