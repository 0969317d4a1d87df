"""From cached uint8 squares to the model's input: augmentation, crop, normalisation."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from marnet.errors import ConfigError, suggest

Transform = Callable[[Tensor], Tensor]  # uint8 (3, S', S') -> uint8 (3, S, S)

LEVELS = ("none", "light", "strong")
_GREY = (0.299, 0.587, 0.114)  # the luma of ITU-R BT.601
_CROP_SHARE = 0.875  # the side of the crop at evaluation over the side of the cached square; the usual share


class ImageSpec(NamedTuple):
    """What a model takes: squares of `size` pixels, normalised channel by channel (RGB, in fractions of 255).

    `interpolation` is how images are resized to the square that is cached, "bicubic" or "bilinear".
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bicubic"


def cache_size(spec: ImageSpec) -> int:
    """S', the side in pixels at which images are cached, a little more than the model sees."""
    return round(spec.size / _CROP_SHARE)


def eval_transform(spec: ImageSpec) -> Transform:
    """The centre `(3, S, S)` of an image `(3, S', S')`, both uint8."""
    return partial(functional.center_crop, output_size=[spec.size, spec.size])


def train_transform(level: str, spec: ImageSpec) -> Transform:
    """Augmentation of an image `(3, S', S')` to `(3, S, S)`, both uint8; it draws from torch's default generator.

    Args:
        level: "none" is `eval_transform`; "light" crops, flips and changes colours a little; "strong" adds one
            operation of TrivialAugment (Mueller and Hutter, 2021) and erases a rectangle now and then.
        spec: what the model takes.

    Raises:
        ConfigError: the level is unknown.
    """
    if level not in LEVELS:
        raise ConfigError(f"Unknown augmentation {level!r}; needed {', '.join(LEVELS)}.{suggest(level, LEVELS)}")
    if level == "none":
        return eval_transform(spec)
    steps: list[Transform] = [
        v2.RandomResizedCrop(spec.size, scale=(0.5, 1.0), ratio=(3 / 4, 4 / 3), antialias=True),
        v2.RandomHorizontalFlip(),
        ColourJitter(0.2),
    ]
    if level == "strong":
        steps += [v2.TrivialAugmentWide(), v2.RandomErasing(p=0.25)]
    pipeline: Transform = v2.Compose(steps)
    return pipeline


class ColourJitter:
    """Change saturation, contrast and brightness by random factors from 1 - `amount` to 1 + `amount`.

    The same three operations as torchvision's `ColorJitter`, in one fixed order and so as one linear map, which takes a
    third of the time.
    """

    def __init__(self, amount: float) -> None:
        self.amount = amount

    def __call__(self, image: Tensor) -> Tensor:
        """Jitter one uint8 image `(3, S, S)`."""
        saturation, contrast, brightness = (1 + self.amount * (2 * torch.rand(3) - 1)).tolist()
        return adjust_colours(image, saturation=saturation, contrast=contrast, brightness=brightness)


def adjust_colours(image: Tensor, *, saturation: float, contrast: float, brightness: float) -> Tensor:
    """Blend a uint8 image `(3, S, S)` with its grey, then with its mean grey, then with black; 1 changes nothing."""
    pixels = image.to(torch.float32)
    grey = torch.tensordot(torch.tensor(_GREY), pixels, 1)  # (S, S)
    mean = float(grey.mean())
    grey.mul_(brightness * contrast * (1 - saturation)).add_(brightness * (1 - contrast) * mean)
    pixels.mul_(brightness * contrast * saturation).add_(grey)
    return pixels.add_(0.5).clamp_(0, 255).to(torch.uint8)  # dropping decimals after adding a half rounds


def normalise(images: Tensor, spec: ImageSpec) -> Tensor:
    """Turn uint8 `(B, 3, S, S)` into float32 of the same shape with the spec's mean and standard deviation taken out.

    The result is in channels-last memory order, which convolutions prefer.
    """
    batch, channels, height, width = images.shape
    mean, std = (torch.tensor(values, device=images.device).mul(255).repeat(width) for values in (spec.mean, spec.std))
    # Whole rows of interleaved channels: torch is several times slower when the innermost dimension is three.
    rows = images.permute(0, 2, 3, 1).reshape(batch, height, width * channels).to(torch.float32)
    return rows.sub_(mean).div_(std).view(batch, height, width, channels).permute(0, 3, 1, 2)
