"""The painters of the ingredients. All of it is ours."""

import math
from random import Random
from typing import NamedTuple

from marnet.data.synthetic.brush import Brush, Colour, Painting, Point, blob, shade


def _spokes(count: int, start: float = 0.0) -> list[tuple[float, Point]]:
    angles = [start + i * math.tau / count for i in range(count)]
    return [(angle, (math.cos(angle), math.sin(angle))) for angle in angles]


def _tomato(brush: Brush, rng: Random) -> None:
    brush.disc(0, 0, 0.98, (176, 30, 22))
    brush.disc(0, 0, 0.88, (228, 58, 42))
    count = rng.choice((4, 5, 6))
    for angle, (x, y) in _spokes(count, rng.random()):
        brush.oval(0.5 * x, 0.5 * y, (0.26, 0.17 + 0.6 / count), angle, (196, 40, 26))
        for side in (-0.12, 0.12):
            brush.oval(0.52 * x - side * y, 0.52 * y + side * x, (0.1, 0.06), angle, (246, 206, 110))
    brush.disc(0, 0, 0.14, (244, 140, 110))


def _egg(brush: Brush, rng: Random) -> None:
    brush.disc(0, 0, 0.82, (212, 204, 188), ry=0.99)
    brush.disc(-0.02, -0.03, 0.77, (252, 250, 242), ry=0.93)
    y = rng.uniform(0.02, 0.16)
    brush.disc(0, y, 0.48, (222, 132, 14))
    brush.disc(0, y, 0.43, (252, 180, 34))
    brush.disc(-0.12, y - 0.12, 0.14, (255, 218, 110))


def _prawns(brush: Brush, rng: Random) -> None:
    spread = rng.uniform(-0.08, 0.08)
    for step in range(9):
        angle = math.radians(-150 + step * 28)
        x, y = 0.52 * math.cos(angle), (0.56 + spread) * math.sin(angle)
        thick = 0.42 - 0.026 * step
        brush.disc(x, y, thick, (214, 84, 54))
        brush.disc(x * 0.97, y * 0.97, thick * 0.78, (250, 150, 116) if step % 2 else (255, 204, 178))
    tail = math.radians(-150 + 9 * 28)
    x, y = 0.52 * math.cos(tail), 0.56 * math.sin(tail)
    brush.polygon([(x + 0.1, y), (x - 0.5, y - 0.3), (x - 0.3, y + 0.0), (x - 0.5, y + 0.3)], (206, 58, 40))


def _mushrooms(brush: Brush, rng: Random) -> None:
    stem = rng.uniform(0.17, 0.25)
    brush.polygon([(-stem, -0.1), (stem, -0.1), (stem + 0.08, 0.92), (-stem - 0.08, 0.92)], (150, 118, 86))
    brush.polygon([(0.05 - stem, -0.1), (stem - 0.05, -0.1), (stem, 0.86), (-stem, 0.86)], (240, 226, 202))
    brush.disc(0, -0.18, 0.98, (124, 86, 58), ry=0.76)
    brush.disc(0, -0.14, 0.86, (238, 222, 196), ry=0.62)
    brush.disc(0, 0.14, 0.74, (134, 98, 70), ry=0.28)
    brush.polygon([(0.05 - stem, 0.0), (stem - 0.05, 0.0), (stem, 0.5), (-stem, 0.5)], (240, 226, 202))


def _carrot(brush: Brush, rng: Random) -> None:
    outline = []
    for index, (_, (x, y)) in enumerate(_spokes(10, rng.random())):
        outline.append((x, y) if index % 2 else (0.8 * x, 0.8 * y))
    brush.polygon(outline, (214, 96, 10))
    brush.polygon([(0.88 * x, 0.88 * y) for x, y in outline], (250, 136, 30))
    brush.disc(0, 0, 0.42, (255, 172, 70))
    for _, (x, y) in _spokes(7, rng.random()):
        brush.line([(0.15 * x, 0.15 * y), (0.38 * x, 0.38 * y)], 0.07, (240, 128, 26))


def _cube(brush: Brush, rng: Random, top: Colour, *, grain: Colour | None) -> None:
    lean = rng.uniform(-0.06, 0.06)
    brush.polygon(
        [(-0.86, -0.62), (0.72, -0.74), (0.9, -0.4), (0.86, 0.72), (-0.66, 0.86), (-0.9, 0.5)], shade(top, 0.55)
    )
    brush.polygon([(-0.8, -0.56), (0.66, -0.68), (0.72 + lean, 0.44), (-0.72, 0.56 + lean)], top)
    brush.polygon([(-0.72, 0.6 + lean), (0.72 + lean, 0.48), (0.8, 0.66), (-0.62, 0.8)], shade(top, 0.74))
    brush.polygon([(-0.66, -0.44), (-0.1, -0.5), (-0.14, -0.36), (-0.64, -0.3)], shade(top, 1.14))
    if grain is not None:
        for _ in range(4):
            x, y = rng.uniform(-0.55, 0.2), rng.uniform(-0.35, 0.4)
            brush.line([(x, y), (x + rng.uniform(0.25, 0.4), y + rng.uniform(-0.1, 0.1))], 0.09, grain)


