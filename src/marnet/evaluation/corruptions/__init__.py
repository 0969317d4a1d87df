"""Corrupted copies of images, to see how steady a classifier is: 22 corruptions at severities 1 to 5.

`STANDARD` are the fifteen of ImageNet-C and `HELD_OUT` its four more, which no tuning may look at (Hendrycks and
Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR 2019), with the
parameters published for 224 px; `OURS` are viewpoint, lighting and occlusion.

**Other sizes.** What is published in pixels of a 224 px image (radii, sigmas, displacements, the size of flakes and
drops) is a length in the picture and scales with S / 224; layers of snow, fog, frost, spatter and displacement are made
at 224 px and resized to S. What acts on each pixel or is a ratio stays as published: strengths of noise, factors of
contrast and colour, the share to which `pixelate` shrinks, the quality of the JPEG. Results are rounded to 8 bits.

`docs/robustness.md` has a line on each and says where they leave the published code.
"""

import zlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from marnet.errors import ConfigError, suggest
from marnet.evaluation.corruptions import blur, digital, frost, noise, ours, spatter, weather

# One image, float32 (3, S, S) in 0..1, the severity and the image's own stream; the result may leave 0..1.
Corruption = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]

_STANDARD: dict[str, Corruption] = {
    "gaussian_noise": noise.gaussian,
    "shot_noise": noise.shot,
    "impulse_noise": noise.impulse,
    "defocus_blur": blur.defocus,
    "glass_blur": blur.glass,
    "motion_blur": blur.motion,
    "zoom_blur": blur.zoom,
    "snow": weather.snow,
    "frost": frost.frost,
    "fog": weather.fog,
    "brightness": weather.brightness,
    "contrast": digital.contrast,
    "elastic_transform": digital.elastic,
    "pixelate": digital.pixelate,
    "jpeg_compression": digital.jpeg,
}
_HELD_OUT: dict[str, Corruption] = {
    "speckle_noise": noise.speckle,
    "gaussian_blur": blur.gaussian,
    "spatter": spatter.spatter,
    "saturate": digital.saturate,
}
_OURS: dict[str, Corruption] = {
    "viewpoint": ours.viewpoint,
    "lighting": ours.lighting,
    "occlusion": ours.occlusion,
}
_ALL = _STANDARD | _HELD_OUT | _OURS

STANDARD = tuple(_STANDARD)
HELD_OUT = tuple(_HELD_OUT)
OURS = tuple(_OURS)
CORRUPTIONS = tuple(_ALL)
SEVERITIES = (1, 2, 3, 4, 5)
_LEAST_SIDE = 16  # pixels; below, the published lengths are fractions of a pixel


def corrupt(images: Tensor, name: str, severity: int, seeds: Sequence[int]) -> Tensor:
    """Corrupt uint8 images `(B, 3, S, S)`; the result has the same shape, type and device.

    An image's random draws depend on its seed, `name` and `severity` alone, not on the other images of the batch.

    Args:
        images: RGB squares, S at least 16.
        name: one of `CORRUPTIONS`.
        severity: from 1, mild, to 5.
        seeds: B whole numbers of 0 or more.

    Raises:
        ConfigError: the name or the severity is unknown.
        ValueError: the images are not uint8 squares, or the seeds do not fit.
    """
    corruption = check_corruption(name, severity)
    _check_input(images, seeds)
    result = np.empty(tuple(images.shape), np.uint8)
    # One by one, the arrays of one image: a batched product may add up in another order and round another way.
    for row, (pixels, seed) in enumerate(zip(images.cpu().numpy(), seeds, strict=True)):
        corrupted = corruption(pixels.astype(np.float32) / 255, severity, random_stream(name, severity, seed))
        result[row] = np.clip(corrupted * 255 + 0.5, 0, 255)  # to integers by dropping decimals: this rounds
    return torch.from_numpy(result).to(images.device)


def check_corruption(name: str, severity: int) -> Corruption:
    """Return the corruption of that name.

    Raises:
        ConfigError: the name or the severity is unknown.
    """
    if name not in _ALL:
        raise ConfigError(
            f"Unknown corruption {name!r}.{suggest(name, CORRUPTIONS)} Known corruptions: {', '.join(CORRUPTIONS)}."
        )
    if severity not in SEVERITIES:
        nearest = "1, the mildest" if severity < 1 else "5, the strongest" if severity > 5 else str(int(severity + 0.5))
        raise ConfigError(f"Severity is {severity}; needed a whole number from 1 to 5. The nearest is {nearest}.")
    return _ALL[name]


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
            f"images are {images.dtype} of shape {shape}; needed torch.uint8 of (B, 3, S, S), S at least {_LEAST_SIDE}."
        )
    if len(seeds) != len(images) or any(seed < 0 for seed in seeds):
        raise ValueError(
            f"{len(images)} images came with {len(seeds)} seeds, the least of them {min(seeds, default='none')}; "
            f"needed one of 0 or more for each image."
        )


def random_stream(name: str, severity: int, seed: int) -> np.random.Generator:
    """Return the random numbers that one image's corruption draws from."""
    return np.random.default_rng((int(seed), zlib.crc32(name.encode()), severity))
