"""Editing, storing and resizing against arithmetic of single pixels, Pillow and scipy."""

import colorsys
import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from marnet.evaluation.corruptions import SEVERITIES, corrupt, digital, random_stream, weather

NO_STREAM = np.random.default_rng(0)


def image(size: int = 24) -> np.ndarray:
    """Random colours, with black, white, grey and pure red among them."""
    pixels = np.random.default_rng(1).random((3, size, size), dtype=np.float32)
    for column, colour in enumerate(((0, 0, 0), (1, 1, 1), (0.5, 0.5, 0.5), (1, 0, 0))):
        pixels[:, 0, column] = colour
    return pixels


def by_pixel(pixels: np.ndarray, saturation: tuple[float, float], value: float) -> np.ndarray:
    """Change saturation and value of HSV, pixel by pixel."""
    changed = np.empty_like(pixels)
    for row, column in np.ndindex(pixels.shape[1:]):
        h, s, v = colorsys.rgb_to_hsv(*map(float, pixels[:, row, column]))
        s, v = min(max(s * saturation[0] + saturation[1], 0), 1), min(max(v + value, 0), 1)
        changed[:, row, column] = colorsys.hsv_to_rgb(h, s, v)
    return changed


@pytest.mark.parametrize("severity", SEVERITIES)
def test_brightness_and_saturation_of_hsv(severity: int) -> None:
    raised = (0.1, 0.2, 0.3, 0.4, 0.5)[severity - 1]
    saturation = ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2))[severity - 1]
    pixels = image()
    expected = by_pixel(pixels, (1, 0), raised)
    np.testing.assert_allclose(weather.brightness(pixels, severity, NO_STREAM), expected, atol=1e-5)
    expected = by_pixel(pixels, saturation, 0)
    np.testing.assert_allclose(digital.saturate(pixels, severity, NO_STREAM), expected, atol=1e-5)


def test_contrast_by_hand() -> None:
    """Channel means 0.5, 0.25 and 1; severity 2 keeps 0.3 of the distance."""
    pixels = np.ones((3, 16, 16), np.float32)
    pixels[0, :, ::2] = 0
    pixels[1, :8] = 0.5
    pixels[1, 8:] = 0
    pale = digital.contrast(pixels, 2, NO_STREAM)
    assert pale[0, 0, 0] == pytest.approx(0.35)
    assert pale[0, 0, 1] == pytest.approx(0.65)
    assert pale[1, 0, 0] == pytest.approx(0.325)
    assert pale[1, 15, 0] == pytest.approx(0.175)
    assert pale[2, 3, 3] == pytest.approx(1)
    kept = [float(np.ptp(digital.contrast(pixels, severity, NO_STREAM)[0])) for severity in SEVERITIES]
    assert kept == pytest.approx([0.4, 0.3, 0.2, 0.1, 0.05])


def test_pixelate_takes_means_of_boxes() -> None:
    """At severity 2 of 32 pixels the boxes are 2 x 2, at severity 5 they are 4 x 4."""
    images = torch.randint(256, (1, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for severity, box in ((2, 2), (5, 4)):
        boxes = images.double().reshape(3, 32 // box, box, 32 // box, box).mean((2, 4))
        expected = boxes.repeat_interleave(box, 1).repeat_interleave(box, 2)
        assert (
            corrupt(images, "pixelate", severity, [0])[0].double() - expected
        ).abs().max() <= 1  # rows and columns are rounded in turn


@pytest.mark.parametrize(("severity", "side"), [(1, 60), (2, 50), (3, 40), (4, 30), (5, 25)])
def test_pixelate_has_as_many_boxes_as_published(severity: int, side: int) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8))
    small = picture.resize((side, side), Image.Resampling.BOX).resize((100, 100), Image.Resampling.BOX)
    images = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]
    assert torch.equal(
        corrupt(images, "pixelate", severity, [0])[0], torch.from_numpy(np.array(small)).permute(2, 0, 1)
    )


@pytest.mark.parametrize(("severity", "quality"), [(1, 25), (2, 18), (3, 15), (4, 10), (5, 7)])
def test_jpeg_is_what_pillow_stores(severity: int, quality: int) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    expected = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)
    images = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]
    assert torch.equal(corrupt(images, "jpeg_compression", severity, [0])[0], expected)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_elastic_transform_at_224_pixels(severity: int) -> None:
    """Two steps: an affine map that moves three points, then a smooth field; scipy interpolates."""
    height, smoothness, corner = (
        (488, 170.8, 24.4), (488, 19.52, 48.8), (12.2, 2.44, 4.88), (17.08, 2.44, 4.88), (29.28, 2.44, 4.88)
    )[severity - 1]  # fmt: skip
    pixels = image(224)
    stream = random_stream("elastic_transform", severity, 6)
    points = np.array([(186, 186), (186, 38), (38, 38)], float)  # the middle, 112, and a third, 74, to and fro
    moved = points + stream.uniform(-corner, corner, (3, 2))
    forward, *_ = np.linalg.lstsq(np.column_stack((points, np.ones(3))), moved, rcond=None)  # (x, y, 1) @ forward
    linear, shift = forward[:2].T, forward[2]
    rows, columns = np.mgrid[:224, :224].astype(float)
    targets = np.stack((columns.ravel(), rows.ravel()))
    sources = np.linalg.inv(linear) @ (targets - shift[:, None])
    draws = stream.uniform(-1, 1, (2, 224, 224))
    field = [
        height * ndimage.gaussian_filter(each, smoothness, mode="reflect", truncate=3).astype(float) for each in draws
    ]
    found = digital.elastic(pixels, severity, random_stream("elastic_transform", severity, 6))
    for channel in range(3):
        turned = ndimage.map_coordinates(pixels[channel], sources[::-1], order=1, mode="mirror").reshape(224, 224)
        expected = ndimage.map_coordinates(turned, (rows + field[1], columns + field[0]), order=1, mode="reflect")
        np.testing.assert_allclose(found[channel], expected, atol=2e-3)


def test_the_elastic_field_scales_with_the_image() -> None:
    """A ramp from left to right tells where its values come from: in a quarter of the pixels, a quarter as far."""
    shifts = {}
    for size in (224, 56):
        ramp = np.tile(np.linspace(0, 1, size, dtype=np.float32), (3, size, 1))
        moved = digital.elastic(ramp, 5, random_stream("elastic_transform", 5, 0))[0]
        shifts[size] = (moved - ramp[0])[size // 4 : -size // 4, size // 4 : -size // 4]
    coarse = shifts[224].reshape(28, 4, 28, 4).mean((1, 3))
    assert np.corrcoef(coarse.ravel(), shifts[56].ravel())[0, 1] > 0.97
    assert shifts[56].std() == pytest.approx(coarse.std(), rel=0.1)
