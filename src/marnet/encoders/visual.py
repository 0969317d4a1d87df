"""Image backbones: `(B, 3, H, W)` normalised images to features x_v `(B, D_v)`.

A backbone is any `nn.Module` of that form; its width is read from it by one forward pass. Named ones come from the
table `FAMILIES`, by a prefix such as `timm:`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
from torch import nn

from marnet.errors import EncoderError, suggest

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Backbone(NamedTuple):
    """A backbone and the normalisation its input needs."""

    module: nn.Module
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


def make_backbone(
    name: str, *, image_size: int = 224, pretrained: bool = False, weights: Path | str | None = None
) -> Backbone:
    """Build a backbone by name, such as "timm:resnet18".

    Args:
        name: a family's prefix and a name within it.
        image_size: side of the input in pixels; fixed-size architectures such as ViT are built for it.
        pretrained: load published weights, from the local cache or by download.
        weights: load this local file (safetensors or PyTorch) instead; implies `pretrained`.

    Raises:
        EncoderError: the family or the name is unknown, or the weights cannot be had.
    """
    family, separator, rest = name.partition(":")
    if not separator or family not in FAMILIES:
        hint = f" Did you mean 'timm:{name}'?" if timm.is_model(name) else suggest(family, FAMILIES)
        raise EncoderError(
            f"Backbone {name!r} is not known; needed FAMILY:NAME with a family of {', '.join(FAMILIES)}, "
            f"such as timm:resnet18.{hint}"
        )
    return FAMILIES[family](rest, image_size, pretrained, Path(weights) if weights is not None else None)


def feature_width(backbone: nn.Module, image_size: int) -> int:
    """D_v, read from one forward pass over a blank image; the module's mode and statistics stay as they were.

    Raises:
        EncoderError: the module does not map `(B, 3, H, W)` to `(B, D)`.
    """
    reference = next(backbone.parameters(), torch.zeros(()))
    blank = torch.zeros(2, 3, image_size, image_size, dtype=reference.dtype, device=reference.device)
    modes = [(module, module.training) for module in backbone.modules()]
    backbone.eval()  # so that batch norm neither needs nor keeps statistics of blank images
    try:
        with torch.no_grad():
            features = backbone(blank)
    except Exception as error:
        raise EncoderError(
            f"The backbone {type(backbone).__name__} failed on an image batch of shape (2, 3, {image_size}, "
            f"{image_size}): {error}. Needed: a module that maps such a batch to features (2, D)."
        ) from error
    finally:
        for module, mode in modes:
            module.training = mode
    found = tuple(features.shape) if isinstance(features, torch.Tensor) else type(features).__name__
    if not isinstance(features, torch.Tensor) or features.ndim != 2:
        raise EncoderError(
            f"The backbone {type(backbone).__name__} returned {found} for an image batch of shape (2, 3, {image_size}, "
            f"{image_size}); needed pooled features (2, D). Remove its head or pool its feature map."
        )
    return features.shape[1]


def _timm_backbone(name: str, image_size: int, pretrained: bool, weights: Path | None) -> Backbone:
    _check_timm_name(name)
    if weights is not None and not weights.is_file():
        raise EncoderError(f"The weights file {weights} does not exist. Check backbone.weights.")
    if pretrained and weights is None and not _has_published_weights(name):
        raise EncoderError(
            f"timm {timm.__version__} publishes no weights for {name!r}. Leave --pretrained out, choose another name "
            f"(timm.list_models(pretrained=True) lists them), or name a local file with --set backbone.weights=FILE."
        )
    try:
        module = _create(name, image_size, pretrained, weights)
    except Exception as error:
        if weights is not None:
            reason = " ".join(
                " ".join(str(error).splitlines()[:3]).split()
            )  # one line a tensor would hide the sentence
            raise EncoderError(f"The weights file {weights} does not fit timm:{name}: {reason}") from error
        if pretrained:
            raise EncoderError(_offline_message(name, error)) from error
        raise EncoderError(f"timm:{name} cannot be built for images of {image_size} pixels: {error}") from error
    if weights is not None:
        _check_loaded(module, name, image_size, weights)
    config = timm.data.resolve_model_data_config(module)  # type: ignore[attr-defined,no-untyped-call]
    return Backbone(module, tuple(config["mean"]), tuple(config["std"]))


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
    options: dict[str, Any] = {"img_size": image_size} if fixed_size else {}  # others do not know the argument
    module: nn.Module = timm.create_model(
        name,
        pretrained=pretrained or weights is not None,
        pretrained_cfg_overlay={"file": str(weights)} if weights is not None else None,
        num_classes=0,
        **options,
    )
    return module


def _check_loaded(module: nn.Module, name: str, image_size: int, weights: Path) -> None:
    """Refuse a file that left tensors at random: timm loads without its head, and then ignores names that are missing.

    Tensors that come out differently when the module is built once more, from the next random numbers, were not in it.
    """
    with torch.random.fork_rng(devices=[]):
        again = _create(name, image_size, True, weights).state_dict()
    state = module.state_dict()
    missing = [key for key, value in state.items() if not torch.equal(value, again[key])]
    if missing:
        raise EncoderError(
            f"The weights file {weights} does not fit timm:{name}: it has no values for at least {len(missing)} of "
            f"its {len(state)} tensors, such as {', '.join(missing[:3])}. Needed weights of this architecture."
        )


def _has_published_weights(name: str) -> bool:
    return any(timm.get_pretrained_cfg_value(name, key) for key in ("hf_hub_id", "url", "file"))


def _offline_message(name: str, error: Exception) -> str:
    from huggingface_hub.constants import HF_HUB_CACHE

    hub = timm.get_pretrained_cfg_value(name, "hf_hub_id") or "no repository"
    return (
        f"The pretrained weights of timm:{name} ({hub}) are not in the local cache {HF_HUB_CACHE} and could not be "
        f"downloaded ({type(error).__name__}). To go on: run once with a network, or copy that cache from a machine "
        f"that has it, or name a local file with --set backbone.weights=FILE, or leave --pretrained out."
    )


FAMILIES: dict[str, Callable[[str, int, bool, Path | None], Backbone]] = {"timm": _timm_backbone}
