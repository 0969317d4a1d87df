"""`timm:NAME`: the models of timm, without their classifiers."""

from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from marnet.encoders.backbone import Backbone, BackboneFamily
from marnet.errors import EncoderError, suggest


def timm_backbone(name: str, image_size: int | None, pretrained: bool, weights: Path | None) -> Backbone:
    """Build a timm model without its classifier; see `make_backbone`."""
    _check_timm_name(name)
    if image_size is None:
        image_size = _own_size(name)
    if weights is not None and not weights.is_file():
        raise EncoderError(f"The weights file {weights} does not exist. Check `backbone.weights`.")
    if pretrained and weights is None and not _has_published_weights(name):
        raise EncoderError(
            f"timm {timm.__version__} publishes no weights for {name!r}. Leave out `backbone.pretrained`, choose "
            f"another name (timm.list_models(pretrained=True) lists them), or name a local file "
            f"(`backbone.weights=FILE`)."
        )
    try:
        module = _create(name, image_size, pretrained, weights)
    except Exception as error:
        if weights is not None:
            # torch writes one line per tensor, which would hide the sentence
            reason = " ".join(" ".join(str(error).splitlines()[:3]).split())
            raise EncoderError(f"The weights file {weights} does not fit timm:{name}: {reason}") from error
        if pretrained:
            raise EncoderError(_offline_message(name, error)) from error
        raise EncoderError(f"timm:{name} cannot be built for images of {image_size} pixels: {error}") from error
    if weights is not None:
        _check_loaded(module, name, image_size, weights)
    config = timm.data.resolve_model_data_config(module)  # type: ignore[attr-defined,no-untyped-call]
    interpolation = "bilinear" if config["interpolation"] == "bilinear" else "bicubic"  # timm also has "random"
    return Backbone(module, tuple(config["mean"]), tuple(config["std"]), image_size, interpolation)


TIMM = BackboneFamily(timm_backbone, timm.list_models)


def _own_size(name: str) -> int:
    _, height, width = timm.get_pretrained_cfg_value(name, "input_size") or (3, 224, 224)
    return int(max(height, width))


def _check_timm_name(name: str) -> None:
    if not timm.is_model(name):
        raise EncoderError(
            f"timm {timm.__version__} has no architecture {name!r}.{suggest(name, timm.list_models())} "
            f"timm.list_models() lists all of them."
        )
    try:
        timm.get_pretrained_cfg(name)
    except RuntimeError:  # the part after the dot
        known = timm.list_pretrained(f"{name.partition('.')[0]}.*")
        raise EncoderError(
            f"timm {timm.__version__} has no weights {name!r}.{suggest(name, known)} Known: "
            f"{', '.join(known) or 'none'}."
        ) from None


def _create(name: str, image_size: int, pretrained: bool, weights: Path | None) -> nn.Module:
    fixed_size = bool(timm.get_pretrained_cfg_value(name, "fixed_input_size"))
    options: dict[str, Any] = (
        {"img_size": image_size} if fixed_size else {}
    )  # other architectures do not know the argument
    module: nn.Module = timm.create_model(
        name,
        pretrained=pretrained or weights is not None,
        pretrained_cfg_overlay={"file": str(weights)} if weights is not None else None,
        num_classes=0,
        **options,
    )
    return module


def _check_loaded(module: nn.Module, name: str, image_size: int, weights: Path) -> None:
    """Refuse a file that left tensors at random values: timm loads without its head and ignores missing names.

    A tensor that differs when the module is built again, from the next random numbers, was not in the file.
    """
    with torch.random.fork_rng(devices=[]):
        again = _create(name, image_size, True, weights).state_dict()
    state = module.state_dict()
    missing = [key for key, value in state.items() if not torch.equal(value, again[key])]
    if missing:
        raise EncoderError(
            f"The weights file {weights} does not fit timm:{name}: it has no values for at least {len(missing)} of "
            f"its {len(state)} tensors, such as {', '.join(missing[:3])}. Use a file with weights of this architecture."
        )


def _has_published_weights(name: str) -> bool:
    return any(timm.get_pretrained_cfg_value(name, key) for key in ("hf_hub_id", "url", "file"))


def _offline_message(name: str, error: Exception) -> str:
    from huggingface_hub.constants import HF_HUB_CACHE

    hub = timm.get_pretrained_cfg_value(name, "hf_hub_id") or "no repository"
    return (
        f"The pretrained weights of timm:{name} ({hub}) are not in the local cache {HF_HUB_CACHE} and could not be "
        f"downloaded ({type(error).__name__}). Run once with a network, copy that cache from a machine that has it, "
        f"name a local file (`backbone.weights=FILE`), or leave out `backbone.pretrained` to start from "
        f"random weights."
    )
