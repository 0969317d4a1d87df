"""`torchvision:NAME`: the classifiers of torchvision, without their last layer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torchvision import models

from marnet.encoders.backbone import IMAGENET_MEAN, IMAGENET_STD, Backbone, load_weights, read_weights
from marnet.errors import EncoderError, suggest

HALVES = (0.5, 0.5, 0.5)


class _Family(NamedTuple):
    """What differs from one of torchvision's files of architectures to the next."""

    head: str  # the layer that becomes an identity
    size_argument: str | None = None  # where the size of the input is fixed when the model is built
    inception: bool = False  # has auxiliary classifiers, and published weights for inputs scaled to -1 .. 1


# By the module of torchvision.models that defines them.
_FAMILIES = {
    "alexnet": _Family("classifier.6"),
    "convnext": _Family("classifier.2"),
    "densenet": _Family("classifier"),
    "efficientnet": _Family("classifier.1"),
    "googlenet": _Family("fc", inception=True),
    "inception": _Family("fc", inception=True),
    "maxvit": _Family("classifier.5", size_argument="input_size"),
    "mnasnet": _Family("classifier.1"),
    "mobilenetv2": _Family("classifier.1"),
    "mobilenetv3": _Family("classifier.3"),
    "regnet": _Family("fc"),
    "resnet": _Family("fc"),
    "shufflenetv2": _Family("fc"),
    "squeezenet": _Family("classifier.1"),
    "swin_transformer": _Family("head"),
    "vgg": _Family("classifier.6"),
    "vision_transformer": _Family("heads.head", size_argument="image_size"),
}


def torchvision_backbone(name: str, image_size: int | None, pretrained: bool, weights: Path | None) -> Backbone:
    """Build a torchvision classifier without its last layer; see `make_backbone`."""
    family, published = _look_up(name)
    preset = published.transforms()
    size = image_size or int(preset.crop_size[0])
    module = _create(name, family, size)
    if weights is not None:
        _load(module, read_weights(weights), family, size, source=f"The weights file {weights}", name=name)
    elif pretrained:
        _load(module, _download(name, published), family, size, source=f"torchvision's {published}", name=name)
    mean, std = (HALVES, HALVES) if family.inception else (tuple(preset.mean), tuple(preset.std))
    return Backbone(module, mean or IMAGENET_MEAN, std or IMAGENET_STD, size, preset.interpolation.value)


def _look_up(name: str) -> tuple[_Family, Any]:
    known = models.list_models(module=models)
    if name not in known:
        raise EncoderError(
            f"torchvision has no image classifier {name!r}.{suggest(name, known)} "
            f"torchvision.models.list_models(module=torchvision.models) lists all of them."
        )
    home = models.get_model_builder(name).__module__.rpartition(".")[2]
    if home not in _FAMILIES:
        raise EncoderError(
            f"torchvision:{name} is of a family that marnet does not know ({home}); it knows {', '.join(_FAMILIES)}. "
            f"Build the model yourself, replace its head by torch.nn.Identity(), and name it as module:PACKAGE.NAME."
        )
    return _FAMILIES[home], models.get_model_weights(name)["DEFAULT"]


def _create(name: str, family: _Family, size: int) -> nn.Module:
    options: dict[str, Any] = {}
    if family.size_argument == "image_size":
        options = {"image_size": size}
    elif family.size_argument == "input_size":
        options = {"input_size": (size, size)}
    elif family.inception:
        # Their rescaling of the input is left to the normalisation: it would be missing from a rebuilt model.
        options = {"aux_logits": False, "transform_input": False, "init_weights": True}
    try:
        module: nn.Module = models.get_model(name, weights=None, **options)
    except (ValueError, RuntimeError) as error:
        raise EncoderError(f"torchvision:{name} cannot be built for images of {size} pixels: {error}") from error
    parent, _, child = family.head.rpartition(".")
    setattr(module.get_submodule(parent), child, nn.Identity())
    return module


def _load(
    module: nn.Module, state: Mapping[str, Tensor], family: _Family, size: int, *, source: str, name: str
) -> None:
    positions = "encoder.pos_embedding"
    if positions in state and family.size_argument == "image_size":
        patch = state["conv_proj.weight"].shape[-1]
        state = models.vision_transformer.interpolate_embeddings(size, patch, dict(state))
    unused = (f"{family.head}.", "aux1.", "aux2.", "AuxLogits.")
    load_weights(module, state, source=source, name=f"torchvision:{name}", unused=unused)


def _download(name: str, published: Any) -> Mapping[str, Tensor]:
    try:
        state: Mapping[str, Tensor] = published.get_state_dict(progress=True, check_hash=True)
    except Exception as error:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise EncoderError(
            f"The pretrained weights of torchvision:{name} ({published.url}) are not in the local cache {folder} and "
            f"could not be downloaded ({type(error).__name__}). To go on: run once with a network, or put that file "
            f"into that folder, or name a local file with --set backbone.weights=FILE, or leave --pretrained out."
        ) from error
    return state
