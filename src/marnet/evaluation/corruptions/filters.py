"""Parts that several corruptions share: scaled lengths, blurs, zooms, warps, and layers drawn at 224 px.

Arrays are float32, `(..., H, W)` with any leading dimensions unless said otherwise.
"""

import math
from functools import lru_cache

import numpy as np
import torch
from scipy.ndimage import correlate1d, gaussian_filter
from scipy.signal import fftconvolve
from torch.nn import functional

PUBLISHED_SIDE = 224  # pixels; the published lengths are for images of this size


def scaled(length: float, size: int) -> float:
    """Return a published length in pixels of an image of side `size`."""
    return length * size / PUBLISHED_SIDE


def blur(pixels: np.ndarray, sigma: float, *, mode: str = "nearest", truncate: float = 4.0) -> np.ndarray:
    """Blur squares `(..., S, S)` by a Gaussian of published `sigma`; at 224 px as `scipy.ndimage.gaussian_filter`."""
    matrix = _blur_matrix(pixels.shape[-1], sigma, mode, truncate)
    blurred: np.ndarray = matrix @ pixels @ matrix.T
    return blurred


@lru_cache(maxsize=64)
def _blur_matrix(size: int, sigma: float, mode: str, truncate: float) -> np.ndarray:
    """Return the filter along one axis as a matrix `(S, S)`: as fast for a sigma as wide as the image as for others."""
    step = _step(size)
    reach = int(truncate * sigma / step + 0.5)
    offsets = np.arange(-reach, reach + 1) * step
    weights = np.exp(-(offsets**2) / (2 * sigma**2))
    kernel = _shares(offsets, size) @ (weights / weights.sum())
    matrix: np.ndarray = correlate1d(np.eye(size), kernel, axis=0, mode=mode)
    return matrix.astype(np.float32)


def correlate(pixels: np.ndarray, kernel: np.ndarray, *, border: str) -> np.ndarray:
    """Weigh neighbours by `kernel` `(K, K)`, K odd; beyond the border, "edge" repeats it and "reflect" mirrors."""
    reach = len(kernel) // 2
    leading = [(0, 0)] * (pixels.ndim - 2)
    padded = np.pad(pixels, [*leading, (reach, reach), (reach, reach)], mode="edge" if border == "edge" else "reflect")
    flipped = kernel[::-1, ::-1].reshape((1,) * len(leading) + kernel.shape)
    filtered: np.ndarray = fftconvolve(padded, flipped, mode="valid", axes=(-2, -1))
    return filtered


@lru_cache(maxsize=32)
def disk_kernel(radius: float, softness: float, size: int) -> np.ndarray:
    """Return the blur of a lens out of focus, `(K, K)`, for images of side `size`.

    A disk of published `radius`, its rim blurred by a Gaussian of published sigma `softness`.
    """
    step = _step(size)
    reach = math.ceil((radius + 4 * softness) / step)
    offsets = np.arange(-reach, reach + 1) * step
    disk = (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(np.float64)
    disk = gaussian_filter(disk / disk.sum(), softness / step)
    shares = _shares(offsets, size)
    kernel: np.ndarray = shares @ disk @ shares.T
    return kernel.astype(np.float32)


def motion_kernel(radius: float, sigma: float, angle: float, size: int) -> np.ndarray:
    """Return the blur of a movement that fades, `(K, K)`, for images of side `size`.

    Half a Gaussian of published `sigma` along a line, cut after twice the published `radius`.

    Args:
        radius, sigma: published lengths.
        angle: degrees, clockwise on the screen; 0 takes each pixel from those to its right.
        size: S.
    """
    step = _step(size)
    offsets = np.arange(0, 2 * math.ceil(radius) + step / 2, step)
    weights = np.exp(-(offsets**2) / (2 * sigma**2))
    across, down = (_shares(offsets * turn(math.radians(angle)), size, offsets[-1]) for turn in (math.cos, math.sin))
    kernel: np.ndarray = (down * (weights / weights.sum())) @ across.T
    return kernel.astype(np.float32)


def _step(size: int) -> float:
    """Return the distance between samples of a kernel in published pixels: one, or one pixel of a larger image."""
    return min(1.0, PUBLISHED_SIDE / size)


def _shares(offsets: np.ndarray, size: int, longest: float | None = None) -> np.ndarray:
    """Return how pixels of an image of side `size` share weights at published `offsets` (n,) along an axis, `(K, n)`.

    Row K // 2 is the pixel at offset 0. A weight between two pixels is shared linearly, so that blurs of less than a
    pixel do something. K is large enough for offsets up to `longest`.
    """
    reach = math.ceil(round(scaled(float(np.abs(offsets).max()) if longest is None else longest, size), 6))
    pixels = np.arange(-reach, reach + 1)
    shares: np.ndarray = np.maximum(0, 1 - np.abs(scaled(1, size) * offsets - pixels[:, None]))
    return shares


def zoom_in(pixels: np.ndarray, factor: float) -> np.ndarray:
    """Enlarge the middle of squares `(C, S, S)` by `factor`, 1 or more, bilinearly, to the same size."""
    size = pixels.shape[-1]
    crop = math.ceil(size / factor)
    first = (size - crop) // 2
    enlarged = round(crop * factor)
    middle = torch.from_numpy(np.ascontiguousarray(pixels[:, first : first + crop, first : first + crop]))
    zoomed = functional.interpolate(middle[None], size=(enlarged, enlarged), mode="bilinear", align_corners=True)[0]
    trim = (enlarged - size) // 2
    return zoomed[:, trim : trim + size, trim : trim + size].numpy()


def warp(pixels: np.ndarray, x: np.ndarray, y: np.ndarray, *, border: str) -> np.ndarray:
    """Take pixel (i, j) of the result from column `x[i, j]` and row `y[i, j]` of `pixels` `(C, S, S)`, bilinearly.

    Beyond the border the image is mirrored: "reflect" at the middle of the outermost pixels, "symmetric" at their rim.
    """
    size = pixels.shape[-1]
    at_middle = border == "reflect"
    offsets = torch.from_numpy(np.stack((x, y), -1).astype(np.float32))
    grid = offsets * (2 / (size - 1)) - 1 if at_middle else (offsets + 0.5) * (2 / size) - 1
    image = torch.from_numpy(np.ascontiguousarray(pixels))
    warped = functional.grid_sample(image[None], grid[None], padding_mode="reflection", align_corners=at_middle)
    return warped[0].numpy()


def fit_layer(layer: np.ndarray, size: int) -> np.ndarray:
    """Resize a layer drawn at 224 px, `(C, 224, 224)`, to `(C, size, size)`, antialiased."""
    if layer.shape[-1] == size:
        return layer
    drawn = torch.from_numpy(np.ascontiguousarray(layer, np.float32))
    return functional.interpolate(drawn[None], size=(size, size), mode="bilinear", antialias=True)[0].numpy()
