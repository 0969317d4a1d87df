"""The learning rate over the steps of a training."""

import math


def warmup_cosine(step: int, warmup: int, steps: int, floor: float) -> float:
    """Return the factor on the learning rate: up in a line over `warmup` steps, then down half a cosine to `floor`."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2
