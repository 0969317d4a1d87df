"""Where in an image a class is seen: the class activation map of the backbone (Grad-CAM, Selvaraju et al. 2017)."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from marnet.data.decoding import ImageLike
from marnet.data.transforms import model_input
from marnet.errors import EncoderError
from marnet.inference.predictor import Predictor

_ROWS, _COLUMNS = ("upper", "", "lower"), ("left", "", "right")


class ActivationMap(NamedTuple):
    """The places of an image that speak for a class.

    Example:
        >>> import marnet
        >>> from marnet.inference.activation import activation_map
        >>> found = activation_map(marnet.load("runs/p", device="cpu"), "a.jpg", "apple")
        >>> found.pixels.shape, found.upscaled().shape == found.pixels.shape[:2]
        ((32, 32, 3), True)
    """

    label: str
    layer: str  # of the backbone, whose features are weighed
    values: np.ndarray  # (h, w) float32, between 0 and 1, the largest 1; all 0 if no place speaks for the class
    pixels: np.ndarray  # (S, S, 3) uint8, the image as the model sees it, which the map covers

    @property
    def place(self) -> str:
        """Where the map is largest, such as "upper left"; "" if no place speaks for the class."""
        if not self.values.any():
            return ""
        height, width = self.values.shape
        row, column = divmod(int(self.values.argmax()), width)
        words = _ROWS[3 * row // height], _COLUMNS[3 * column // width]
        return " ".join(filter(None, words)) or "centre"

    def upscaled(self) -> np.ndarray:
        """Return the map in the size of the image, `(S, S)`, interpolated between the centres of its cells."""
        size = self.pixels.shape[:2]
        grid = torch.from_numpy(self.values)[None, None]
        return functional.interpolate(grid, size, mode="bilinear", align_corners=False)[0, 0].numpy()


def activation_map(predictor: Predictor, image: ImageLike, label: str) -> ActivationMap:
    """Return where an image speaks for a class, through all branches and their fusion.

    The features of the backbone's last layer that still has places are weighed by the mean gradient of the logit of the
    class; what speaks against it is left out. The package captum computes it.

    Args:
        predictor: of a run whose backbone is a convolutional network, or another one that ends in a map of features.
        image: in any form that `Predictor` takes.
        label: the name of the class.

    Raises:
        ImageError: the image cannot be read.
        ConfigError: the run has no such class.
        EncoderError: captum is not installed, or the backbone does not end in a map of features.
    """
    target = predictor.class_number(label)
    captum = _import_captum()
    model = predictor.model
    pixels = predictor.transform.pixels(image)
    batch = model_input(pixels[None].to(predictor.device), predictor.spec)
    name, layer = find_last_map(model.backbone, batch, predictor.config.backbone.name)
    found = captum.LayerGradCam(model, layer).attribute(batch, target=target, relu_attributions=True)
    values = found.detach().float().cpu()[0, 0]  # (1, 1, h, w) -> (h, w)
    largest = float(values.max())
    return ActivationMap(
        label, name, (values / largest if largest > 0 else values).numpy(), pixels.permute(1, 2, 0).numpy()
    )


def _import_captum() -> Any:
    try:
        import captum.attr  # here, because it takes seconds
    except ImportError as error:
        raise EncoderError(
            f"Class activation maps need the package captum, which cannot be imported ({error}). "
            f"Install it: pip install 'marnet[explain]'"
        ) from error
    return captum.attr


def find_last_map(backbone: nn.Module, batch: Tensor, name: str) -> tuple[str, nn.Module]:
    """Return the last layer, with its name, whose output has places, if these are laid out as in the image.

    Args:
        backbone: in evaluation mode.
        batch: `(B, 3, S, S)`.
        name: of the backbone, for messages.

    Raises:
        EncoderError: the output is one of tokens, or there is none.
    """
    found: list[tuple[str, nn.Module, tuple[int, ...]]] = []

    def note(layer_name: str, layer: nn.Module, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim in (3, 4) and _places(output) > 1:
            found.append((layer_name, layer, tuple(output.shape)))

    hooks = [
        layer.register_forward_hook(lambda layer, _, output, layer_name=layer_name: note(layer_name, layer, output))
        for layer_name, layer in backbone.named_modules()
        if layer_name
    ]
    try:
        with torch.no_grad():  # a tensor that a layer keeps may be asked for gradients later
            backbone(batch)
    finally:
        for hook in hooks:
            hook.remove()
    layer_name, layer, shape = found[-1] if found else ("", backbone, ())
    if len(shape) != 4 or shape[2] != shape[3]:  # images are square
        last = (
            f"its last features with places are {shape}, of the layer {layer_name!r}" if found else "it has no places"
        )
        raise EncoderError(
            f"The backbone {name} has no class activation map: {last}. A map needs features (B, D, H, W) at the end, "
            f"which convolutional networks of timm and torchvision have; transformers have tokens."
        )
    return layer_name, layer


def _places(output: Tensor) -> int:
    """Return the number of places of features `(B, N, D)` or `(B, D, H, W)`."""
    return output.shape[1] if output.ndim == 3 else output.shape[2] * output.shape[3]
