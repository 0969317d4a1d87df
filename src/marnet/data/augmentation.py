"""Augmentation of whole batches in which every image has draws of its own: boxes, flips, colours.

The augmentation of an image is a function of its seed alone; the other images of its batch do not matter.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

_TRIES = 10  # boxes that are drawn until one fits, as torchvision does
BOX_DRAWS = 2 * _TRIES + 2
_AT_ONCE = 16  # images whose colours are worked on together: that many stay in a processor's cache
_GREY = (0.299, 0.587, 0.114)  # the luma of ITU-R BT.601


def uniform_draws(seeds: np.ndarray, count: int) -> np.ndarray:
    """Return `count` numbers from [0, 1) for each of B seeds, `(B, count)` float64: SplitMix64 (Steele et al., 2014).

    A generator that is made for every image would take longer than the whole augmentation.
    """
    steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = seeds.astype(np.uint64)[:, None] + steps  # (B, count); whole numbers of 64 bits wrap around
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return np.asarray((z >> np.uint64(11)) * 2.0**-53)


def random_boxes(draws: np.ndarray, side: int, *, scale: tuple[float, float], ratio: tuple[float, float]) -> np.ndarray:
    """Boxes in squares of `side` pixels, `(B, 4)` int64 of top, left, height, width, distributed as torchvision's
    `RandomResizedCrop` draws them.

    Args:
        draws: `(B, BOX_DRAWS)` from [0, 1).
        side: of the squares, in pixels.
        scale: smallest and largest share of the square's area.
        ratio: smallest and largest width over height, uniform in its logarithm.
    """
    area = side**2 * (scale[0] + (scale[1] - scale[0]) * draws[:, :_TRIES])  # (B, tries)
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = np.exp(low + (high - low) * draws[:, _TRIES : 2 * _TRIES])
    sizes = np.rint(np.sqrt(np.stack([area / aspect, area * aspect], 2))).astype(np.int64)  # (B, tries, 2)
    fits = np.all((sizes > 0) & (sizes <= side), axis=2)  # (B, tries)
    chosen = sizes[np.arange(len(sizes)), fits.argmax(1)]  # (B, 2), the first that fits
    chosen[~np.any(fits, axis=1)] = side  # none: the whole square
    corners = np.floor(draws[:, 2 * _TRIES : BOX_DRAWS] * (side - chosen + 1)).astype(np.int64)
    return np.concatenate([corners, chosen], 1)


def crop_and_resize(images: Tensor, boxes: np.ndarray, size: int) -> Tensor:
    """Cut box b out of image b and resize it to `(3, size, size)`, bilinear and antialiased.

    Args:
        images: `(B, 3, S', S')` uint8.
        boxes: `(B, 4)`: top, left, height, width.
        size: side of the result in pixels.

    Returns:
        `(B, 3, size, size)` uint8 in the memory order of `images`.
    """
    resized = []
    for row, (top, left, height, width) in enumerate(boxes.tolist()):
        crop = images.narrow(0, row, 1).narrow(2, top, height).narrow(3, left, width)  # half the time of a slice
        resized.append(functional.interpolate(crop, (size, size), mode="bilinear", antialias=True))
    return torch.cat(resized)


def adjust_colours(images: Tensor, *, saturation: Tensor, contrast: Tensor, brightness: Tensor) -> Tensor:
    """Blend uint8 images `(B, 3, S, S)` with their grey, then with their mean grey, then with black, by factors `(B,)`
    float64; 1 changes nothing.

    The same three operations as torchvision's `ColorJitter`, in one fixed order and so as one linear map an image.
    Returns uint8 of the same shape, channels last.
    """
    size = images.shape[-1]
    grey = torch.tensor(_GREY, dtype=torch.float64)
    of_pixel, of_grey, of_mean = (
        brightness * contrast * saturation,
        brightness * contrast * (1 - saturation),
        brightness * (1 - contrast),
    )
    maps = of_pixel[:, None, None] * torch.eye(3) + of_grey[:, None, None] * grey[:, None].expand(3, 3)  # (B, 3, 3)
    together = 4 if size % 2 == 0 else 1  # pixels that one matrix maps: products of 3 x 3 are slow
    maps = torch.kron(torch.eye(together), _short(maps)).to(torch.float32)  # (B, 3 together, 3 together)
    adjusted = torch.empty_like(images, memory_format=torch.channels_last)
    source, result = images.permute(0, 2, 3, 1), adjusted.permute(0, 2, 3, 1)  # (B, S, S, 3)
    for first in range(0, len(images), _AT_ONCE):
        rows = slice(first, first + _AT_ONCE)
        pixels = source[rows].to(torch.float32)
        columns = pixels.reshape(len(pixels), size, -1).sum(1)  # (b, 3 S); sums of whole numbers are exact
        means = columns.view(len(pixels), size, 3).sum(1, dtype=torch.float64) / size**2  # (b, 3)
        offset = _short(of_mean[rows] * (means @ grey)) + 0.5  # dropping decimals after adding a half rounds
        mapped = torch.bmm(pixels.reshape(len(pixels), -1, 3 * together), maps[rows])
        mapped.add_(offset.to(torch.float32)[:, None, None]).clamp_(0, 255)
        result[rows] = mapped.view(pixels.shape).to(torch.int16)  # from floats, torch is six times slower to 8 bits
    return adjusted


def _short(factors: Tensor) -> Tensor:
    """Whole multiples of 2^-14: their products with 8 bits, and sums of those, are exact in float32.

    So the result is the same to the bit in whatever order a matrix product adds, which may change with the batch.
    """
    return torch.round(factors * 2**14) / 2**14
