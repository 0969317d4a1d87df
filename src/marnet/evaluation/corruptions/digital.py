"""Effects of editing, storing and resizing on an image."""

import io

import numpy as np
from PIL import Image

from marnet.evaluation.corruptions.filters import PUBLISHED_SIDE, blur, fit_layer, scaled, warp

_CONTRAST = (0.4, 0.3, 0.2, 0.1, 0.05)  # factor of the distance from the mean
_SATURATE = ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2))  # factor and offset of the saturation of HSV
_PIXELATE = (0.6, 0.5, 0.4, 0.3, 0.25)  # side over the image's
_JPEG = (25, 18, 15, 10, 7)  # quality
# Height and smoothness (sigma) of the displacement, and the largest movement of a corner. The published code computes
# them from 244, a slip for 224 that is part of the published images.
_ELASTIC = (
    (244 * 2, 244 * 0.7, 244 * 0.1),
    (244 * 2, 244 * 0.08, 244 * 0.2),
    (244 * 0.05, 244 * 0.01, 244 * 0.02),
    (244 * 0.07, 244 * 0.01, 244 * 0.02),
    (244 * 0.12, 244 * 0.01, 244 * 0.02),
)


def contrast(pixels: np.ndarray, severity: int, stream: np.random.Generator) -> np.ndarray:
    """Draw every value towards the mean of its channel."""
    means = pixels.mean(axis=(1, 2), keepdims=True)
    pale: np.ndarray = (pixels - means) * _CONTRAST[severity - 1] + means
    return pale


def saturate(pixels: np.ndarray, severity: int, stream: np.random.Generator) -> np.ndarray:
    """Lower the saturation of HSV (severities 1 and 2) or raise it (3 to 5)."""
    factor, offset = _SATURATE[severity - 1]
    value = pixels.max(axis=0)
    depth = value - pixels  # (3, S, S): value times saturation where a channel is the smallest, 0 where the largest
    largest = depth.max(axis=0)
    saturation = largest / np.maximum(value, 1e-6)
    changed = np.clip(saturation * factor + offset, 0, 1)
    # Grey has no hue; by convention it gets that of red.
    shape = np.where(largest > 0, depth / np.maximum(largest, 1e-6), np.array((0, 1, 1))[:, None, None])
    coloured: np.ndarray = value * (1 - changed * shape)
    return coloured


def pixelate(pixels: np.ndarray, severity: int, stream: np.random.Generator) -> np.ndarray:
    """Shrink the image and enlarge it again, both with a box filter."""
    size = pixels.shape[-1]
    side = max(1, int(size * _PIXELATE[severity - 1]))
    picture = _to_picture(pixels).resize((side, side), Image.Resampling.BOX)
    return _from_picture(picture.resize((size, size), Image.Resampling.BOX))


def jpeg(pixels: np.ndarray, severity: int, stream: np.random.Generator) -> np.ndarray:
    """Store the image as a JPEG of low quality."""
    file = io.BytesIO()
    _to_picture(pixels).save(file, "JPEG", quality=_JPEG[severity - 1])
    return _from_picture(Image.open(file))


def elastic(pixels: np.ndarray, severity: int, stream: np.random.Generator) -> np.ndarray:
    """Move the image by three of its points; then move every pixel by a smooth random field."""
    height, smoothness, corner = _ELASTIC[severity - 1]
    size = pixels.shape[-1]
    down, across = np.mgrid[:size, :size].astype(np.float32)
    centre, arm = size // 2, size // 3
    points = centre + np.array([(arm, arm), (arm, -arm), (-arm, -arm)], np.float64)  # x, y
    moved = points + scaled(1, size) * stream.uniform(-corner, corner, points.shape)
    # From the moved points back to where they were: (x, y, 1) @ back.
    back = np.linalg.solve(np.column_stack((moved, np.ones(3))), points)
    source_x, source_y = (back[0, i] * across + back[1, i] * down + back[2, i] for i in (0, 1))
    turned = warp(pixels, source_x, source_y, border="reflect")
    draws = stream.uniform(-1, 1, (2, PUBLISHED_SIDE, PUBLISHED_SIDE)).astype(np.float32)
    field = height * blur(draws, smoothness, mode="reflect", truncate=3.0)
    field = fit_layer(field, size) * scaled(1, size)
    return warp(turned, across + field[0], down + field[1], border="symmetric")


def _to_picture(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray((pixels.transpose(1, 2, 0) * 255 + 0.5).astype(np.uint8))  # (3, S, S) -> (S, S, 3)


def _from_picture(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture, np.float32).transpose(2, 0, 1) / 255  # (S, S, 3) -> (3, S, S)
