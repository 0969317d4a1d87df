"""Table tops, bowls and plates, and the bases that fill them. All of it is ours.

Radii are shares of the picture's side.
"""

import math
from functools import lru_cache
from random import Random

import numpy as np
from PIL import Image

from marnet.data.synthetic.brush import Brush, Colour, blob, painted, shade, with_shadow
from marnet.data.synthetic.recipes import LIQUIDS

_OUTER = 0.455  # radius of bowl and plate
WELL = {"bowl": 0.4, "plate": 0.375}  # radius that food may fill
_GLAZES: tuple[Colour, ...] = (
    (246, 244, 238),
    (232, 226, 210),
    (108, 142, 178),
    (74, 80, 90),
    (190, 112, 82),
    (150, 186, 170),
    (222, 188, 120),
)
_TABLES: tuple[tuple[str, Colour], ...] = (
    ("wood", (168, 118, 74)),
    ("wood", (112, 74, 48)),
    ("wood", (206, 172, 126)),
    ("linen", (206, 200, 188)),
    ("linen", (120, 142, 152)),
    ("linen", (170, 92, 84)),
    ("stone", (216, 214, 210)),
    ("stone", (86, 90, 94)),
)
GLAZES = len(_GLAZES)
TABLES = len(_TABLES)


@lru_cache(maxsize=64)
def vessel(kind: str, glaze: int, side: int) -> Image.Image:
    """Return an empty bowl or plate with its shadow, RGBA."""
    colour = _GLAZES[glaze]
    size = round(2.2 * _OUTER * side)
    brush = Brush(3 * size)
    full, well = 1 / 1.1, WELL[kind] / _OUTER / 1.1
    brush.disc(0, 0, full, shade(colour, 0.7))
    brush.disc(-0.004, -0.006, full - 0.012, shade(colour, 1.06))
    brush.disc(0.004, 0.006, full - 0.035, colour)
    if glaze % 3 == 1:
        brush.ring(0, 0, full - 0.05, 0.02, shade(colour, 0.62))
    elif glaze % 3 == 0 and kind == "plate":
        brush.ring(0, 0, full - 0.04, 0.035, ((70, 104, 160), (196, 160, 70), (150, 60, 50))[glaze // 3])
    brush.arc(0, 0, full - 0.07, (195, 255), shade(colour, 1.16), width=0.025)
    brush.disc(0, 0, well + 0.02, shade(colour, 0.72 if kind == "bowl" else 0.86))
    brush.disc(0.012, 0.018, well + 0.005, shade(colour, 0.86 if kind == "bowl" else 0.97))
    return with_shadow(brush.image.resize((size, size), Image.Resampling.BOX), reach=side / 45)


@lru_cache(maxsize=256)
def filling(name: str, variant: int, turn: int, side: int) -> Image.Image:
    """Return the base as it fills the well, RGBA, `side` pixels wide."""
    big = painted(_BASES[name], variant, 2 * side)
    if name not in LIQUIDS:
        big = big.rotate(60 * turn, Image.Resampling.BILINEAR)
    small = big.resize((side, side), Image.Resampling.BOX)
    return small if name in LIQUIDS else with_shadow(small, reach=side / 60)


def _inside(rng: Random, radius: float) -> tuple[float, float]:
    angle, far = rng.random() * math.tau, radius * math.sqrt(rng.random())
    return far * math.cos(angle), far * math.sin(angle)


def _rice(brush: Brush, rng: Random) -> None:
    brush.polygon(blob(rng, 0.9, wobble=0.05), (214, 206, 188))
    for _ in range(620):
        x, y = _inside(rng, 0.9)
        light = rng.uniform(0.9, 1.02)
        angle = rng.random() * math.tau
        brush.oval(x + 0.008, y + 0.012, (0.055, 0.026), angle, (196, 186, 164))
        brush.oval(x, y, (0.052, 0.022), angle, shade((250, 246, 232), light))


def _couscous(brush: Brush, rng: Random) -> None:
    brush.polygon(blob(rng, 0.9, wobble=0.05), (196, 156, 82))
    for _ in range(1500):
        x, y = _inside(rng, 0.9)
        brush.disc(x, y, rng.uniform(0.014, 0.022), shade((238, 204, 128), rng.uniform(0.8, 1.08)))


def _noodles(brush: Brush, rng: Random) -> None:
    brush.polygon(blob(rng, 0.86, wobble=0.02, corners=48), (190, 150, 82))
    for _ in range(100):
        x, y = _inside(rng, 0.56)
        radius, start, turn = rng.uniform(0.18, 0.42), rng.random() * 360, rng.uniform(110, 250)
        tone = shade((246, 218, 150), rng.uniform(0.9, 1.05))
        brush.arc(x, y, radius + 0.012, (start, start + turn), (176, 136, 70), width=0.068)
        brush.arc(x, y, radius, (start, start + turn), tone, width=0.042)


def _leaves(brush: Brush, rng: Random) -> None:
    brush.disc(0, 0, 0.7, (70, 112, 44))
    for _ in range(46):
        x, y = _inside(rng, 0.68)
        green = shade(rng.choice(((118, 168, 66), (88, 144, 56), (154, 190, 88))), rng.uniform(0.9, 1.08))
        outline = blob(rng, rng.uniform(0.18, 0.3), wobble=0.22, corners=12)
        brush.polygon([(x + 1.08 * u, y + 1.08 * v + 0.01) for u, v in outline], shade(green, 0.68))
        brush.polygon([(x + u, y + v) for u, v in outline], green)
        u, v = outline[0]
        brush.line([(x - 0.7 * u, y - 0.7 * v), (x + 0.8 * u, y + 0.8 * v)], 0.016, shade(green, 1.3))


def _broth(brush: Brush, rng: Random) -> None:
    tone: Colour = ((176, 112, 46), (198, 144, 70), (160, 92, 44))[rng.randrange(3)]
    for step in range(12):
        brush.disc(0, 0, 1.0 - 0.05 * step, shade(tone, 0.82 + 0.022 * step))
    for _ in range(36):
        x, y = _inside(rng, 0.86)
        radius = rng.uniform(0.02, 0.07)
        brush.disc(x, y, radius, shade(tone, 1.2))
        brush.disc(x + 0.004, y + 0.006, radius * 0.8, shade(tone, 1.08))
    brush.arc(0, 0, 0.93, (200, 250), shade(tone, 1.5), width=0.025)


def _curry(brush: Brush, rng: Random) -> None:
    tone: Colour = ((206, 138, 34), (190, 96, 34), (176, 122, 50))[rng.randrange(3)]
    for step in range(8):
        brush.disc(0, 0, 1.0 - 0.06 * step, shade(tone, 0.84 + 0.025 * step))
    for _ in range(60):
        x, y = _inside(rng, 0.84)
        outline = blob(rng, rng.uniform(0.03, 0.09), wobble=0.3, corners=8)
        brush.polygon([(x + u, y + v) for u, v in outline], shade(tone, rng.choice((0.9, 1.0, 1.12))))
    for _ in range(60):
        x, y = _inside(rng, 0.9)
        brush.disc(x, y, 0.012, shade(tone, 0.6))


_BASES = {
    "broth": _broth,
    "couscous": _couscous,
    "curry": _curry,
    "leaves": _leaves,
    "noodles": _noodles,
    "rice": _rice,
}


@lru_cache(maxsize=32)
def table(index: int, side: int) -> Image.Image:
    """Return a table top as an RGB square of `side` pixels."""
    kind, colour = _TABLES[index]
    rng = np.random.default_rng(index)
    if kind == "wood":
        grain = Image.fromarray(rng.normal(0, 0.07, (side, 9)).astype(np.float32))
        light = np.asarray(grain.resize((side, side), Image.Resampling.BICUBIC))
        planks = (np.arange(side) * 7 // side)[:, None]
        light = light + rng.uniform(-0.07, 0.07, 7)[planks]
        light[(np.arange(side) * 7 % side) < 7, :] -= 0.3
    elif kind == "linen":
        light = 0.5 * (rng.normal(0, 0.07, (side, 1)) + rng.normal(0, 0.07, (1, side))) + rng.normal(
            0, 0.02, (side, side)
        )
    else:
        light = np.zeros((side, side))
        for cells, strength in ((4, 0.06), (12, 0.04), (48, 0.03)):
            coarse = Image.fromarray(rng.normal(0, strength, (cells, cells)).astype(np.float32))
            light = light + np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))
    pixels = np.array(colour)[None, None, :] * (1 + light[:, :, None])
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
