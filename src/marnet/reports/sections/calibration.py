"""Calibration: reliability before and after, the fitted numbers in words, and prediction sets. For reports of runs."""

import math
from collections.abc import Mapping

from scipy.special import expit, logit
from torch import Tensor

from marnet.comparison.result_tables import metric_format
from marnet.comparison.tables import CellValue, Column, Table
from marnet.inference import SplitOutputs
from marnet.inference.conformal import least_probability, prediction_sets, rows_needed, set_metrics
from marnet.metrics import Reliability, classification_metrics, multi_label_metrics, percent, reliability
from marnet.modules.calibration import FittedCalibration
from marnet.outputs import VISUAL
from marnet.reports.blocks import Block, Panel, Plots, Section
from marnet.reports.context import ReportContext, Unavailable
from marnet.reports.plots.confidence import reliability_diagram
from marnet.reports.plots.style import line_marks

TITLE = "Calibration"
ERRORS = (0.01, 0.05, 0.1)  # the rates of error for which prediction sets are scored
_STEPS = ("before calibration", "after calibration")

Fitted = Mapping[str, FittedCalibration]


def build(context: ReportContext) -> Section | None:
    """Build the section of the runs that have a calibration.

    Raises:
        Unavailable: no run has one.
    """
    if context.outcome is not None:
        return None
    outputs = context.outputs
    fitted = {name: found for name, found in context.calibrations.items() if found is not None and name in outputs}
    if not fitted:
        raise Unavailable(
            "No run has a calibration.json: it was trained with `training.calibrate=false`, or by version 0.1."
        )
    return calibration_section(outputs, fitted, split=context.split, drawn=len(context.reliability_of))


def calibration_section(
    outputs: Mapping[str, SplitOutputs], fitted: Fitted, *, split: str, drawn: int = len(ERRORS)
) -> Section:
    """Return the numbers that were fitted, metrics and reliability before and after, and prediction sets.

    Args:
        outputs: of each run on the split.
        fitted: the calibration of each run.
        split: train, val or test.
        drawn: the number of runs whose reliability is drawn.
    """
    several = next(iter(outputs.values())).labels.ndim == 2
    steps = {name: _steps(outputs[name]) for name in fitted}
    blocks: list[Block] = [_metrics_table(steps, outputs, split)]
    blocks.append(_plots({name: steps[name] for name in list(fitted)[:drawn]}, outputs, several=several))
    if not several:
        blocks.append(_sets_table(outputs, fitted, split))
    text = [
        f"{'' if len(outputs) == 1 else f'{name}: '}{describe_calibration(found)}" for name, found in fitted.items()
    ]
    return Section(title=TITLE, text=text, blocks=blocks)


def describe_calibration(fitted: FittedCalibration) -> str:
    """Return the numbers of a calibration in words."""
    sentences = [
        _describe_weights(fitted.branch_weights),
        _describe_temperature(fitted.inverse_temperature),
        _describe_line(fitted.top_slope, fitted.top_offset),
        _describe_means(fitted.class_means, fitted.rarity),
    ]
    if fitted.thresholds:
        low, high = min(fitted.thresholds), max(fitted.thresholds)
        sentences.append(
            f"The probability from which an image has a class was fitted for F1 of that class, between {low:.2f} and "
            f"{high:.2f}; `data.threshold` replaces it."
        )
    sentences.append(
        f"These numbers were fitted on {fitted.rows} rows of {fitted.split}. Where those rows are scored, each is "
        f"predicted with numbers that were fitted on other rows."
    )
    return " ".join(sentence for sentence in sentences if sentence)


def _describe_weights(weights: Mapping[str, float] | None) -> str:
    if weights is None or len(weights) < 2:
        return ""
    if not any(weight for name, weight in weights.items() if name != VISUAL):
        return (
            "The head on the visual features predicts alone. Adding the other branches did not improve the "
            "likelihood of held-out rows by more than its standard error."
        )
    shares = ", ".join(f"{name} {weight:.2f}" for name, weight in weights.items())
    return f"The prediction is a sum of the branches' logits, with weights {shares}."


def _describe_means(weight: float, rarity: float) -> str:
    if not weight and not rarity:
        return ""
    moved = "raised" if rarity >= 0 else "lowered"
    return (
        f"The cosine with the mean of each class is added to its logit with a weight of {weight:.1f}, and a class with "
        f"half the training rows of another is {moved} by {abs(rarity) * math.log(2):.2f}."
    )


def _describe_temperature(inverse: float | list[float]) -> str:
    if isinstance(inverse, list):
        temperatures = sorted(1 / each for each in inverse)
        return f"The logits of each class are divided by a temperature of its own, {temperatures[0]:.2f} to " + (
            f"{temperatures[-1]:.2f}."
        )
    shown = f"{1 / inverse:.2f}"
    effect = "nothing changes"
    if shown != "1.00":
        effect = "predictions become more confident" if inverse > 1 else "predictions become less confident"
    return f"Logits are divided by the temperature {shown}, so that {effect}."


