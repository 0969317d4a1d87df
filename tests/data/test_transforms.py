"""Augmentation and normalisation."""

import pickle

import pytest
import torch
from torchvision.transforms.v2 import functional

from marnet.data.transforms import (
    LEVELS,
    ColourJitter,
    ImageSpec,
    adjust_colours,
    cache_size,
    eval_transform,
    normalise,
    train_transform,
)
from marnet.errors import ConfigError

SPEC = ImageSpec(28, (0.5, 0.4, 0.3), (0.2, 0.25, 0.5))


def image(size: int = 32) -> torch.Tensor:
    return torch.randint(0, 256, (3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_the_cache_is_a_little_larger_than_the_input() -> None:
    assert cache_size(SPEC) == 32
    assert cache_size(SPEC._replace(size=224)) == 256


def test_evaluation_takes_the_centre() -> None:
    assert torch.equal(eval_transform(SPEC)(image()), image()[:, 2:30, 2:30])
    assert torch.equal(train_transform("none", SPEC)(image()), image()[:, 2:30, 2:30])


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_keeps_the_contract(level: str) -> None:
    transform = pickle.loads(pickle.dumps(train_transform(level, SPEC)))  # loader processes may need it pickled
    for strided in (image(), image().permute(1, 2, 0).contiguous().permute(2, 0, 1)):
        found = transform(strided)
        assert found.shape == (3, 28, 28)
        assert found.dtype == torch.uint8


@pytest.mark.parametrize("level", ["light", "strong"])
def test_augmentation_is_random_and_follows_the_seed(level: str) -> None:
    transform = train_transform(level, SPEC)
    torch.manual_seed(1)
    first, second = transform(image()), transform(image())
    torch.manual_seed(1)
    assert torch.equal(transform(image()), first)
    assert not torch.equal(first, second)


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"Unknown augmentation 'ligth'; needed none, light, strong. Did you mean 'light'\?"
    ):
        train_transform("ligth", SPEC)


def test_adjusting_colours_is_torchvisions_three_steps_in_one() -> None:
    # Few enough extremes that no step leaves the range, where torchvision would clamp in between.
    pixels = image() // 2 + 50
    found = adjust_colours(pixels, saturation=0.85, contrast=1.1, brightness=1.1)
    expected = pixels.float() / 255
    for adjust, factor in (
        (functional.adjust_saturation, 0.85),
        (functional.adjust_contrast, 1.1),
        (functional.adjust_brightness, 1.1),
    ):
        expected = adjust(expected, factor)
    assert (found - expected * 255).abs().max() <= 0.51


def test_adjusting_by_one_changes_nothing_and_results_stay_in_range() -> None:
    assert torch.equal(adjust_colours(image(), saturation=1, contrast=1, brightness=1), image())
    bright = adjust_colours(image(), saturation=1, contrast=1, brightness=2)
    assert torch.equal(bright, (image().int() * 2).clamp(0, 255).to(torch.uint8))


def test_jitter_stays_within_its_amount() -> None:
    grey = torch.full((3, 4, 4), 100, dtype=torch.uint8)  # of which only brightness changes anything
    values = torch.stack([ColourJitter(0.2)(grey)[0, 0, 0] for _ in range(300)])
    assert 80 <= values.min() < 85
    assert 115 < values.max() <= 120


def test_normalise() -> None:
    images = torch.stack([image(28), image(28).flip(0)])
    found = normalise(images, SPEC)
    assert found.shape == images.shape
    assert found.dtype == torch.float32
    assert found.is_contiguous(memory_format=torch.channels_last)
    expected = functional.normalize(images.float() / 255, list(SPEC.mean), list(SPEC.std))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    # By hand: 51 / 255 = 0.2 in the blue channel: (0.2 - 0.3) / 0.5 = -0.2
    blue = normalise(torch.full((1, 3, 28, 28), 51, dtype=torch.uint8), SPEC)[0, 2]
    torch.testing.assert_close(blue, torch.full((28, 28), -0.2))
