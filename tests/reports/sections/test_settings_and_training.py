"""Settings that differ, and curves."""

import pytest

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
    assert [mark.label for mark in curves.legend] == ["a (best 50.0 %, epoch 1)", "b (best 50.0 %, epoch 1)"]
    assert [mark.label for mark in terms.legend] == ["classification", "matching"]
    assert terms.panels[0].name == "loss-terms-b"


def test_no_history_is_a_gap() -> None:
    with pytest.raises(
        Unavailable, match=r"No run has a history of its epochs, which training writes as history\.csv\."
    ):
        training_section({"a": []})
