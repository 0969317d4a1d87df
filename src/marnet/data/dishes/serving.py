"""A recipe on its table: where every piece of it lies, and which are covered by the base. All of it is ours.

The canvas is `EXTENT` times as wide as the picture, so that a camera that moves or tilts still sees table.
"""

import math
from functools import lru_cache
from random import Random

from PIL import Image, ImageChops, ImageDraw

from marnet.data.dishes.brush import TURNS, VARIANTS, blob, sprite
from marnet.data.dishes.ingredients import PIECES
from marnet.data.dishes.recipes import Portion, Recipe
from marnet.data.dishes.tableware import GLAZES, LIQUIDS, TABLES, WELL, filling, table, vessel

EXTENT = 1.5



def paste(canvas: Image.Image, image: Image.Image, x: float, y: float) -> None:
    """Paste an RGBA `image` with its centre at (x, y) in pixels."""
    canvas.paste(image, (round(x - image.width / 2), round(y - image.height / 2)), image)


def lay_table(rng: Random, side: int) -> Image.Image:
    """Return an empty table top for a picture of `side` pixels: RGB, `EXTENT * side` pixels wide."""
    top = table(rng.randrange(TABLES), round(EXTENT * side))
    turned = top.transpose(rng.choice(tuple(Image.Transpose)))
    return turned.copy() if turned is top else turned


def serve(canvas: Image.Image, recipe: Recipe, rng: Random, side: int) -> None:
    """Draw the dish of `recipe` in the middle of `canvas`, for a picture of `side` pixels."""
    centre = canvas.width / 2
    well = WELL[recipe.vessel] * side
    paste(canvas, vessel(recipe.vessel, rng.randrange(GLAZES), side), centre, centre)
    base = filling(recipe.base, rng.randrange(3), rng.randrange(6), round(2 * well))
    paste(canvas, base, centre, centre)
    reach = well * (0.8 if recipe.base in LIQUIDS else 0.76)
    order = sorted(recipe.portions, key=lambda portion: PIECES[portion.ingredient].painting.radius, reverse=True)
    # What the base covers is drawn first, so that nothing covered lies on top of something that is not.
    taken: list[tuple[float, float, float]] = []
    for portion in sorted(order, key=lambda portion: not portion.hidden):
        _place(canvas, portion, recipe.base, base, rng, side, reach, taken)


def _place(
    canvas: Image.Image,
    portion: Portion,
    base_name: str,
    base: Image.Image,
    rng: Random,
    side: int,
    reach: float,
    taken: list[tuple[float, float, float]],
) -> None:
    piece = PIECES[portion.ingredient]
    centre, radius = canvas.width / 2, piece.painting.radius / 100 * side
    limit = reach - 0.3 * radius
    heap_angle, heap_far = rng.random() * math.tau, limit * math.sqrt(rng.random()) * 0.8
    heap = (heap_far * math.cos(heap_angle), heap_far * math.sin(heap_angle))
    spread = limit if rng.random() < 0.5 else 0.5 * limit  # all over the dish, or together in one place
    tries = 6 if radius > 0.03 * side else 1
    for _ in range(piece.counts[portion.amount]):
        x, y = max(
            (_spot(rng, heap if spread < limit else (0.0, 0.0), spread, limit) for _ in range(tries)),
            key=lambda spot: min((math.dist(spot, other[:2]) - other[2] - radius for other in taken), default=0.0)
            if tries > 1
            else 0.0,
        )
        if tries > 1:
            taken.append((x, y, radius))
        image = sprite(piece.painting, rng.randrange(VARIANTS), rng.randrange(TURNS), side)
        paste(canvas, image, centre + x, centre + y)
        if portion.hidden:
            _cover(canvas, base, base_name, rng, centre, (x, y), radius)


def _spot(rng: Random, heap: tuple[float, float], spread: float, limit: float) -> tuple[float, float]:
    angle, far = rng.random() * math.tau, spread * math.sqrt(rng.random())
    x, y = heap[0] + far * math.cos(angle), heap[1] + far * math.sin(angle)
    excess = math.hypot(x, y) / limit
    return (x / excess, y / excess) if excess > 1 else (x, y)


def _cover(
    canvas: Image.Image,
    base: Image.Image,
    base_name: str,
    rng: Random,
    centre: float,
    spot: tuple[float, float],
    radius: float,
) -> None:
    """Lay the base over one piece: liquid over nearly all of it, anything else over a part."""
    liquid = base_name in LIQUIDS
    size = max(3, round(2.6 * radius))
    mask = _cover_mask(size, rng.randrange(4), liquid)
    angle = rng.random() * math.tau
    away = 0.0 if liquid else 0.45 * radius
    left = round(centre + spot[0] + away * math.cos(angle) - size / 2)
    top = round(centre + spot[1] + away * math.sin(angle) - size / 2)
    inset = (canvas.width - base.width) // 2
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
