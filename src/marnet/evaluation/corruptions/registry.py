"""The table of corruptions, each with its group, and corruptions from outside the package.

To add a corruption, write its function in a file of its own and enter it into `REGISTERED`.
"""

import inspect
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from marnet.errors import ConfigError, suggest
from marnet.evaluation.corruptions import blur, digital, frost, noise, ours, spatter, weather
from marnet.imported import PREFIX, import_object

Group = Literal["standard", "held-out", "ours", "other"]  # "other": from outside the package

# One image, float32 (3, S, S) in 0..1, the severity and the image's own stream; the result may leave 0..1.
CorruptionFunction = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]


class Corruption(NamedTuple):
    """A corruption and the group that it is averaged with."""

    name: str
    group: Group
    apply: CorruptionFunction


REGISTERED = (
    Corruption("gaussian_noise", "standard", noise.gaussian),
    Corruption("shot_noise", "standard", noise.shot),
    Corruption("impulse_noise", "standard", noise.impulse),
    Corruption("defocus_blur", "standard", blur.defocus),
    Corruption("glass_blur", "standard", blur.glass),
    Corruption("motion_blur", "standard", blur.motion),
    Corruption("zoom_blur", "standard", blur.zoom),
    Corruption("snow", "standard", weather.snow),
    Corruption("frost", "standard", frost.frost),
    Corruption("fog", "standard", weather.fog),
    Corruption("brightness", "standard", weather.brightness),
    Corruption("contrast", "standard", digital.contrast),
    Corruption("elastic_transform", "standard", digital.elastic),
    Corruption("pixelate", "standard", digital.pixelate),
    Corruption("jpeg_compression", "standard", digital.jpeg),
    Corruption("speckle_noise", "held-out", noise.speckle),
    Corruption("gaussian_blur", "held-out", blur.gaussian),
    Corruption("spatter", "held-out", spatter.spatter),
    Corruption("saturate", "held-out", digital.saturate),
    Corruption("viewpoint", "ours", ours.viewpoint),
    Corruption("lighting", "ours", ours.lighting),
    Corruption("occlusion", "ours", ours.occlusion),
)
_BY_NAME = {corruption.name: corruption for corruption in REGISTERED}


def names_of(group: Group) -> tuple[str, ...]:
    """Return the names of the registered corruptions of a group."""
    return tuple(corruption.name for corruption in REGISTERED if corruption.group == group)


def find_corruption(name: str) -> Corruption:
    """Return the corruption of that name.

    Args:
        name: a registered name, or module:PACKAGE.NAME for a function from outside the package.

    Raises:
        ConfigError: the name is unknown, or the function cannot be imported or called with the three arguments.

    Example:
        >>> find_corruption("fog").group
        'standard'
    """
    if name.startswith(PREFIX):
        return Corruption(name, "other", _imported(name))
    if name not in _BY_NAME:
        raise ConfigError(
            f"Unknown corruption {name!r}.{suggest(name, _BY_NAME)} Known corruptions: {', '.join(_BY_NAME)}; your own "
            f"is named module:PACKAGE.NAME."
        )
    return _BY_NAME[name]


def _imported(name: str) -> CorruptionFunction:
    function = import_object(name, what="corruption")
    expected = "Expected a function of an image (3, S, S), a severity and a numpy Generator that returns such an image."
    if not callable(function):
        raise ConfigError(f"The corruption {name} is a {type(function).__name__}. {expected}")
    try:
        inspect.signature(function).bind(np.zeros((3, 1, 1)), 1, np.random.default_rng(0))
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"The corruption {name} cannot be called with three arguments ({error}). {expected}"
        ) from None

    def apply(pixels: np.ndarray, severity: int, stream: np.random.Generator) -> np.ndarray:
        shape = pixels.shape
        corrupted = np.asarray(function(pixels, severity, stream))
        if corrupted.shape != shape or not np.issubdtype(corrupted.dtype, np.floating):
            raise ConfigError(
                f"The corruption {name} returned {corrupted.dtype} of shape {corrupted.shape} for float32 of shape "
                f"{shape}. Return floats of the same shape, from 0 (black) to 1 (white)."
            )
        if not np.isfinite(corrupted).all():
            raise ConfigError(f"The corruption {name} returned NaN or infinite values. Return values from 0 to 1.")
        return corrupted

    return apply
