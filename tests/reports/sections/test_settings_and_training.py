"""Settings that differ, and curves."""

import pytest

from marnet.comparison.records import RunRecord
from marnet.reports.blocks import Section
from marnet.reports.context import Unavailable
from marnet.reports.sections.settings import configuration_text, environment_lines, settings_section
from marnet.reports.sections.training import training_section


def test_only_differences_are_shown_and_the_seed_is_none() -> None:
    configs = {
        "image-only": {"method": "image-only", "alignment": {"width": 7}, "training": {"lr": 0.1, "seed": 0}},
        "marnet": {"method": "marnet", "alignment": {"width": 8}, "training": {"lr": 0.1, "seed": 1}, "new": 2},
    }
    section = settings_section(configs)
    assert section.blocks[0].rows == [
        ["method", "image-only", "marnet"],
        ["alignment.width", "7", "8"],
        ["new", "null", "2"],
    ]
    assert settings_section({"a": {"x": 1}, "b": {"x": 1}}) is None


def test_configuration_and_environment_as_text() -> None:
    assert configuration_text({"method": "marnet", "training": {"lr": 0.1}}) == "method: marnet\ntraining:\n  lr: 0.1\n"
    assert configuration_text({}) == ""
    assert environment_lines({"python": "3.11", "cuda": None, "packages": {"torch": "2"}}) == {
        "python": "3.11",
        "cuda": "None",
        "torch": "2",
    }
    assert environment_lines({}) == {}


def test_training_shows_all_curves_and_the_terms_of_some() -> None:
    rows = [{"epoch": 1.0, "train/classification": 1.0, "val/top1": 0.5, "train/matching": 2.0}]
    section = training_section({"a": rows, "b": rows, "c": []}, terms_of=["b", "c"])
    assert isinstance(section, Section)
    curves, terms = section.blocks
    assert [mark.label for mark in curves.legend] == ["a (kept: 50.0 %, epoch 1)", "b (kept: 50.0 %, epoch 1)"]
    assert [mark.label for mark in terms.legend] == ["classification", "matching"]
    assert terms.panels[0].name == "loss-terms-b"


def record(name: str, keep: str | None, scores: list[float]) -> RunRecord:
    config = {"training": {"keep": keep}} if keep else {"training": {}}
    history = [{"epoch": float(epoch), "val/top1": score} for epoch, score in enumerate(scores, 1)]
    return RunRecord(
        arm=name, seed=0, key="", source="s", split="val", classes=["a", "b"], metrics={}, labels=[0], predictions=[0],
        confidences=[1.0], config=config, history=history,
    )  # fmt: skip


def test_it_says_which_weights_were_kept_and_how_far_a_choice_flatters() -> None:
    scores = [0.5, 0.9, 0.7, 0.8, 0.6, 0.6, 0.7, 0.8]
    kept = {name: record(name, name, scores) for name in ("averaged", "last", "best")}
    kept["old"] = record("old", None, scores)
    section = training_section({name: each.history for name, each in kept.items()}, kept=kept)
    averaged, last, best = section.text
    assert averaged == (
        "averaged: The moving average of the weights at the end of training was kept. No epoch was chosen, so no "
        "choice flatters top-1 on val."
    )
    assert last.startswith("last: The state of the weights at the end")
    assert best.startswith("best, old: The weights of the epoch with the best top-1 on val were kept.")
    assert "15.0 points above the mean over the last quarter" in best  # 0.9 minus (0.7 + 0.8) / 2
    assert [mark.label for mark in section.blocks[0].legend][1:3] == [
        "last (kept: 80.0 %, epoch 8)",
        "best (kept: 90.0 %, epoch 2)",
    ]
    assert training_section({"a": kept["best"].history}, kept={"a": kept["best"]}).text[0].startswith("The weights")


def test_it_says_how_rows_without_a_label_were_used() -> None:
    rows = record("a", "last", [0.5]).history
    assert training_section({"a": rows}, unlabelled={"a": "3 rows are left out."}).text == ["3 rows are left out."]
    both = training_section({"a": rows, "b": rows}, unlabelled={"b": "3 rows are left out."})
    assert both.text == ["b: 3 rows are left out."]


def test_no_history_is_a_gap() -> None:
    with pytest.raises(
        Unavailable, match=r"No run has a history of its epochs, which training writes as history\.csv\."
    ):
        training_section({"a": []})
