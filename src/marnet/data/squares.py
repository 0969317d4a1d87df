"""The square of an image that the cache keeps and a model sees the centre of."""

from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from marnet.data.image_bytes import UnreadableError, read_bytes
from marnet.data.images import BrokenImage, decode_bytes


class Target(NamedTuple):
    """The form in which images are decoded."""

    size: int  # side of the square, in pixels
    interpolation: str  # "bicubic" or "bilinear"
    max_pixels: int  # an image with more is broken


def fit_square(picture: Image.Image, size: int, *, interpolation: str = "bicubic") -> Tensor:
    """Resize the short side of an RGB image to `size` and crop the centre: `(3, size, size)` uint8, channels last.

    `interpolation` is "bicubic" or "bilinear"; both are antialiased. It is torch that resizes, several times faster
    than Pillow and equal to it within a level or two of 255; `marnet.data.resizing` gives the same bits without torch.
    """
    width, height = picture.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    pixels = torch.from_numpy(np.array(picture)[top : top + side, left : left + side])  # (side, side, 3)
    images = pixels.permute(2, 0, 1)[None]  # (1, 3, side, side)
    return functional.interpolate(images, (size, size), mode=interpolation, antialias=True)[0]


def decode_square(path: str, target: Target) -> np.ndarray | BrokenImage:
    """Return the square `(S', S', 3)` uint8 that `read_image` and `fit_square` give, or why there is none."""
    try:
        picture = decode_bytes(read_bytes(path), max_pixels=target.max_pixels, min_side=target.size)
    except UnreadableError as error:
        return BrokenImage(path, str(error))
    square = fit_square(picture, target.size, interpolation=target.interpolation)
    return square.permute(1, 2, 0).numpy()
