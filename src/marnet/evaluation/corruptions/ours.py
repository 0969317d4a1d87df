"""Viewpoint and lighting, against which the paper claims to help, and occlusion. The implementation is ours."""

import math

import numpy as np

from marnet.evaluation.corruptions.filters import warp

_VIEWPOINT = ((8, 12), (14, 20), (21, 28), (29, 36), (38, 44))  # degrees: turn in the plane, tilt out of it
_CAMERA_DISTANCE = 3.0  # from the picture, in half sides of it
_LIGHTING = (  # exposure in stops, colour temperature and slope as logarithms of gains, share that the shadow takes
    (0.45, 0.10, 0.25, 0.20),
    (0.80, 0.17, 0.45, 0.32),
    (1.15, 0.24, 0.70, 0.44),
    (1.55, 0.32, 1.00, 0.56),
    (2.00, 0.40, 1.35, 0.68),
)
_OCCLUSION = (0.08, 0.16, 0.25, 0.35, 0.45)  # share of the pixels
_NEARLY = 0.004  # a share may stay this much below its value, so that no specks are drawn to reach it
_LEAST_SHARE = 0.75  # random amounts are at least this share of the severity's


def viewpoint(pixels: np.ndarray, severity: int, stream: np.random.Generator) -> np.ndarray:
    """Turn the image, as a flat picture, and view it from the side; it is mirrored beyond its border.

    It is moved nearer by as much as the tilt shortens it, so that only corners are mirrored.
    """
    turn, tilt = (math.radians(amount * stream.uniform(_LEAST_SHARE, 1)) for amount in _VIEWPOINT[severity - 1])
    turn *= 1 if stream.random() < 0.5 else -1
    towards = stream.uniform(0, math.tau)
    rotation = _turn(towards) @ _tilt(tilt) @ _turn(turn - towards)
    # A point (x, y, 0) of the picture is seen at distance * (x', y') / (distance + z'): a homography of the plane.
    homography = np.array([*(_CAMERA_DISTANCE * rotation[:2]), rotation[2]])
    homography[:, 2] = (0, 0, _CAMERA_DISTANCE * math.cos(tilt))
    back = np.linalg.inv(homography)
    size = pixels.shape[-1]
    down, across = _grid(size)
    x, y, z = (row[0] * across + row[1] * down + row[2] for row in back)
    return warp(pixels, (x / z + 1) * size / 2 - 0.5, (y / z + 1) * size / 2 - 0.5, border="symmetric")


def lighting(pixels: np.ndarray, severity: int, stream: np.random.Generator) -> np.ndarray:
    """Expose more or less, under warmer or colder light that falls from one side, with a soft shadow.

    Gains apply to linear light: values are converted from sRGB and back.
    """
    stops, warmth, slope, depth = (amount * stream.uniform(_LEAST_SHARE, 1) for amount in _LIGHTING[severity - 1])
    stops, warmth = (amount if stream.random() < 0.5 else -amount for amount in (stops, warmth))
    down, across = _grid(pixels.shape[-1])
    angle, turn = stream.uniform(0, math.tau, 2)
    field = 2**stops * np.exp(slope * (math.cos(angle) * across + math.sin(angle) * down))
    edge = (math.cos(turn) * across + math.sin(turn) * down - stream.uniform(-0.3, 0.3)) / stream.uniform(0.05, 0.15)
    field *= 1 - depth / (1 + np.exp(-np.clip(edge, -20, 20)))
    gains = np.exp(warmth * np.array((1, 0, -1)))[:, None, None]
    light = np.where(pixels <= 0.04045, pixels / 12.92, ((pixels + 0.055) / 1.055) ** 2.4)
    light = np.clip(light * field * gains, 0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def occlusion(pixels: np.ndarray, severity: int, stream: np.random.Generator) -> np.ndarray:
    """Lay flat, evenly coloured shapes over the image until a share of it is hidden."""
    wanted = _OCCLUSION[severity - 1]
    hidden_by_now = np.zeros(pixels.shape[1:], bool)
    occluded = pixels.copy()
    while (missing := wanted - hidden_by_now.mean()) > _NEARLY:
        shape = _shape(pixels.shape[-1], missing, stream)
        occluded = np.where(shape, stream.uniform(0, 1, (3, 1, 1)), occluded)
        hidden_by_now |= shape
    return occluded


def _shape(size: int, missing: float, stream: np.random.Generator) -> np.ndarray:
    """Draw a turned rectangle or ellipse, `(size, size)` bool, which hides at most `missing` of the picture's area."""
    area = 4 * missing * stream.uniform(0.4, 1)  # in squares of half sides
    stretch, turn = stream.uniform(0.5, 1), stream.uniform(0, math.pi)
    down, across = _grid(size)
    x, y = stream.uniform(-1, 1, 2)
    along = math.cos(turn) * (across - x) + math.sin(turn) * (down - y)
    aside = math.cos(turn) * (down - y) - math.sin(turn) * (across - x)
    shape: np.ndarray
    if stream.random() < 0.5:
        half = math.sqrt(area / 4)
        shape = (np.abs(along) <= half / stretch) & (np.abs(aside) <= half * stretch)
    else:
        shape = (along * stretch) ** 2 + (aside / stretch) ** 2 <= area / math.pi
    return shape


def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows `(S, 1)` and columns `(1, S)` of pixel centres, from -1 to 1 between the picture's borders."""
    axis = (np.arange(size) + 0.5) * 2 / size - 1
    return axis[:, None], axis[None, :]


def _turn(angle: float) -> np.ndarray:
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])


def _tilt(angle: float) -> np.ndarray:
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
