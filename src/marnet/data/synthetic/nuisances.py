"""What spoils a photograph without changing the dish: clutter, viewpoint, lighting, sensor noise. All of it is ours.

Each function takes a strength (0 is off, 1 is what training uses) and its own random stream. A stronger setting
magnifies the same random choices, so that one picture can be followed from easy to hard.
"""

import math
from functools import lru_cache
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from marnet.data.synthetic.brush import TURNS, VARIANTS, Brush, Colour, Painting, shade, sprite
from marnet.data.synthetic.serving import EXTENT, paste

_GROWTH = 2  # nuisance grows with the square of the dial: mild at 1, where it is trained on, and hard at 3
_X, _Z = 0, 2  # axes of space; the table lies at z = 0
_CAMERA_DISTANCE = 3.2  # from the dish, in half sides of the picture


def to_bytes(pixels: np.ndarray) -> np.ndarray:
    """Return float `pixels` in 0..1, clipped, as uint8."""
    eight_bit: np.ndarray = (np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8)
    return eight_bit


def clutter_table(canvas: Image.Image, strength: float, rng: Random, side: int) -> None:
    """Draw a patterned cloth and table ware around where the dish will stand, in place."""
    if rng.random() < 0.35 * strength:
        _pattern(canvas, rng)
    centre = canvas.width / 2
    start, spacing = rng.random() * math.tau, rng.uniform(0.9, 1.4)
    for index in range(round(strength * rng.uniform(0.6, 2.6))):
        angle = start + index * spacing
        far = rng.uniform(0.56, 0.66) * side
        prop = PROPS[rng.choice(_AROUND)]
        image = sprite(prop, rng.randrange(VARIANTS), rng.randrange(TURNS), side)
        paste(canvas, image, centre + far * math.cos(angle), centre + far * math.sin(angle))


def occlude(canvas: Image.Image, strength: float, rng: Random, side: int) -> None:
    """Lay cutlery or a napkin over a part of the dish, in place."""
    centre = canvas.width / 2
    for _ in range(int(0.2 * strength**_GROWTH + rng.random())):
        prop = PROPS[rng.choice(_OVER)]
        angle = rng.random() * math.tau
        turn = round((rng.uniform(-50, 50) - math.degrees(angle) - 90) / 360 * TURNS) % TURNS
        far = (rng.uniform(0.42, 0.48) - 0.06 * strength) * side
        image = sprite(prop, rng.randrange(VARIANTS), turn, side)
        paste(canvas, image, centre + far * math.cos(angle), centre + far * math.sin(angle))


def photograph(canvas: Image.Image, strength: float, rng: Random, side: int) -> Image.Image:
    """Return the picture, RGB and `side` pixels wide, that a camera turned, tilted and moved by `strength` takes."""
    strength = strength**_GROWTH
    turn = math.radians(strength * rng.uniform(-20, 20))
    tilt = min(math.radians(52), math.radians(strength * rng.uniform(0, 9)))
    towards = rng.random() * math.tau
    zoom = math.exp(strength * rng.uniform(-0.06, 0.05))
    shift = (strength * rng.uniform(-0.04, 0.04), strength * rng.uniform(-0.04, 0.04))
    towards_matrix = _rotation(_Z, towards)
    matrix = towards_matrix @ _rotation(_X, tilt) @ towards_matrix.T @ _rotation(_Z, turn)
    # A point of the table, z = 0, is seen at distance * (x, y) / (distance + z): a plane-to-plane homography.
    distance = _CAMERA_DISTANCE
    homography = np.array([distance * zoom * matrix[0], distance * zoom * matrix[1], matrix[2]])
    homography[:, 2] = (0.0, 0.0, distance)
    homography[:2] += np.outer(shift, homography[2])
    to_canvas = np.array([[side / 2, 0, EXTENT * side / 2], [0, side / 2, EXTENT * side / 2], [0, 0, 1]])
    from_picture = np.linalg.inv(np.array([[side / 2, 0, side / 2], [0, side / 2, side / 2], [0, 0, 1]]))
    mapping = to_canvas @ np.linalg.inv(homography) @ from_picture
    coefficients = (mapping / mapping[2, 2]).ravel()[:8].tolist()
    edge = canvas.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    return canvas.transform(
        (side, side), Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BILINEAR, fillcolor=edge
    )


