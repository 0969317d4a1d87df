"""What all 22 corruptions have in common."""

import re

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from marnet.errors import ConfigError
from marnet.evaluation.corruptions import CORRUPTIONS, HELD_OUT, OURS, SEVERITIES, STANDARD, corrupt

WITHOUT_CHANCE = {
    "defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression", "gaussian_blur", "saturate",
}  # fmt: skip
# By their published parameters these do not grow at every step: flakes change their size, clouds their grain, frost
# trades the image's share for its own, glass its displacement for rounds; saturate falls and then rises.
NOT_STEADY = {"snow", "frost", "fog", "glass_blur", "elastic_transform", "saturate"}


def pictures(count: int, size: int) -> Tensor:
    """Smooth coloured shapes with some grain, `(count, 3, size, size)`, each one different."""
    generator = np.random.default_rng(size)
    coarse = gaussian_filter(generator.normal(size=(count, 3, size, size)), (0, 0, size / 16, size / 16), mode="wrap")
    coarse /= coarse.std(axis=(2, 3), keepdims=True)
    values = 120 + 45 * coarse + generator.normal(0, 4, coarse.shape)
    return torch.from_numpy(np.clip(values, 0, 255).astype(np.uint8))


def distance(one: Tensor, other: Tensor) -> float:
    return float((one.float() - other.float()).square().mean().sqrt())


def test_the_names() -> None:
    assert (len(STANDARD), len(HELD_OUT), len(OURS)) == (15, 4, 3)
    assert STANDARD[:3] == ("gaussian_noise", "shot_noise", "impulse_noise")
    assert HELD_OUT == ("speckle_noise", "gaussian_blur", "spatter", "saturate")
    assert OURS == ("viewpoint", "lighting", "occlusion")
    assert CORRUPTIONS == STANDARD + HELD_OUT + OURS


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_an_image_depends_on_its_seed_and_not_on_its_batch(name: str) -> None:
    images = pictures(4, 40)
    kept = images.clone()
    for severity in (1, 5):
        together = corrupt(images, name, severity, [7, 8, 9, 7])
        assert together.dtype == torch.uint8
        assert together.shape == images.shape
        assert torch.equal(images, kept)  # the input is left alone
        backwards = corrupt(images.flip(0), name, severity, [7, 9, 8, 7]).flip(0)
        assert torch.equal(together, backwards)
        for row, seed in enumerate((7, 8, 9, 7)):
            assert torch.equal(together[row], corrupt(images[row : row + 1], name, severity, [seed])[0])
    same = images[:1].expand(2, -1, -1, -1)
    first, second = corrupt(same, name, 3, [1, 2])
    assert torch.equal(first, second) == (name in WITHOUT_CHANCE)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("size", [64, 224])
def test_more_severe_is_further_from_the_image(name: str, size: int) -> None:
    images = pictures(12 if size == 64 else 6, size)
    far = [distance(corrupt(images, name, severity, range(len(images))), images) for severity in SEVERITIES]
    assert min(far) > 0.5, far
    if name not in NOT_STEADY:
        assert far == sorted(far), far
    elif name == "elastic_transform":
        assert far[1] > far[0] > far[4] > far[2], far  # published: 1 and 2 move the corners far, 3 to 5 ripple
    else:
        assert far[4] > far[0], far


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("size", [16, 33, 257])
def test_any_size_from_16_pixels(name: str, size: int) -> None:
    images = pictures(1, size)
    for severity in SEVERITIES:
        corrupted = corrupt(images, name, severity, [0])
        assert corrupted.shape == images.shape
        assert 0 < distance(corrupted, images) < 160


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("value", [0, 255])
def test_black_and_white_images_are_no_trouble(name: str, value: int) -> None:
    flat = torch.full((1, 3, 32, 32), value, dtype=torch.uint8)
    for severity in SEVERITIES:
        assert corrupt(flat, name, severity, [0]).shape == flat.shape
    if name in ("gaussian_blur", "defocus_blur", "motion_blur", "zoom_blur", "glass_blur", "pixelate", "viewpoint"):
        assert torch.equal(corrupt(flat, name, 4, [0]), flat)


def test_no_images() -> None:
    assert corrupt(torch.zeros(0, 3, 32, 32, dtype=torch.uint8), "snow", 1, []).shape == (0, 3, 32, 32)


def test_names_and_severities_that_do_not_exist() -> None:
    images = pictures(1, 32)
    with pytest.raises(ConfigError, match=r"Unknown corruption 'gausian_noise'\. Did you mean 'gaussian_noise'"):
        corrupt(images, "gausian_noise", 1, [0])
    with pytest.raises(ConfigError, match=r"Known corruptions: gaussian_noise, shot_noise, .*, occlusion"):
        corrupt(images, "rain", 1, [0])
    with pytest.raises(
        ConfigError, match=r"Severity is 0, but it must be a whole number from 1 to 5\. The nearest is 1, the"
    ):
        corrupt(images, "fog", 0, [0])
    with pytest.raises(ConfigError, match=r"Severity is 9, .* The nearest is 5, the strongest"):
        corrupt(images, "fog", 9, [0])


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(1, 3, 32, 32),
        torch.zeros(3, 32, 32, dtype=torch.uint8),
        torch.zeros(1, 1, 32, 32, dtype=torch.uint8),
        torch.zeros(1, 3, 32, 31, dtype=torch.uint8),
        torch.zeros(1, 3, 15, 15, dtype=torch.uint8),
    ],
)
def test_images_that_are_none(images: Tensor) -> None:
    sentence = (
        f"images are {images.dtype} of shape {tuple(images.shape)}. Expected torch.uint8 of (B, 3, S, S) with S at "
        f"least 16."
    )
    with pytest.raises(ValueError, match=re.escape(sentence)):
        corrupt(images, "fog", 1, [0])


def test_seeds_that_do_not_fit() -> None:
    images = pictures(2, 32)
    with pytest.raises(
        ValueError, match=r"2 images came with 1 seeds, the smallest 0\. Expected one seed of 0 or more"
    ):
        corrupt(images, "fog", 1, [0])
    with pytest.raises(ValueError, match="2 images came with 2 seeds, the smallest -1"):
        corrupt(images, "fog", 1, [0, -1])
    with pytest.raises(ValueError, match="2 images came with 0 seeds, the smallest none"):
        corrupt(images, "fog", 1, [])
