"""From the file of a comparison to its runs: arms, order, keys, and how mistakes are answered."""

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from marnet.comparison.arms import KNOWN_ARMS
from marnet.comparison.data import fingerprint
from marnet.comparison.plan import (
    Arm,
    ComparisonConfig,
    base_config,
    configure,
    plan_run,
    plan_runs,
    read_comparison_config,
)
from marnet.config import Config, make_config
from marnet.data.manifest import read_manifest
from marnet.errors import ConfigError, EncoderError
from marnet.methods import list_methods, resolve

BASE = {"data": {"source": "synthetic", "image_size": 32}, "training": {"epochs": 3}}


def comparison(*arms: Any, **settings: Any) -> ComparisonConfig:
    return ComparisonConfig.model_validate({"base": BASE, "arms": list(arms or ["image-only", "marnet"]), **settings})


def refusal(tmp_path: Path, **content: Any) -> str:
    path = tmp_path / "comparison.yaml"
    path.write_text(yaml.safe_dump({"base": BASE, "arms": ["image-only"], **content}))
    with pytest.raises((ConfigError, EncoderError)) as refused:
        read_comparison_config(path)
    return str(refused.value)


def test_runs_go_seed_by_seed_in_the_order_of_the_file() -> None:
    runs = plan_runs(comparison("marnet", "image-only", seeds=3), "rows")
    assert [run.name for run in runs] == [
        "marnet/seed-0", "image-only/seed-0", "marnet/seed-1", "image-only/seed-1", "marnet/seed-2",
        "image-only/seed-2",
    ]  # fmt: skip
    assert [run.config.training.seed for run in runs] == [0, 0, 1, 1, 2, 2]
    assert {run.config.training.epochs for run in runs} == {3}


def test_base_and_arms_may_start_from_a_preset(tmp_path: Path) -> None:
    literal = {"name": "literal", "method": "marnet", "settings": {"preset": "paper", "losses": {"text": 5}}}
    ours = configure(comparison(literal), comparison(literal).arms[0], 0)
    assert (ours.fusion.kind, ours.losses.text, ours.losses.matching, ours.training.epochs) == ("concat", 5, 1, 3)
    all_of_them = ComparisonConfig.model_validate({"base": {"preset": "paper", **BASE}, "arms": ["marnet", "match"]})
    assert {configure(all_of_them, arm, 0).fusion.kind for arm in all_of_them.arms} == {"concat"}
    assert base_config(all_of_them).training.epochs == 3
    sentence = "Preset 'papr' is not known. Expected 0.1 or paper. Did you mean 'paper'?"
    assert refusal(tmp_path, base={**BASE, "preset": "papr"}).endswith(sentence)
    unknown = {**literal, "settings": {"preset": "papr"}}
    assert refusal(tmp_path, arms=[unknown]) == f"In arm 'literal' of the comparison: {sentence}"


def test_every_method_its_placebos_and_the_ablations_have_a_name() -> None:
    assert set(KNOWN_ARMS) == {
        *list_methods(),
        *(
            f"{name}-{kind}"
            for name in list_methods()
            if name != "image-only"
            for kind in ("shuffled", "random", "constant")
        ),
        "marnet-no-mse",
        "marnet-no-semantic",
    }
    arms = comparison(*KNOWN_ARMS).arms
    assert [arm.name for arm in arms] == list(KNOWN_ARMS)
    found = {arm.name: configure(comparison(), arm, 0) for arm in arms}
    assert all(found[name].method == name for name in list_methods())
    assert found["marnet-shuffled"] == found["marnet"]  # its rows differ
    assert found["match-random"].text.name == "random:bow"
    assert found["match-random"].method == "match"
    whole = found["marnet"].losses
    assert found["marnet-no-mse"].losses == whole.model_copy(update={"reconstruction": 0.0, "linear_head": 0.0})
    assert found["marnet-no-semantic"].losses == whole.model_copy(update={"semantic": 0.0})
    assert whole.reconstruction > 0
    assert whole.semantic > 0


def test_an_arm_may_have_settings_of_its_own() -> None:
    arms = comparison(
        {"name": "wide", "method": "marnet", "settings": {"reconstruction": {"width": 512}}},
        {"name": "marnet-no-mse", "settings": {"losses": {"matching": 0.5}, "training": {"epochs": 9}}},
        {"name": "regress-random", "settings": {"text": {"name": "tags"}}},
        {"name": "odd", "method": "match", "placebo": "shuffled"},
    ).arms
    wide, ablation, placebo, odd = (configure(comparison(), arm, 4) for arm in arms)
    assert (wide.reconstruction.width, wide.training.epochs, wide.training.seed) == (512, 3, 4)
    assert (ablation.losses.matching, ablation.losses.reconstruction, ablation.training.epochs) == (0.5, 0.0, 9)
    assert placebo.text.name == "random:tags"
    assert (odd.method, arms[3].placebo) == ("match", "shuffled")


