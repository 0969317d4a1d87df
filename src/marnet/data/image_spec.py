"""`ImageSpec`: the form of a model's input."""

from typing import NamedTuple

_CROP_SHARE = 0.875  # the side of the crop at evaluation over the side of the cached square; the usual share


class ImageSpec(NamedTuple):
    """The input of a model: squares of `size` pixels, normalised channel by channel (RGB, in fractions of 255).

    `interpolation` is how images are resized to the square that is cached, "bicubic" or "bilinear".

    Example:
        >>> import marnet
        >>> marnet.load("runs/p").spec.size
        32
        >>> marnet.ImageSpec(224, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)).interpolation
        'bicubic'
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bicubic"


def cache_size(spec: ImageSpec) -> int:
    """S', the side in pixels at which images are cached, a little more than the model sees."""
    return round(spec.size / _CROP_SHARE)
