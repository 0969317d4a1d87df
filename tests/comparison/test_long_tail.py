"""A comparison on a long tail: rows by a power law, and accuracy on frequent and on rare classes."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import marnet
from marnet.comparison.long_tail import keep_long_tail, score_parts
from marnet.comparison.records import RunRecord
from marnet.data.manifest import Manifest, Record
from marnet.errors import ConfigError


def manifest(rows: int, classes: int) -> Manifest:
    records = [
        Record(f"/{split}/{name}-{row}.png", "", f"c{name}", split)
        for name in range(classes)
        for split, count in (("train", rows), ("val", 3))
        for row in range(count)
    ]
    return Manifest(tuple(records), tuple(f"c{name}" for name in range(classes)), "rows")


def test_classes_keep_what_the_power_law_leaves_them_and_val_stays() -> None:
    every = manifest(100, 5)
    kept = keep_long_tail(every, 16, seed=0)
    counts = Counter(record.label for record in kept.split("train"))
    assert sorted(counts.values(), reverse=True) == [100, 50, 25, 12, 6]
    assert kept.split("val") == every.split("val")
    assert set(kept.records) <= set(every.records)
    orders = {tuple(sorted(Counter(r.label for r in keep_long_tail(every, 16, seed).split("train")).items()))
        for seed in range(6)}  # fmt: skip
    assert len(orders) == 6
    assert keep_long_tail(every, 1.0, 0).records == every.records
    few = Counter(record.label for record in keep_long_tail(manifest(3, 4), 1000, 1).split("train"))
    assert min(few.values()) == 1


def test_parts_are_thirds_of_the_classes_by_their_rows(tmp_path: Path) -> None:
    plan = {
        "base": {
            "data": {"source": "synthetic:images=12,classes=6", "image_size": 32},
            "backbone": {"name": "timm:test_resnet"},
            "training": {"epochs": 1, "devices": "cpu"},
        },
        "arms": ["image-only", "marnet"],
        "seeds": 1,
        "long_tail": 10,
    }
    found = marnet.compare(plan, out=tmp_path / "out")
    for record in found.records:
        run = marnet.load(tmp_path / "out" / "work" / record.arm / "seed-0")
        counts = Counter(row.label for row in run.manifest().split("train"))
        order = sorted(record.classes, key=lambda name: -counts[name])
        names = np.array(record.classes)[record.labels]
        right = np.array(record.labels) == np.array(record.predictions)
        for part, classes in zip(("head", "middle", "tail"), np.array_split(order, 3), strict=True):
            own = np.isin(names, classes)
            if own.any():
                assert record.metrics[f"top1_{part}"] == pytest.approx(right[own].mean())
        assert record.long_tail == 10
    assert "Frequent and rare classes" in (tmp_path / "out" / "results.md").read_text()
    again = marnet.compare(plan, out=tmp_path / "out")  # nothing is trained again: the records are recognised
    assert again.records == found.records
    with pytest.raises(marnet.MarnetError, match="long_tail"):
        marnet.compare(plan | {"long_tail": 20}, out=tmp_path / "out")


def test_a_part_without_images_has_no_accuracy(make_records: Callable[..., list[RunRecord]]) -> None:
    record = make_records(seeds=1)[0]
    counts = {name: 100 - number for number, name in enumerate(record.classes)}
    scored = record.model_copy(update={"labels": [0, 0, 1], "predictions": [0, 1, 1], "confidences": [1.0, 1.0, 1.0]})
    found = score_parts(scored, counts)
    first = np.array_split(np.arange(len(record.classes)), 3)[0]
    expected = np.mean([right for right, label in ((1, 0), (0, 0), (1, 1)) if label in first])
    assert found["top1_head"] == pytest.approx(expected)
    assert "top1_tail" not in found


def test_several_classes_per_image_are_refused() -> None:
    rows = manifest(5, 3)
    several = Manifest(rows.records, rows.classes, "rows", label_form="multi")
    with pytest.raises(ConfigError, match="one class per image"):
        keep_long_tail(several, 10, 0)
