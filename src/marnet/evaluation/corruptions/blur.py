"""Blurs of lens, glass and movement. Lengths are those published for 224 px and scale with the image."""

import math

import numpy as np

from marnet.evaluation.corruptions.filters import blur, correlate, disk_kernel, motion_kernel, scaled, zoom_in

_GAUSSIAN = (1, 2, 3, 4, 6)  # sigma
_DEFOCUS = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))  # radius of the disk, sigma of its rim
_GLASS = ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2))  # sigma, displacement, rounds
_MOTION = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))  # radius, sigma
_ZOOM = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))  # end and step of the factors


def gaussian(pixels: np.ndarray, severity: int, stream: np.random.Generator) -> np.ndarray:
    """Blur by a Gaussian."""
    return blur(pixels, _GAUSSIAN[severity - 1])


def defocus(pixels: np.ndarray, severity: int, stream: np.random.Generator) -> np.ndarray:
    """Spread every pixel over a disk, as a lens out of focus does."""
    kernel = disk_kernel(*_DEFOCUS[severity - 1], pixels.shape[-1])
    return correlate(pixels, kernel, border="reflect")


def glass(pixels: np.ndarray, severity: int, stream: np.random.Generator) -> np.ndarray:
    """Blur, exchange every pixel with a near one, and blur again, as frosted glass does."""
    sigma, displacement, rounds = _GLASS[severity - 1]
    order = shuffle_near(pixels.shape[-1], displacement, rounds, stream)
    blurred = blur(pixels, sigma)
    return blur(blurred.reshape(3, -1)[:, order].reshape(pixels.shape), sigma)


def shuffle_near(size: int, displacement: int, rounds: int, stream: np.random.Generator) -> np.ndarray:
    """Return where each pixel comes from, `(S * S,)` indices, after exchanges from the last pixel to the first.

    Both steps of a displacement are published as whole numbers from -`displacement` to `displacement` - 1. They scale
    with the image; scaled steps are rounded up or down at random, so that their mean square is kept.
    """
    margin = math.ceil(scaled(displacement, size))
    offsets = np.arange(size - margin, margin, -1)
    steps = stream.integers(-displacement, displacement, (rounds, len(offsets), len(offsets), 2))
    far = scaled(1, size) * np.abs(steps)
    whole = np.floor(far)
    upwards = stream.random(far.shape) < (far**2 - whole**2) / (2 * whole + 1)
    steps = np.sign(steps) * (whole + upwards).astype(np.int64)
    rows = np.clip(offsets[:, None] + steps[..., 0], 0, size - 1)
    columns = np.clip(offsets[None, :] + steps[..., 1], 0, size - 1)
    here = (offsets[:, None] * size + offsets[None, :]).ravel().tolist()
    order = list(range(size * size))
    # Each exchange sees the earlier ones, so this is a loop; it is fast over Python's own lists.
    for there in (rows * size + columns).reshape(rounds, -1).tolist():
        for one, other in zip(here, there, strict=True):
            order[one], order[other] = order[other], order[one]
    return np.array(order)


def motion(pixels: np.ndarray, severity: int, stream: np.random.Generator) -> np.ndarray:
    """Blur along a line between 45 degrees upwards and 45 degrees downwards, as a moving camera does."""
    radius, sigma = _MOTION[severity - 1]
    kernel = motion_kernel(radius, sigma, stream.uniform(-45, 45), pixels.shape[-1])
    return correlate(pixels, kernel, border="edge")


def zoom(pixels: np.ndarray, severity: int, stream: np.random.Generator) -> np.ndarray:
    """Average the image with itself at growing sizes, as a camera that moves towards it does."""
    end, step = _ZOOM[severity - 1]
    factors = np.arange(1, end, step)
    total = pixels.copy()
    for factor in factors:
        total += zoom_in(pixels, float(factor))
    mean: np.ndarray = total / (len(factors) + 1)
    return mean