def _beef(brush: Brush, rng: Random) -> None:
    _cube(brush, rng, (134, 72, 46), grain=(92, 42, 28))


def _tofu(brush: Brush, rng: Random) -> None:
    _cube(brush, rng, (246, 238, 216), grain=None)
    for _ in range(3):
        brush.disc(rng.uniform(-0.5, 0.5), rng.uniform(-0.4, 0.3), 0.06, (224, 212, 184))


def _sweet_potato(brush: Brush, rng: Random) -> None:
    _cube(brush, rng, (238, 150, 58), grain=(250, 182, 96))
    brush.line([(-0.84, -0.5), (-0.74, 0.5)], 0.2, (140, 58, 88))


def _broccoli(brush: Brush, rng: Random) -> None:
    brush.polygon([(-0.2, 0.1), (0.2, 0.1), (0.26, 0.98), (-0.26, 0.98)], (112, 152, 66))
    brush.polygon([(-0.1, 0.1), (0.1, 0.1), (0.12, 0.94), (-0.14, 0.94)], (166, 196, 106))
    florets = ((-0.56, -0.02, 0.4), (0.56, -0.02, 0.4), (-0.34, -0.5, 0.42), (0.34, -0.5, 0.42), (0, -0.16, 0.46))
    for x, y, radius in florets:
        brush.disc(x, y, radius, (28, 84, 30))
        brush.disc(x - 0.03, y - 0.05, radius * 0.84, (50, 122, 42))
        for _ in range(9):
            angle, far = rng.random() * math.tau, radius * 0.66 * math.sqrt(rng.random())
            light = (104, 176, 72) if rng.random() < 0.6 else (34, 96, 32)
            brush.disc(x + far * math.cos(angle), y - 0.06 + far * math.sin(angle), 0.08, light)


def _ball(brush: Brush, colour: Colour) -> None:
    brush.disc(0, 0, 0.95, shade(colour, 0.62))
    brush.disc(-0.06, -0.08, 0.8, colour)
    brush.disc(-0.26, -0.3, 0.3, shade(colour, 1.4))


def _peas(brush: Brush, rng: Random) -> None:
    _ball(brush, rng.choice(((98, 172, 48), (112, 186, 60))))


def _corn(brush: Brush, rng: Random) -> None:
    brush.polygon([(-0.6, -0.86), (0.6, -0.86), (0.92, 0.0), (0.3, 0.95), (-0.3, 0.95), (-0.92, 0.0)], (204, 142, 4))
    brush.polygon([(-0.5, -0.7), (0.5, -0.7), (0.74, 0.0), (0.2, 0.7), (-0.2, 0.7), (-0.74, 0.0)], (255, 212, 48))
    brush.disc(-0.14, -0.3, 0.22 + 0.06 * rng.random(), (255, 238, 140))


def _nori(brush: Brush, rng: Random) -> None:
    high = rng.uniform(0.3, 0.42)
    brush.polygon([(-0.98, -high), (0.94, -high - 0.06), (0.98, high), (-0.94, high + 0.04)], (10, 26, 22))
    brush.polygon([(-0.9, 0.06 - high), (0.86, 0.0 - high), (0.9, high - 0.12), (-0.88, high - 0.08)], (26, 52, 42))
    for _ in range(7):
        x, y = rng.uniform(-0.7, 0.6), rng.uniform(-0.8, 0.6) * high
        brush.line([(x, y), (x + 0.18, y)], 0.06, (58, 92, 74))


def _cucumber(brush: Brush, rng: Random) -> None:
    brush.disc(0, 0, 0.98, (30, 92, 42))
    brush.disc(0, 0, 0.84, (156, 208, 116))
    brush.disc(0, 0, 0.74, (218, 240, 180))
    for angle, (x, y) in _spokes(rng.choice((6, 7, 8)), rng.random()):
        brush.oval(0.42 * x, 0.42 * y, (0.16, 0.07), angle, (148, 192, 104))
    brush.disc(0, 0, 0.12, (190, 222, 146))


