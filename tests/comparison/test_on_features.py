"""A comparison on features: every arm trains on the same ones, as `train` would, and is scored on them."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

import marnet
from marnet.comparison import single_run
from marnet.comparison.data import open_comparison_data
from marnet.comparison.plan import make_comparison_config, read_comparison_config
from marnet.comparison.records import RunRecord
from marnet.comparison.runner import run_comparison
from marnet.config import make_config
from marnet.config.nested import merge_settings
from marnet.data.manifest import read_manifest
from marnet.errors import ConfigError, DataError, RunDirectoryError
from marnet.evaluation.robustness import corruption_scores
from marnet.training import embed
from marnet.training.features import open_features
from marnet.training.fit import fit

Call = Callable[..., tuple[int, str, str]]
TRAINING = {"epochs": 3, "batch_size": 16, "devices": "cpu"}
ARMS = ["image-only", "marnet", "marnet-shuffled", "marnet-random"]


def embedded(source: Path, out: Path, *, seed: int = 0) -> Path:
    values = {
        "data": {"source": str(source), "image_size": 32},
        "backbone": {"name": "timm:test_resnet"},
        "training": {"seed": seed},
    }
    return embed(make_config(values), out)


@pytest.fixture(scope="module")
def features(manifest_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return embedded(manifest_file, tmp_path_factory.mktemp("features") / "F")


def plan(features: Path, **more: Any) -> dict[str, Any]:
    base = {"data": {"features": str(features)}, "training": TRAINING}
    return {"base": base, "arms": ARMS, "seeds": 1, **more}


@pytest.fixture(scope="module")
def found(features: Path, tmp_path_factory: pytest.TempPathFactory) -> marnet.Comparison:
    return marnet.compare(plan(features), out=tmp_path_factory.mktemp("comparison") / "out")


def of_arm(records: tuple[RunRecord, ...], arm: str) -> RunRecord:
    return next(record for record in records if record.arm == arm)


@pytest.mark.parametrize("arm", ["image-only", "marnet"])
def test_a_run_is_the_one_that_train_would_make(
    found: marnet.Comparison, features: Path, tmp_path: Path, arm: str
) -> None:
    values = {"method": arm, "data": {"features": str(features)}, "training": TRAINING}
    alone = fit(make_config(values), tmp_path / "run")
    compared = found.path / "work" / arm / "seed-0"
    first, second = (load_file(run / "model.safetensors") for run in (alone.path, compared))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    record = of_arm(found.records, arm)
    assert record.metrics == pytest.approx(alone.metrics._asdict(), abs=1e-6)  # of other batches
    assert record.metrics == pytest.approx(marnet.evaluate(compared)._asdict(), abs=1e-4)  # decodes the images
    assert record.config["backbone"] == {**record.config["backbone"], "name": "timm:test_resnet", "freeze": True}
    assert record.config["data"]["image_size"] == 32


def test_placebos_and_budgets_change_the_rows(found: marnet.Comparison, features: Path, tmp_path: Path) -> None:
    losses = {record.arm: record.history[-1]["train/loss"] for record in found.records}
    assert len(set(losses.values())) == len(ARMS)
    half = marnet.compare(plan(features, label_budget=0.5), methods=["image-only"], out=tmp_path / "half")
    recorded = marnet.load(tmp_path / "half" / "work" / "image-only" / "seed-0").manifest().splits()
    assert recorded == {"train": 21, "val": 18}
    assert half.records[0].key != of_arm(found.records, "image-only").key


def test_rows_may_be_kept_without_their_labels(features: Path, tmp_path: Path) -> None:
    never = {"name": "never", "method": "marnet", "settings": {"training": {"unlabelled": "never"}}}
    content = plan(features, label_budget=0.5, keep_unlabelled=True) | {"arms": ["image-only", "marnet", never]}
    kept = marnet.compare(content, out=tmp_path / "kept")
    for arm in ("image-only", "marnet", "never"):
        run = tmp_path / "kept" / "work" / arm / "seed-0"
        assert marnet.load(run).manifest().splits() == {"train": 21, "val": 18, "unlabelled": 21}
        assert json.loads((run / "metrics.json").read_text())["data"]["unlabelled"]["rows"] == 21
    record = of_arm(kept.records, "image-only")
    assert record.keep_unlabelled
    dropped = marnet.compare({**content, "keep_unlabelled": False}, out=tmp_path / "dropped")
    assert of_arm(dropped.records, "image-only").history == record.history  # it ignores them
    assert of_arm(dropped.records, "image-only").key != record.key
    with pytest.raises(RunDirectoryError, match="keep_unlabelled was False and is now True"):
        marnet.compare(content, out=tmp_path / "dropped")


def test_features_follow_rows_that_lost_or_got_a_label(features: Path) -> None:
    found = open_features(features)
    train = found.manifest.split("train")
    lost = dataclasses.replace(
        found.manifest,
        records=tuple(
            record._replace(split="unlabelled", label="") if record in train[::2] else record
            for record in found.manifest.records
        ),
    )
    moved = found.with_rows(lost)
    assert torch.equal(moved.splits["unlabelled"], found.splits["train"][::2])
    assert torch.equal(moved.splits["train"], found.splits["train"][1::2])
    back = moved.with_rows(found.manifest)
    assert all(torch.equal(back.splits[name], found.splits[name]) for name in found.splits)
    scored = dataclasses.replace(lost, records=(train[0]._replace(split="val"),))
    with pytest.raises(DataError, match="in split 'val', of which there is no feature"):
        found.with_rows(scored)


def test_it_is_not_repeated_even_if_the_folder_was_moved(
    found: marnet.Comparison, features: Path, tmp_path: Path
) -> None:
    moved = Path(shutil.copytree(features, tmp_path / "moved"))
    again = marnet.compare(plan(moved), out=found.path)
    assert again.records == found.records


def test_other_features_give_another_key(found: marnet.Comparison, manifest_file: Path, tmp_path: Path) -> None:
    other = embedded(manifest_file, tmp_path / "F", seed=1)
    with pytest.raises(RunDirectoryError, match="with other settings: the digest of the features was '"):
        marnet.compare(plan(other), out=found.path)
    images = {"data": {"source": str(manifest_file), "image_size": 32}, "backbone": {"name": "timm:test_resnet"}}
    with pytest.raises(RunDirectoryError, match=r"the digest of the features was '[0-9a-f]{16}' and is now ''"):
        marnet.compare({**plan(other), "base": images | {"training": TRAINING}}, out=found.path)


def test_an_unfinished_run_goes_on(
    found: marnet.Comparison, features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resumed = []

    def stopped(config: Any, out: Path, **options: Any) -> Any:
        def stop(epoch: int, epochs: int) -> None:
            options["on_epoch"](epoch, epochs)
            if epoch == 2:
                raise KeyboardInterrupt

        return fit(config, out, **{**options, "on_epoch": stop})

    def noted(config: Any, out: Path, **options: Any) -> Any:
        resumed.append(options["resume"])
        return fit(config, out, **options)

    comparison = make_comparison_config(plan(features))
    monkeypatch.setattr(single_run, "fit", stopped)
    with pytest.raises(KeyboardInterrupt):
        run_comparison(comparison, tmp_path / "out", methods=["marnet-shuffled"])
    monkeypatch.setattr(single_run, "fit", noted)
    result = run_comparison(comparison, tmp_path / "out", methods=["marnet-shuffled"])
    assert resumed == [True]
    assert result.records[0].predictions == of_arm(found.records, "marnet-shuffled").predictions
    assert result.records[0].metrics == of_arm(found.records, "marnet-shuffled").metrics


def test_corruptions_go_through_the_encoder_and_need_the_images(
    manifest_file: Path, tmp_path: Path, found: marnet.Comparison
) -> None:
    shutil.copytree(manifest_file.parent, tmp_path / "pictures")
    folder = embedded(tmp_path / "pictures" / manifest_file.name, tmp_path / "F")
    robust = marnet.compare(plan(folder, corruptions=True), methods=["image-only"], out=tmp_path / "robust")
    kept = marnet.load(tmp_path / "robust" / "work" / "image-only" / "seed-0", device="cpu")
    assert robust.records[0].robustness is not None
    some = corruption_scores(kept, kept.manifest(), "val", corruptions=("fog",))
    assert robust.records[0].robustness["fog"] == some["fog"]
    shutil.rmtree(tmp_path / "pictures")
    with pytest.raises(DataError, match=r"of the 18 images of split 'val' .*, 18 do not exist any more: .* Restore"):
        marnet.compare(plan(folder, corruptions=True), out=tmp_path / "more")
    without = marnet.compare(plan(folder), methods=["marnet"], out=tmp_path / "without")
    assert without.records[0].metrics == of_arm(found.records, "marnet").metrics


def test_the_flag_replaces_the_rows_of_the_file(
    features: Path, manifest_file: Path, tmp_path: Path, call: Call, found: marnet.Comparison
) -> None:
    file = tmp_path / "plan.yaml"
    content = merge_settings(plan(features), {"base": {"data": {"features": None, "source": "absent.csv"}}})
    file.write_text(yaml.safe_dump({**content, "arms": ["image-only"]}))
    code, _, error = call("compare", file, "--features", features, "--out", tmp_path / "out")
    assert code == 0, error
    record = json.loads((tmp_path / "out" / "runs" / "image-only" / "seed-0.json").read_text())
    assert record["metrics"] == of_arm(found.records, "image-only").metrics
    back = read_comparison_config(file, values={"base": {"data": {"source": str(manifest_file)}}})
    assert open_comparison_data(make_config(back.base)).features is None
    code, _, error = call(
        "compare", file, "--features", features, "--out", tmp_path / "no", "--set", "data.image_size=64"
    )
    assert code == 1
    assert "In arm 'image-only' of the comparison" in error
    assert "brings its own data and backbone, but" in error
    assert not (tmp_path / "no").exists()


def test_rows_in_memory_replace_the_features_of_a_plan(features: Path, manifest_file: Path) -> None:
    rows = read_manifest(manifest_file)
    with pytest.raises(ConfigError, match=r"`data.features` brings its own rows, but `data` was given as well"):
        run_comparison(make_comparison_config(plan(features)), Path("never"), manifest=rows)


def test_rows_without_a_feature_are_refused(features: Path, tmp_path: Path) -> None:
    found = open_features(features)
    first = found.manifest.split("train")[0]
    some = found.with_rows(dataclasses.replace(found.manifest, records=found.manifest.records[5:]))
    assert torch.equal(some.splits["train"], found.splits["train"][5:])
    strange = dataclasses.replace(found.manifest, records=(first._replace(image="/strange.png"),))
    with pytest.raises(DataError, match=r"has the image /strange.png in split 'train', of which there is no feature"):
        found.with_rows(strange)
