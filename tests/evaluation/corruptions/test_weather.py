"""Snow, fog, frost and drops against slow counterparts that draw the same numbers."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from marnet.evaluation.corruptions import SEVERITIES, corrupt, random_stream, spatter, weather
from marnet.evaluation.corruptions.frost import draw_pane

SNOW = (
    (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
    (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
    (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
    (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
    (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
)


def image(size: int = 224) -> np.ndarray:
    return np.random.default_rng(1).random((3, size, size), dtype=np.float32)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_snow_at_224_pixels(severity: int) -> None:
    mean, deviation, zoom, threshold, radius, sigma, share = SNOW[severity - 1]
    stream = random_stream("snow", severity, 3)
    layer = mean + deviation * stream.standard_normal((1, 224, 224), dtype=np.float32)[0].astype(float)
    angle = math.radians(stream.uniform(-135, -45))
    crop = math.ceil(224 / zoom)
    top = (224 - crop) // 2
    layer = ndimage.zoom(layer[top : top + crop, top : top + crop], zoom, order=1)
    trim = (len(layer) - 224) // 2
    layer = layer[trim : trim + 224, trim : trim + 224]
    layer = np.clip(np.where(layer < threshold, 0, layer), 0, 1)
    rows, columns = np.mgrid[:224, :224]
    fallen, total = np.zeros((224, 224)), 0.0
    for tap in range(2 * radius + 1):
        weight = math.exp(-(tap**2) / (2 * sigma**2))
        places = [rows + tap * math.sin(angle), columns + tap * math.cos(angle)]
        fallen += weight * ndimage.map_coordinates(layer, places, order=1, mode="nearest")
        total += weight
    fallen /= total
    pixels = image()
    grey = 0.299 * pixels[0] + 0.587 * pixels[1] + 0.114 * pixels[2]
    whitened = share * pixels + (1 - share) * np.maximum(pixels, 1.5 * grey + 0.5)
    expected = whitened + fallen + fallen[::-1, ::-1]
    np.testing.assert_allclose(weather.snow(pixels, severity, random_stream("snow", severity, 3)), expected, atol=1e-3)


def test_the_cloud_is_diamonds_and_squares() -> None:
    """Point by point over a map without borders, with the numbers that `plasma` draws."""
    stream = np.random.default_rng(8)
    heights = {(0, 0): 0.0}
    step, wobble = 256, 100.0
    while step >= 2:
        half, count = step // 2, 256 // step
        draws = stream.uniform(-wobble * wobble, wobble * wobble, (3, count, count))
        for i in range(count):
            for j in range(count):
                corners = [((i + a) * step % 256, (j + b) * step % 256) for a in (0, 1) for b in (0, 1)]
                heights[i * step + half, j * step + half] = sum(heights[c] for c in corners) / 4 + draws[0, i, j]
        for i in range(count):
            for j in range(count):
                y, x = i * step, j * step
                for number, (py, px) in ((1, (y, x + half)), (2, (y + half, x))):
                    around = [(py - half, px), (py + half, px), (py, px - half), (py, px + half)]
                    mean = sum(heights[a % 256, b % 256] for a, b in around) / 4
                    heights[py, px] = mean + draws[number, i, j]
        step, wobble = half, wobble / 1.7
    values = np.array([[heights[y, x] for x in range(256)] for y in range(256)])
    expected = (values - values.min()) / np.ptp(values)
    np.testing.assert_allclose(weather.plasma(1.7, np.random.default_rng(8)), expected, atol=1e-5)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_fog_thickens_and_keeps_the_brightest_value(severity: int) -> None:
    density, decay = ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))[severity - 1]
    pixels = image() * 0.8
    cloud = weather.plasma(decay, random_stream("fog", severity, 1))[:224, :224]
    brightest = pixels.max()
    expected = (pixels + density * cloud) * brightest / (brightest + density)
    found = weather.fog(pixels, severity, random_stream("fog", severity, 1))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.max() <= brightest


@pytest.mark.parametrize("severity", SEVERITIES)
def test_frost_adds_shares_of_image_and_pane(severity: int) -> None:
    share, strength = ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))[severity - 1]
    black, dark = torch.zeros(1, 3, 224, 224, dtype=torch.uint8), torch.full((1, 3, 224, 224), 50, dtype=torch.uint8)
    alone, over = (corrupt(each, "frost", severity, [9]).double() for each in (black, dark))
    visible = over < 255
    assert ((over - alone)[visible] - share * 50).abs().max() <= 1  # two roundings
    assert alone.max() <= 255 * strength + 0.5
    assert alone.mean() > 0.1 * 255 * strength


def test_panes_differ_and_are_the_same_in_every_process() -> None:
    panes = [draw_pane(number) for number in range(3)]
    assert all(pane.shape == (3, 512, 512) for pane in panes)
    assert np.abs(panes[0] - panes[1]).mean() > 0.05
    assert [round(float(pane.mean()), 2) for pane in panes] == [0.39, 0.32, 0.28]
    assert all(pane[2].mean() > pane[0].mean() for pane in panes)  # ice is bluish


@pytest.mark.parametrize("severity", [4, 5])
def test_mud_hides_the_image_where_noise_is_high(severity: int) -> None:
    mean, deviation, threshold = ((0.65, 0.3, 0.65), (0.67, 0.4, 0.65))[severity - 4]
    noise = random_stream("spatter", severity, 2).standard_normal((224, 224), dtype=np.float32)
    liquid = ndimage.gaussian_filter(mean + deviation * noise, 1, mode="nearest")
    cover = ndimage.gaussian_filter((liquid > threshold).astype(float), 1.5, mode="nearest")
    cover[cover < 0.8] = 0
    mud = np.array([63, 42, 20])[:, None, None] / 255
    expected = image() * (1 - cover) + mud * cover
    found = spatter.spatter(image(), severity, random_stream("spatter", severity, 2))
    wrong = np.abs(found - expected) > 1e-3
    assert wrong.mean() < 1e-3  # a value at a threshold may fall on its other side
    assert 0.02 < (cover > 0).mean() < 0.4


@pytest.mark.parametrize("severity", [1, 2, 3])
def test_water_shines_where_noise_is_high(severity: int) -> None:
    mean, sigma, threshold, strength = (
        (0.65, 4, 0.69, 0.6), (0.65, 3, 0.68, 0.6), (0.65, 2, 0.68, 0.5)
    )[severity - 1]  # fmt: skip
    black, wet = np.zeros((3, 224, 224), np.float32), 0.0
    for seed in range(8):
        found = spatter.spatter(black, severity, random_stream("spatter", severity, seed))
        noise = random_stream("spatter", severity, seed).standard_normal((224, 224), dtype=np.float32)
        dry = ndimage.gaussian_filter(mean + 0.3 * noise, sigma, mode="nearest") < threshold - 1e-5
        assert (found[:, dry] == 0).all()
        wet += (1 - dry.mean()) / 8
    deviation = 0.3 / (2 * math.sqrt(math.pi) * sigma)  # of white noise after a Gaussian
    assert wet == pytest.approx(stats.norm(mean, deviation).sf(threshold), rel=0.3)
    # Pale turquoise, (175, 238, 238), in one proportion; the brightest drop has the published strength.
    np.testing.assert_allclose(found[0] * 238, found[1] * 175, atol=1e-4)
    assert found[1].max() == pytest.approx(strength * 238 / 255, abs=1e-4)


def test_drops_are_lit_from_above_and_left() -> None:
    """One round drop: the distance from its rim grows inwards, so the relief is bright above and dark below."""
    rows, columns = np.mgrid[:224, :224]
    drop = np.where(np.hypot(rows - 112, columns - 112) < 15, 0.8, 0).astype(np.float32)
    shine = spatter._shine(drop)
    assert shine[drop == 0].max() == 0
    assert shine[100:108, 100:108].mean() > 1.3 * shine[117:125, 117:125].mean()
    assert spatter._shine(np.zeros((224, 224), np.float32)).max() == 0


def test_equalising_by_hand() -> None:
    """Levels 3, 3, 7, 9 of four pixels: the lowest becomes 0; one of the two above it is at half."""
    levels = np.array([[3, 3], [7, 9]], np.uint8)
    assert spatter._equalise(levels).tolist() == [[0, 0], [128, 255]]


def test_layers_look_the_same_at_another_size() -> None:
    """The same flakes, drops and clouds in an image of a quarter of the pixels."""
    for name, severity in (("snow", 3), ("fog", 4), ("frost", 5), ("spatter", 3)):
        large, small = (torch.full((1, 3, size, size), 90, dtype=torch.uint8) for size in (224, 56))
        large, small = (corrupt(each, name, severity, [1]).double()[0, 0] for each in (large, small))
        coarse = large.reshape(56, 4, 56, 4).mean((1, 3))
        assert float(torch.corrcoef(torch.stack((coarse.ravel(), small.ravel())))[0, 1]) > 0.93, name
