"""Augmentation and normalisation."""

import pickle

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional

from marnet.data.image_spec import ImageSpec, cache_size
from marnet.data.transforms import LEVELS, eval_transform, model_input, normalise, train_transform
from marnet.errors import ConfigError

SPEC = ImageSpec(28, (0.5, 0.4, 0.3), (0.2, 0.25, 0.5))


def image(size: int = 32) -> torch.Tensor:
    return torch.randint(0, 256, (3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_the_cache_is_a_little_larger_than_the_input() -> None:
    assert cache_size(SPEC) == 32
    assert cache_size(SPEC._replace(size=224)) == 256


def test_evaluation_takes_the_centre() -> None:
    assert torch.equal(eval_transform(SPEC)(image()), image()[:, 2:30, 2:30])
    assert torch.equal(train_transform("none", SPEC)(image()[None])[0], image()[:, 2:30, 2:30])


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_keeps_the_contract(level: str) -> None:
    transform = pickle.loads(pickle.dumps(train_transform(level, SPEC)))  # loader processes may need it pickled
    planes = torch.stack([image(), image().flip(2)])
    for batch in (planes, planes.contiguous(memory_format=torch.channels_last)):
        found = transform(batch, np.array([3, 4]))
        assert found.shape == (2, 3, 28, 28)
        assert found.dtype == torch.uint8


@pytest.mark.parametrize("level", ["light", "strong"])
def test_what_becomes_of_an_image_follows_its_seed_whatever_the_batch(level: str) -> None:
    transform = train_transform(level, SPEC)
    images = torch.randint(0, 256, (40, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    seeds = np.random.default_rng(0).integers(2**63, size=40)
    together = transform(images, seeds)
    for rows in ([7], [39, 7, 0], list(range(17))):
        assert torch.equal(transform(images[rows], seeds[rows]), together[rows])
    same_image = transform(images[:1].expand(40, -1, -1, -1), seeds)
    assert len({each.numpy().tobytes() for each in same_image}) == 40


@pytest.mark.parametrize("level", ["light", "strong"])
def test_seeded_draws_leave_torchs_random_state_alone(level: str) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    train_transform(level, SPEC)(image()[None], np.array([5]))
    assert torch.equal(torch.rand(4), expected)


def test_without_seeds_torchs_generator_is_drawn_from() -> None:
    transform = train_transform("light", SPEC)
    torch.manual_seed(1)
    first, second = transform(image()[None]), transform(image()[None])
    torch.manual_seed(1)
    assert torch.equal(transform(image()[None]), first)
    assert not torch.equal(first, second)


def test_half_of_the_images_are_mirrored_and_colours_change_within_a_fifth() -> None:
    dark_left = torch.full((1, 3, 32, 32), 100, dtype=torch.uint8)
    dark_left[..., :16] = 0
    found = train_transform("light", SPEC)(dark_left.expand(400, -1, -1, -1), np.arange(400)).float()
    mirrored = found[..., 0].mean((1, 2)) > found[..., -1].mean((1, 2))
    assert 160 < int(mirrored.sum()) < 240
    grey = torch.full((400, 3, 32, 32), 100, dtype=torch.uint8)  # of which only brightness changes anything
    values = train_transform("light", SPEC)(grey, np.arange(400))[:, 0, 0, 0]
    assert 80 <= values.min() < 83
    assert 117 < values.max() <= 120


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"Unknown augmentation 'ligth'. Expected none, light, strong. Did you mean 'light'\?"
    ):
        train_transform("ligth", SPEC)


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
    rows = torch.randint(0, 256, (37, 3, 28, 28), dtype=torch.uint8)
    assert torch.equal(normalise(rows, SPEC)[30:], normalise(rows[30:], SPEC))


def test_the_model_takes_images_normalised_and_features_as_they_are() -> None:
    images, features = image(28)[None], torch.randn(2, 5)
    assert torch.equal(model_input(images, SPEC), normalise(images, SPEC))
    assert model_input(features, SPEC) is features
