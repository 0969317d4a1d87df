"""From cached uint8 squares to the model's input: augmentation, crop, normalisation."""

from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from marnet.data.augmentation import BOX_DRAWS, adjust_colours, crop_and_resize, random_boxes, uniform_draws
from marnet.data.image_spec import ImageSpec
from marnet.errors import ConfigError, suggest

LEVELS = ("none", "light", "strong")
_AT_ONCE = 16  # images normalised together: that many stay in a processor's cache
_JITTER = 0.2  # saturation, contrast and brightness change by factors from 0.8 to 1.2


class Transform(Protocol):
    """Turns cached squares into the squares that a model sees.

    The result is a function of an image's pixels and its seed, whatever the batch. Without seeds, transforms that need
    some draw them from torch's default generator.
    """

    def __call__(self, images: Tensor, seeds: np.ndarray | None = None) -> Tensor:
        """Turn `(B, 3, S', S')` into `(B, 3, S, S)`, both uint8; `seeds` are `(B,)` int64, not negative."""
        ...


def eval_transform(spec: ImageSpec) -> Transform:
    """Return the centres `(..., 3, S, S)` of images `(..., 3, S', S')`, both uint8."""
    return partial(_centre, size=spec.size)


def train_transform(level: str, spec: ImageSpec) -> Transform:
    """Augmentation of images `(B, 3, S', S')` to `(B, 3, S, S)`, both uint8.

    Args:
        level: "none" is `eval_transform`; "light" crops, flips and changes colours a little; "strong" adds one
            operation of TrivialAugment (Mueller and Hutter, 2021) and erases a rectangle now and then.
        spec: what the model takes.

    Raises:
        ConfigError: the level is unknown.
    """
    if level not in LEVELS:
        raise ConfigError(f"Unknown augmentation {level!r}. Expected {', '.join(LEVELS)}.{suggest(level, LEVELS)}")
    if level == "none":
        return eval_transform(spec)
    return Augmentation(spec.size, strong=level == "strong")


class Augmentation:
    """The levels "light" and "strong" of `train_transform`; a `Transform`."""

    def __init__(self, size: int, *, strong: bool) -> None:
        self.size = size
        self.one_by_one = v2.Compose([v2.TrivialAugmentWide(), v2.RandomErasing(p=0.25)]) if strong else None

    def __call__(self, images: Tensor, seeds: np.ndarray | None = None) -> Tensor:
        """Augment a batch."""
        if seeds is None:
            seeds = torch.randint(2**63 - 1, (len(images),)).numpy()
        draws = uniform_draws(seeds, BOX_DRAWS + 4)
        boxes = random_boxes(draws[:, :BOX_DRAWS], images.shape[-1], scale=(0.5, 1.0), ratio=(3 / 4, 4 / 3))
        images = crop_and_resize(images, boxes, self.size)
        for row in np.flatnonzero(draws[:, BOX_DRAWS] < 0.5).tolist():
            images[row] = images[row].flip(2)
        saturation, contrast, brightness = torch.from_numpy(1 + _JITTER * (2 * draws[:, -3:].T - 1))
        images = adjust_colours(images, saturation=saturation, contrast=contrast, brightness=brightness)
        if self.one_by_one is not None:
            for row, seed in enumerate(seeds.tolist()):
                images[row] = _transform_seeded(self.one_by_one, images[row], seed)
        return images


def normalise(images: Tensor, spec: ImageSpec) -> Tensor:
    """Turn uint8 `(B, 3, S, S)` into float32 of the same shape with the spec's mean and standard deviation taken out.

    The result is in channels-last memory order, which convolutions prefer.
    """
    batch, channels, height, width = images.shape
    mean, std = (torch.tensor(values, device=images.device).mul(255).repeat(width) for values in (spec.mean, spec.std))
    # Whole rows of interleaved channels: torch is several times slower when the innermost dimension is three.
    source = images.permute(0, 2, 3, 1).reshape(batch, height, width * channels)
    rows = torch.empty(source.shape, device=images.device)
    for first in range(0, batch, _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        rows[part].copy_(source[part]).sub_(mean).div_(std)
    return rows.view(batch, height, width, channels).permute(0, 3, 1, 2)


def model_input(images: Tensor, spec: ImageSpec) -> Tensor:
    """Return the model's input for a batch, on the device of the batch: uint8 images `(B, 3, S, S)` normalised,
    features `(B, D_v)` as they are.
    """
    return normalise(images, spec) if images.dtype == torch.uint8 else images


def _centre(images: Tensor, seeds: np.ndarray | None = None, *, size: int) -> Tensor:
    centre: Tensor = functional.center_crop(images, [size, size])
    return centre


def _transform_seeded(transform: v2.Transform, image: Tensor, seed: int) -> Tensor:
    """Apply a transform that draws from torch's CPU generator as if seeded with `seed`, and put the state back.

    `torch.random.fork_rng` would do the same and touch every GPU besides.
    """
    generator = torch.default_generator
    state = generator.get_state()
    try:
        generator.manual_seed(seed)
        transformed: Tensor = transform(image)
    finally:
        generator.set_state(state)
    return transformed
