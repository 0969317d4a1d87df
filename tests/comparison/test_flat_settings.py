"""Settings under dotted names."""

import pytest

from marnet.comparison.flat_settings import flatten, learned_from
from marnet.config import METHODS, make_config


def test_settings_are_flattened_as_set_takes_them() -> None:
    assert flatten({"method": "marnet", "training": {"lr": 0.1, "deep": {"x": None}}}) == {
        "method": "marnet",
        "training.lr": 0.1,
        "training.deep.x": None,
    }


def test_what_changes_nothing_about_what_a_run_learns_is_left_out() -> None:
    settings = {"data": {"source": "a.csv", "workers": 2, "image_size": 32}, "training": {"devices": "cpu", "lr": 0.1}}
    assert learned_from(settings) == {"data.image_size": 32, "training.lr": 0.1}


TEXTUAL = set(METHODS) - {"image-only"}
READ_BY = {  # a setting: the methods that read it
    "training.lr": set(METHODS),
    "losses.label_smoothing": set(METHODS),
    "losses.visual": set(METHODS),
    "reconstruction.enabled": set(METHODS),
    "text.dimensions": TEXTUAL,
    "fusion.kind": TEXTUAL,
    "alignment.width": {"match", "marnet"},
    "losses.matching": {"match", "marnet"},
    "semantics.dimensions": {"match", "reconstruct", "marnet", "regress"},
    "reconstruction.guide": {"reconstruct", "marnet", "regress"},
    "losses.guess": {"reconstruct", "marnet", "regress"},
    "losses.words": {"multitask"},
    "late_fusion.width": {"late-fusion"},
}


@pytest.mark.parametrize("method", METHODS)
def test_settings_of_parts_that_a_method_does_without_are_left_out(method: str) -> None:
    settings = make_config({"method": method}).model_dump(mode="json")
    assert READ_BY.keys() <= flatten(settings).keys()  # none is misspelt
    kept = learned_from(settings)
    assert {name for name in READ_BY if name in kept} == {name for name, by in READ_BY.items() if method in by}
