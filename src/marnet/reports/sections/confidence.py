"""Confidence: reliability, and accuracy against coverage."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from marnet.comparison.records import RunRecord
from marnet.metrics import CALIBRATION_BINS, Reliability, accuracy_coverage, reliability
from marnet.reports.blocks import Panel, Plots, Section
from marnet.reports.context import ReportContext
from marnet.reports.plots.confidence import coverage_curves, reliability_diagram
from marnet.reports.plots.style import Mark

TITLE = "Confidence"
COVERAGES = 100


def build(context: ReportContext) -> Section:
    """Build the section of all methods."""
    marks = context.marks_of(context.methods)
    return confidence_section(context.runs, marks, reliability_of=context.reliability_of)


def confidence_section(
    runs: Mapping[str, Mapping[int, RunRecord]], marks: Mapping[str, Mark], *, reliability_of: Sequence[str]
) -> Section:
    """Return reliability of some arms and accuracy against coverage of all, over their seeds.

    Args:
        runs: records by arm and seed.
        marks: the arms to show, with colour and dashes.
        reliability_of: the arms in the reliability diagram, where many lines would be illegible.
    """
    bins = {name: _pooled_reliability(runs[name].values()) for name in reliability_of}
    curves = {name: _mean_coverage(runs[name].values()) for name in marks}
    plots = Plots(
        panels=[
            Panel(
                reliability_diagram(bins, marks, "Reliability"),
                f"Accuracy by confidence of {' and '.join(reliability_of)}.",
                "reliability",
            ),
            Panel(
                coverage_curves(curves, marks, "Accuracy against coverage"),
                f"Accuracy of the most confident predictions by their share: {', '.join(marks)}.",
                "coverage",
            ),
        ],
        caption=f"Reliability of {' and '.join(reliability_of)}, all seeds together, in {CALIBRATION_BINS} bins of "
        f"confidence: on the diagonal, predictions are correct as often as their confidence says; below it they are "
        f"overconfident. Larger dots stand for more predictions. Coverage: the accuracy if the least confident images "
        f"are left to a person, mean over seeds.",
        legend=tuple(marks.values()),
    )
    return Section(title=TITLE, blocks=[plots])


def _scores(record: RunRecord) -> tuple[Tensor, Tensor]:
    """Return the confidence of each prediction, and whether it is correct."""
    correct = torch.tensor(record.labels) == torch.tensor(record.predictions)
    return torch.tensor(record.confidences, dtype=torch.float64), correct


def _pooled_reliability(records: Iterable[RunRecord]) -> Reliability:
    confidences, correct = zip(*map(_scores, records), strict=True)
    return reliability(torch.cat(confidences), torch.cat(correct))


def _mean_coverage(records: Iterable[RunRecord]) -> list[float]:
    """Return the accuracy at coverages of 1 % to 100 %, mean over runs."""
    curves = []
    for record in records:
        accuracy = accuracy_coverage(*_scores(record)).accuracy
        offsets = [-(-share * len(accuracy) // COVERAGES) - 1 for share in range(1, COVERAGES + 1)]  # rounded up
        curves.append(accuracy[offsets])
    means: list[float] = torch.stack(curves).mean(0).tolist()
    return means
