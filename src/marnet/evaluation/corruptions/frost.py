"""Frost on the lens. ImageNet-C lays photographs over the image, which we may not distribute; ours is drawn."""

import math
from functools import lru_cache
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from marnet.evaluation.corruptions.filters import PUBLISHED_SIDE, blur, fit_layer
from marnet.evaluation.corruptions.weather import plasma

_FROST = ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))  # shares of image and frost, added
_PANES = 3  # different ones; an image sees a random part of one, in one of eight positions
_SIDE = 512  # of a pane, pixels
_FERNS = 150  # on a pane
_ICE = np.array((0.86, 0.94, 1.0), np.float32)[:, None, None]


def frost(pixels: np.ndarray, severity: int, stream: np.random.Generator) -> np.ndarray:
    """Darken the image and add a part of a frozen pane."""
    share, strength = _FROST[severity - 1]
    pane = draw_pane(int(stream.integers(_PANES)))
    top, left = stream.integers(0, _SIDE - PUBLISHED_SIDE, 2)
    part = pane[:, top : top + PUBLISHED_SIDE, left : left + PUBLISHED_SIDE]
    part = np.rot90(part, int(stream.integers(4)), axes=(1, 2))
    if stream.random() < 0.5:
        part = part[:, :, ::-1]
    frozen: np.ndarray = share * pixels + strength * fit_layer(part, pixels.shape[-1])
    return frozen


@lru_cache(maxsize=_PANES)
def draw_pane(number: int) -> np.ndarray:
    """Draw one of the panes, `(3, 512, 512)` from 0 to 1: ferns of ice on a haze, with clear glass between them."""
    rng = Random(number)
    canvas = Image.new("L", (2 * _SIDE, 2 * _SIDE))
    draw = ImageDraw.Draw(canvas)
    for _ in range(_FERNS):
        start = (rng.uniform(0, canvas.width), rng.uniform(0, canvas.height))
        _fern(draw, start, rng.uniform(0, math.tau), rng.uniform(0.1, 0.42) * _SIDE, rng)
    crystals = np.asarray(canvas.resize((_SIDE, _SIDE), Image.Resampling.BOX), np.float32) / 255
    glow = np.asarray(canvas.filter(ImageFilter.GaussianBlur(14)).resize((_SIDE, _SIDE)), np.float32) / 255
    stream = np.random.default_rng(number)
    haze, grain = (np.tile(plasma(decay, stream), (2, 2)) for decay in (1.9, 1.15))  # (256, 256) joins at its borders
    cover = np.clip(2.2 * blur(haze, 3) - 0.2, 0, 1)
    ice = cover * (0.65 * crystals + 0.5 * glow + 0.5 * grain) + 0.25 * crystals
    pane: np.ndarray = np.clip(ice, 0, 1) * _ICE
    return pane


def _fern(draw: ImageDraw.ImageDraw, start: tuple[float, float], angle: float, length: float, rng: Random) -> None:
    """Draw a bent stem whose branches, 60 degrees to both sides as water freezes, are smaller ferns."""
    steps = max(2, round(length / 9))
    x, y = start
    bend = rng.uniform(-0.03, 0.03)
    for step in range(steps):
        further = (x + length / steps * math.cos(angle), y + length / steps * math.sin(angle))
        tip = 1 - step / steps
        draw.line([(x, y), further], fill=round(rng.uniform(150, 255)), width=1 + round(length / 90 * tip))
        (x, y), angle = further, angle + bend
        branch = 0.42 * length * tip * rng.uniform(0.5, 1)
        if branch > 9:
            for side in (-1, 1):
                _fern(draw, (x, y), angle + side * rng.gauss(math.pi / 3, 0.06), branch, rng)
