"""A comparison that leaves classes out of training and adds them afterwards."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import marnet
from marnet.comparison.data import open_comparison_data
from marnet.comparison.new_classes import measure_new_classes, metric_name
from marnet.comparison.plan import make_comparison_config, plan_run
from marnet.comparison.runner import run_comparison
from marnet.comparison.training_rows import draw_classes, without_classes
from marnet.config import make_config
from marnet.data.manifest import read_manifest
from marnet.errors import ConfigError
from marnet.evaluation.new_classes import new_class_metrics
from marnet.reports.comparison_report import write_comparison_report
from marnet.training import embed

CLASSES, LEFT_OUT = 8, 2
SOURCE = f"synthetic:images=12,classes={CLASSES}"


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    values = {"data": {"source": SOURCE, "image_size": 32}, "backbone": {"name": "timm:test_resnet"}}
    return embed(make_config(values), tmp_path_factory.mktemp("features") / "F")


def plan(features: Path, **more: Any) -> dict[str, Any]:
    base = {"data": {"features": str(features)}, "training": {"epochs": 2, "batch_size": 16, "devices": "cpu"}}
    values = {"base": base, "arms": ["image-only", "marnet"], "seeds": 2, "leave_classes_out": LEFT_OUT}
    return values | {"new_class_images": [0, 2]} | more


@pytest.fixture(scope="module")
def found(features: Path, tmp_path_factory: pytest.TempPathFactory) -> marnet.Comparison:
    return marnet.compare(plan(features), out=tmp_path_factory.mktemp("comparison") / "out")


def test_runs_of_a_seed_leave_out_the_same_classes_and_train_on_none_of_their_rows(
    features: Path, found: marnet.Comparison
) -> None:
    every = open_comparison_data(make_config({"data": {"features": str(features)}})).manifest
    for record in found.records:
        left_out = draw_classes(every, LEFT_OUT, record.seed)
        assert sorted([*record.classes, *left_out]) == sorted(every.classes)
        counts = sum(row.split == "val" and row.label in record.classes for row in every.records)
        assert len(record.labels) == counts
        rows = marnet.load(found.path / "work" / record.arm / "seed-0").manifest().records
        assert {row.label for row in rows} == set(every.classes) - set(draw_classes(every, LEFT_OUT, 0))
    assert len({tuple(draw_classes(every, LEFT_OUT, seed)) for seed in range(8)}) > 3


def test_metrics_are_there_for_every_variant_and_number_of_images(found: marnet.Comparison) -> None:
    names = {metric_name(variant, images, metric)
        for variant, images in (("text", 0), ("shuffled", 0), ("images", 2), ("text", 2), ("shuffled", 2))
        for metric in ("old", "new", "harmonic", "among_new")}  # fmt: skip
    for record in found.records:
        measured = {name: value for name, value in record.metrics.items() if name.startswith("new_")}
        assert set(measured) == names
        assert all(0 <= value <= 1 for value in measured.values())


def test_the_results_show_what_the_text_adds(found: marnet.Comparison) -> None:
    text = (found.path / "results.md").read_text()
    page = write_comparison_report(found.path).read_text()
    assert all("Classes that were added without training" in each for each in (text, page))
    by_seed = {record.seed: record.metrics for record in found.records if record.arm == "marnet"}
    gains = [
        100 * (each[metric_name("text", 2, "harmonic")] - each[metric_name("images", 2, "harmonic")])
        for each in by_seed.values()
    ]
    row = next(line for line in text.splitlines() if line.startswith("| marnet | 2 | harmonic"))
    assert f"{np.mean(gains):+.1f}".replace("-", "\N{MINUS SIGN}").replace("+0.0", "0.0") in row


def test_images_give_what_their_features_give(features: Path, tmp_path: Path) -> None:
    comparison = make_comparison_config(plan(features, arms=["image-only"], seeds=1, new_class_images=[2]))
    from_features = run_comparison(comparison, tmp_path / "features").records[0].metrics
    manifest = open_comparison_data(make_config({"data": {"features": str(features)}})).manifest
    run = tmp_path / "features" / "work" / "image-only" / "seed-0"
    data = open_comparison_data(make_config({"data": {"source": SOURCE}}))
    left_out = draw_classes(manifest, LEFT_OUT, 0)
    from_images = measure_new_classes(marnet.load(run, device="cpu"), data, "val", left_out, [2], seed=0)
    for name, value in from_images.items():
        assert value == pytest.approx(from_features[name], abs=0.051), name  # one image may differ by rounding


def test_the_key_says_which_classes_were_left_out(features: Path) -> None:
    keys = set()
    for changes in ({}, {"leave_classes_out": 3}, {"leave_classes_out": 0}, {"new_class_images": [1]}):
        comparison = make_comparison_config(plan(features, **changes))
        keys.add(plan_run(comparison, comparison.arms[0], 0, "rows").key)
    assert len(keys) == 4
    with pytest.raises(ConfigError, match="new_class_images"):
        make_comparison_config(plan(features, new_class_images=[-1]))


def test_too_many_left_out_classes_are_refused(manifest_file: Path) -> None:
    manifest = read_manifest(manifest_file)  # three classes
    with pytest.raises(ConfigError, match="1 classes cannot be left out"):
        draw_classes(manifest, 1, 0)
    kept = without_classes(manifest, ["eel"])
    assert kept.classes == ("apple", "lime")
    assert {record.label for record in kept.records} == {"apple", "lime"}


def test_accuracies_of_old_and_new() -> None:
    logits = torch.tensor([[2.0, 0, 1], [0, 2, 1], [2, 0, 1], [0, 1, 2]])
    assert new_class_metrics(logits, torch.tensor([0, 0, 2, 2]), 2) == (0.5, 0.5, 0.5, 1.0)
    assert new_class_metrics(logits, torch.tensor([0, 0, 0, 0]), 2) == (0.5, None, None, None)
    assert new_class_metrics(logits[:1], torch.tensor([2]), 2) == (None, 0.0, None, 1.0)
