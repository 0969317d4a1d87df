"""`torchvision:NAME`: the classifiers of torchvision, without their last layer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torchvision import models

from marnet.encoders.backbone import IMAGENET_MEAN, IMAGENET_STD, Backbone, BackboneFamily, load_weights, read_weights
from marnet.errors import EncoderError, suggest

HALVES = (0.5, 0.5, 0.5)


class _Architecture(NamedTuple):
    """Properties that differ between torchvision's files of architectures."""

    head: str  # the layer that becomes an identity
    size_argument: str | None = None  # if the model is built for one input size
    inception: bool = False  # has auxiliary classifiers, and published weights for inputs scaled to -1 .. 1


# By the module of torchvision.models that defines them.
_ARCHITECTURES = {
    "alexnet": _Architecture("classifier.6"),
    "convnext": _Architecture("classifier.2"),
    "densenet": _Architecture("classifier"),
    "efficientnet": _Architecture("classifier.1"),
    "googlenet": _Architecture("fc", inception=True),
    "inception": _Architecture("fc", inception=True),
    "maxvit": _Architecture("classifier.5", size_argument="input_size"),
    "mnasnet": _Architecture("classifier.1"),
    "mobilenetv2": _Architecture("classifier.1"),
    "mobilenetv3": _Architecture("classifier.3"),
    "regnet": _Architecture("fc"),
    "resnet": _Architecture("fc"),
    "shufflenetv2": _Architecture("fc"),
    "squeezenet": _Architecture("classifier.1"),
    "swin_transformer": _Architecture("head"),
    "vgg": _Architecture("classifier.6"),
    "vision_transformer": _Architecture("heads.head", size_argument="image_size"),
}


def torchvision_backbone(name: str, image_size: int | None, pretrained: bool, weights: Path | None) -> Backbone:
    """Build a torchvision classifier without its last layer; see `make_backbone`."""
    architecture, published = _look_up(name)
    preset = published.transforms()
    size = image_size or int(preset.crop_size[0])
    module = _create(name, architecture, size)
    if weights is not None:
        _load(module, read_weights(weights), architecture, size, source=f"The weights file {weights}", name=name)
    elif pretrained:
        _load(module, _download(name, published), architecture, size, source=f"torchvision's {published}", name=name)
    mean, std = (HALVES, HALVES) if architecture.inception else (tuple(preset.mean), tuple(preset.std))
    return Backbone(module, mean or IMAGENET_MEAN, std or IMAGENET_STD, size, preset.interpolation.value)


def list_torchvision_names() -> list[str]:
    """Return the names of torchvision's classifiers that marnet can build."""
    return [name for name in models.list_models(module=models) if _home(name) in _ARCHITECTURES]


TORCHVISION = BackboneFamily(torchvision_backbone, list_torchvision_names)


def _home(name: str) -> str:
    """Return the module of torchvision.models that defines an architecture."""
    home: str = models.get_model_builder(name).__module__
    return home.rpartition(".")[2]


def _look_up(name: str) -> tuple[_Architecture, Any]:
    known = models.list_models(module=models)
    if name not in known:
        raise EncoderError(
            f"torchvision has no image classifier {name!r}.{suggest(name, known)} "
            f"torchvision.models.list_models(module=torchvision.models) lists all of them."
        )
    home = _home(name)
    if home not in _ARCHITECTURES:
        raise EncoderError(
            f"torchvision:{name} is of a family that marnet does not know ({home}). Known families: "
            f"{', '.join(_ARCHITECTURES)}. Build the model yourself, replace its head by torch.nn.Identity(), and "
            f"name it as module:PACKAGE.NAME."
        )
    return _ARCHITECTURES[home], models.get_model_weights(name)["DEFAULT"]


def _create(name: str, architecture: _Architecture, size: int) -> nn.Module:
    options: dict[str, Any] = {}
    if architecture.size_argument == "image_size":
        options = {"image_size": size}
    elif architecture.size_argument == "input_size":
        options = {"input_size": (size, size)}
    elif architecture.inception:
        # The normalisation does their rescaling of the input, which a rebuilt model would lack.
        options = {"aux_logits": False, "transform_input": False, "init_weights": True}
    try:
        module: nn.Module = models.get_model(name, weights=None, **options)
    except (ValueError, RuntimeError) as error:
        raise EncoderError(f"torchvision:{name} cannot be built for images of {size} pixels: {error}") from error
    parent, _, child = architecture.head.rpartition(".")
    setattr(module.get_submodule(parent), child, nn.Identity())
    return module


def _load(
    module: nn.Module, state: Mapping[str, Tensor], architecture: _Architecture, size: int, *, source: str, name: str
) -> None:
    positions = "encoder.pos_embedding"
    if positions in state and architecture.size_argument == "image_size":
        patch = state["conv_proj.weight"].shape[-1]
        state = models.vision_transformer.interpolate_embeddings(size, patch, dict(state))
    unused = (f"{architecture.head}.", "aux1.", "aux2.", "AuxLogits.")
    load_weights(module, state, source=source, name=f"torchvision:{name}", unused=unused)


def _download(name: str, published: Any) -> Mapping[str, Tensor]:
    try:
        state: Mapping[str, Tensor] = published.get_state_dict(progress=True, check_hash=True)
    except Exception as error:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise EncoderError(
            f"The pretrained weights of torchvision:{name} ({published.url}) are not in the local cache {folder} and "
            f"could not be downloaded ({type(error).__name__}). Run once with a network, put that file into that "
            f"folder, name a local file (`backbone.weights=FILE`), or leave out `backbone.pretrained` to start from "
            f"random weights."
        ) from error
    return state
