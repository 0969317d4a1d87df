"""A recipe on its table: where every piece of it lies, and which are covered by the base. All of it is ours.

The canvas is `EXTENT` times as wide as the picture, so that a camera that moves or tilts still sees table.
"""

import math
from functools import lru_cache
from random import Random
from typing import NamedTuple

from PIL import Image, ImageChops, ImageDraw

from marnet.data.synthetic.brush import TURNS, VARIANTS, blob, sprite
from marnet.data.synthetic.ingredients import PIECES
from marnet.data.synthetic.recipes import LIQUIDS, Portion, Recipe
from marnet.data.synthetic.tableware import GLAZES, TABLES, WELL, filling, table, vessel

EXTENT = 1.5


def paste(canvas: Image.Image, image: Image.Image, x: float, y: float) -> None:
    """Paste an RGBA `image` with its centre at (x, y) in pixels."""
    canvas.paste(image, (round(x - image.width / 2), round(y - image.height / 2)), image)


def lay_table(rng: Random, side: int) -> Image.Image:
    """Return an empty table top for a picture of `side` pixels: RGB, `EXTENT * side` pixels wide."""
    top = table(rng.randrange(TABLES), round(EXTENT * side))
    return top.transpose(rng.choice(tuple(Image.Transpose)))  # a new image: the cached top stays clean


def serve(canvas: Image.Image, recipe: Recipe, rng: Random, side: int) -> None:
    """Draw the dish of `recipe` in the middle of `canvas`, for a picture of `side` pixels."""
    centre = canvas.width / 2
    well = WELL[recipe.vessel] * side
    paste(canvas, vessel(recipe.vessel, rng.randrange(GLAZES), side), centre, centre)
    base = filling(recipe.base, rng.randrange(3), rng.randrange(6), round(2 * well))
    paste(canvas, base, centre, centre)
    serving = _Serving(canvas, base, recipe.base in LIQUIDS, rng, side, 0.78 * well, [])
    portions = sorted(recipe.portions, key=lambda portion: PIECES[portion.ingredient].painting.radius, reverse=True)
    # What the base covers is drawn first, so that the base never lies on what is meant to be seen.
    for portion in sorted(portions, key=lambda portion: not portion.hidden):
        _place(serving, portion)


class _Serving(NamedTuple):
    """The properties that all pieces of one dish share; lengths are pixels of the canvas."""

    canvas: Image.Image
    base: Image.Image
    liquid: bool
    rng: Random
    side: int
    reach: float  # how far from the middle food may lie
    taken: list[tuple[float, float, float]]  # x, y and radius of the larger pieces so far


def _place(serving: _Serving, portion: Portion) -> None:
    rng, piece = serving.rng, PIECES[portion.ingredient]
    centre, radius = serving.canvas.width / 2, piece.painting.radius / 100 * serving.side
    limit = serving.reach - 0.3 * radius
    together = rng.random() < 0.5
    heap = _spot(rng, (0.0, 0.0), 0.8 * limit, limit)
    for _ in range(piece.counts[portion.amount]):
        candidates = 6 if radius > 0.03 * serving.side else 1  # only larger pieces look for a free place
        spots = [
            _spot(rng, heap, 0.5 * limit, limit) if together else _spot(rng, (0.0, 0.0), limit, limit)
            for _ in range(candidates)
        ]
        x, y = max(spots, key=lambda spot: _room(serving.taken, spot)) if candidates > 1 else spots[0]
        if candidates > 1:
            serving.taken.append((x, y, radius))
        image = sprite(piece.painting, rng.randrange(VARIANTS), rng.randrange(TURNS), serving.side)
        paste(serving.canvas, image, centre + x, centre + y)
        if portion.hidden:
            _cover(serving, (centre + x, centre + y), radius)


def _room(taken: list[tuple[float, float, float]], spot: tuple[float, float]) -> float:
    return min((math.dist(spot, other[:2]) - other[2] for other in taken), default=0.0)


def _spot(rng: Random, heap: tuple[float, float], spread: float, limit: float) -> tuple[float, float]:
    angle, far = rng.random() * math.tau, spread * math.sqrt(rng.random())
    x, y = heap[0] + far * math.cos(angle), heap[1] + far * math.sin(angle)
    excess = math.hypot(x, y) / limit
    return (x / excess, y / excess) if excess > 1 else (x, y)


def _cover(serving: _Serving, spot: tuple[float, float], radius: float) -> None:
    """Lay the base over one piece: a liquid over all of it, anything else over a part."""
    canvas, base, rng = serving.canvas, serving.base, serving.rng
    size = max(3, round((2.6 if serving.liquid else 2.2) * radius))
    mask = _cover_mask(size, rng.randrange(4), serving.liquid)
    angle = rng.random() * math.tau
    away = 0.0 if serving.liquid else 0.55 * radius
    left = round(spot[0] + away * math.cos(angle) - size / 2)
    top = round(spot[1] + away * math.sin(angle) - size / 2)
    inset = round(canvas.width / 2 - base.width / 2)  # as `paste` places it, so that the patch meets the base
    patch = base.crop((left - inset, top - inset, left - inset + size, top - inset + size))
    canvas.paste(patch, (left, top), ImageChops.multiply(mask, patch.getchannel("A")))


@lru_cache(maxsize=1024)
def _cover_mask(size: int, variant: int, liquid: bool) -> Image.Image:
    rng = Random(f"cover {variant}")
    mask = Image.new("L", (4 * size, 4 * size))
    outline = blob(rng, 0.85, wobble=0.15 if liquid else 0.3)
    ImageDraw.Draw(mask).polygon([(2 * size * (1 + x), 2 * size * (1 + y)) for x, y in outline], fill=255)
    softened = mask.resize((size, size), Image.Resampling.BOX)
    return softened.point(lambda value: value * (0.62 if liquid else 0.96))
