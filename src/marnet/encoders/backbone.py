"""A backbone and the input it was made for; the interface of a family of backbones; weights from files."""

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from marnet.errors import EncoderError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Backbone(NamedTuple):
    """A module from images `(B, 3, H, W)` to features `(B, D)`, and the input it was made for.

    Example:
        >>> import marnet
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> backbone = marnet.Backbone(net, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), image_size=32)
        >>> run = marnet.train("products.csv", out="runs/own", backbone=backbone, settings={"training.epochs": 1})
        >>> run.load(backbone=net).spec.size  # the code of the module is yours, so it is handed over again
        32
    """

    module: nn.Module
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    image_size: int = 224  # side in pixels
    interpolation: str = "bicubic"  # how images are resized for it: bicubic or bilinear


class BackboneFamily(NamedTuple):
    """The backbones that share a prefix, such as `timm:`."""

    # From the name after the prefix, the side of the input (None: the backbone's own), whether to load published
    # weights, and a local file with weights instead.
    build: Callable[[str, int | None, bool, Path | None], Backbone]
    list_names: Callable[[], list[str]] = list  # after the prefix; none if anything may follow it
    # For families whose modules are `SelfDescribing`: from the folder that one wrote, and the side of the input, to the
    # module with random weights.
    rebuild: Callable[[Path, int], nn.Module] | None = None


@runtime_checkable
class SelfDescribing(Protocol):
    """A backbone that writes its own architecture into a run, so that the run does without the files it came from."""

    family: str  # the name of the family whose `rebuild` reads the folder

    def save_architecture(self, folder: Path) -> None:
        """Write the files from which `BackboneFamily.rebuild` builds the module, without its weights."""


@runtime_checkable
class Checkpointing(Protocol):
    """A module that can trade time for memory: timm's models, `hf:` backbones, and your own with this method."""

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute activations in the backward pass instead of keeping them."""


def load_weights(
    module: nn.Module, state: Mapping[str, Tensor], *, source: str, name: str, unused: tuple[str, ...] = ()
) -> None:
    """Load tensors into a backbone; every tensor of the module must be among them.

    Args:
        module: the backbone.
        state: the tensors by name.
        source: the origin of the tensors, for messages.
        name: the backbone's name, for messages.
        unused: prefixes of tensors to leave out, such as those of a head.

    Raises:
        EncoderError: the tensors do not fit.
    """
    used = {key: value for key, value in state.items() if not key.startswith(unused)}
    try:
        missing, unexpected = module.load_state_dict(used, strict=False)
    except RuntimeError as error:
        # torch writes one line per tensor, which would hide the sentence
        reason = " ".join(" ".join(str(error).splitlines()[:3]).split())
        raise EncoderError(f"{source} does not fit {name}: {reason}") from None
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise EncoderError(
            f"{source} does not fit {name}: it has no values for {len(missing)} of its tensors "
            f"({', '.join(missing[:3]) or 'none'}) and {len(unexpected)} that {name} does not know "
            f"({', '.join(unexpected[:3]) or 'none'}). Use a file with weights of this architecture."
        )


def read_weights(file: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors or PyTorch weights file; a PyTorch file may hold tensors only.

    Raises:
        EncoderError: the file is missing or damaged, or holds something else.
    """
    if not file.is_file():
        raise EncoderError(f"The weights file {file} does not exist. Check `backbone.weights`.")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).partition("\n")[0]
        raise EncoderError(
            f"The weights file {file} cannot be read ({reason}). Expected a safetensors file or a PyTorch state dict."
        ) from None
    nested = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(nested, dict) or not all(isinstance(value, Tensor) for value in nested.values()):
        raise EncoderError(
            f"The weights file {file} holds a {type(content).__name__}. Expected a state dict of tensors; save "
            f"model.state_dict()."
        )
    return nested
