"""Runs with a calibration in use: abstaining, rows that it was fitted on, files that are damaged or missing, saving."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import marnet
from marnet.errors import ConfigError, RunDirectoryError
from marnet.evaluation.evaluate import evaluate_sets
from marnet.inference.calibration import cross_fit
from marnet.inference.outputs import collect_outputs


def changed(run: Path, folder: Path, **numbers: object) -> Path:
    """Copy a run, with other numbers in its calibration.json."""
    copy = shutil.copytree(run, folder)
    found = json.loads((copy / "calibration.json").read_text())
    (copy / "calibration.json").write_text(json.dumps(found | numbers))
    return copy


def val_images(predictor: marnet.Predictor) -> list[str]:
    return [record.image for record in predictor.manifest().split("val")]


def test_a_set_holds_the_classes_that_are_probable_enough(trained_run: Path, tmp_path: Path) -> None:
    least = 0.3
    run = changed(trained_run, tmp_path / "run", rows=19, scores=[0.1] * 18 + [1 - least])
    predictor = marnet.load(run, device="cpu")
    images = val_images(predictor)
    assert predictor.least_probability(0.05) == pytest.approx(least)
    probabilities = predictor.predict_proba(images)
    found = predictor.predict(images, abstain=0.05)
    assert isinstance(found, list)
    for row, each in zip(probabilities, found, strict=True):
        expected = [index for index in np.argsort(-row) if row[index] >= least] or [int(row.argmax())]
        assert each.labels == tuple(predictor.classes[index] for index in expected)
        assert each.abstained == (len(expected) != 1)
    alone = predictor.predict(images[0], abstain=0.05)
    assert isinstance(alone, marnet.Prediction)
    assert (alone.labels, alone.abstained) == (found[0].labels, found[0].abstained)
    assert predictor.predict(images[0]).abstained is None
    with pytest.raises(ValueError, match="`abstain` says how many classes there are"):
        predictor.predict(images, top=2, abstain=0.05)


def test_sets_are_scored_as_they_are_predicted(trained_run: Path, tmp_path: Path) -> None:
    run = changed(trained_run, tmp_path / "run", rows=19, scores=[0.1] * 18 + [0.7])  # 19 rows: those of val are 18
    predictor = marnet.load(run, device="cpu")
    rows = predictor.manifest().split("val")
    truth = [predictor.manifest().names(record)[0] for record in rows]
    found = predictor.predict([record.image for record in rows], abstain=0.05)
    scored = evaluate_sets(predictor, error=0.05)
    covered = [label in each.labels for label, each in zip(truth, found, strict=True)]
    sizes = [len(each.labels) for each in found]
    assert scored.coverage == pytest.approx(np.mean(covered))
    assert scored.set_size == pytest.approx(np.mean(sizes))
    assert scored.answered == pytest.approx(np.mean([not each.abstained for each in found]))
    assert evaluate_sets(run, error=0.05) == scored


def test_own_val_is_cross_fitted_and_other_rows_are_not(trained_run: Path) -> None:
    predictor = marnet.load(trained_run, device="cpu")
    manifest = predictor.manifest()
    own = predictor.outputs(manifest, "val")
    dataset = predictor.open_split(manifest, "val").dataset
    with predictor.model.calibration.off():
        collected = collect_outputs(predictor.model, dataset, predictor.spec, batch_size=64)
    expected = cross_fit(predictor.model, collected, own.labels).logits
    assert torch.equal(own.logits, expected)
    plain = predictor.model.calibration(collected.logits, collected.x_v)
    assert not torch.allclose(own.logits, plain)

    fewer = dataclasses.replace(manifest, records=manifest.records[:-1])  # not the rows that were fitted on
    other = predictor.outputs(fewer, "val")
    torch.testing.assert_close(other.logits, plain[: len(other.logits)])
    train = predictor.outputs(manifest, "train")
    images = [record.image for record in train.records]
    np.testing.assert_allclose(predictor.predict_proba(images), train.logits.softmax(-1).numpy(), atol=1e-5)


def test_a_run_without_a_calibration_predicts_by_the_visual_head_at_temperature_1(
    trained_run: Path, tmp_path: Path
) -> None:
    plain = shutil.copytree(trained_run, tmp_path / "plain")
    (plain / "calibration.json").unlink()
    predictor = marnet.load(plain, device="cpu")
    outputs = predictor.outputs(predictor.manifest(), "val")
    assert predictor.calibration is None
    assert outputs.uncalibrated is None
    assert torch.equal(outputs.logits, outputs.branch_logits["visual"])
    with_one = marnet.load(trained_run, device="cpu")
    uncalibrated = with_one.outputs(with_one.manifest(), "val").uncalibrated
    assert uncalibrated is not None
    assert torch.equal(outputs.logits, uncalibrated)
    assert predictor.evaluate().n == 18
    with pytest.raises(ConfigError, match=r"has no calibration\.json, so that it cannot promise a rate of error"):
        predictor.predict(val_images(predictor), abstain=0.2)


@pytest.mark.parametrize(
    "numbers",
    [
        {"inverse_temperature": -1.0},
        {"inverse_temperature": 1e400},
        {"inverse_temperature": [1.0, 1.0, 1.0]},
        {"inverse_temperature": "1.0"},
        {"branch_weights": {"visual": 1.0}},
        {"branch_weights": {"visual": 1.0, "alignment": -0.1, "reconstruction": 0.0}},
        {"branch_weights": None},
        {"thresholds": [0.5, 0.5, 0.5]},
        {"scores": None},
        {"scores": [0.1, "high"]},
        {"scores": [0.1, True]},
    ],
)
def test_numbers_that_do_not_fit_are_refused_with_the_way_out(
    numbers: dict[str, object], trained_run: Path, tmp_path: Path
) -> None:
    run = changed(trained_run, tmp_path / "run", **numbers)
    with pytest.raises(RunDirectoryError, match=r"calibration\.json does not fit .* remove it to predict without"):
        marnet.load(run)


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '{"rows": 18}', '{"rows": 18, "new": 1}'])
def test_a_damaged_file_is_refused(content: str, trained_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained_run, tmp_path / "run")
    (run / "calibration.json").write_text(content)
    with pytest.raises(RunDirectoryError, match=r"calibration\.json is damaged"):
        marnet.load(run)


def test_a_calibrated_model_of_ones_own_loop_is_saved_and_loaded_equal(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    names = ["apple", "lime"]
    model = marnet.wrap(net, texts=["red", "green"], labels=names, image_size=32)
    images, labels = torch.randn(40, 3, 32, 32), names * 20
    images[::2] += 0.5  # so that the head can tell the two apart
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    for _ in range(20):
        loss = model.loss(images, ["red", "green"] * 20, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    before = model.eval()(images).detach()
    marnet.calibrate(model, images, labels)
    after = model(images).detach()
    assert not torch.allclose(before, after)
    folder = marnet.save(model, tmp_path / "model")
    again = marnet.load_model(folder, backbone=net)
    assert torch.equal(again(images), after)
    assert again.calibration.fitted == model.calibration.fitted
    with pytest.raises(ValueError, match="40 images came with 39 labels"):
        marnet.calibrate(model, images, labels[:39])
