"""Corrupted copies of images, to measure how robust a classifier is: 22 corruptions at severities 1 to 5.

`STANDARD` are the fifteen of ImageNet-C and `HELD_OUT` its four more, which no tuning may use (Hendrycks and
Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR 2019), with the
parameters published for 224 px; `OURS` are viewpoint, lighting and occlusion. A corruption from outside the package is
named `module:PACKAGE.NAME`.

**Other sizes.** Lengths that are published in pixels of a 224 px image (radii, sigmas, displacements, the size of
flakes and drops) are lengths in the picture and scale with S / 224; layers of snow, fog, frost, spatter and
displacement are made at 224 px and resized to S. Amounts per pixel and ratios stay as published: strengths of noise,
factors of contrast and colour, the share to which `pixelate` shrinks, the quality of the JPEG. Results are rounded to
8 bits.

`docs/robustness.md` has a line on each and says where they differ from the published code.
"""

import zlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from marnet.errors import ConfigError
from marnet.evaluation.corruptions.registry import Corruption, find_corruption, names_of

__all__ = [
    "CORRUPTIONS",
    "HELD_OUT",
    "OURS",
    "SEVERITIES",
    "STANDARD",
    "Corruption",
    "check_corruption",
    "corrupt",
    "find_corruption",
    "random_stream",
]

STANDARD, HELD_OUT, OURS = names_of("standard"), names_of("held-out"), names_of("ours")
CORRUPTIONS = STANDARD + HELD_OUT + OURS
SEVERITIES = (1, 2, 3, 4, 5)
_LEAST_SIDE = 16  # pixels; in smaller images the published lengths are fractions of a pixel


def corrupt(images: Tensor, name: str, severity: int, seeds: Sequence[int]) -> Tensor:
    """Corrupt uint8 images `(B, 3, S, S)`; the result has the same shape, type and device.

    An image's random draws depend on its seed, `name` and `severity` alone, not on the other images of the batch.

    Args:
        images: RGB squares, S at least 16.
        name: one of `CORRUPTIONS`, or module:PACKAGE.NAME for a function of your own that maps an image, float32
            `(3, S, S)` in 0..1, a severity and a numpy Generator to such an image.
        severity: from 1, mild, to 5.
        seeds: B whole numbers of 0 or more.

    Raises:
        ConfigError: the name or the severity is unknown, or a function of your own returned something else.
        ValueError: the images are not uint8 squares, or the seeds do not fit.

    Example:
        >>> black = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
        >>> corrupt(black, "brightness", 5, seeds=[0]).unique().tolist()
        [128]
    """
    corruption = check_corruption(name, severity)
    _check_input(images, seeds)
    result = np.empty(tuple(images.shape), np.uint8)
    # Image by image: a product over a batch may sum in another order and round differently.
    for row, (pixels, seed) in enumerate(zip(images.cpu().numpy(), seeds, strict=True)):
        corrupted = corruption.apply(pixels.astype(np.float32) / 255, severity, random_stream(name, severity, seed))
        result[row] = np.clip(corrupted * 255 + 0.5, 0, 255)  # the cast to integers drops decimals, so this rounds
    return torch.from_numpy(result).to(images.device)


def check_corruption(name: str, severity: int) -> Corruption:
    """Return the corruption of that name.

    Raises:
        ConfigError: the name or the severity is unknown.
    """
    corruption = find_corruption(name)
    if severity not in SEVERITIES:
        nearest = "1, the mildest" if severity < 1 else "5, the strongest" if severity > 5 else str(int(severity + 0.5))
        raise ConfigError(
            f"Severity is {severity}, but it must be a whole number from 1 to 5. The nearest is {nearest}."
        )
    return corruption


def _check_input(images: Tensor, seeds: Sequence[int]) -> None:
    shape = tuple(images.shape)
    if (
        images.dtype != torch.uint8
        or len(shape) != 4
        or shape[1] != 3
        or shape[2] != shape[3]
        or shape[2] < _LEAST_SIDE
    ):
        raise ValueError(
            f"images are {images.dtype} of shape {shape}. Expected torch.uint8 of (B, 3, S, S) with S at least "
            f"{_LEAST_SIDE}."
        )
    if len(seeds) != len(images) or any(seed < 0 for seed in seeds):
        raise ValueError(
            f"{len(images)} images came with {len(seeds)} seeds, the smallest {min(seeds, default='none')}. "
            f"Expected one seed of 0 or more per image."
        )


def random_stream(name: str, severity: int, seed: int) -> np.random.Generator:
    """Return the random numbers that one image's corruption draws from."""
    return np.random.default_rng((int(seed), zlib.crc32(name.encode()), severity))
