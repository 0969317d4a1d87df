"""The brush, and how a painting becomes a sprite with a shadow. All of it is ours."""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from random import Random
from typing import NamedTuple

from PIL import Image, ImageChops, ImageDraw, ImageFilter

VARIANTS = 4
TURNS = 12
_LIGHT_DIRECTION = (0.5, 0.8)  # where shadows fall, in canvas axes: right and down

Colour = tuple[int, int, int]
Point = tuple[float, float]


class Brush:
    """Pillow's drawing calls in coordinates from -1 to 1."""

    def __init__(self, side: int) -> None:
        self.image = Image.new("RGBA", (side, side))
        self._draw = ImageDraw.Draw(self.image)
        self._half = side / 2

    def _at(self, points: Sequence[Point]) -> list[Point]:
        return [(self._half * (1 + x), self._half * (1 + y)) for x, y in points]

    def disc(self, x: float, y: float, rx: float, colour: Colour, *, ry: float | None = None) -> None:
        """Fill an upright ellipse around (x, y)."""
        ry = rx if ry is None else ry
        self._draw.ellipse(self._at([(x - rx, y - ry), (x + rx, y + ry)]), fill=colour)

    def ring(self, x: float, y: float, radius: float, width: float, colour: Colour) -> None:
        """Draw a circle's line of `width` inside `radius`."""
        box = self._at([(x - radius, y - radius), (x + radius, y + radius)])
        self._draw.ellipse(box, outline=colour, width=max(1, round(width * self._half)))

    def arc(self, x: float, y: float, radius: float, degrees: Point, colour: Colour, *, width: float) -> None:
        """Draw a part of a circle's line."""
        box = self._at([(x - radius, y - radius), (x + radius, y + radius)])
        self._draw.arc(box, *degrees, fill=colour, width=max(1, round(width * self._half)))

    def oval(self, x: float, y: float, radii: Point, angle: float, colour: Colour) -> None:
        """Fill an ellipse turned by `angle` radians."""
        cos, sin = math.cos(angle), math.sin(angle)
        circle = [(math.cos(a) * radii[0], math.sin(a) * radii[1]) for a in (i * math.tau / 24 for i in range(24))]
        self.polygon([(x + u * cos - v * sin, y + u * sin + v * cos) for u, v in circle], colour)

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        """Fill a polygon."""
        self._draw.polygon(self._at(points), fill=colour)

    def line(self, points: Sequence[Point], width: float, colour: Colour) -> None:
        """Draw a polyline with round joints."""
        self._draw.line(self._at(points), fill=colour, width=max(1, round(width * self._half)), joint="curve")
        for x, y in (points[0], points[-1]):
            self.disc(x, y, width / 2, colour)


def shade(colour: Colour, factor: float) -> Colour:
    """Return `colour` darker (below 1) or lighter (above 1)."""
    red, green, blue = (min(255, max(0, round(channel * factor))) for channel in colour)
    return red, green, blue


def blob(rng: Random, radius: float, *, wobble: float, corners: int = 14) -> list[Point]:
    """Return an irregular round outline."""
    radii = [radius * (1 + wobble * rng.uniform(-1, 1)) for _ in range(corners)]
    return [(r * math.cos(i * math.tau / corners), r * math.sin(i * math.tau / corners)) for i, r in enumerate(radii)]


class Painting(NamedTuple):
    """Something small that can lie in the picture; `paint` works on the square from (-1, -1) to (1, 1)."""

    paint: Callable[[Brush, Random], None]
    radius: float  # half the square's side, in hundredths of the picture's side


def sprite(painting: Painting, variant: int, turn: int, side: int) -> Image.Image:
    """Return `painting` with its shadow, RGBA and centred, for a picture of `side` pixels.

    `variant` (below `VARIANTS`) changes shape and size, `turn` (below `TURNS`) rotates.
    """
    # Small sprites are needed thousands of times; large ones would fill the memory.
    return (_kept_sprite if painting.radius < 10 else _new_sprite)(painting, variant, turn, side)


def _new_sprite(painting: Painting, variant: int, turn: int, side: int) -> Image.Image:
    radius = max(1.0, painting.radius / 100 * side * (0.88 + 0.08 * variant))
    fineness = 2 if painting.radius < 10 else 1
    turned = painted(painting.paint, variant, round(2 * radius * fineness)).rotate(
        360 * turn / TURNS, Image.Resampling.BILINEAR, expand=True
    )
    margin = max(1, round(side / 64))
    width = max(1, round(turned.width / fineness))
    canvas = Image.new("RGBA", (width + 2 * margin, width + 2 * margin))
    canvas.paste(turned.resize((width, width), Image.Resampling.BOX), (margin, margin))
    return with_shadow(canvas, reach=side / 110)


_kept_sprite = lru_cache(maxsize=4096)(_new_sprite)


@lru_cache(maxsize=256)
def painted(paint: Callable[[Brush, Random], None], variant: int, side: int) -> Image.Image:
    """Return the bare RGBA painting, `side` pixels wide and painted at twice that."""
    brush = Brush(2 * side)
    paint(brush, Random(f"{paint.__name__} {variant}"))
    return brush.image.reduce(2)


def with_shadow(image: Image.Image, *, reach: float) -> Image.Image:
    """Return the RGBA `image` over its own soft shadow, `reach` pixels away."""
    shadow = ImageChops.offset(
        image.getchannel("A").filter(ImageFilter.BoxBlur(reach * 0.7)),
        round(reach * _LIGHT_DIRECTION[0]),
        round(reach * _LIGHT_DIRECTION[1]),
    )
    below = Image.new("RGBA", image.size, (34, 18, 8, 0))
    below.putalpha(shadow.point(lambda value: value * 0.5))
    return Image.alpha_composite(below, image)
