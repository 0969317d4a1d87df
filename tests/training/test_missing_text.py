"""Rows without text take part in what needs no text, and in nothing else."""

import csv
import json
from pathlib import Path

import pytest

from marnet import fit, make_config
from marnet.data.manifest import read_manifest
from marnet.errors import DataError
from marnet.runs.directory import read_history


def blank_out(manifest_file: Path, share: float, target: Path) -> Path:
    """A copy of the manifest in which a share of the training rows, spread over the classes, has no text."""
    with manifest_file.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows):
        row["image"] = str(manifest_file.parent / row["image"])
        row["text"] = "" if number % 10 < 10 * share else f"{row['label']} text"
    with target.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return target


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_any_share_of_texts_may_be_missing(manifest_file: Path, tmp_path: Path, share: float) -> None:
    blanked = blank_out(manifest_file, share, tmp_path / "rows.csv")
    config = make_config(
        {
            "data": {"source": str(blanked), "image_size": 32},
            "backbone": {"name": "timm:test_resnet"},
            "training": {"epochs": 2, "batch_size": 8, "devices": "cpu"},
        }
    )
    result = fit(config, tmp_path / "run")
    report = json.loads((result.path / "metrics.json").read_text())
    blank = sum(not record.text for record in read_manifest(blanked).split("train"))
    assert report["data"]["train_without_text"] == blank
    assert blank / report["data"]["train"] == pytest.approx(share, abs=0.15)
    last = read_history(result.path / "history.csv")[-1]
    assert last["train/visual"] > 0
    assert last["train/matching"] >= 0


def test_without_any_text_only_the_method_that_needs_none_trains(manifest_file: Path, tmp_path: Path) -> None:
    blank = blank_out(manifest_file, 1.0, tmp_path / "rows.csv")
    values = {
        "data": {"source": str(blank), "image_size": 32},
        "backbone": {"name": "timm:test_resnet"},
        "training": {"epochs": 1, "batch_size": 8, "devices": "cpu"},
    }
    for method in ("match", "reconstruct", "marnet"):
        with pytest.raises(DataError, match=f"Method '{method}' learns from text, but all"):
            fit(make_config({**values, "method": method}), tmp_path / method)
    assert fit(make_config({**values, "method": "image-only"}), tmp_path / "plain").metrics.n > 0