def test_the_key_changes_with_what_determines_a_run_and_with_nothing_else() -> None:
    def key(arm: Any = "marnet", seed: int = 0, rows: str = "rows", **settings: Any) -> str:
        planned = comparison(arm, **settings)
        return plan_run(planned, planned.arms[0], seed, rows).key

    def base(**sections: Any) -> dict[str, Any]:
        return {name: {**BASE.get(name, {}), **sections.get(name, {})} for name in BASE | sections}

    same = [
        key(),
        key(seeds=9),
        key(corruptions=True),
        key(keep_runs="all"),
        key(base=base(data={"source": "elsewhere.csv", "workers": 3, "cache": False})),
        key(base=base(training={"devices": "cpu"})),
        key(
            {"name": "marnet", "settings": {"losses": {"matching": Config().losses.matching}}}
        ),  # the default, written out
    ]
    assert set(same) == {key()}
    different = [
        key(),
        key(seed=1),
        key(rows="others"),
        key("match"),
        key("marnet-shuffled"),
        key("marnet-random"),
        key(split="test"),
        key(label_budget=0.5),
        key(label_budget=0.5, keep_unlabelled=True),
        key({"name": "marnet", "settings": {"training": {"unlabelled": "never"}}}),
        key(text_budget=0.5),
        key(base=base(training={"lr": 0.01})),
        key(base=base(data={"image_size": 64})),
        key({"name": "marnet", "settings": {"losses": {"matching": 0.3}}}),
    ]
    assert len(set(different)) == len(different)


def test_the_fingerprint_of_the_rows_does_not_depend_on_where_they_lie(manifest_file: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(manifest_file.parent, tmp_path / "moved")) / manifest_file.name
    before = fingerprint(read_manifest(manifest_file))
    assert fingerprint(read_manifest(moved)) == before
    with moved.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for column, value in (("text", "changed"), ("label", "eel"), ("split", "val")):
        changed = [{**rows[1], column: value}, *rows]
        target = moved.with_name(f"{column}.csv")
        with target.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(changed[:1] + changed[1:2] + changed[3:])
        assert fingerprint(read_manifest(target)) != before
    with (moved.parent / rows[0]["image"]).open("ab") as image:
        image.write(b"more")
    assert fingerprint(read_manifest(moved)) != before


def test_values_and_sets_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "comparison.yaml"
    path.write_text(yaml.safe_dump({"base": BASE, "arms": ["image-only"], "seeds": 4, "label_budget": 0.5}))
    found = read_comparison_config(
        path, values={"seeds": 2, "base": {"data": {"source": "mine.csv"}}}, sets=["training.epochs=7"]
    )
    assert (found.seeds, found.label_budget) == (2, 0.5)
    config = configure(found, found.arms[0], 0)
    assert (config.data.source, config.data.image_size, config.training.epochs) == ("mine.csv", 32, 7)


def test_the_arm_image_only_is_not_changed_by_settings_of_other_methods() -> None:
    config = configure(comparison(), Arm.model_validate("image-only"), 0)
    plain = resolve(make_config({**BASE, "method": "image-only"}))
    assert config == plain


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"seed": 3}, "`seed`: unknown key. Did you mean 'seeds'"),
        ({"seeds": 0}, "`seeds`: found 0; input should be greater than or equal to 1"),
        ({"arms": []}, "`arms`: found []"),
        ({"arms": ["marnett"]}, "arm 'marnett' is not known and names no method. Expected one of image-only, match"),
        ({"arms": ["marnett"]}, "Did you mean 'marnet'"),
        ({"arms": [{"name": "marnet", "setings": {}}]}, "`arms.0.setings`: unknown key. Did you mean 'settings'"),
        ({"arms": [{"name": "a/b", "method": "match"}]}, "`arms.0.name`: found 'a/b'"),
        ({"arms": [{"name": "a", "method": "macth"}]}, "Did you mean 'match'"),
        ({"arms": ["match", "match"]}, "arms match occur more than once"),
        ({"arms": [{"name": "x", "method": "match", "settings": {"training": {"epoch": 3}}}]},
         "In arm 'x' of the comparison: The configuration cannot be used:\n  `training.epoch`: unknown key. "
         "Did you mean 'epochs'"),
        ({"arms": [{"name": "x", "method": "image-only", "placebo": "random"}]},
         "In arm 'x' of the comparison: method 'image-only' learns from no text"),
        ({"base": {"method": "match", "training": {"seed": 3}}},
         "base of the comparison sets method, training.seed, which each arm and seed decide"),
        ({"arms": [{"name": "x", "method": "match", "settings": {"data": {"features": "folder"}}}]},
         "In arm 'x' of the comparison: the arm sets `data.features`, but all arms train on the same rows"),
        ({"base": {"text": {"name": "bwo"}}, "arms": ["match"]}, "Text encoder 'bwo' is not known"),
        ({"label_budget": 0}, "`label_budget`: found 0; input should be greater than 0"),
        ({"keep_unlabelled": True}, "keeps the rows beyond `label_budget` without their labels, but the budget of 1"),
        ({"text_budget": 1.5}, "`text_budget`: found 1.5; input should be less than or equal to 1"),
        ({"split": "vla"}, "Did you mean 'val'"),
    ],
)  # fmt: skip
def test_mistakes_are_named(content: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    assert sentence in refusal(tmp_path, **content)


@pytest.mark.parametrize("path", sorted(Path(__file__).parents[2].glob("configs/*.yaml")), ids=lambda path: path.stem)
def test_the_shipped_comparisons_can_be_read(path: Path) -> None:
    found = read_comparison_config(path)
    names = [arm.name for arm in found.arms]
    assert set(list_methods()) < set(names)
    assert {"marnet-shuffled", "marnet-random", "marnet-no-mse", "marnet-no-semantic"} < set(names)
    assert found.seeds >= 5
    assert len(plan_runs(found, "rows")) == found.seeds * len(names)