def light(pixels: np.ndarray, strength: float, rng: Random) -> np.ndarray:
    """Return `pixels` (S, S, 3), float32 in 0..1, under other light: exposure, colour, unevenness, a shadow."""
    strength = 0.5 * strength**1.5  # the square leaves nothing to see at 3
    across, down = _grid(pixels.shape[0])
    exposure = math.exp(strength * rng.uniform(-0.2, 0.14))
    warmth, tint = strength * rng.uniform(-0.08, 0.1), strength * rng.uniform(-0.03, 0.03)
    gains = exposure * np.exp(np.array([warmth, tint, -1.3 * warmth], dtype=np.float32))
    angle = rng.random() * math.tau
    slope = min(0.75, strength * rng.uniform(0.0, 0.22))
    field = 1 + slope * (math.cos(angle) * across + math.sin(angle) * down)
    has_shadow = rng.random() < 0.5 * strength
    turn, offset, width = rng.random() * math.tau, rng.uniform(-0.4, 0.6), rng.uniform(0.04, 0.12)
    depth = min(0.7, (0.15 + 0.15 * strength) * rng.uniform(0.7, 1.3))
    if has_shadow:
        edge = (math.cos(turn) * across + math.sin(turn) * down - offset) / width
        field = field * (1 - depth / (1 + np.exp(-np.clip(edge, -20, 20))))
    lit: np.ndarray = pixels * (field[:, :, None] * gains)
    return lit


def expose(pixels: np.ndarray, strength: float, rng: Random) -> np.ndarray:
    """Return `pixels` (S, S, 3), float32 in 0..1, as a sensor of worse quality records them: blurred and noisy."""
    strength, side = strength**_GROWTH, pixels.shape[0]
    radius = strength * rng.uniform(0.0, 0.28) * side / 96
    sigma = strength * rng.uniform(0.004, 0.02)
    if radius > 0.1:
        eight_bit = Image.fromarray(to_bytes(pixels)).filter(ImageFilter.GaussianBlur(radius))
        pixels = np.asarray(eight_bit, dtype=np.float32) / 255
    noise = np.random.default_rng(rng.getrandbits(63)).standard_normal(pixels.shape, dtype=np.float32)
    noisy: np.ndarray = pixels + noise * (sigma * np.sqrt(0.3 + np.clip(pixels, 0, 1)))
    return noisy


def _rotation(axis: int, angle: float) -> np.ndarray:
    """Return the matrix `(3, 3)` that turns space around an axis by an angle in radians."""
    one, other = (each for each in range(3) if each != axis)
    matrix = np.eye(3)
    matrix[[one, other], [one, other]] = math.cos(angle)
    matrix[other, one] = math.sin(angle)
    matrix[one, other] = -math.sin(angle)
    return matrix


@lru_cache(maxsize=8)
def _grid(side: int) -> tuple[np.ndarray, np.ndarray]:
    axis = np.linspace(-1, 1, side, dtype=np.float32)
    return axis[None, :], axis[:, None]


