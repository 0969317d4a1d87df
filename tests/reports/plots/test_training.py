"""Curves of trainings."""

from marnet.reports.plots.style import line_marks
from marnet.reports.plots.svg import svg
from marnet.reports.plots.training import loss_terms, training_curves

HISTORIES = {
    "image-only": [
        {"epoch": 1.0, "train/classification": 2.0, "val/top1": 0.25},
        {"epoch": 2.0, "train/classification": 1.5, "val/top1": 0.75},
        {"epoch": 3.0, "train/classification": 1.0, "val/top1": 0.5},
    ],
    "marnet": [
        {"epoch": 1.0, "train/classification": float("nan"), "val/top1": 0.3},
        {"epoch": 2.0, "train/classification": 1.2},
    ],
}


def test_curves_hold_the_finite_values_of_each_run():
    curves = training_curves(HISTORIES)
    first, second = curves.loss.axes[0].lines
    assert first.get_xydata().tolist() == [[1, 2.0], [2, 1.5], [3, 1.0]]
    assert second.get_xydata().tolist() == [[2, 1.2]]
    assert second.get_marker() == "o"  # a single epoch would draw no line
    assert (first.get_color(), first.get_linestyle()) != (second.get_color(), second.get_linestyle())


def test_a_loss_of_the_visual_head_stands_in_for_that_of_a_fusion_without_a_loss() -> None:
    rows = [{"epoch": 1.0, "train/loss": 9.0, "train/visual": 2.0, "train/alignment": 3.0, "val/top1": 0.5}]
    (line,) = training_curves({"marnet": rows}).loss.axes[0].lines
    assert line.get_xydata().tolist() == [[1, 2.0]]


def test_curves_mark_and_name_the_epoch_that_was_kept():
    curves = training_curves(HISTORIES, chosen=["image-only"])
    best = [line for line in curves.accuracy.axes[0].lines if str(line.get_gid()).endswith("-best")]
    assert [line.get_xydata().tolist() for line in best] == [[[2, 0.75]], [[1, 0.3]]]
    assert [mark.label for mark in curves.legend] == [
        "image-only (kept: 75.0 %, epoch 2)",
        "marnet (kept: 30.0 %, epoch 1)",
    ]
    assert curves.legend[0].dashes != curves.legend[1].dashes
    assert training_curves(HISTORIES).legend[0].label == "image-only (kept: 50.0 %, epoch 3)"


def test_curves_of_an_empty_history_are_drawn_empty():
    curves = training_curves({"run": []}, loss="train/loss")
    assert curves.legend[0].label == "run"
    assert "train/loss" in svg(curves.loss)


def test_curves_take_the_marks_of_other_figures() -> None:
    marks = line_marks(["other", "marnet", "image-only"])
    curves = training_curves(HISTORIES, marks=marks)
    assert [mark.colour for mark in curves.legend] == [marks["image-only"].colour, marks["marnet"].colour]


def test_loss_terms_are_the_training_columns_but_the_total() -> None:
    rows = [
        {"epoch": 1.0, "train/loss": 9.0, "train/matching": 2.0, "train/reconstruction": 0.5, "val/top1": 0.1},
        {"epoch": 2.0, "train/loss": 8.0, "train/matching": 1.0, "train/reconstruction": float("nan"), "lr": 0.1},
    ]
    figure, legend = loss_terms(rows, "Loss terms of marnet")
    assert [mark.label for mark in legend] == ["matching", "reconstruction"]
    matching, reconstruction = figure.axes[0].lines
    assert matching.get_xydata().tolist() == [[1, 2.0], [2, 1.0]]
    assert reconstruction.get_xydata().tolist() == [[1, 0.5]]
    assert (matching.get_gid(), reconstruction.get_gid()) == ("mark-0", "mark-1")
    assert figure.axes[0].get_yscale() == "log"


def test_a_term_that_reaches_nought_has_a_linear_scale() -> None:
    figure, _ = loss_terms([{"epoch": 1.0, "train/matching": 0.0}], "t")
    assert figure.axes[0].get_yscale() == "linear"
    empty, legend = loss_terms([], "t")
    assert legend == ()
    assert "t" in svg(empty)