def _olives(brush: Brush, rng: Random) -> None:
    brush.ring(0, 0, 0.96, 0.56, (28, 22, 34))
    brush.ring(0, 0, 0.86, 0.3, (66, 54, 74))
    start = rng.uniform(170, 200)
    brush.arc(0, 0, 0.8, (start, start + 80), (168, 158, 178), width=0.16)


def _red_onion(brush: Brush, rng: Random) -> None:
    bend = rng.uniform(10, 40)
    layers = ((0.96, (128, 28, 98)), (0.84, (240, 214, 232)), (0.66, (176, 66, 142)), (0.56, (246, 226, 240)))
    for radius, colour in layers:
        brush.arc(0, 0.22, radius, (180 - bend, 360 + bend), colour, width=0.16)
    brush.arc(0, 0.22, 0.38, (180 - bend, 360 + bend), (160, 52, 128), width=0.12)


def _chicken(brush: Brush, rng: Random) -> None:
    bow = rng.uniform(0.08, 0.2)
    outline = [(-0.96, 0.06), (-0.5, -0.4 - bow), (0.4, -0.42 - bow), (0.96, 0.0), (0.5, 0.36 - bow), (-0.4, 0.4 - bow)]
    brush.polygon(outline, (196, 158, 112))
    brush.polygon([(0.88 * x, 0.86 * y) for x, y in outline], (240, 216, 176))
    for _ in range(5):
        x, y = rng.uniform(-0.6, 0.4), rng.uniform(-0.4, 0.1)
        brush.line([(x, y), (x + 0.28, y + 0.04)], 0.06, (212, 178, 132))
    brush.line([(-0.5, -0.3 - bow), (0.2, -0.36 - bow)], 0.1, (176, 116, 62))


def _cashews(brush: Brush, rng: Random) -> None:
    brush.arc(0, 0.24, 0.94, (185, 355), (186, 150, 100), width=0.6)
    for side in (-1, 1):
        brush.disc(side * 0.62, 0.2, 0.32, (186, 150, 100))
        brush.disc(side * 0.63, 0.16, 0.24, (238, 216, 170))
    brush.arc(0, 0.22, 0.86, (185, 355), (238, 216, 170), width=0.42)
    brush.arc(0, 0.22, 0.8, (205 + 10 * rng.random(), 275), (250, 238, 206), width=0.12)


def _garlic(brush: Brush, rng: Random) -> None:
    outline = blob(rng, 0.84, wobble=0.16, corners=7)
    brush.polygon(outline, (196, 180, 138))
    brush.polygon([(0.76 * x - 0.05, 0.76 * y - 0.07) for x, y in outline], (252, 246, 218))


def _ginger(brush: Brush, rng: Random) -> None:
    bow = rng.uniform(-0.25, 0.25)
    points = [(-0.9, bow), (-0.3, -bow * 0.4), (0.3, -bow * 0.4), (0.9, bow)]
    brush.line(points, 0.3, (190, 150, 64))
    brush.line(points, 0.16, (246, 218, 128))


def _bean_sprouts(brush: Brush, rng: Random) -> None:
    bow = rng.uniform(0.2, 0.5)
    points = [(-0.7, 0.0), (-0.3, -bow * 0.7), (0.15, -bow * 0.8), (0.55, -bow * 0.2), (0.9, bow * 0.8)]
    brush.line(points, 0.22, (186, 184, 150))
    brush.line(points, 0.13, (250, 248, 232))
    brush.oval(-0.74, 0.06, (0.24, 0.16), 0.6, (190, 178, 84))
    brush.oval(-0.76, 0.04, (0.17, 0.1), 0.6, (240, 230, 140))


def _basil(brush: Brush, rng: Random) -> None:
    green = rng.choice(((44, 118, 44), (54, 132, 50)))
    outline = [
        (-0.98, 0.0),
        (-0.5, -0.46),
        (0.1, -0.52),
        (0.6, -0.3),
        (0.98, 0.0),
        (0.6, 0.3),
        (0.1, 0.52),
        (-0.5, 0.46),
    ]
    brush.polygon(outline, shade(green, 0.62))
    brush.polygon([(0.88 * x, 0.86 * y) for x, y in outline], green)
    brush.line([(-0.8, 0), (0.8, 0)], 0.07, shade(green, 1.7))
    for x in (-0.35, 0.05, 0.4):
        for side in (-1, 1):
            brush.line([(x, 0), (x + 0.18, side * 0.26)], 0.05, shade(green, 1.45))


