"""Blurs against explicit kernels, shifts and exchanges."""

import math

import numpy as np
import pytest
from scipy import ndimage

from marnet.evaluation.corruptions import SEVERITIES, blur, random_stream
from marnet.evaluation.corruptions.filters import blur as gaussian
from marnet.evaluation.corruptions.filters import disk_kernel, motion_kernel

NO_STREAM = np.random.default_rng(0)


def image(size: int = 224) -> np.ndarray:
    return np.random.default_rng(1).random((3, size, size), dtype=np.float32)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_gaussian_blur_at_224_pixels(severity: int) -> None:
    sigma = (1, 2, 3, 4, 6)[severity - 1]
    expected = ndimage.gaussian_filter(image(), (0, sigma, sigma), mode="nearest")
    np.testing.assert_allclose(blur.gaussian(image(), severity, NO_STREAM), expected, atol=1e-5)


@pytest.mark.parametrize(("size", "sigma"), [(64, 1), (64, 6), (100, 2), (448, 3)])
def test_a_gaussian_of_another_size_has_the_scaled_variance(size: int, sigma: float) -> None:
    """What a single bright pixel becomes; sharing a weight between two pixels adds at most a quarter of a pixel²."""
    dot = np.zeros((1, size, size), np.float32)
    dot[0, size // 2, size // 2] = 1
    spread = gaussian(dot, sigma)[0].astype(float)
    across = np.arange(size) - size // 2
    assert spread.sum() == pytest.approx(1, abs=1e-5)
    assert (spread.sum(0) * across).sum() == pytest.approx(0, abs=1e-4)
    variance = (spread.sum(0) * across**2).sum()
    scaled = (sigma * size / 224) ** 2
    assert scaled * 0.99 <= variance <= scaled + 0.25


def test_a_gaussian_at_64_pixels_by_hand() -> None:
    """Sigma 1: of the taps at 0, +-1 .. +-4 published pixels, 0 .. 3 are within one of our pixels, 3.5 published."""
    taps = {k: math.exp(-(k**2) / 2) for k in range(-4, 5)}
    total = sum(taps.values())
    next_pixel = sum(weight * max(0, 1 - abs(k * 64 / 224 - 1)) for k, weight in taps.items()) / total
    dot = np.zeros((1, 64, 64), np.float32)
    dot[0, 30, 30] = 1
    spread = gaussian(dot, 1.0)[0]
    assert spread[:, 31].sum() == pytest.approx(next_pixel, abs=1e-6)
    assert spread[:, 30].sum() == pytest.approx(1 - 2 * next_pixel, abs=1e-3)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_defocus_at_224_pixels(severity: int) -> None:
    """The published kernel: whole pixels within the radius, smoothed by 3 x 3 or 5 x 5 pixels of a Gaussian."""
    radius, softness = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))[severity - 1]
    side = 2 * max(8, radius) + 1
    disk = np.zeros((side, side))
    for row in range(side):
        for column in range(side):
            disk[row, column] = math.hypot(row - side // 2, column - side // 2) <= radius
    disk /= disk.sum()
    reach = 1 if radius <= 8 else 2
    taps = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * softness**2))
    taps /= taps.sum()
    kernel = ndimage.convolve1d(ndimage.convolve1d(disk, taps, 0, mode="mirror"), taps, 1, mode="mirror")
    expected = np.stack([ndimage.correlate(channel, kernel / kernel.sum(), mode="mirror") for channel in image()])
    # Published, a kernel that fills its array gains a percent in smoothing and brightens the image; ours does not.
    np.testing.assert_allclose(blur.defocus(image(), severity, NO_STREAM), expected, atol=0.004)


