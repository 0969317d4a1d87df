"""Runs with frequent and rare classes: which of them get the means of their classes, and what becomes of these."""

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import marnet
from marnet.config import make_config
from marnet.errors import RunDirectoryError
from marnet.runs.layout import CLASS_MEANS
from marnet.training import embed
from marnet.training.class_means import IMBALANCE, wants_class_means

HUES = ("red", "green", "blue", "grey")
TRAIN = (40, 40, 2, 2)


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features of pictures of four colours, of which two have two pictures in train."""
    folder = tmp_path_factory.mktemp("hues")
    random = np.random.default_rng(0)
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "text", "label", "split"])
        for place, hue in enumerate(HUES):
            for number in range(TRAIN[place] + 15):
                pixels = random.integers(0, 140, (32, 32, 3), dtype=np.uint8)
                if place < 3:
                    pixels[..., place] += 60
                Image.fromarray(pixels).save(folder / f"{hue}-{number}.png")
                split = "train" if number < TRAIN[place] else "val"
                rows.writerow([f"{hue}-{number}.png", f"a {hue} picture", hue, split])
    data = {"source": str(folder / "manifest.csv"), "image_size": 32}
    return embed(
        make_config({"data": data, "backbone": {"name": "timm:test_resnet"}}),
        tmp_path_factory.mktemp("features") / "features",
    )


def train(features: Path, out: Path, **training: Any) -> marnet.TrainedRun:
    shared = {"epochs": 3, "batch_size": 16, "lr": 1e-3, "devices": "cpu"}
    settings = {"method": "image-only", "data": {"features": str(features)}, "training": shared | training}
    return marnet.fit(make_config(settings), out)


@pytest.fixture(scope="module")
def run(features: Path, tmp_path_factory: pytest.TempPathFactory) -> marnet.TrainedRun:
    return train(features, tmp_path_factory.mktemp("rare") / "run")


def test_rare_classes_are_found_and_without_the_means_they_are_not(
    run: marnet.TrainedRun, features: Path, tmp_path: Path
) -> None:
    without = train(features, tmp_path / "never", class_means="never")
    assert run.metrics.macro_recall > without.metrics.macro_recall + 0.2
    assert (run.path / CLASS_MEANS).is_file()
    assert not (tmp_path / "never" / CLASS_MEANS).exists()


def test_the_run_predicts_with_them_as_it_was_scored(run: marnet.TrainedRun, features: Path) -> None:
    assert marnet.evaluate(run.path, features=features) == pytest.approx(run.metrics)
    predictor = marnet.load(run.path, device="cpu")
    fitted = predictor.calibration
    assert fitted is not None
    assert fitted.class_means > 0
    own = [record.image for record in predictor.manifest().split("val")]
    right = [each.labels[0] for each in predictor.predict(own)] == np.repeat(HUES, 15)
    assert right.mean() == pytest.approx(run.metrics.top1, abs=0.1)  # metrics are cross-fitted


def test_a_run_whose_means_were_lost_is_refused(run: marnet.TrainedRun, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run.path, tmp_path / "copy"))
    (copy / CLASS_MEANS).unlink()
    with pytest.raises(RunDirectoryError, match=f"has no {CLASS_MEANS}, whose weight .* gives. Restore it"):
        marnet.load(copy)
    (copy / CLASS_MEANS).write_bytes(b"no tensors")
    with pytest.raises(RunDirectoryError, match=CLASS_MEANS):
        marnet.load(copy)


@pytest.mark.parametrize("word", ["auto", "always", "never"])
def test_yaml_reads_the_words_of_the_setting_as_words(word: str) -> None:
    assert make_config(sets=[f"training.class_means={word}"]).training.class_means == word


@pytest.mark.parametrize(
    ("wanted", "labels", "expected"),
    [
        ("auto", [0] * IMBALANCE + [1, 2], True),
        ("auto", [0] * (IMBALANCE - 1) + [1, 2], False),
        ("always", [0, 1, 2], True),
        ("never", [0] * 50 + [1, 2], False),
        ("always", [0, 1, 1], False),  # a class whose images cannot be read
        ("always", [[0, 1, 1]], False),  # several classes per image
    ],
)
def test_which_runs_get_them(wanted: str, labels: list[Any], expected: bool) -> None:
    config = make_config({"training": {"class_means": wanted}})
    assert wants_class_means(config, np.array(labels), 3) is expected
    uncalibrated = make_config({"training": {"class_means": wanted, "calibrate": False}})
    assert not wants_class_means(uncalibrated, np.array(labels), 3)
