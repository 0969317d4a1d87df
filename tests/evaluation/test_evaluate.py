"""Judging a run on its own rows and on others."""

from pathlib import Path

import pytest

import marnet
from marnet.data.manifest import read_manifest, write_manifest
from marnet.errors import DataError


def test_figures_follow_from_the_predictions(trained_run: Path) -> None:
    predictor = marnet.load(trained_run)
    rows = predictor.manifest().split("val")
    predictions = predictor.predict([row.image for row in rows], top=1)
    right = sum(row.label == guess.labels[0] for row, guess in zip(rows, predictions, strict=True))
    metrics = marnet.evaluate(trained_run)
    assert metrics.n == len(rows)
    assert metrics.top1 == pytest.approx(right / len(rows))


def test_labels_are_matched_by_name_and_not_by_number(trained_run: Path, tmp_path: Path) -> None:
    """A source that holds only one of the classes numbers it 0; the run may number it otherwise."""
    manifest = marnet.load(trained_run).manifest()
    last = manifest.classes[-1]
    rows = tuple(row for row in manifest.records if row.label == last and row.split == "val")
    write_manifest(marnet.Manifest(rows, (last,), "one class"), tmp_path / "one.csv")
    assert read_manifest(tmp_path / "one.csv").classes == (last,)
    outputs = marnet.load(trained_run).outputs(read_manifest(tmp_path / "one.csv"), "val")
    assert set(outputs.labels.tolist()) == {len(manifest.classes) - 1}


def test_an_unknown_label_is_named(trained_run: Path, tmp_path: Path) -> None:
    row = marnet.load(trained_run).manifest().split("val")[0]._replace(label="durian")
    write_manifest(marnet.Manifest((row,), ("durian",), "fruit"), tmp_path / "fruit.csv")
    with pytest.raises(DataError, match="has labels that the run does not know: durian; the run knows 3 classes"):
        marnet.evaluate(trained_run, data=str(tmp_path / "fruit.csv"))
