"""Image backbones: `(B, 3, H, W)` normalised images to features x_v `(B, D_v)`.

A backbone is any `nn.Module` of that form; its width is read from it by one forward pass. Named ones come from the
table `FAMILIES`, by a prefix such as `timm:`.
"""

from collections.abc import Callable
from pathlib import Path

import timm
import torch
from timm.utils.model import freeze_batch_norm_2d  # type: ignore[attr-defined]
from torch import nn

from marnet.encoders.backbone import IMAGENET_MEAN, IMAGENET_STD, Backbone, Checkpointing, load_weights, read_weights
from marnet.encoders.hf_backbones import hf_backbone
from marnet.encoders.imported import import_encoder
from marnet.encoders.timm_backbones import timm_backbone
from marnet.encoders.torchvision_backbones import torchvision_backbone
from marnet.errors import EncoderError, suggest

__all__ = ["FAMILIES", "IMAGENET_MEAN", "IMAGENET_STD", "Backbone", "adapt_backbone", "feature_width", "make_backbone"]


def make_backbone(
    name: str, *, image_size: int | None = None, pretrained: bool = False, weights: Path | str | None = None
) -> Backbone:
    """Build a backbone by name, such as "timm:resnet18".

    Args:
        name: a family's prefix and a name within it: timm:NAME, torchvision:NAME, hf:REPOSITORY or hf:FOLDER,
            module:PACKAGE.NAME.
        image_size: side of the input in pixels; fixed-size architectures such as ViT are built for it. None takes the
            backbone's own, which the result names.
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


def adapt_backbone(module: nn.Module, *, freeze_batch_norm: bool = False, checkpointing: bool = False) -> nn.Module:
    """Apply the options of training that change a backbone itself; the result replaces it.

    Args:
        module: the backbone.
        freeze_batch_norm: keep the statistics and the affine weights of its 2-d batch norms as they are.
        checkpointing: recompute activations in the backward pass instead of keeping them: less memory, more time.

    Raises:
        EncoderError: the backbone cannot do that.
    """
    if checkpointing:
        _switch_checkpointing_on(module)
    return freeze_batch_norm_2d(module) if freeze_batch_norm else module  # type: ignore[no-untyped-call]


def _switch_checkpointing_on(module: nn.Module) -> None:
    way_out = (
        "Needed a backbone with a method set_grad_checkpointing(enable). Leave backbone.gradient_checkpointing out."
    )
    if not isinstance(module, Checkpointing):
        raise EncoderError(f"The backbone {type(module).__name__} knows no gradient checkpointing. {way_out}")
    try:
        module.set_grad_checkpointing(True)
    except (AssertionError, NotImplementedError, ValueError) as error:  # timm asserts, transformers raises ValueError
        raise EncoderError(
            f"The backbone {type(module).__name__} knows no gradient checkpointing ({error}). {way_out}"
        ) from error


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


def _imported_backbone(path: str, image_size: int | None, pretrained: bool, weights: Path | None) -> Backbone:
    if pretrained and weights is None:
        raise EncoderError(
            f"marnet knows no published weights for module:{path}. Load them inside {path}, or name a local file with "
            f"--set backbone.weights=FILE, and leave --pretrained out."
        )
    made = import_encoder(path)
    backbone = made if isinstance(made, Backbone) else Backbone(made)
    if weights is not None:
        state = read_weights(weights)
        load_weights(backbone.module, state, source=f"The weights file {weights}", name=f"module:{path}")
    return backbone._replace(image_size=image_size or backbone.image_size)


FAMILIES: dict[str, Callable[[str, int | None, bool, Path | None], Backbone]] = {
    "timm": timm_backbone,
    "torchvision": torchvision_backbone,
    "hf": hf_backbone,
    "module": _imported_backbone,
}
