"""Snow, fog and bright light. Layers are drawn at 224 px as published, and resized to the image."""

import numpy as np

from marnet.evaluation.corruptions.filters import PUBLISHED_SIDE, correlate, fit_layer, motion_kernel, zoom_in

_SNOW = (  # mean and deviation of the noise, its zoom, threshold, radius and sigma of the fall, share of the image
    (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
    (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
    (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
    (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
    (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
)
_FOG = ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))  # density, decay from coarse to fine
_BRIGHTNESS = (0.1, 0.2, 0.3, 0.4, 0.5)  # added to the value of HSV
_GREY = np.array((0.299, 0.587, 0.114), np.float32)[:, None, None]  # the luma of ITU-R BT.601
_FOG_SIDE = 256  # the power of two from 224 upwards


def snow(pixels: np.ndarray, severity: int, stream: np.random.Generator) -> np.ndarray:
    """Whiten the image and let flakes fall, every flake once more turned by half a turn."""
    mean, deviation, zoom, threshold, radius, sigma, share = _SNOW[severity - 1]
    layer = mean + deviation * stream.standard_normal((1, PUBLISHED_SIDE, PUBLISHED_SIDE), dtype=np.float32)
    layer = zoom_in(layer, zoom)
    layer = np.where(layer < threshold, 0, np.minimum(layer, 1))
    kernel = motion_kernel(radius, sigma, stream.uniform(-135, -45), PUBLISHED_SIDE)
    layer = fit_layer(correlate(layer, kernel, border="edge"), pixels.shape[-1])
    grey = (pixels * _GREY).sum(axis=0)
    whitened = share * pixels + (1 - share) * np.maximum(pixels, grey * 1.5 + 0.5)
    snowy: np.ndarray = whitened + layer + np.rot90(layer, 2, axes=(1, 2))
    return snowy


def fog(pixels: np.ndarray, severity: int, stream: np.random.Generator) -> np.ndarray:
    """Lay a plasma cloud over the image and restore the brightest value."""
    density, decay = _FOG[severity - 1]
    cloud = plasma(decay, stream)[None, :PUBLISHED_SIDE, :PUBLISHED_SIDE]
    brightest = float(pixels.max())
    foggy: np.ndarray = (pixels + density * fit_layer(cloud, pixels.shape[-1])) * brightest / (brightest + density)
    return foggy


def plasma(decay: float, stream: np.random.Generator) -> np.ndarray:
    """Return a cloud `(256, 256)` from 0 to 1 that joins at its borders, by the diamond-square method.

    Every level halves the grid: midpoints are means of four neighbours and a uniform number, whose range shrinks with
    the square of `decay`.
    """
    heights = np.zeros((1, 1))
    spread = 100.0
    while len(heights) < _FOG_SIDE:
        side = len(heights)
        # as published the range is the square of the spread
        draws = stream.uniform(-(spread**2), spread**2, (3, side, side))
        right, below = np.roll(heights, -1, 1), np.roll(heights, -1, 0)
        middle = (heights + right + below + np.roll(right, -1, 0)) / 4 + draws[0]
        finer = np.empty((2 * side, 2 * side))
        finer[::2, ::2] = heights
        finer[1::2, 1::2] = middle
        finer[::2, 1::2] = (heights + right + middle + np.roll(middle, 1, 0)) / 4 + draws[1]
        finer[1::2, ::2] = (heights + below + middle + np.roll(middle, 1, 1)) / 4 + draws[2]
        heights = finer
        spread /= decay
    heights -= heights.min()
    cloud: np.ndarray = (heights / heights.max()).astype(np.float32)
    return cloud


def brightness(pixels: np.ndarray, severity: int, stream: np.random.Generator) -> np.ndarray:
    """Raise the value of HSV, the largest of the three channels; hue and saturation stay."""
    value = pixels.max(axis=0)
    raised = np.minimum(value + _BRIGHTNESS[severity - 1], 1)
    # At the same hue and saturation the channels keep their ratios; black has none and becomes grey.
    bright: np.ndarray = np.where(value > 0, pixels * (raised / np.maximum(value, 1e-6)), raised)
    return bright
