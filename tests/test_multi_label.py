"""Several classes an image, from the manifest to the prediction, as typed on the command line."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import marnet
from marnet.cli.app import main
from marnet.data.manifest import Manifest, read_manifest, write_manifest
from marnet.errors import DataError
from marnet.jsonfile import read_json
from marnet.runs.directory import read_history

FLAGS = ["--backbone", "timm:test_resnet", "--image-size", "32", "--batch-size", "16", "--devices", "cpu"]


def call(
    *arguments: str | Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    monkeypatch.setattr("sys.argv", ["marnet", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    captured = capsys.readouterr()
    return int(stopped.value.code or 0), captured.out + captured.err


@pytest.fixture(scope="module")
def run(salads: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    values = {
        "data": {"source": str(salads), "image_size": 32, "labels": "multi"},
        "backbone": {"name": "timm:test_resnet"},
        "training": {"epochs": 6, "batch_size": 16, "lr": 4e-3, "devices": "cpu"},
    }
    return marnet.fit(marnet.make_config(values), tmp_path_factory.mktemp("runs") / "run").path


def test_train_evaluate_predict(
    salads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    arguments = [
        "train",
        "--data",
        salads,
        "--labels",
        "multi",
        "--balance",
        "weights",
        "--epochs",
        "6",
        "--lr",
        "4e-3",
    ]
    code, printed = call(*arguments, *FLAGS, "--out", out, monkeypatch=monkeypatch, capsys=capsys)
    assert code == 0, printed
    assert "exact_match" in printed
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert (config["data"]["labels"], config["data"]["threshold"]) == ("multi", None)
    assert config["training"]["balance"] == "weights"
    history = read_history(out / "history.csv")

    code, printed = call("evaluate", out, "--json", monkeypatch=monkeypatch, capsys=capsys)
    figures = json.loads(printed)
    assert set(figures) == {"map", "micro_f1", "macro_f1", "exact_match", "hamming_loss", "nll", "n"}
    assert figures["map"] == pytest.approx(history[-1]["val/map"], abs=0.05)  # calibrated by class since
    assert figures["map"] > 0.8  # chance is about 0.4
    assert figures["n"] == 30

    rows = read_manifest(salads, label_form="multi").split("val")
    code, printed = call("predict", out, *(row.image for row in rows), "--json", monkeypatch=monkeypatch, capsys=capsys)
    shown = json.loads(printed)
    thresholds = dict(zip(marnet.load(out).classes, read_json(out / "calibration.json")["thresholds"], strict=True))
    assert all(each["probability"] >= thresholds[each["label"]] for row in shown for each in row["predictions"])
    right = [
        {each["label"] for each in found["predictions"]} == set(row.label.split(", ") if row.label else [])
        for found, row in zip(shown, rows, strict=True)
    ]
    assert np.mean(right) == pytest.approx(figures["exact_match"], abs=0.15)  # these are cross-fitted


def test_where_no_class_reaches_the_threshold_it_is_said(
    run: Path, salads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sure = shutil.copytree(run, tmp_path / "sure")
    (sure / "config.yaml").write_text((run / "config.yaml").read_text().replace("threshold: null", "threshold: 0.9999"))
    image = read_manifest(salads, label_form="multi").records[0].image
    code, printed = call("predict", sure, image, monkeypatch=monkeypatch, capsys=capsys)
    assert code == 0
    assert printed == f"{image}\n  none: no class reaches its threshold (--top 3 shows the most probable)\n"
    code, printed = call("predict", sure, image, "--json", monkeypatch=monkeypatch, capsys=capsys)
    assert json.loads(printed) == [{"image": image, "predictions": []}]
    code, printed = call("predict", sure, image, "--top", "2", monkeypatch=monkeypatch, capsys=capsys)
    assert printed.count("%") == 2


def test_outputs_and_probabilities(run: Path) -> None:
    predictor = marnet.load(run)
    outputs = predictor.outputs(predictor.manifest(), "val")
    assert outputs.labels.shape == outputs.logits.shape == (30, 3)
    assert outputs.thresholds is not None
    assert outputs.thresholds.shape == (30, 3)
    outputs = predictor.outputs(predictor.manifest(), "train")
    assert outputs.thresholds is None
    assert outputs.labels.dtype == torch.float32
    (prediction,) = predictor.predict([outputs.records[0].image], top=3)
    expected = outputs.logits[0].sigmoid().sort(descending=True).values
    assert prediction.probabilities == pytest.approx(expected.tolist(), abs=1e-5)


def test_the_numbering_of_the_classes_survives_a_resume(run: Path, tmp_path: Path) -> None:
    manifest = dataclasses.replace(marnet.load(run).manifest(), classes=("tomato", "basil", "blueberry"))
    config = marnet.load(run).config
    short = config.model_copy(update={"training": config.training.model_copy(update={"epochs": 1})})
    result = marnet.fit(short, tmp_path / "run", manifest=manifest)
    longer = config.model_copy(update={"training": config.training.model_copy(update={"epochs": 2})})
    marnet.fit(longer, result.path, resume=True)
    assert marnet.load(result.path).classes == ("tomato", "basil", "blueberry")
    assert marnet.load(result.path).manifest().classes == ("tomato", "basil", "blueberry")


def test_the_rows_say_whether_labels_are_lists_whatever_the_configuration(salads: Path, tmp_path: Path) -> None:
    values = {
        "method": "image-only",
        "data": {"image_size": 32},
        "backbone": {"name": "timm:test_resnet"},
        "training": {"epochs": 1, "batch_size": 32, "devices": "cpu"},
    }
    manifest = read_manifest(salads, label_form="multi")
    result = marnet.fit(marnet.make_config(values), tmp_path / "run", manifest=manifest)
    assert marnet.load(result.path).config.data.labels == "multi"
    assert isinstance(result.metrics, marnet.MultiLabelMetrics)


def test_rows_of_the_other_form_or_without_any_class_are_refused(run: Path, salads: Path, tmp_path: Path) -> None:
    predictor = marnet.load(run)
    rows = predictor.manifest().split("val")
    single = Manifest(tuple(row for row in rows if row.label), predictor.classes, "single.csv")
    with pytest.raises(DataError, match=r"single.csv has labels of the form 'single', but .* was trained with 'multi'"):
        predictor.outputs(single, "val")
    blank = tuple(row._replace(label="") for row in rows)
    write_manifest(Manifest(blank, (), "blank", label_form="multi"), tmp_path / "blank.csv")
    with pytest.raises(
        DataError, match="names no class in any of the 30 rows of split 'val', so there is nothing to score"
    ):
        marnet.evaluate(run, data=str(tmp_path / "blank.csv"))
    unknown = (rows[0]._replace(label="basil, durian"),)
    write_manifest(Manifest(unknown, ("basil", "durian"), "x", label_form="multi"), tmp_path / "unknown.csv")
    with pytest.raises(DataError, match="has labels that the run does not know: durian; the run knows 3 classes"):
        marnet.evaluate(run, data=str(tmp_path / "unknown.csv"))


def test_features_and_conversion_keep_the_lists(
    salads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    converted = tmp_path / "copy" / "salads.jsonl"
    arguments = ["data", "convert", salads, converted, "--labels", "multi", "--copy-images"]
    assert call(*arguments, monkeypatch=monkeypatch, capsys=capsys)[0] == 0
    found, wanted = (read_manifest(file, label_form="multi") for file in (converted, salads))
    assert [row.label for row in found.records] == [row.label for row in wanted.records]

    features = tmp_path / "features"
    flags = ["--backbone", "timm:test_resnet", "--image-size", "32", "--labels", "multi"]
    assert call("embed", converted, "--out", features, *flags, monkeypatch=monkeypatch, capsys=capsys)[0] == 0
    training = ["--features", features, "--epochs", "2", "--batch-size", "32", "--balance", "logit-adjust"]
    code, printed = call("train", *training, "--out", tmp_path / "run", monkeypatch=monkeypatch, capsys=capsys)
    assert code == 0, printed
    assert marnet.load(tmp_path / "run").config.data.labels == "multi"
    code, printed = call(
        "train", *training, "--labels", "single", "--out", tmp_path / "x", monkeypatch=monkeypatch, capsys=capsys
    )
    assert code == 1
    assert "--features brings its own data and backbone, but --labels single was given as well" in printed


def test_info_counts_classes_of_an_image(
    salads: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, printed = call("data", "info", salads, "--labels", "multi", "--json", monkeypatch=monkeypatch, capsys=capsys)
    found, _ = json.JSONDecoder().raw_decode(printed)  # a warning on stderr follows
    assert (code, found["label_form"], found["classes"]) == (0, "multi", 3)
    blank = sum(not row.label for row in read_manifest(salads, label_form="multi").records)
    assert found["total"]["without_class"] == blank > 0
    assert (found["total"]["classes_per_image"]["min"], found["total"]["classes_per_image"]["max"]) == (0, 3)
