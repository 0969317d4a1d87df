"""Noise of sensors and transmission, added per pixel; its strength does not depend on the size of the image."""

import numpy as np

_GAUSSIAN = (0.08, 0.12, 0.18, 0.26, 0.38)  # standard deviation
_SHOT = (60, 25, 12, 5, 3)  # photons of a white pixel
_IMPULSE = (0.03, 0.06, 0.09, 0.17, 0.27)  # share of values that are replaced
_SPECKLE = (0.15, 0.2, 0.35, 0.45, 0.6)  # standard deviation over the value


def gaussian(pixels: np.ndarray, severity: int, stream: np.random.Generator) -> np.ndarray:
    """Add normal noise to every value."""
    noisy: np.ndarray = pixels + _normal(pixels, stream) * _GAUSSIAN[severity - 1]
    return noisy


def shot(pixels: np.ndarray, severity: int, stream: np.random.Generator) -> np.ndarray:
    """Count photons, a Poisson number for every value."""
    photons = _SHOT[severity - 1]
    counted: np.ndarray = stream.poisson(pixels * photons) / photons
    return counted


def impulse(pixels: np.ndarray, severity: int, stream: np.random.Generator) -> np.ndarray:
    """Replace a share of the values by 0 or 1, each with equal probability."""
    hit = stream.random(pixels.shape) < _IMPULSE[severity - 1]
    return np.where(hit, stream.random(pixels.shape) < 0.5, pixels)


def speckle(pixels: np.ndarray, severity: int, stream: np.random.Generator) -> np.ndarray:
    """Multiply every value by one plus normal noise."""
    noisy: np.ndarray = pixels * (1 + _normal(pixels, stream) * _SPECKLE[severity - 1])
    return noisy


def _normal(pixels: np.ndarray, stream: np.random.Generator) -> np.ndarray:
    return stream.standard_normal(pixels.shape, dtype=np.float32)
