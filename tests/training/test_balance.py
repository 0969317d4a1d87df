"""Rare classes: what each kind of balance does to a training, and that it can be repeated and resumed."""

import csv
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

import marnet.losses
from marnet import Config, fit, make_config
from marnet.data.manifest import write_manifest
from marnet.data.recorded import read_recorded
from marnet.errors import ConfigError
from marnet.losses import LossTerms, Objective
from marnet.outputs import MARNetOutput
from marnet.training import embed

SHADES = {"common": 120, "rare": 150}  # overlapping: the pictures' own shades differ by about as much
TRAIN = {"common": 90, "rare": 10}


@pytest.fixture(scope="module")
def shades(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of grey pictures of two classes, nine to one in train and even in val."""
    folder = tmp_path_factory.mktemp("shades")
    generator = np.random.default_rng(0)
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "text", "label", "split"])
        for label, shade in SHADES.items():
            for number in range(TRAIN[label] + 60):
                pixels = generator.normal(generator.normal(shade, 18), 10, (36, 36, 3)).clip(0, 255)
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{label}-{number}.png")
                rows.writerow([f"{label}-{number}.png", "", label, "train" if number < TRAIN[label] else "val"])
    return folder / "manifest.csv"


@pytest.fixture(scope="module")
def features(shades: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = {"source": str(shades), "image_size": 32, "augmentation": "none"}
    config = make_config({"data": data, "backbone": {"name": "timm:test_resnet"}})
    return embed(config, tmp_path_factory.mktemp("features") / "features")


def settings(features: Path, balance: str, **training: Any) -> Config:
    shared = {"epochs": 8, "batch_size": 16, "lr": 0.01, "devices": "cpu", "balance": balance}
    return make_config(
        {"method": "image-only", "data": {"features": str(features)}, "training": {**shared, **training}}
    )


def rare_recall(run: Path, features: Path) -> float:
    """The share of the rare class's val pictures that a run finds."""
    rows = read_recorded(features)
    rare = torch.tensor([row.label == "rare" for row in rows.split("val")])
    logits = marnet.load(run).model(load_file(features / "features.safetensors")["val"][rare])
    return float((logits.argmax(-1) == rows.classes.index("rare")).float().mean())


def test_each_balance_finds_more_of_a_rare_class(features: Path, tmp_path: Path) -> None:
    recall = {}
    for balance in ("none", "weights", "sampler", "logit-adjust"):
        runs = [fit(settings(features, balance, seed=seed), tmp_path / f"{balance}-{seed}").path for seed in range(2)]
        recall[balance] = float(np.mean([rare_recall(run, features) for run in runs]))
    assert all(recall[balance] > recall["none"] + 0.1 for balance in ("weights", "sampler", "logit-adjust")), recall


def test_the_sampler_repeats_itself_and_resumes_to_the_weights_of_an_unbroken_run(
    features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(features, "sampler", epochs=4)
    fit(config, tmp_path / "unbroken")
    fit(config, tmp_path / "again")
    real, steps = marnet.MARNet.training_outputs, 0

    def break_off(*arguments: Any, **named: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps > 15:  # six steps an epoch: in the third epoch
            raise OSError("the power went out")
        return real(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(marnet.MARNet, "training_outputs", break_off)
        with pytest.raises(OSError, match="the power went out"):
            fit(config, tmp_path / "broken")
    fit(config, tmp_path / "broken", resume=True)
    unbroken = last_state(tmp_path / "unbroken")
    for name in ("again", "broken"):
        found = last_state(tmp_path / name)
        assert unbroken.keys() == found.keys()
        assert all(torch.equal(unbroken[key], found[key]) for key in unbroken)


def last_state(run: Path) -> dict[str, torch.Tensor]:
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return {name: tensor for name, tensor in state.items() if isinstance(tensor, torch.Tensor)}


def test_every_branch_is_balanced(shades: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All classification terms of a `marnet` come from the balanced loss: with it replaced, none remains."""
    seen = []
    real = Objective.forward

    def watch(objective: Objective, outputs: MARNetOutput, labels: torch.Tensor) -> LossTerms:
        terms = real(objective, outputs, labels)
        balanced = objective.classify
        assert balanced.weights.tolist() == pytest.approx([100 / (2 * 90), 100 / (2 * 10)])
        objective.classify = Nothing()
        seen.append(real(objective, outputs, labels).terms)
        objective.classify = balanced
        return terms

    class Nothing(nn.Module):
        def forward(self, logits: torch.Tensor, targets: torch.Tensor, *, label_smoothing: float) -> torch.Tensor:
            return logits.sum() * 0.0

    monkeypatch.setattr(Objective, "forward", watch)
    values = {
        "data": {"source": str(with_texts(shades, tmp_path)), "image_size": 32},
        "backbone": {"name": "timm:test_resnet"},
        "text": {"trainable": True},
        "training": {"epochs": 1, "batch_size": 50, "devices": "cpu", "balance": "weights"},
    }
    fit(make_config(values), tmp_path / "run")
    judged = {name for name, term in seen[0].items() if float(term.detach()) == 0.0}
    assert judged == {"visual", "alignment", "semantic", "text"}


def with_texts(manifest: Path, folder: Path) -> Path:
    rows = marnet.read_manifest(manifest)
    records = tuple(row._replace(text=f"a {row.label} grey") for row in rows.records)
    write_manifest(dataclasses.replace(rows, records=records), folder / "texts.csv")
    return folder / "texts.csv"


def test_several_classes_an_image_refuse_the_sampler_before_any_image_is_read(tmp_path: Path) -> None:
    rows = [("a.png", "x, y", "train"), ("b.png", "", "train"), ("c.png", "x", "val")]
    file = tmp_path / "rows.csv"
    file.write_text("image,text,label,split\n" + "".join(f'{image},t,"{label}",{s}\n' for image, label, s in rows))
    values = {"data": {"source": str(file), "labels": "multi"}, "training": {"balance": "sampler"}}
    with pytest.raises(
        ConfigError,
        match=r"`training.balance=sampler` draws every class equally often, which is impossible here: images have "
        r"several classes, which come together\. Choose `training.balance=weights` or "
        r"`training.balance=logit-adjust`\.",
    ):
        fit(make_config(values), tmp_path / "run")