def _pattern(canvas: Image.Image, rng: Random) -> None:
    """Cover the table with a checked, striped or dotted cloth, in place."""
    draw = ImageDraw.Draw(canvas)
    colour = rng.choice(((188, 60, 56), (58, 96, 152), (70, 128, 88), (206, 164, 66), (120, 92, 140)))
    pale = rng.choice(((244, 240, 232), (232, 226, 212)))
    cells = rng.choice((10, 13, 17))
    step = canvas.width / cells
    kind = rng.choice(("checks", "stripes", "dots"))
    draw.rectangle((0, 0, canvas.width, canvas.height), fill=pale)
    for row in range(cells):
        if kind != "dots" and row % 2 == 0:
            draw.rectangle(
                (0, row * step, canvas.width, (row + 1) * step), fill=shade(pale, 0.9) if kind == "checks" else colour
            )
        for column in range(cells if kind != "stripes" else 0):
            left, top = column * step, row * step
            if kind == "checks" and column % 2 == 0:
                tone = colour if row % 2 == 0 else tuple((a + b) // 2 for a, b in zip(colour, pale, strict=True))
                draw.rectangle((left, top, left + step, top + step), fill=tone)
            elif kind == "dots":
                nudge = step / 2 * (row % 2)
                draw.ellipse((left + nudge, top, left + nudge + 0.5 * step, top + 0.5 * step), fill=colour)


_STEEL: Colour = (196, 200, 206)


def _handle(brush: Brush, tone: Colour) -> None:
    brush.polygon([(-0.03, -0.2), (0.03, -0.2), (0.065, 0.95), (-0.065, 0.95)], shade(tone, 0.7))
    brush.polygon([(-0.015, -0.2), (0.012, -0.2), (0.04, 0.92), (-0.045, 0.92)], tone)


def _fork(brush: Brush, rng: Random) -> None:
    _handle(brush, _STEEL)
    brush.oval(0, -0.42, (0.13, 0.2), 0, shade(_STEEL, 0.8))
    for x in (-0.1, -0.033, 0.033, 0.1):
        brush.line([(x, -0.5), (x * 1.1, -0.95)], 0.04, shade(_STEEL, rng.uniform(0.92, 1.05)))


def _spoon(brush: Brush, rng: Random) -> None:
    tone = rng.choice((_STEEL, (150, 104, 62)))
    _handle(brush, tone)
    brush.oval(0, -0.55, (0.2, 0.36), 0, shade(tone, 0.7))
    brush.oval(0, -0.55, (0.17, 0.32), 0, tone)
    brush.oval(0.03, -0.5, (0.11, 0.24), 0, shade(tone, 0.85))
    brush.oval(-0.07, -0.66, (0.04, 0.12), 0.3, shade(tone, 1.25))


def _knife(brush: Brush, rng: Random) -> None:
    _handle(brush, rng.choice((shade(_STEEL, 0.9), (70, 48, 36), (40, 40, 46))))
    brush.polygon([(-0.06, -0.05), (0.06, -0.05), (0.09, -0.7), (0.0, -0.97), (-0.06, -0.9)], shade(_STEEL, 0.8))
    brush.polygon([(-0.05, -0.05), (0.03, -0.05), (0.05, -0.7), (-0.02, -0.92), (-0.05, -0.86)], shade(_STEEL, 1.12))


def _chopsticks(brush: Brush, rng: Random) -> None:
    tone = rng.choice(((92, 50, 32), (178, 40, 36), (206, 168, 112), (38, 34, 36)))
    for x, lean in ((-0.07, -0.02), (0.08, 0.06)):
        brush.polygon([(x - 0.02 + lean, -0.97), (x + 0.02 + lean, -0.97), (x + 0.05, 0.97), (x - 0.05, 0.97)], tone)
        brush.line([(x - 0.012 + lean, -0.93), (x - 0.02, 0.9)], 0.02, shade(tone, 1.35))
        brush.polygon([(x - 0.045, 0.6), (x + 0.045, 0.6), (x + 0.05, 0.68), (x - 0.05, 0.68)], (224, 190, 110))


def _napkin(brush: Brush, rng: Random) -> None:
    tone = rng.choice(((240, 236, 228), (196, 70, 62), (84, 118, 160), (226, 190, 110)))
    brush.polygon([(-0.9, -0.8), (0.86, -0.92), (0.94, 0.82), (-0.82, 0.92)], shade(tone, 0.82))
    brush.polygon([(-0.86, -0.76), (0.82, -0.88), (0.3, 0.84), (-0.78, 0.88)], tone)
    for far in (0.6, 0.72):
        brush.line([(-far, -far + 0.04), (far, -far - 0.04)], 0.03, shade(tone, 0.75))
        brush.line([(-far, -far + 0.04), (-far + 0.04, far)], 0.03, shade(tone, 0.75))


def _glass(brush: Brush, rng: Random) -> None:
    drink = rng.choice(((204, 222, 228), (214, 130, 40), (124, 28, 44)))
    brush.disc(0, 0, 0.9, (226, 234, 238))
    brush.disc(0, 0, 0.82, (176, 190, 198))
    brush.disc(0.02, 0.03, 0.74, drink)
    brush.arc(0, 0, 0.66, (190, 262), shade(drink, 1.4), width=0.12)


def _side_plate(brush: Brush, rng: Random) -> None:
    colour = rng.choice(((244, 242, 236), (120, 150, 180), (196, 128, 96)))
    brush.disc(0, 0, 0.97, shade(colour, 0.72))
    brush.disc(-0.01, -0.01, 0.93, colour)
    brush.disc(0.01, 0.02, 0.66, shade(colour, 0.92))
    for x in (-0.2, 0.2):
        brush.oval(x, 0.02 + x / 4, (0.2, 0.44), 0.5, (156, 98, 46))
        brush.oval(x, 0.0 + x / 4, (0.16, 0.38), 0.5, (224, 176, 108))


def _sprig(brush: Brush, rng: Random) -> None:
    green = rng.choice(((98, 122, 72), (122, 138, 96)))
    brush.line([(0, 0.95), (0, -0.9)], 0.05, shade(green, 0.7))
    for step in range(6):
        y = 0.7 - 0.28 * step
        for side in (-1, 1):
            brush.oval(side * 0.24, y - 0.1, (0.24, 0.1), -side * 0.6, shade(green, 0.8 + 0.08 * step))


PROPS: dict[str, Painting] = {
    "chopsticks": Painting(_chopsticks, 42),
    "fork": Painting(_fork, 34),
    "glass": Painting(_glass, 15),
    "knife": Painting(_knife, 34),
    "napkin": Painting(_napkin, 20),
    "side plate": Painting(_side_plate, 26),
    "spoon": Painting(_spoon, 32),
    "sprig": Painting(_sprig, 20),
}
_AROUND = tuple(PROPS)
_OVER = ("chopsticks", "fork", "napkin", "spoon", "sprig")
