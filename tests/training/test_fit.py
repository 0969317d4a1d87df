"""`fit` on small real files: repeatability, resuming, skipping, refusing."""

import csv
import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import marnet
from marnet import Backbone, Config, fit, make_config
from marnet.building import build_model
from marnet.encoders.visual import make_backbone
from marnet.errors import DataError, MarnetError, NonFiniteLossError, RunDirectoryError
from marnet.methods.parts import alignment, reconstruction
from marnet.runs.directory import read_history
from marnet.runs.weights import load_run
from marnet.training.lightning import callbacks
from marnet.training.schedule import warmup_cosine


def settings(manifest: Path, **training: Any) -> Config:
    return make_config(
        {
            "data": {"source": str(manifest), "image_size": 32},
            "backbone": {"name": "timm:test_resnet"},
            "training": {"epochs": 2, "batch_size": 16, "devices": "cpu", **training},
        }
    )


def same_weights(one: Path, other: Path) -> bool:
    a, b = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def resume_point(run: Path) -> int:
    """After how many epochs it was saved."""
    return int(torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["epoch"]) + 1


def last_state(run: Path) -> dict[str, torch.Tensor]:
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return {name: tensor for name, tensor in state.items() if isinstance(tensor, torch.Tensor)}


def test_two_runs_with_one_seed_end_in_identical_weights_and_another_seed_does_not(
    manifest_file: Path, tmp_path: Path
) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        fit(settings(manifest_file, seed=seed), tmp_path / name)
    assert same_weights(tmp_path / "a", tmp_path / "b")
    assert not same_weights(tmp_path / "a", tmp_path / "c")


def test_the_number_of_loader_processes_changes_nothing(manifest_file: Path, tmp_path: Path) -> None:
    config = settings(manifest_file)
    parallel = config.model_copy(update={"data": config.data.model_copy(update={"workers": 2})})
    fit(config, tmp_path / "alone")
    fit(parallel, tmp_path / "helped")
    assert same_weights(tmp_path / "alone", tmp_path / "helped")


