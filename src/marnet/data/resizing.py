"""Resizing with numpy to the bits that torch gives, for exported models, which predict without torch.

torch resizes uint8 images along one axis after the other, in integers: the weights of a filter become 16-bit numbers of
as many binary places as the largest of them has room for, and each sum is rounded back to 8 bits. Here the same
numbers are added up; `marnet.data.squares.fit_square` is what they must equal.
"""

from collections.abc import Callable

import numpy as np

_LARGEST_WEIGHT = 2**15  # 16 bits with a sign
_MOST_PLACES = 22


def resize_square(pixels: np.ndarray, size: int, *, interpolation: str = "bicubic") -> np.ndarray:
    """Return uint8 pixels `(side, side, 3)` in another size, `(size, size, 3)`, antialiased.

    Args:
        pixels: the image.
        size: the new side.
        interpolation: "bicubic" or "bilinear".

    Example:
        >>> resize_square(np.full((9, 9, 3), 7, np.uint8), 4)[0, 0].tolist()
        [7, 7, 7]
    """
    if pixels.shape[0] == size:
        return pixels
    kernel, reach = _KERNELS[interpolation]
    starts, weights = _integer_weights(pixels.shape[0], size, kernel, reach)
    places = _places(weights)
    rounded = np.floor(np.abs(weights) * 2**places + 0.5) * np.sign(weights)  # halves away from zero
    across = _sum_along_rows(pixels.transpose(1, 0, 2), starts, rounded, places)  # (size, side, 3): x, y, channel
    return _sum_along_rows(across.transpose(1, 0, 2), starts, rounded, places)


def _integer_weights(
    side: int, size: int, kernel: Callable[[np.ndarray], np.ndarray], reach: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return for each new pixel its first old pixel, `(size,)`, and the weights of that and the next, `(size, K)`."""
    scale = side / size
    width = max(scale, 1.0)  # of the filter: downwards it covers as many pixels as become one
    support = reach * width
    centres = scale * (np.arange(size) + 0.5)
    starts = np.maximum((centres - support + 0.5).astype(np.int64), 0)
    ends = np.minimum((centres + support + 0.5).astype(np.int64), side)
    offsets = np.arange((ends - starts).max())
    weights = kernel((offsets + starts[:, None] - centres[:, None] + 0.5) * (1.0 / width))
    weights[offsets >= (ends - starts)[:, None]] = 0.0
    return starts, weights / weights.sum(1, keepdims=True)


def _places(weights: np.ndarray) -> int:
    """Return how many binary places fit into 16 bits beside the largest weight."""
    largest = float(weights.max())
    places = 0
    while places < _MOST_PLACES and int(0.5 + largest * 2 ** (places + 1)) < _LARGEST_WEIGHT:
        places += 1
    return places


def _sum_along_rows(pixels: np.ndarray, starts: np.ndarray, weights: np.ndarray, places: int) -> np.ndarray:
    """Return weighted sums of rows of `(side, W, 3)`, rounded to 8 bits: `(size, W, 3)`."""
    found = np.empty((len(starts), *pixels.shape[1:]), np.uint8)
    source = np.ascontiguousarray(pixels).reshape(len(pixels), -1)
    for row, (start, own) in enumerate(zip(starts.tolist(), weights, strict=True)):
        covered = source[start : start + len(own)].astype(np.float64)  # in which sums of integers stay exact
        sums = own[: len(covered)] @ covered
        found[row] = np.floor((sums + 2.0 ** (places - 1)) / 2.0**places).clip(0, 255).reshape(pixels.shape[1:])
    return found


def _triangle(x: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.maximum(1.0 - np.abs(x), 0.0)
    return found


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic with a = -0.5."""
    x = np.abs(x)
    near = ((1.5 * x) - 2.5) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5
    found: np.ndarray = np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))
    return found


_KERNELS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float]] = {
    "bilinear": (_triangle, 1.0),
    "bicubic": (_cubic, 2.0),
}
