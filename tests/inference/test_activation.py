"""Class activation maps: against the sum that defines them, on the layers of many backbones, and refused for tokens."""

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import marnet
from marnet.encoders.visual import make_backbone
from marnet.errors import ConfigError, EncoderError
from marnet.inference.activation import ActivationMap, activation_map, find_last_map

pytest.importorskip("captum")


def make_net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 6, 5, stride=4, padding=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.fixture(scope="module")
def pooled(manifest_file: Path, tmp_path_factory: pytest.TempPathFactory) -> marnet.Predictor:
    """A run of a net that ends in the mean over places, so that its map is a weighted sum of channels."""
    torch.manual_seed(0)
    net = make_net()
    run = marnet.train(
        manifest_file,
        out=tmp_path_factory.mktemp("pooled") / "run",
        method="image-only",
        backbone=marnet.Backbone(net, image_size=32),
        settings={"training": {"epochs": 2, "lr": 0.01, "devices": "cpu", "calibrate": False}},
    )
    return marnet.Predictor(run.path, backbone=make_net(), device="cpu")


@pytest.mark.parametrize("label", ["apple", "lime", "eel"])
def test_the_map_is_what_each_place_adds_to_the_logit(
    pooled: marnet.Predictor, label: str, manifest_file: Path
) -> None:
    image = manifest_file.parent / "lime-3.png"
    found = activation_map(pooled, image, label)
    backbone: Any = pooled.model.backbone
    with torch.inference_mode():
        features = backbone[:2](pooled.transform(image)[None])[0]  # (6, 8, 8)
    weights = pooled.model.heads["visual"].weight[pooled.classes.index(label)].detach()
    expected = (weights[:, None, None] * features).sum(0).clamp(min=0)
    expected = expected / expected.max() if expected.max() > 0 else expected
    assert (found.label, found.layer, found.values.shape) == (label, "1", (8, 8))
    assert np.allclose(found.values, expected.numpy(), atol=1e-5)
    assert np.array_equal(found.pixels, pooled.transform.pixels(image).permute(1, 2, 0).numpy())
    assert found.upscaled().shape == (32, 32)


def test_the_map_finds_the_patch_that_makes_the_class(salad_run: Path, tmp_path: Path) -> None:
    pixels = np.full((32, 32, 3), 230, np.uint8)
    pixels[18:30, 18:30] = (200, 40, 40)  # a tomato, lower right
    Image.fromarray(pixels).save(tmp_path / "salad.png")
    found = activation_map(marnet.load(salad_run, device="cpu"), tmp_path / "salad.png", "tomato")
    rows, columns = np.indices(found.values.shape)
    share = found.values / found.values.sum()
    assert (share * rows).sum() > (found.values.shape[0] - 1) / 2
    assert (share * columns).sum() > (found.values.shape[1] - 1) / 2


def test_nothing_of_the_model_changes(salad_run: Path, salads: Path) -> None:
    predictor = marnet.load(salad_run, device="cpu")
    image = salads.parent / "90.png"
    before = predictor.predict_proba(image)
    activation_map(predictor, image, "tomato")
    assert np.array_equal(predictor.predict_proba(image), before)
    assert not predictor.model.training
    assert [name for name, each in predictor.model.named_parameters() if each.grad is not None] == []
    assert [name for name, each in predictor.model.named_modules() if each._forward_hooks] == []


@pytest.mark.parametrize(
    "name",
    [
        "timm:test_resnet",
        "timm:test_efficientnet",
        "timm:test_convnext",
        "torchvision:squeezenet1_1",
        "torchvision:swin_t",
    ],
)
def test_networks_with_a_map_have_a_layer(name: str) -> None:
    made = make_backbone(name, image_size=160)
    _, layer = find_last_map(made.module.eval(), torch.randn(1, 3, 160, 160), name)
    seen: list[torch.Size] = []
    layer.register_forward_hook(lambda layer, _, output: seen.append(output.shape))
    made.module(torch.randn(1, 3, 160, 160))
    assert seen[0][2] == seen[0][3] > 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("timm:test_vit", r"\(1, 101, 64\), of the layer 'norm'"),
        ("timm:swin_tiny_patch4_window7_224", "of the layer 'norm'"),
    ],
)
def test_tokens_are_refused(name: str, words: str) -> None:
    made = make_backbone(name)
    size = made.image_size
    with pytest.raises(EncoderError, match=f"{name} has no class activation map: .*{words}"):
        find_last_map(made.module.eval(), torch.randn(1, 3, size, size), name)


def test_a_backbone_without_places_is_refused() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5))
    with pytest.raises(EncoderError, match="it has no places"):
        find_last_map(net, torch.randn(1, 3, 8, 8), "my net")


def test_mistakes_are_refused(pooled: marnet.Predictor, manifest_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = manifest_file.parent / "lime-3.png"
    with pytest.raises(ConfigError, match=r"has no class 'limes'.*Did you mean 'lime'"):
        activation_map(pooled, image, "limes")
    load = builtins.__import__

    def without_captum(name: str, *rest: Any) -> Any:
        if name.startswith("captum"):
            raise ImportError("No module named 'captum'")
        return load(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_captum)
    with pytest.raises(EncoderError, match=r"pip install 'marnet\[explain\]'"):
        activation_map(pooled, image, "lime")


@pytest.mark.parametrize(
    ("row", "column", "place"),
    [(0, 0, "upper left"), (3, 6, "right"), (6, 3, "lower"), (3, 3, "centre"), (0, 6, "upper right")],
)
def test_the_place_in_words(row: int, column: int, place: str) -> None:
    values = np.zeros((7, 7), np.float32)
    assert ActivationMap("a", "layer", values, np.zeros((14, 14, 3), np.uint8)).place == ""
    values[row, column] = 1
    assert ActivationMap("a", "layer", values, np.zeros((14, 14, 3), np.uint8)).place == place