@pytest.mark.parametrize(("seconds", "saved"), [(0.0, [1, 2, 3, 4]), (1e9, [1, 4])])
def test_a_run_that_was_cut_off_resumes_to_the_weights_of_an_unbroken_one(
    manifest_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, saved: list[int]
) -> None:
    """However rarely short epochs leave a resume point."""
    monkeypatch.setattr(callbacks, "RESUME_SECONDS", seconds)
    config = settings(manifest_file, epochs=4)
    fit(config, tmp_path / "unbroken")

    real = marnet.model.MARNet.training_outputs
    steps = 0

    def break_off(*args: Any, **kwargs: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps > 5:  # two steps an epoch: in the third epoch
            raise OSError("the power went out")
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(marnet.model.MARNet, "training_outputs", break_off)
        with pytest.raises(OSError, match="the power went out"):
            fit(config, tmp_path / "broken")
    assert [row["epoch"] for row in read_history(tmp_path / "broken" / "history.csv")] == [1, 2]
    assert resume_point(tmp_path / "broken") == max(epoch for epoch in saved if epoch < 3)
    assert marnet.load(tmp_path / "broken").classes  # usable though unfinished

    fit(config, tmp_path / "broken", resume=True)
    unbroken, resumed = last_state(tmp_path / "unbroken"), last_state(tmp_path / "broken")
    assert all(torch.equal(unbroken[name], resumed[name]) for name in unbroken)
    assert same_weights(tmp_path / "unbroken", tmp_path / "broken")
    assert resume_point(tmp_path / "broken") == 4
    assert [row["epoch"] for row in read_history(tmp_path / "broken" / "history.csv")] == [1, 2, 3, 4]


@pytest.mark.parametrize("keep", ["averaged", "last", "best"])
def test_the_saved_weights_are_those_that_were_asked_for(manifest_file: Path, tmp_path: Path, keep: str) -> None:
    result = fit(settings(manifest_file, epochs=5, lr=5e-3, keep=keep, calibrate=False), tmp_path / "run")
    history = read_history(tmp_path / "run" / "history.csv")
    scores = [row["val/top1"] for row in history]
    kept = max(scores) if keep == "best" else scores[-1]
    assert result.metrics.top1 == pytest.approx(kept)
    nll = {row["val/nll"] for row in history if row["val/top1"] == pytest.approx(kept)}
    assert any(result.metrics.nll == pytest.approx(value, rel=1e-3) for value in nll)
    report = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert report["val"]["top1"] == result.metrics.top1
    assert report["kept"]["weights"] == keep
    assert report["kept"]["flatters"] == pytest.approx(max(scores) - scores[-1] if keep == "best" else 0.0)
    assert {"train/loss", "train/visual", "train/matching", "train/reconstruction", "lr"} <= history[0].keys()
    assert not (tmp_path / "run" / "calibration.json").exists()


def test_training_stops_early_when_val_no_longer_improves(manifest_file: Path, tmp_path: Path) -> None:
    fit(settings(manifest_file, epochs=30, lr=1e-9, patience=2), tmp_path / "run")
    assert len(read_history(tmp_path / "run" / "history.csv")) < 30


@pytest.mark.parametrize(("term", "calls_a_step"), [("matching", 1), ("reconstruction", 2)])  # denoiser and guess
def test_a_loss_that_turns_nan_stops_training_names_the_term_and_keeps_the_best_weights(
    manifest_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, term: str, calls_a_step: int
) -> None:
    part = {"matching": alignment, "reconstruction": reconstruction}[term]  # the file that scores the term
    function = f"{term}_loss"
    real, calls = getattr(part, function), 0

    def turn_nan(*args: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        value: torch.Tensor = real(*args)
        # Two steps an epoch: in the last step of the second epoch.
        return value * float("nan") if calls > 3 * calls_a_step else value

    monkeypatch.setattr(part, function, turn_nan)
    with pytest.raises(NonFiniteLossError, match=rf"loss term '{term}'.* became NaN or infinite in epoch 2, step 2"):
        fit(settings(manifest_file), tmp_path / "run")
    weights = load_file(tmp_path / "run" / "model.safetensors")
    assert all(bool(torch.isfinite(tensor).all()) for tensor in weights.values())
    assert len(read_history(tmp_path / "run" / "history.csv")) == 1


def test_broken_images_stop_training_before_the_first_epoch_with_all_of_them(
    manifest_file: Path, tmp_path: Path
) -> None:
    manifest = damage(manifest_file, tmp_path)
    with pytest.raises(DataError) as caught:
        fit(settings(manifest), tmp_path / "run")
    message = str(caught.value)
    assert "broken-0.png" in message
    assert "broken-1.png" in message
    assert "`data.on_bad_image=skip`" in message
    assert not (tmp_path / "run").exists()


def test_broken_images_are_skipped_and_counted_when_asked(manifest_file: Path, tmp_path: Path) -> None:
    config = settings(damage(manifest_file, tmp_path))
    skipping = config.model_copy(update={"data": config.data.model_copy(update={"on_bad_image": "skip"})})
    fit(skipping, tmp_path / "run")
    report = json.loads((tmp_path / "run" / "metrics.json").read_text())
    names = sorted(Path(skipped["path"]).name for skipped in report["data"]["skipped_images"])
    assert names == ["broken-0.png", "broken-1.png"]


def damage(manifest_file: Path, folder: Path) -> Path:
    """A copy of the manifest with one broken image in train and one in val."""
    with manifest_file.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["image"] = str(manifest_file.parent / row["image"])
    for number, split in enumerate(("train", "val")):
        path = folder / f"broken-{number}.png"
        path.write_bytes(b"")
        next(row for row in rows if row["split"] == split)["image"] = str(path)
    target = folder / "damaged.csv"
    with target.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return target


def test_a_method_that_needs_text_says_so_when_there_is_none(manifest_file: Path, tmp_path: Path) -> None:
    rows = manifest_file.read_text().splitlines()
    blank = tmp_path / "blank.csv"
    header = rows[0].split(",")
    with manifest_file.open(newline="") as file, blank.open("w", newline="") as out:
        writer = csv.DictWriter(out, header)
        writer.writeheader()
        for row in csv.DictReader(file):
            writer.writerow({**row, "text": " ", "image": str(manifest_file.parent / row["image"])})
    with pytest.raises(
        DataError, match=r"Method 'marnet' learns from text, but all \d+ training rows .* `method=image-only`"
    ):
        fit(settings(blank), tmp_path / "run")
    plain = settings(blank).model_dump()
    plain.update(method="image-only", alignment={}, reconstruction={})
    fit(make_config(plain), tmp_path / "run")


def test_a_run_is_not_overwritten_unasked(manifest_file: Path, tmp_path: Path) -> None:
    fit(settings(manifest_file, epochs=1), tmp_path / "run")
    with pytest.raises(RunDirectoryError, match="already holds a run"):
        fit(settings(manifest_file, epochs=1), tmp_path / "run")
    fit(settings(manifest_file, epochs=1, seed=3), tmp_path / "run", overwrite=True)
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["seed"] == 3


def test_a_failed_overwrite_leaves_the_old_run_alone(manifest_file: Path, tmp_path: Path) -> None:
    fit(settings(manifest_file, epochs=1), tmp_path / "run")
    with pytest.raises(DataError):
        fit(settings(damage(manifest_file, tmp_path), epochs=1), tmp_path / "run", overwrite=True)
    assert marnet.load(tmp_path / "run").classes


class OwnNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.layers(images)
        return features


def test_a_module_of_ones_own_trains_and_is_asked_for_when_loading(manifest_file: Path, tmp_path: Path) -> None:
    result = fit(settings(manifest_file), tmp_path / "run", backbone=Backbone(OwnNet()))
    with pytest.raises(RunDirectoryError, match=r"a backbone that was handed over in Python, .*backbone=\.\.\."):
        marnet.load(result.path)
    predictor = marnet.load(result.path, backbone=OwnNet())
    image = predictor.manifest().split("val")[0].image
    assert sum(predictor.predict([image], top=3)[0].probabilities) == pytest.approx(1.0, abs=1e-5)


def test_every_method_starts_from_the_same_backbone(manifest_file: Path, tmp_path: Path) -> None:
    seen = {}

    def remember(config: Config, **parts: Any) -> marnet.MARNet:
        model = build_model(config, **parts)
        seen[config.method] = {name: tensor.clone() for name, tensor in model.backbone.state_dict().items()}
        return model

    for method in ("image-only", "marnet"):
        values = settings(manifest_file, epochs=1).model_dump()
        values.update(method=method, alignment={}, reconstruction={})
        fit(make_config(values), tmp_path / method, model_factory=remember)
    assert all(torch.equal(seen["image-only"][name], seen["marnet"][name]) for name in seen["marnet"])


@pytest.mark.parametrize(("devices", "precision"), [("cuda:1", "32"), ("tpu", "32"), ("cpu:x", "32")])
def test_what_the_machine_does_not_have_is_said(
    manifest_file: Path, tmp_path: Path, devices: str, precision: str
) -> None:
    if devices.startswith("cuda") and torch.cuda.is_available():
        pytest.skip("this machine has what the test wants absent")
    with pytest.raises(MarnetError, match=r"`training\.devices="):
        fit(settings(manifest_file, devices=devices, precision=precision), tmp_path / "run")


@pytest.mark.parametrize("precision", ["bf16-mixed", "64"])
def test_other_precisions_train(manifest_file: Path, tmp_path: Path, precision: str) -> None:
    result = fit(settings(manifest_file, precision=precision), tmp_path / "run")
    assert result.metrics.n > 0
    assert {weight.dtype for weight in load_run(tmp_path / "run").model.parameters()} == {torch.float32}


def test_learning_rate_rises_then_falls_to_the_floor() -> None:
    factors = [warmup_cosine(step, 10, 100, 0.1) for step in range(101)]
    assert factors[0] == pytest.approx(1 / 11)
    assert factors[10] == pytest.approx(1.0)
    assert factors[55] == pytest.approx(0.1 + 0.9 / 2)
    assert factors[100] == pytest.approx(0.1)
    assert all(a < b for a, b in pairwise(factors[:11]))
    assert all(a >= b for a, b in pairwise(factors[10:]))


def test_pretrained_backbones_are_named_by_family() -> None:
    assert make_backbone("timm:test_resnet", image_size=32).mean == pytest.approx((0.5, 0.5, 0.5), abs=0.1)


@pytest.mark.slow
def test_two_training_processes(manifest_file: Path, tmp_path: Path) -> None:
    """They share the rows out, agree on every figure and leave one run."""
    flags = ["--backbone", "timm:test_resnet", "--image-size", "32", "--batch-size", "8", "--epochs", "3"]
    command = [sys.executable, "-m", "marnet", "train", "--data", manifest_file, *flags, "--devices", "cpu:2"]
    subprocess.run([*command, "--set", "data.workers=1", "--out", tmp_path / "run"], check=True, timeout=300)
    history = read_history(tmp_path / "run" / "history.csv")
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert history[-1]["train/loss"] < history[0]["train/loss"]
    assert resume_point(tmp_path / "run") == 3
    assert marnet.evaluate(tmp_path / "run").n == 18
