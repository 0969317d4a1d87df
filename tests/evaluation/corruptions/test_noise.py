"""Noise against the published distributions."""

import numpy as np
import pytest
import torch
from scipy import stats

from marnet.evaluation.corruptions import SEVERITIES, corrupt


def noisy_values(name: str, severity: int, value: int) -> np.ndarray:
    """What becomes of 196,608 values of `value`."""
    flat = torch.full((1, 3, 256, 256), value, dtype=torch.uint8)
    return corrupt(flat, name, severity, [5]).numpy().ravel().astype(int)


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize(("name", "value"), [("gaussian_noise", 60), ("speckle_noise", 100)])
def test_normal_noise(name: str, severity: int, value: int) -> None:
    """Share by share of the 256 levels: a normal distribution rounded to them, its tails at 0 and 255."""
    deviations = {"gaussian_noise": (0.08, 0.12, 0.18, 0.26, 0.38), "speckle_noise": (0.15, 0.2, 0.35, 0.45, 0.6)}
    deviation = deviations[name][severity - 1] * (value / 255 if name == "speckle_noise" else 1)
    found = np.bincount(noisy_values(name, severity, value), minlength=256).cumsum() / (3 * 256**2)
    expected = stats.norm(value, 255 * deviation).cdf(np.arange(256) + 0.5)
    expected[255] = 1
    assert np.abs(found - expected).max() < 0.005  # Kolmogorov-Smirnov at p = 0.0001


@pytest.mark.parametrize("severity", SEVERITIES)
def test_shot_noise_counts_photons(severity: int) -> None:
    photons = (60, 25, 12, 5, 3)[severity - 1]
    found = noisy_values("shot_noise", severity, 102)  # 0.4 of white
    levels = np.floor(np.minimum(np.arange(200) / photons, 1) * 255 + 0.5)
    assert set(found) <= set(levels)
    for count in range(photons // 2):
        share = (found == levels[count]).mean()
        assert share == pytest.approx(stats.poisson(0.4 * photons).pmf(count), abs=0.005)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_impulse_noise_is_salt_and_pepper(severity: int) -> None:
    share = (0.03, 0.06, 0.09, 0.17, 0.27)[severity - 1]
    found = noisy_values("impulse_noise", severity, 77)
    assert set(found) == {0, 77, 255}
    assert (found != 77).mean() == pytest.approx(share, abs=0.004)
    assert (found == 0).mean() == pytest.approx(share / 2, abs=0.004)


def test_speckles_leave_black_alone() -> None:
    assert (noisy_values("speckle_noise", 5, 0) == 0).all()


def test_noise_is_not_the_same_in_the_three_channels() -> None:
    flat = torch.full((1, 3, 64, 64), 128, dtype=torch.uint8)
    for name in ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"):
        red, green, _ = corrupt(flat, name, 3, [0])[0].double().reshape(3, -1)
        assert abs(float(torch.corrcoef(torch.stack((red, green)))[0, 1])) < 0.06
