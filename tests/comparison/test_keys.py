"""The key of a run follows from the settings that its method reads."""

from pathlib import Path

import pytest

from marnet.comparison.keys import learned_settings, record_key
from marnet.comparison.plan import Arm, ComparisonConfig, configure
from marnet.comparison.records import read_record
from marnet.config import make_config
from marnet.config.nested import flatten
from marnet.methods import list_methods, resolve

METHODS = set(list_methods())
TEXTUAL = METHODS - {"image-only"}
READ_BY = {  # a setting: the methods that read it
    "training.lr": METHODS,
    "losses.label_smoothing": METHODS,
    "losses.visual": METHODS,
    "text.name": TEXTUAL,
    "text.dimensions": TEXTUAL - {"multitask"},
    "fusion.kind": TEXTUAL - {"multitask", "late-fusion"},
    "alignment.width": {"match", "marnet"},
    "losses.matching": {"match", "marnet"},
    "semantics.dimensions": {"match", "reconstruct", "marnet", "regress"},
    "reconstruction.guide": {"reconstruct", "marnet", "regress"},
    "losses.linear_head": {"reconstruct", "marnet", "regress"},
    "losses.words": {"multitask"},
    "late_fusion.width": {"late-fusion"},
}
NOT_LEARNED = {"data.source", "data.cache", "data.workers", "training.devices"}


@pytest.mark.parametrize("method", sorted(METHODS))
def test_settings_that_a_method_does_not_read_are_left_out(method: str) -> None:
    settings = make_config({"method": method}).model_dump(mode="json")
    assert READ_BY.keys() <= flatten(settings).keys()  # none is misspelt
    kept = learned_settings(settings)
    assert {name for name in READ_BY if name in kept} == {name for name, by in READ_BY.items() if method in by}
    assert not NOT_LEARNED & kept.keys()


def test_settings_without_effect_and_of_unknown_methods() -> None:
    settings = {"data": {"source": "a.csv", "workers": 2, "image_size": 32}, "training": {"devices": "cpu", "lr": 0.1}}
    assert learned_settings(settings) == {"data.image_size": 32, "training.lr": 0.1}
    assert learned_settings({"method": "module:gone.METHOD", "text": {"name": "bow"}}) == {
        "method": "module:gone.METHOD",
        "text.name": "bow",
    }


def test_a_strange_record_imports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "strange_method.py").write_text("raise AssertionError('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    settings = {"method": "module:strange_method.METHOD", "losses": {"visual": 0.9}}
    assert learned_settings(settings) == {"method": "module:strange_method.METHOD", "losses.visual": 0.9}
    arm = Arm(name="mine", method="module:strange_method.METHOD")
    with pytest.raises(AssertionError, match="imported"):  # the plan of this process's user may
        configure(ComparisonConfig(base={}, arms=[arm]), arm, seed=0)


def test_a_text_encoder_that_learns_makes_the_semantics_of_match_idle() -> None:
    settings = make_config({"method": "match"}, sets=["text.trainable=true"]).model_dump(mode="json")
    assert "semantics.dimensions" not in learned_settings(settings)


RECORDS = sorted((Path(__file__).parents[2] / "benchmarks" / "comparisons").glob("*/runs/*/seed-0.json"))


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: f"{path.parents[2].name}-{path.parent.name}")
def test_a_committed_record_has_the_key_that_its_run_would_have_today(path: Path) -> None:
    """So a comparison that is taken up again trains nothing twice, though settings were renamed since."""
    record = read_record(path)
    today = resolve(make_config(record.config)).model_dump(mode="json")
    assert record_key(record) == record_key(record.model_copy(update={"config": today}))
    assert record_key(record.model_copy(update={"split": "train"})) != record_key(record)
