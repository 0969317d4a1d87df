"""How many images go through a model at once."""

_MOST_PIXELS = 64 * 512**2


def affordable_batch(batch_size: int, side: int) -> int:
    """Return how many images of `side` pixels to compute at a time: `batch_size`, fewer if they are large.

    >>> affordable_batch(64, 224), affordable_batch(64, 4096)
    (64, 1)
    """
    return max(1, min(batch_size, _MOST_PIXELS // side**2))
