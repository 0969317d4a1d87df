"""Viewpoint, lighting and occlusion: what was done is read off images that reveal it."""

import math

import numpy as np
import pytest
import torch

from marnet.evaluation.corruptions import SEVERITIES, corrupt, ours


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("seed", range(3))
def test_viewpoint_turns_and_tilts_by_the_severity(severity: int, seed: int) -> None:
    """Ramps tell where each pixel comes from; eight numbers explain all of them, and give the angles back."""
    size = 128
    axis = (np.arange(size) + 0.5) * 2 / size - 1
    ramps = np.zeros((3, size, size), np.float32)
    ramps[0], ramps[1] = (axis[None, :] + 1) / 2, (axis[:, None] + 1) / 2
    found = ours.viewpoint(ramps, severity, np.random.default_rng(seed)).astype(float)
    v, u = np.meshgrid(axis, axis, indexing="ij")
    x, y = 2 * found[0] - 1, 2 * found[1] - 1
    middle = np.hypot(u, v) < 0.5  # nothing is mirrored there
    u, v, x, y = (each[middle] for each in (u, v, x, y))
    nought, one = np.zeros_like(u), np.ones_like(u)
    rows = [
        np.column_stack((u, v, one, nought, nought, nought, -u * x, -v * x)),
        np.column_stack((nought, nought, nought, u, v, one, -u * y, -v * y)),
    ]
    back, *_ = np.linalg.lstsq(np.vstack(rows), np.concatenate((x, y)), rcond=None)
    assert np.abs(np.vstack(rows) @ back - np.concatenate((x, y))).max() < 1e-3
    view = np.linalg.inv(np.append(back, 1).reshape(3, 3))
    view /= view[2, 2]
    turn, tilt = ((8, 12), (14, 20), (21, 28), (29, 36), (38, 44))[severity - 1]
    # In units of distance * cos(tilt): the last row of the rotation, whose length is sin(tilt), over them.
    measured = math.degrees(math.atan(3 * math.hypot(view[2, 0], view[2, 1])))
    assert 0.74 * tilt <= measured <= 1.01 * tilt
    # view[:2, :2] is R / cos(tilt), R a turn after a foreshortening along one axis, which is symmetric.
    left, _, right = np.linalg.svd(view[:2, :2])
    rotation = left @ right
    angle = abs(math.degrees(math.atan2(rotation[1, 0], rotation[0, 0])))
    assert 0.74 * turn <= angle <= 1.01 * turn
    assert np.abs(view[:2, 2]).max() < 1e-3  # the middle stays in the middle


def in_light(values: np.ndarray) -> np.ndarray:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("seed", range(3))
def test_lighting_on_a_grey_wall(severity: int, seed: int) -> None:
    stops, warmth, slope, depth = (
        (0.45, 0.10, 0.25, 0.20), (0.80, 0.17, 0.45, 0.32), (1.15, 0.24, 0.70, 0.44), (1.55, 0.32, 1.00, 0.56),
        (2.00, 0.40, 1.35, 0.68),
    )[severity - 1]  # fmt: skip
    grey = np.full((3, 64, 64), 0.08, np.float32)
    light = in_light(ours.lighting(grey, severity, np.random.default_rng(seed))) / in_light(np.array(0.08))
    ratio = np.log(light[0] / light[2])
    assert ratio.std() < 1e-3  # one colour everywhere
    assert 0.74 * 2 * warmth <= abs(ratio.mean()) <= 1.01 * 2 * warmth
    # Green has no colour gain: exposure, a slope across the picture, and a shadow over a part of it.
    green = np.log(light[1])
    span = slope * math.sqrt(2) - math.log(1 - depth)
    assert abs(green).max() <= stops * math.log(2) + span
    assert 0.5 * slope <= np.ptp(green) <= 2 * span


def test_lighting_adds_up_light_and_not_values() -> None:
    """A ratio between two greys stays the same in light, wherever neither is cut off."""
    pair = np.full((3, 32, 32), 0.05, np.float32)
    pair[:, :, ::2] = 0.1
    light = in_light(ours.lighting(pair, 1, np.random.default_rng(0)))
    expected = in_light(np.array(0.1)) / in_light(np.array(0.05))
    np.testing.assert_allclose(light[:, :, ::2] / light[:, :, 1::2], expected, rtol=0.12)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_occlusion_hides_its_share_and_nothing_else(severity: int) -> None:
    wanted = (0.08, 0.16, 0.25, 0.35, 0.45)[severity - 1]
    noise = torch.randint(256, (6, 3, 96, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    hidden = (corrupt(noise, "occlusion", severity, range(6)) != noise).any(1)
    assert hidden.double().mean((1, 2)).numpy() == pytest.approx(wanted, abs=0.012)
    flat = corrupt(noise, "occlusion", severity, range(6))[0][:, hidden[0]]  # (3, hidden pixels)
    assert len(flat.unique(dim=1)[0]) < 40  # a few even colours
