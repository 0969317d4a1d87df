"""Simulated records of a comparison, and a browser to look at a page with."""

import shutil
from collections.abc import Callable

import numpy as np
import pytest

from marnet.evaluation.records import RunRecord

CLASSES = ["apple", "lime", "eel", "plum", "leek"]
CORRUPTIONS = ("gaussian_noise", "fog", "viewpoint")
EFFECTS = {  # in points of top-1 over image-only
    "image-only": 0.0,
    "match": 1.0,
    "reconstruct": 1.5,
    "marnet": 4.0,
    "marnet-shuffled": 3.0,
    "marnet-random": 3.5,
    "marnet-no-mse": 2.0,
    "marnet-no-semantic": 1.0,
}


def simulate_record(arm: str, seed: int, *, effect: float, robust: bool = True, images: int = 400) -> RunRecord:
    """A run whose top-1 is 60 % plus `effect` points plus what the seed does to it (standard deviation 1 point)."""
    common = np.random.default_rng(seed)
    labels = common.integers(0, len(CLASSES), images)
    shared = common.normal(0, 0.7)
    own = np.random.default_rng([seed, *arm.encode()])
    accuracy = 0.60 + (effect + shared + own.normal(0, 0.7)) / 100
    hard = common.permutation(images)  # the same images are hard for every arm
    right = np.zeros(images, dtype=bool)
    right[hard[: round(accuracy * images)]] = True
    swapped = own.permutation(images)[:8]  # but not exactly the same ones
    right[swapped] = right[np.roll(swapped, 1)]
    predictions = np.where(right, labels, (labels + 1 + (labels > 2)) % len(CLASSES))
    confidences = np.clip(np.where(right, 0.75, 0.55) + own.normal(0, 0.12, images), 0.21, 0.99)
    top1 = float(right.mean())
    robustness = {name: [top1 - 0.04 * (s + 1) - 0.05 * i for s in range(5)] for i, name in enumerate(CORRUPTIONS)}
    history = [
        {
            "epoch": float(epoch),
            "train/loss": 3 / epoch,
            "train/classification": 2 / epoch,
            **({} if arm == "image-only" else {"train/matching": 2.5 / epoch, "train/reconstruction": 1 / epoch}),
            "val/top1": top1 * (1 - 0.5 / epoch),
        }
        for epoch in range(1, 6)
    ]
    return RunRecord(
        arm=arm,
        seed=seed,
        key=f"{arm}{seed}",
        source="simulated",
        split="test",
        classes=CLASSES,
        metrics={"top1": top1, "nll": 1.2 - top1 / 2, "ece": 0.05, "n": float(images)},
        labels=labels.tolist(),
        predictions=predictions.tolist(),
        confidences=confidences.tolist(),
        robustness=robustness if robust else None,
        history=history,
        config={"method": arm, "training": {"epochs": 5, "seed": seed}, "losses": {"matching": 0.2}},
        environment={"python": "3.11", "packages": {"torch": "2"}},
        seconds=10.0 + seed,
    )


@pytest.fixture(scope="session")
def make_records() -> Callable[..., list[RunRecord]]:
    """Records of several arms and seeds; `effects` in points, by arm."""

    def make(
        seeds: int = 6, effects: dict[str, float] | None = None, *, robust: bool = True, images: int = 400
    ) -> list[RunRecord]:
        return [
            simulate_record(arm, seed, effect=effect, robust=robust, images=images)
            for arm, effect in (EFFECTS if effects is None else effects).items()
            for seed in range(seeds)
        ]

    return make


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's command."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium here to open the report with (Debian: apt-get install chromium)")
    return browser
