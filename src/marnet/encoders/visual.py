"""Image backbones: `(B, 3, H, W)` normalised images to features x_v `(B, D_v)`.

A backbone is any `nn.Module` of that form; its width is read from it by one forward pass. Named ones come from the
table `FAMILIES`, by a prefix such as `timm:`. To add a family, write a `BackboneFamily` in a file of its own and enter
it there.
"""

from fnmatch import fnmatchcase
from pathlib import Path

import torch
from timm.utils.model import freeze_batch_norm_2d  # type: ignore[attr-defined]
from torch import nn

from marnet.encoders.backbone import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Backbone,
    BackboneFamily,
    Checkpointing,
    SelfDescribing,
)
from marnet.encoders.hf_backbones import HF
from marnet.encoders.imported_backbones import IMPORTED
from marnet.encoders.timm_backbones import TIMM
from marnet.encoders.torchvision_backbones import TORCHVISION
from marnet.errors import EncoderError, suggest
from marnet.jsonfile import read_json, write_json

__all__ = [
    "FAMILIES",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "Backbone",
    "adapt_backbone",
    "feature_width",
    "list_backbones",
    "make_backbone",
    "rebuild_backbone",
    "save_architecture",
]

FAMILIES: dict[str, BackboneFamily] = {"timm": TIMM, "torchvision": TORCHVISION, "hf": HF, "module": IMPORTED}
_ARCHITECTURE = "architecture.json"  # names the family that wrote the other files of the folder


def list_backbones(pattern: str = "*") -> list[str]:
    """Return the names of backbones that match `pattern`, with the wildcards of file names, such as "timm:resnet*".

    The families hf: and module: take any model or module, and are not listed.

    Example:
        >>> list_backbones("torchvision:resnet?8")
        ['torchvision:resnet18']
    """
    names = (f"{prefix}:{name}" for prefix, family in FAMILIES.items() for name in family.list_names())
    return [name for name in names if fnmatchcase(name, pattern)]


def make_backbone(
    name: str, *, image_size: int | None = None, pretrained: bool = False, weights: Path | str | None = None
) -> Backbone:
    """Build a backbone by name, such as "timm:resnet18".

    Args:
        name: a family's prefix and a name within it: timm:NAME, torchvision:NAME, hf:REPOSITORY or hf:FOLDER,
            module:PACKAGE.NAME.
        image_size: side of the input in pixels; fixed-size architectures such as ViT are built for it. None takes the
            backbone's own size, which the result holds.
        pretrained: load published weights, from the local cache or by download.
        weights: load this local file (safetensors or PyTorch) instead; implies `pretrained`.

    Raises:
        EncoderError: the family or the name is unknown, or the weights cannot be found or loaded.

    Example:
        >>> backbone = make_backbone("timm:test_resnet", image_size=32)
        >>> feature_width(backbone.module, backbone.image_size)
        96
    """
    family, separator, rest = name.partition(":")
    if not separator or family not in FAMILIES:
        raise EncoderError(
            f"Backbone {name!r} is not known. Expected FAMILY:NAME with a family of {', '.join(FAMILIES)}, "
            f"such as timm:resnet18.{_suggest_family(name, family)}"
        )
    return FAMILIES[family].build(rest, image_size, pretrained, Path(weights) if weights is not None else None)


def _suggest_family(name: str, family: str) -> str:
    architecture = name.partition(".")[0]  # after a dot, timm names a version of the weights
    with_prefix = [f"{prefix}:{architecture}" for prefix, each in FAMILIES.items() if architecture in each.list_names()]
    return f" Did you mean {' or '.join(map(repr, with_prefix))}?" if with_prefix else suggest(family, FAMILIES)


def save_architecture(module: nn.Module, folder: Path) -> None:
    """Write the architecture of a `SelfDescribing` backbone into `folder`; do nothing for any other."""
    if isinstance(module, SelfDescribing):
        folder.mkdir(parents=True, exist_ok=True)
        module.save_architecture(folder)
        write_json(folder / _ARCHITECTURE, {"family": module.family})


def rebuild_backbone(folder: Path, *, image_size: int) -> nn.Module:
    """Build the architecture that `save_architecture` wrote into `folder`, with random weights.

    Args:
        folder: an existing folder.
        image_size: side of the input in pixels.

    Raises:
        EncoderError: the family is unknown, or one of its files or an optional package is missing.
        RunDirectoryError: the file that names the family is damaged.
    """
    file = folder / _ARCHITECTURE
    named = read_json(file) if file.is_file() else {"family": "hf"}  # the only one that wrote folders without it
    family = named.get("family") if isinstance(named, dict) else None
    rebuild = FAMILIES[family].rebuild if isinstance(family, str) and family in FAMILIES else None
    if rebuild is None:
        raise EncoderError(
            f"{file} names the backbone family {family!r}, which this version of marnet cannot rebuild. Load it with "
            f"the version that wrote it."
        )
    return rebuild(folder, image_size)


def adapt_backbone(module: nn.Module, *, freeze_batch_norm: bool = False, checkpointing: bool = False) -> nn.Module:
    """Apply the training options that change a backbone itself; use the result in its place.

    Args:
        module: the backbone.
        freeze_batch_norm: keep the statistics and the affine weights of its 2-d batch norms unchanged.
        checkpointing: recompute activations in the backward pass instead of keeping them: less memory, more time.

    Raises:
        EncoderError: the backbone has no gradient checkpointing.
    """
    if checkpointing:
        _switch_checkpointing_on(module)
    return freeze_batch_norm_2d(module) if freeze_batch_norm else module  # type: ignore[no-untyped-call]


def _switch_checkpointing_on(module: nn.Module) -> None:
    way_out = (
        "It takes a backbone with a method set_grad_checkpointing(enable). Set `backbone.gradient_checkpointing=false`."
    )
    if not isinstance(module, Checkpointing):
        raise EncoderError(f"The backbone {type(module).__name__} has no gradient checkpointing. {way_out}")
    try:
        module.set_grad_checkpointing(True)
    except (AssertionError, NotImplementedError, ValueError) as error:  # timm asserts, transformers raises ValueError
        raise EncoderError(
            f"The backbone {type(module).__name__} has no gradient checkpointing ({error}). {way_out}"
        ) from error


def feature_width(backbone: nn.Module, image_size: int) -> int:
    """Return D_v, read from one forward pass over a blank image; the module's mode and statistics stay the same.

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
            f"{image_size}): {error}. Expected a module that maps such a batch to features (2, D)."
        ) from error
    finally:
        for module, mode in modes:
            module.training = mode
    found = tuple(features.shape) if isinstance(features, torch.Tensor) else type(features).__name__
    if not isinstance(features, torch.Tensor) or features.ndim != 2:
        raise EncoderError(
            f"The backbone {type(backbone).__name__} returned {found} for an image batch of shape (2, 3, {image_size}, "
            f"{image_size}). Expected pooled features (2, D). Remove its head or pool its feature map."
        )
    return features.shape[1]