def _coriander(brush: Brush, rng: Random) -> None:
    brush.line([(0, 0.95), (0, 0)], 0.1, (96, 148, 60))
    for x, y in ((-0.48, -0.02), (0.48, -0.02), (0, -0.46)):
        for _, (u, v) in _spokes(5, rng.random()):
            brush.disc(x + 0.24 * u, y + 0.24 * v, 0.22, (40, 112, 36))
        for _, (u, v) in _spokes(5, rng.random()):
            brush.disc(x + 0.2 * u, y + 0.2 * v, 0.15, (84, 164, 62))


def _black_pepper(brush: Brush, rng: Random) -> None:
    brush.polygon(blob(rng, 0.8, wobble=0.2, corners=6), (44, 36, 32))


def _chilli(brush: Brush, rng: Random) -> None:
    brush.ring(0, 0, 0.95, 0.5, (168, 14, 14))
    brush.ring(0, 0, 0.85, 0.3, (238, 46, 34))
    brush.disc(0.12, -0.05, 0.18 + 0.06 * rng.random(), (252, 224, 150))


def _lime(brush: Brush, rng: Random) -> None:
    brush.disc(0, 0, 0.98, (74, 140, 30))
    brush.disc(0, 0, 0.84, (240, 248, 210))
    start = rng.random()
    for angle, (x, y) in _spokes(8, start):
        brush.oval(0.45 * x, 0.45 * y, (0.3, 0.15), angle, (178, 218, 76))
    brush.disc(0, 0, 0.1, (240, 248, 210))


def _sesame(brush: Brush, rng: Random) -> None:
    brush.oval(0, 0, (0.92, 0.6), 0, (190, 160, 104))
    brush.oval(-0.05, -0.06, (0.72, 0.4 + 0.05 * rng.random()), 0, (252, 240, 204))


def _spring_onion(brush: Brush, rng: Random) -> None:
    green = rng.choice(((70, 156, 52), (104, 184, 78)))
    brush.ring(0, 0, 0.95, 0.5, shade(green, 0.65))
    brush.ring(0, 0, 0.85, 0.3, green)
    brush.arc(0, 0, 0.78, (190, 280), shade(green, 1.5), width=0.16)


class Piece(NamedTuple):
    """The way in which an ingredient is served."""

    painting: Painting
    counts: tuple[int, int, int]  # pieces for a little, some, plenty


PIECES: dict[str, Piece] = {
    "bean sprouts": Piece(Painting(_bean_sprouts, 6.4), (4, 7, 11)),
    "beef": Piece(Painting(_beef, 5.8), (3, 5, 7)),
    "broccoli": Piece(Painting(_broccoli, 7.6), (2, 3, 5)),
    "carrot": Piece(Painting(_carrot, 5.8), (3, 4, 7)),
    "cashews": Piece(Painting(_cashews, 5.5), (4, 6, 9)),
    "chicken": Piece(Painting(_chicken, 7.4), (3, 4, 6)),
    "corn": Piece(Painting(_corn, 2.7), (9, 16, 26)),
    "cucumber": Piece(Painting(_cucumber, 6.4), (2, 4, 6)),
    "egg": Piece(Painting(_egg, 8.5), (1, 2, 3)),
    "garlic": Piece(Painting(_garlic, 2.3), (6, 10, 16)),
    "ginger": Piece(Painting(_ginger, 4.9), (5, 8, 13)),
    "mushrooms": Piece(Painting(_mushrooms, 6.9), (3, 4, 6)),
    "nori": Piece(Painting(_nori, 7.4), (2, 4, 6)),
    "olives": Piece(Painting(_olives, 4.3), (4, 6, 9)),
    "peas": Piece(Painting(_peas, 3.0), (8, 14, 22)),
    "prawns": Piece(Painting(_prawns, 7.4), (2, 3, 5)),
    "red onion": Piece(Painting(_red_onion, 6.4), (2, 4, 6)),
    "sweet potato": Piece(Painting(_sweet_potato, 6.0), (3, 5, 7)),
    "tofu": Piece(Painting(_tofu, 5.8), (3, 5, 7)),
    "tomato": Piece(Painting(_tomato, 7.6), (2, 3, 5)),
    "basil": Piece(Painting(_basil, 6.0), (1, 2, 4)),
    "black pepper": Piece(Painting(_black_pepper, 1.2), (10, 18, 28)),
    "chilli": Piece(Painting(_chilli, 3.2), (3, 5, 8)),
    "coriander": Piece(Painting(_coriander, 4.9), (2, 3, 5)),
    "lime": Piece(Painting(_lime, 6.4), (1, 1, 2)),
    "sesame": Piece(Painting(_sesame, 1.6), (10, 18, 28)),
    "spring onion": Piece(Painting(_spring_onion, 2.5), (6, 10, 16)),
}
