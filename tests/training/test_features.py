"""Features computed once: the same predictions as from the images, and nothing else in common with them."""

import errno
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import marnet
from marnet import fit, make_config
from marnet.cli.app import main
from marnet.errors import ConfigError, DataError, RunDirectoryError
from marnet.training import embed
from marnet.training.features import open_features


@pytest.fixture(scope="module")
def features(manifest_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    values = {"data": {"source": str(manifest_file), "image_size": 32}, "backbone": {"name": "timm:test_resnet"}}
    return embed(make_config(values), tmp_path_factory.mktemp("features") / "F")


def train_on(features: Path, out: Path, method: str = "marnet") -> marnet.TrainedRun:
    values = {"method": method, "data": {"features": str(features)}, "training": {"epochs": 3, "batch_size": 16}}
    return fit(make_config(values), out)


def test_features_are_those_of_the_backbone(features: Path, manifest_file: Path) -> None:
    found = open_features(features)
    records = found.manifest.split("val")
    predictor_like = marnet.read_manifest(manifest_file).split("val")
    assert [record.label for record in records] == [record.label for record in predictor_like]
    assert {name: len(rows) for name, rows in found.splits.items()} == {"train": 42, "val": 18}
    loaded = marnet.load(features / "encoder")
    assert torch.allclose(loaded.outputs(found.manifest, "val").x_v, found.splits["val"], atol=1e-5)


def test_a_run_on_features_predicts_from_images(features: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(features, tmp_path / "F"))
    result = train_on(copy, tmp_path / "run")
    shutil.rmtree(copy)  # the run needs nothing of it
    judged = marnet.evaluate(result.path)  # decodes the images and runs the backbone
    assert judged.top1 == pytest.approx(result.metrics.top1)
    assert judged.nll == pytest.approx(result.metrics.nll, abs=1e-4)


def test_the_backbone_stays_as_it_was(features: Path, tmp_path: Path) -> None:
    before = load_file(features / "encoder" / "model.safetensors")
    after = load_file(train_on(features, tmp_path / "run").path / "model.safetensors")
    names = [name for name in before if name.startswith("backbone.")]
    assert names
    assert all(torch.equal(before[name], after[name]) for name in names)


@pytest.mark.parametrize("method", ["image-only", "match", "reconstruct"])
def test_every_method_trains_on_features(features: Path, tmp_path: Path, method: str) -> None:
    assert train_on(features, tmp_path / "run", method).metrics.n == 18


def test_the_command_line(
    manifest_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["marnet", *words])
        with pytest.raises(SystemExit) as stopped:
            main()
        return int(stopped.value.code or 0)

    source, other = str(manifest_file), "other.csv"
    assert call("embed", source, "--backbone", "timm:test_resnet", "--image-size", "32", "--out", "F") == 0
    assert call("train", "--features", "F", "--epochs", "1", "--batch-size", "16", "--out", "R") == 0
    assert call("evaluate", "R", "--json") == 0
    capsys.readouterr()
    assert call("train", "--features", "F", "--backbone", "timm:resnet18", "--data", other, "--out", "S") == 1
    assert (
        f"--features brings its own data and backbone, but --data {other}, --backbone timm:resnet18 was given as well."
    ) in capsys.readouterr().err
    assert call("embed", source, "--out", "F") == 1
    assert "F already holds something; nothing was changed" in capsys.readouterr().err


def test_features_take_neither_a_backbone_nor_other_rows_beside_them(features: Path, tmp_path: Path) -> None:
    config = make_config({"data": {"features": str(features)}})
    with pytest.raises(ConfigError, match=r"`data.features` brings its own backbone, but `backbone` was given as well"):
        fit(config, tmp_path / "run", backbone=marnet.Backbone(torch.nn.Identity()))
    rows = [("a.png", "red", "apple"), ("b.png", "green", "lime")] * 10
    with pytest.raises(DataError, match=r"has the image .*a.png in split 'train', of which there is no feature"):
        marnet.train(rows, out=tmp_path / "run", settings={"data.features": str(features)})


def test_damage_is_named(features: Path, tmp_path: Path) -> None:
    with pytest.raises(
        RunDirectoryError, match=r"has no features.safetensors\. Name a folder written by 'marnet embed'"
    ):
        open_features(tmp_path)
    copy = Path(shutil.copytree(features, tmp_path / "F"))
    rows = load_file(copy / "features.safetensors")
    save_file({**rows, "val": rows["val"][:-1].clone()}, copy / "features.safetensors")
    with pytest.raises(RunDirectoryError, match=r"they must be equal\. Embed the source again"):
        open_features(copy)
    (copy / "features.safetensors").write_bytes(b"cut short")
    with pytest.raises(RunDirectoryError, match=r"features.safetensors is damaged .* Embed the source again"):
        open_features(copy)


def test_embed_goes_on_after_a_full_disk(
    features: Path, manifest_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(
        {"data": {"source": str(manifest_file), "image_size": 32}, "backbone": {"name": "timm:test_resnet"}}
    )

    def on_a_full_disk(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("marnet.training.features.save_tensors", on_a_full_disk)
        with pytest.raises(RunDirectoryError, match=r"features\.safetensors could not be written: No space left"):
            embed(config, tmp_path / "F")
    embed(config, tmp_path / "F")
    assert (tmp_path / "F" / "features.safetensors").read_bytes() == (features / "features.safetensors").read_bytes()
    with pytest.raises(RunDirectoryError, match="already holds something; nothing was changed"):
        embed(config, tmp_path / "F")


@pytest.mark.parametrize("name", ["encoder/history.csv", "encoder/checkpoints/last.ckpt", "notes.txt"])
def test_embed_takes_no_other_folder_for_its_own(name: str, manifest_file: Path, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(RunDirectoryError, match="already holds something; nothing was changed"):
        embed(make_config({"data": {"source": str(manifest_file)}}), tmp_path)
    assert (tmp_path / name).read_text() == "mine"
