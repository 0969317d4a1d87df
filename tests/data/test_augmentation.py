"""Draws by seed, the boxes of random crops, resizing, colours: against torchvision and by hand."""

import math

import numpy as np
import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from marnet.data.augmentation import BOX_DRAWS, adjust_colours, crop_and_resize, random_boxes, uniform_draws

LIGHT = {"scale": (0.5, 1.0), "ratio": (3 / 4, 4 / 3)}


def images(count: int = 1, size: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


def test_draws_are_those_that_splitmix64_is_published_with() -> None:
    """The outputs for seed 1234567 in the generator's reference implementation, as fractions of 2^64."""
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    expected = [(value >> 11) / 2**53 for value in published]
    assert uniform_draws(np.array([7, 1234567]), 4)[1].tolist() == expected


def test_draws_are_uniform_and_unrelated() -> None:
    draws = uniform_draws(np.arange(20_000), 26)
    assert draws.min() >= 0
    assert draws.max() < 1
    assert np.abs(draws.mean(0) - 0.5).max() < 0.01
    assert np.abs(draws.var(0) - 1 / 12).max() < 0.003
    correlations = np.corrcoef(draws, rowvar=False) - np.eye(26)
    assert np.abs(correlations).max() < 0.03
    assert abs(np.corrcoef(draws[:-1, 0], draws[1:, 0])[0, 1]) < 0.03  # of neighbouring seeds


@pytest.mark.parametrize("bounds", [LIGHT, {"scale": (0.08, 1.0), "ratio": (0.5, 2.0)}])
def test_boxes_are_distributed_as_torchvisions(bounds: dict[str, tuple[float, float]]) -> None:
    """Size and place of 4000 boxes each, by the two-sample Kolmogorov-Smirnov test at about one in a thousand."""
    count, side = 4000, 112
    ours = random_boxes(uniform_draws(np.arange(count) + 5, BOX_DRAWS), side, **bounds)
    torch.manual_seed(0)
    square = torch.zeros(3, side, side)
    theirs = np.array([v2.RandomResizedCrop.get_params(square, bounds["scale"], bounds["ratio"]) for _ in range(count)])
    threshold = 1.95 * math.sqrt(2 / count)
    grid = np.arange(-1, side**2 + 1)

    def distance(one: np.ndarray, other: np.ndarray) -> float:
        shares = [np.searchsorted(np.sort(values), grid, side="right") / count for values in (one, other)]
        return float(np.abs(shares[0] - shares[1]).max())

    for column in range(4):
        assert distance(ours[:, column], theirs[:, column]) < threshold
    assert distance(ours[:, 2] * ours[:, 3], theirs[:, 2] * theirs[:, 3]) < threshold
    assert distance(100 * ours[:, 3] // ours[:, 2], 100 * theirs[:, 3] // theirs[:, 2]) < threshold


def test_boxes_lie_inside_and_hold_their_bounds() -> None:
    boxes = random_boxes(uniform_draws(np.arange(5000), BOX_DRAWS), 110, **LIGHT)
    top, left, height, width = boxes.T
    assert boxes.min() >= 0
    assert (top + height).max() <= 110
    assert (left + width).max() <= 110
    area = height * width / 110**2
    assert 0.49 < area.min() < 0.51
    assert 0.97 < area.max() <= 1
    assert (width / height).min() > 0.74
    assert (width / height).max() < 1.35


def test_a_box_by_hand() -> None:
    """Area 0.64 of 100 x 100 at a ratio of one is 80 x 80; a corner at 0.5 of the 21 places is 10, at 0.99 is 20."""
    draws = np.full((1, BOX_DRAWS), 0.5)
    draws[0, 0] = 0.28  # 0.5 + 0.5 * 0.28 = 0.64
    draws[0, -1] = 0.99
    assert random_boxes(draws, 100, **LIGHT).tolist() == [[10, 20, 80, 80]]
    # A ratio of 4/3 at full area would be 115 wide; the second try, 0.64 at a ratio of one, is taken.
    draws[0, :2], draws[0, 10] = (1.0, 0.28), 1.0
    assert random_boxes(draws, 100, **LIGHT).tolist() == [[10, 20, 80, 80]]
    draws[0, :20] = 1.0  # never: the whole square
    assert random_boxes(draws, 100, **LIGHT).tolist() == [[0, 0, 100, 100]]


def test_crops_are_torchvisions_antialiased_ones() -> None:
    rows = images(3, 64)
    boxes = np.array([[0, 0, 64, 64], [3, 10, 40, 50], [30, 2, 9, 7]])
    for batch in (rows, rows.contiguous(memory_format=torch.channels_last)):
        found = crop_and_resize(batch, boxes, 24)
        for image, (top, left, height, width), crop in zip(batch, boxes.tolist(), found, strict=True):
            expected = functional.resized_crop(image, top, left, height, width, [24, 24], antialias=True)
            assert (crop.int() - expected.int()).abs().max() <= 1
    # Stripes of one pixel become their mean, where sampling without a filter would give some of them.
    stripes = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    stripes[..., ::2] = 200
    shrunk = crop_and_resize(stripes, np.array([[0, 0, 64, 64]]), 16)
    assert (shrunk[..., 2:-2].int() - 100).abs().max() <= 8


def test_adjusting_colours_is_torchvisions_three_steps_in_one() -> None:
    # Few enough extremes that no step leaves the range, where torchvision would clamp in between.
    pixels = images(2, 30) // 2 + 50
    factors = torch.tensor([[0.85, 1.1, 1.1], [1.2, 0.8, 0.9]], dtype=torch.float64).T
    found = adjust_colours(pixels, saturation=factors[0], contrast=factors[1], brightness=factors[2])
    for image, row, (saturation, contrast, brightness) in zip(pixels, found, factors.T.tolist(), strict=True):
        expected = image.float() / 255
        for adjust, factor in (
            (functional.adjust_saturation, saturation),
            (functional.adjust_contrast, contrast),
            (functional.adjust_brightness, brightness),
        ):
            expected = adjust(expected, factor)
        assert (row - expected * 255).abs().max() <= 0.52


@pytest.mark.parametrize("size", [15, 32])  # an odd side maps single pixels, an even one four at a time
def test_adjusting_by_one_changes_nothing_and_results_stay_in_range(size: int) -> None:
    one, two = torch.ones(1, dtype=torch.float64), torch.full((1,), 2.0, dtype=torch.float64)
    rows = images(size=size)
    assert torch.equal(adjust_colours(rows, saturation=one, contrast=one, brightness=one), rows)
    bright = adjust_colours(rows, saturation=one, contrast=one, brightness=two)
    assert torch.equal(bright, (rows.int() * 2).clamp(0, 255).to(torch.uint8))
    # By hand: red 200 without saturation is its luma, 0.299 * 200 = 59.8.
    red = torch.zeros(1, 3, size, size, dtype=torch.uint8)
    red[:, 0] = 200
    grey = adjust_colours(red, saturation=0 * one, contrast=one, brightness=one)
    assert grey.unique().tolist() == [60]
