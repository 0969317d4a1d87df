"""Drops of water or mud on the lens. The layer is drawn at 224 px as published, and resized to the image."""

import numpy as np
from scipy.ndimage import binary_erosion, correlate, distance_transform_edt, uniform_filter

from marnet.evaluation.corruptions.filters import PUBLISHED_SIDE, blur, fit_layer

_SPATTER = (  # mean and deviation of the noise, its sigma, threshold, strength of water or softness of mud
    (0.65, 0.3, 4, 0.69, 0.6),
    (0.65, 0.3, 3, 0.68, 0.6),
    (0.65, 0.3, 2, 0.68, 0.5),
    (0.65, 0.3, 1, 0.65, 1.5),
    (0.67, 0.4, 1, 0.65, 1.5),
)
_MUD_FROM = 4  # severity
_WATER = np.array((175, 238, 238), np.float32)[:, None, None] / 255  # pale turquoise
_MUD = np.array((63, 42, 20), np.float32)[:, None, None] / 255  # brown
_FLAT_FROM = 20  # pixels from the rim of a drop, beyond which it is flat
_RELIEF = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])  # light from above and left


def spatter(pixels: np.ndarray, severity: int, stream: np.random.Generator) -> np.ndarray:
    """Put drops on the image: of water, which shine (severities 1 to 3), or of mud, which hide it (4 and 5)."""
    mean, deviation, sigma, threshold, strength = _SPATTER[severity - 1]
    noise = mean + deviation * stream.standard_normal((PUBLISHED_SIDE, PUBLISHED_SIDE), dtype=np.float32)
    liquid = blur(noise, sigma)
    liquid[liquid < threshold] = 0
    if severity < _MUD_FROM:
        shine = _shine(liquid) * strength
        wet: np.ndarray = pixels + _WATER * fit_layer(shine[None], pixels.shape[-1])
        return wet
    cover = blur((liquid > threshold).astype(np.float32), strength)
    cover[cover < 0.8] = 0
    cover = fit_layer(cover[None], pixels.shape[-1])
    muddy: np.ndarray = pixels * (1 - cover) + _MUD * cover
    return muddy


def _shine(liquid: np.ndarray) -> np.ndarray:
    """Return the brightness of drops, `(224, 224)` from 0 to 1: an embossed image of the distance from their rims.

    The rim is the outermost pixels of a drop, instead of the edges that the published code finds by Canny's method.
    """
    drops = liquid > 0
    rim = drops & ~binary_erosion(drops)
    if not rim.any():
        return np.zeros_like(liquid)
    distance = np.minimum(distance_transform_edt(~rim), _FLAT_FROM)
    depth = _equalise(uniform_filter(distance, 3, mode="mirror").astype(np.uint8))
    depth = np.clip(correlate(depth.astype(np.float32), _RELIEF, mode="mirror"), 0, 255)
    shine = np.floor(liquid * 255) * uniform_filter(depth, 3, mode="mirror")
    normalised: np.ndarray = shine / max(float(shine.max()), 1e-6)
    return normalised


def _equalise(levels: np.ndarray) -> np.ndarray:
    """Equalise the histogram of uint8 values over 0 to 255."""
    counts = np.bincount(levels.ravel(), minlength=256)
    below = np.cumsum(counts)
    lowest = int(below[counts > 0][0])
    spread = np.rint((below - lowest) * 255 / max(1, levels.size - lowest))
    equalised: np.ndarray = np.clip(spread, 0, 255).astype(np.uint8)[levels]
    return equalised
