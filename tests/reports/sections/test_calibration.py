"""Reliability before and after, the fitted numbers in words, and prediction sets; worked by hand."""

import pytest
import torch
from torch import Tensor

from marnet.inference import SplitOutputs
from marnet.metrics import classification_metrics
from marnet.modules.calibration import FittedCalibration
from marnet.reports.sections.calibration import calibration_section, describe_calibration

FITTED = FittedCalibration(
    rows=30, branch_weights=None, inverse_temperature=0.5, thresholds=None, scores=[0.1] * 28 + [0.6, 0.7]
)


def outputs_of(logits: Tensor, labels: Tensor) -> SplitOutputs:
    """Outputs of a run whose logits were twice as large before its calibration."""
    return SplitOutputs(logits, labels, {}, torch.zeros(len(labels), 2), None, (), 0, uncalibrated=2 * logits)


def example() -> SplitOutputs:
    probabilities = torch.tensor([[0.9, 0.1], [0.7, 0.3], [0.6, 0.4], [0.2, 0.8]])
    return outputs_of(probabilities.log(), torch.tensor([0, 0, 1, 0]))


def test_metrics_before_and_after() -> None:
    outputs = example()
    table, plots, _ = calibration_section({"a": outputs}, {"a": FITTED}, split="test").blocks
    before, after = (classification_metrics(each, outputs.labels) for each in (2 * outputs.logits, outputs.logits))
    assert [row[0] for row in table.rows] == ["a, before calibration", "a, after calibration"]
    assert [row[1:] for row in table.rows] == [
        pytest.approx([each.top1, each.nll, each.ece]) for each in (before, after)
    ]
    assert f"a {100 * before.ece:.1f} % before and {100 * after.ece:.1f} % after" in plots.caption
    (panel,) = plots.panels
    assert len(panel.figure.axes[0].lines) == 3  # the diagonal, before and after
    assert [mark.label for mark in plots.legend] == ["before calibration", "after calibration"]


def test_prediction_sets_by_hand() -> None:
    sets = calibration_section({"a": example()}, {"a": FITTED}, split="test").blocks[2]
    assert [row[0] for row in sets.rows] == ["a, 1 %", "a, 5 %", "a, 10 %"]
    assert sets.rows[0][1:] == [None] * 4
    # 5 %: rank 30 of 30 rows, least 0.3: {0}, {0, 1}, {0, 1}, {1}. 10 %: rank 28, least 0.9: the first class of each.
    assert sets.rows[1][1:] == pytest.approx([0.75, 1.5, 0.5, 0.5])
    assert sets.rows[2][1:] == pytest.approx([0.5, 1.0, 1.0, 0.5])
    assert "too few (1 % needs 99)" in sets.note
    assert "made from this split" not in sets.note
    assert "made from this split" in calibration_section({"a": example()}, {"a": FITTED}, split="val").blocks[2].note


def test_several_classes_have_decisions_and_no_sets() -> None:
    logits = torch.tensor([[2.0, -1.0], [-1.0, 1.0], [0.5, -2.0]])
    outputs = outputs_of(logits, torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]))
    fitted = FittedCalibration(30, None, [0.5, 2.0], [0.2, 0.61], [])
    section = calibration_section({"a": outputs}, {"a": fitted}, split="val")
    table, plots = section.blocks
    assert [column.title for column in table.columns] == ["run", "mAP, %", "NLL, nats", "ECE, %"]
    assert "images have a class as often" in plots.caption
    assert "a temperature of its own, 0.50 to 2.00" in section.text[0]
    assert "between 0.20 and 0.61; `data.threshold` replaces it" in section.text[0]


def test_the_numbers_in_words() -> None:
    words = describe_calibration(FITTED._replace(branch_weights={"visual": 0.75, "alignment": 0.0, "semantic": 0.25}))
    assert "with weights visual 0.75, alignment 0.00, semantic 0.25." in words
    assert "divided by the temperature 2.00, so that predictions become less confident." in words
    assert "fitted on 30 rows of val" in words
    alone = describe_calibration(
        FITTED._replace(branch_weights={"visual": 1.0, "alignment": 0.0}, inverse_temperature=1.25)
    )
    assert "The head on the visual features predicts alone." in alone
    assert "the temperature 0.80, so that predictions become more confident" in alone
    assert "cosine" not in alone
    rare = describe_calibration(FITTED._replace(class_means=12.3, rarity=-1.0))
    assert "a weight of 12.3, and a class with half the training rows of another is lowered by 0.69." in rare
    assert "temperature 1.00, so that nothing changes" in describe_calibration(FITTED._replace(inverse_temperature=1.0))
