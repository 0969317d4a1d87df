"""Confusions and changes by class, counted by hand."""

import numpy as np
import pytest

from marnet.comparison.records import RunRecord
from marnet.comparison.tables import Table
from marnet.reports.blocks import Plots
from marnet.reports.sections.classes import class_accuracy, class_section, confusion_counts

CLASSES = ["a", "b", "c", "none"]


def record(
    arm: str, labels: list[int], predictions: list[int], seed: int = 0, classes: list[str] = CLASSES
) -> RunRecord:
    return RunRecord(
        arm=arm, seed=seed, key="", source="s", split="val", classes=classes, metrics={}, labels=labels,
        predictions=predictions, confidences=[0.5] * len(labels), robustness=None, seconds=0,
    )  # fmt: skip


OURS = record("marnet", [0, 0, 1, 1, 2], [0, 1, 0, 1, 0])
PLAIN = record("image-only", [0, 0, 1, 1, 2], [1, 1, 1, 1, 2])


def test_counts_and_accuracies_by_hand() -> None:
    counts = confusion_counts([OURS, record("marnet", [0], [2], seed=1)])
    assert counts.tolist() == [[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    accuracy = class_accuracy(counts)
    assert accuracy[:3].tolist() == [pytest.approx(1 / 3), 0.5, 0.0]
    assert np.isnan(accuracy[3])


def test_pairs_come_by_their_errors() -> None:
    section = class_section({"marnet": {0: OURS}}, "marnet", None)
    plots, table = section.blocks
    assert isinstance(plots, Plots)
    assert isinstance(table, Table)
    # a and b: one of each taken for the other, of 4 images; c for a: one of 3.
    assert table.rows == [["a and b", 1, 1, 0.5], ["a and c", 0, 1, pytest.approx(1 / 3)]]


def test_changes_are_of_the_common_seeds() -> None:
    other_seed = record("image-only", [0, 0, 1, 1, 2], [0, 0, 0, 0, 0], seed=4)
    section = class_section({"marnet": {0: OURS}, "image-only": {0: PLAIN, 4: other_seed}}, "marnet", "image-only")
    changes = section.blocks[2]
    # a: 1/2 from 0; b: 1/2 from 1; c: 0 from 1
    assert "1 classes gain, 2 lose and 0 are unchanged, over 1 common seed;" in changes.caption
    bars = changes.panels[0].figure.axes[0]
    assert [bar.get_width() for bar in bars.patches] == pytest.approx([50, -50, -100])
    assert [label.get_text() for label in bars.get_yticklabels()] == ["a (2)", "b (2)", "c (1)"]


def test_without_a_baseline_or_a_common_seed_there_is_no_change() -> None:
    runs = {"marnet": {0: OURS}, "image-only": {1: record("image-only", [0], [0], seed=1)}}
    assert len(class_section(runs, "marnet", "image-only").blocks) == 2
    assert len(class_section(runs, "image-only", "image-only").blocks) == 2


def test_no_confusion_is_said() -> None:
    table = class_section({"m": {0: record("m", [0, 1], [0, 1])}}, "m", None).blocks[1]
    assert (table.rows, table.note) == ([], "It confuses no two classes.")


def test_of_many_classes_those_with_the_most_errors_are_drawn() -> None:
    names = [f"class {i}" for i in range(50)]
    predictions = list(range(50))
    predictions[49] = 3
    plots = class_section({"m": {0: record("m", list(range(50)), predictions, classes=names)}}, "m", None).blocks[0]
    assert "the 40 of 50 classes with the most errors" in plots.caption
    drawn = [label.get_text() for label in plots.panels[0].figure.axes[0].get_yticklabels()]
    assert len(drawn) == 40
    assert {"class 3", "class 49"} <= set(drawn)
    assert drawn.index("class 3") < drawn.index("class 49")
