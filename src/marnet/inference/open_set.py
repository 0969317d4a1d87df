"""Images of none of the known classes, told by a probability that images of known classes rarely fall short of.

The probability of the most probable class is a strong baseline for it (Hendrycks and Gimpel, 2017).
"""

import math
from collections.abc import Sequence

from marnet.errors import ConfigError


def least_confidence(confidences: Sequence[float], rate: float) -> float:
    """Return the probability that the most probable class of an image needs, or the image is of no known class.

    Args:
        confidences: those of N held-out images of known classes.
        rate: the share of images of known classes that may be taken for unknown, between 0 and 1.

    Raises:
        ConfigError: `rate` is not between 0 and 1, or so small that N images cannot tell.

    Example:
        >>> least_confidence([0.2, 0.4, 0.6, 0.8], 0.4)
        0.4
    """
    if not 0 < rate < 1:
        raise ConfigError(f"`open_set` is {rate:g}, but a rate lies between 0 and 1. Try 0.05.")
    rank = math.floor((len(confidences) + 1) * rate + 1e-9)
    if rank < 1:
        raise ConfigError(
            f"A rate of {rate:g} cannot be kept with {len(confidences)} held-out images; it takes "
            f"{math.ceil(1 / rate - 1e-9) - 1} or more. Give a larger `open_set`, or train with more rows in val."
        )
    return sorted(confidences)[rank - 1]