@pytest.mark.parametrize("size", [64, 224, 448])
def test_the_disk_keeps_its_size_in_the_picture(size: int) -> None:
    """A disk of radius r has variance r² / 4 along each axis."""
    kernel = disk_kernel(10, 0.5, size).astype(float)
    offsets = np.arange(len(kernel)) - len(kernel) // 2
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    expected = (100 / 4 + 0.25) * (size / 224) ** 2
    assert (kernel.sum(0) * offsets**2).sum() == pytest.approx(expected, rel=0.05, abs=0.2)


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("size", [64, 224])
def test_motion_blur_is_a_weighted_sum_of_shifts(severity: int, size: int) -> None:
    radius, sigma = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))[severity - 1]
    angle = math.radians(random_stream("motion_blur", severity, 4).uniform(-45, 45))
    rows, columns = np.mgrid[:size, :size]
    pixels = image(size)
    expected, total = np.zeros_like(pixels), 0.0
    for tap in range(2 * radius + 1):
        weight, far = math.exp(-(tap**2) / (2 * sigma**2)), tap * size / 224
        places = [rows + far * math.sin(angle), columns + far * math.cos(angle)]
        for channel in range(3):
            expected[channel] += weight * ndimage.map_coordinates(pixels[channel], places, order=1, mode="nearest")
        total += weight
    found = blur.motion(pixels, severity, random_stream("motion_blur", severity, 4))
    np.testing.assert_allclose(found, expected / total, atol=1e-4)


def test_motion_in_a_larger_image_is_as_long() -> None:
    """Half a Gaussian of sigma 5, cut after 30: its mean is where twice the pixels put it."""
    small, large = motion_kernel(15, 5, 0, 224), motion_kernel(15, 5, 0, 448)
    means = [(kernel.sum(0) * (np.arange(len(kernel)) - len(kernel) // 2)).sum() for kernel in (small, large)]
    assert means[0] == pytest.approx(5 * math.sqrt(2 / math.pi), abs=0.6)  # the sum over whole pixels starts at 0
    assert means[1] == pytest.approx(2 * means[0], abs=0.8)
    assert small[len(small) // 2].sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_zoom_blur_is_a_mean_of_zoomed_images(severity: int) -> None:
    end, step = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))[severity - 1]
    factors = np.arange(1, end, step)
    pixels = image(80)
    total = pixels.astype(float)
    for factor in factors:
        crop = math.ceil(80 / factor)
        top = (80 - crop) // 2
        zoomed = ndimage.zoom(pixels[:, top : top + crop, top : top + crop].astype(float), (1, factor, factor), order=1)
        trim = (zoomed.shape[1] - 80) // 2
        total += zoomed[:, trim : trim + 80, trim : trim + 80]
    found = blur.zoom(pixels, severity, NO_STREAM)
    np.testing.assert_allclose(found, total / (len(factors) + 1), atol=1e-5)


@pytest.mark.parametrize("severity", [1, 3, 5])
def test_glass_blur_at_224_pixels(severity: int) -> None:
    """Row by row from below, column by column from the right, every pixel changes places with a near one."""
    sigma, displacement, rounds = ((0.7, 1, 2), None, (1, 2, 3), None, (1.5, 4, 2))[severity - 1]
    stream = random_stream("glass_blur", severity, 2)
    places = range(224 - displacement, displacement, -1)
    steps = stream.integers(-displacement, displacement, (rounds, len(places), len(places), 2))
    picture = ndimage.gaussian_filter(image(), (0, sigma, sigma), mode="nearest")
    for number in range(rounds):
        for i, row in enumerate(places):
            for j, column in enumerate(places):
                down, across = steps[number, i, j]
                kept = picture[:, row, column].copy()
                picture[:, row, column] = picture[:, row + down, column + across]
                picture[:, row + down, column + across] = kept
    expected = ndimage.gaussian_filter(picture, (0, sigma, sigma), mode="nearest")
    found = blur.glass(image(), severity, random_stream("glass_blur", severity, 2))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_glass_in_a_small_image_moves_as_far_on_average() -> None:
    """One round at 64 pixels: steps of two pixels scale to 0.57, whose mean square steps of 0 or 1 must keep."""
    order = blur.shuffle_near(64, 2, 1, np.random.default_rng(0))
    assert sorted(order.tolist()) == list(range(64 * 64))  # nothing is lost or doubled
    steps = np.array([-2, -1, 0, 1]) * 64 / 224
    moved = 0.0
    for seed in range(30):
        order = blur.shuffle_near(64, 2, 1, np.random.default_rng(seed))
        inner = np.arange(64 * 64).reshape(64, 64)[8:56, 8:56].ravel()
        moved += ((order[inner] // 64 - inner // 64) ** 2).mean() / 30
    # Every pixel takes one step of its own and about one of another's.
    assert moved == pytest.approx(2 * (steps**2).mean(), rel=0.15)