def _describe_line(slope: float, offset: float) -> str:
    """Return what the line does to a confidence of 50 % and of 95 %; "" if it does nothing."""
    if (slope, offset) == (1.0, 0.0):
        return ""
    half, high = (expit(slope * logit(confidence) + offset) for confidence in (0.5, 0.95))
    return (
        f"A line on the log-odds of the most probable class (slope {slope:.2f}, offset {offset:+.2f}) then turns a "
        f"confidence of 50 % into {percent(half)} and one of 95 % into {percent(high)}."
    )


def _steps(outputs: SplitOutputs) -> dict[str, Tensor]:
    """Return the logits before and after calibration."""
    before = outputs.logits if outputs.uncalibrated is None else outputs.uncalibrated
    return dict(zip(_STEPS, (before, outputs.logits), strict=True))


def _reliability(logits: Tensor, labels: Tensor) -> Reliability:
    """Return the reliability of predictions; where images have several classes, of every class of every image."""
    if labels.ndim == 2:
        return reliability(logits.double().sigmoid().flatten(), labels.flatten() > 0)
    confidence, predicted = logits.double().softmax(-1).max(-1)
    return reliability(confidence, predicted == labels)


def _metrics_table(steps: Mapping[str, Mapping[str, Tensor]], outputs: Mapping[str, SplitOutputs], split: str) -> Table:
    rows: list[list[CellValue]] = []
    score = "top1"
    for name, found in steps.items():
        labels = outputs[name].labels
        score = "top1" if labels.ndim == 1 else "map"
        for step, logits in found.items():
            scorer = classification_metrics if labels.ndim == 1 else multi_label_metrics
            metrics = {**scorer(logits, labels)._asdict(), "ece": _reliability(logits, labels).ece}
            rows.append([f"{name}, {step}", *(metrics[each] for each in (score, "nll", "ece"))])
    formats = [metric_format(each) for each in (score, "nll", "ece")]
    columns = [Column("run"), *(Column(shown.title, shown.show) for shown in formats)]
    note = (
        "Before: the head on the visual features alone, at temperature 1; of a run without branch weights, its "
        "prediction at temperature 1."
    )
    return Table(title=f"Before and after calibration, on {split}", columns=columns, rows=rows, note=note)


def _plots(steps: Mapping[str, Mapping[str, Tensor]], outputs: Mapping[str, SplitOutputs], *, several: bool) -> Plots:
    marks = line_marks(_STEPS)
    axis = {"axis": "probability of a class"} if several else {}
    panels, errors = [], []
    for name, found in steps.items():
        bins = {step: _reliability(logits, outputs[name].labels) for step, logits in found.items()}
        before, after = (percent(each.ece) for each in bins.values())
        errors.append(f"{name} {before} before and {after} after")
        panels.append(
            Panel(
                reliability_diagram(bins, marks, name, **axis),
                f"Reliability of {name} before and after calibration.",
                f"calibration-{name}",
            )
        )
    return Plots(
        panels=panels,
        caption=f"On the diagonal, {'images have a class' if several else 'predictions are correct'} as often as the "
        f"probability says. Expected calibration error (ECE), the mean distance from it: {'; '.join(errors)}.",
        legend=tuple(marks.values()),
    )


def _sets_table(outputs: Mapping[str, SplitOutputs], fitted: Fitted, split: str) -> Table:
    """Return coverage, size and share answered of prediction sets; dashes where the rows cannot promise a rate."""
    rows: list[list[CellValue]] = []
    for name, found in fitted.items():
        labels = outputs[name].labels.numpy()
        probabilities = outputs[name].logits.double().softmax(-1).numpy()
        for error in ERRORS:
            row: list[CellValue] = [f"{name}, {100 * error:.0f} %"]
            if len(found.scores) < rows_needed(error):
                rows.append([*row, None, None, None, None])
                continue
            sets = prediction_sets(probabilities, least_probability(found.scores, error))
            rows.append([*row, *set_metrics(sets, labels)])
    columns = [
        Column("run, error asked for"),
        Column("coverage", percent),
        Column("classes per set", "{:.2f}".format),
        Column("answered", percent),
        Column("wrong if answered", percent),
    ]
    fewest = min(len(found.scores) for found in fitted.values())
    missing = [f"{100 * error:.0f} % needs {rows_needed(error)}" for error in ERRORS if fewest < rows_needed(error)]
    note = (
        "Coverage is the share of images whose true class is in the set; 100 % minus the error was asked for. Answered "
        "are the images whose set has one class; the others are left to a person."
    )
    if any(split == found.split for found in fitted.values()):
        note += " The sets were made from this split, so their coverage on it is what was asked for in any case."
    if missing:
        note += f" A dash: the held-out rows are too few ({', '.join(missing)})."
    return Table(title=f"Prediction sets, on {split}", columns=columns, rows=rows, note=note)
