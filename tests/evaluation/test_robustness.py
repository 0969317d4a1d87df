"""Accuracy under corruption: counted again by hand, and the same whatever the batch."""

import re
import shutil
from pathlib import Path

import pytest
import torch

import marnet
from marnet.data.image_spec import cache_size
from marnet.data.images import read_image
from marnet.data.manifest import Manifest
from marnet.data.recorded import write_recorded
from marnet.data.squares import fit_square
from marnet.data.transforms import eval_transform
from marnet.errors import ConfigError, DataError
from marnet.evaluation.corruptions import CORRUPTIONS, corrupt
from marnet.evaluation.robustness import corruption_scores, evaluate_robustness

SOME = ("gaussian_noise", "contrast", "viewpoint")


@pytest.fixture(scope="module")
def predictor(trained_run: Path) -> marnet.Predictor:
    return marnet.load(trained_run, device="cpu")


def test_the_model_sees_the_corrupted_square(predictor: marnet.Predictor) -> None:
    """Image by image, from the files, with the row of the split as the seed."""
    manifest = predictor.manifest()
    found = corruption_scores(predictor, manifest, "val", corruptions=SOME)
    assert list(found) == list(SOME)
    crop, interpolation = eval_transform(predictor.spec), predictor.spec.interpolation
    for name in SOME:
        for severity in (1, 5):
            right = 0
            for row, record in enumerate(manifest.split("val")):
                whole = fit_square(read_image(record.image), cache_size(predictor.spec), interpolation=interpolation)
                square = crop(whole)
                probabilities = predictor.probabilities(corrupt(square[None], name, severity, [row]))
                right += predictor.classes[int(probabilities.argmax())] == record.label
            assert found[name][severity - 1] == right / len(manifest.split("val"))
    assert min(found["contrast"]) < 1  # the corruptions make a difference here


def test_neither_the_batch_nor_other_corruptions_matter(predictor: marnet.Predictor) -> None:
    manifest = predictor.manifest()
    torch.randn(3)
    some = corruption_scores(predictor, manifest, "val", corruptions=SOME, batch_size=5)
    assert corruption_scores(predictor, manifest, "val", corruptions=SOME[::-1]) == some


def test_a_broken_image_does_not_shift_the_seeds(trained_run: Path, tmp_path: Path) -> None:
    """Skipped first row: the others keep the pixels that a run without broken images sees."""
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(re.sub("on_bad_image: stop", "on_bad_image: skip", config))
    predictor = marnet.load(run, device="cpu")
    rows = predictor.manifest().split("val")
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"nothing")
    damaged = Manifest((rows[0]._replace(image=str(broken)), *rows[1:]), predictor.classes, "damaged")
    whole = Manifest(rows, predictor.classes, "whole")
    without = corruption_scores(predictor, damaged, "val", corruptions=("gaussian_noise",))["gaussian_noise"]
    everything = corruption_scores(predictor, whole, "val", corruptions=("gaussian_noise",))["gaussian_noise"]
    for less, more in zip(without, everything, strict=True):
        assert round(more * len(rows)) - round(less * (len(rows) - 1)) in (0, 1)  # the first row, right or wrong


def test_unknown_corruptions_and_empty_splits(predictor: marnet.Predictor) -> None:
    with pytest.raises(ConfigError, match="Unknown corruption 'fogg'"):
        corruption_scores(predictor, predictor.manifest(), "val", corruptions=("fog", "fogg"))
    with pytest.raises(DataError, match="has no rows in split 'test'"):
        corruption_scores(predictor, predictor.manifest(), "test")


def test_only_the_corruptions_asked_for_and_one_from_outside(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bad_weather.py").write_text("def night(pixels, severity, stream):\n    return pixels * 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    night = "module:bad_weather.night"
    found = evaluate_robustness(trained_run, baseline=trained_run, corruptions=["contrast", night, "contrast"])
    assert list(found.corruptions) == ["contrast", night]
    assert found.baseline == found.corruptions
    assert found.corruptions[night] == [1 / 3] * 5  # all images are black, and the classes are of one size
    with pytest.raises(ConfigError, match="Unknown corruption 'fogg'"):
        evaluate_robustness(tmp_path / "nowhere", corruptions=["fogg"])


def test_a_run_against_itself(trained_run: Path) -> None:
    found = evaluate_robustness(trained_run, baseline=trained_run)
    assert tuple(found.corruptions) == CORRUPTIONS
    assert all(len(values) == 5 for values in found.corruptions.values())
    assert found.baseline == found.corruptions
    assert found.metrics == marnet.evaluate(trained_run)


def test_a_baseline_with_other_rows_is_refused(trained_run: Path, tmp_path: Path) -> None:
    """It may have been trained on what it would be judged by."""
    other = tmp_path / "other"
    shutil.copytree(trained_run, other)
    manifest = marnet.load(trained_run).manifest()
    swapped = {"train": "val", "val": "train"}
    rows = tuple(record._replace(split=swapped[record.split]) for record in manifest.records)
    write_recorded(Manifest(rows, manifest.classes, "swapped"), other)
    with pytest.raises(ConfigError, match=r"baseline .*other has other rows in split 'val' than .*\. Use a run with"):
        evaluate_robustness(trained_run, baseline=other)
