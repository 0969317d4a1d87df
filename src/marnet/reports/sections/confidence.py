"""Confidence: reliability, and accuracy against coverage."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from marnet.comparison.records import RunRecord, indicators
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
    build_section = decision_confidence_section if context.several_classes else confidence_section
    return build_section(context.runs, marks, reliability_of=context.reliability_of)


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


def decision_confidence_section(
    runs: Mapping[str, Mapping[int, RunRecord]], marks: Mapping[str, Mark], *, reliability_of: Sequence[str]
) -> Section:
    """Return the same where images have several classes: reliability of decisions, and precision against recall.

    A decision is one class of one image. The arguments are those of `confidence_section`.
    """
    bins = {name: _pooled_reliability(runs[name].values(), _decisions) for name in reliability_of}
    curves = {name: _mean_precision(runs[name].values()) for name in marks}
    plots = Plots(
        panels=[
            Panel(
                reliability_diagram(bins, marks, "Reliability", axis="probability of a class"),
                f"Share of images with a class by its probability, of {' and '.join(reliability_of)}.",
                "reliability",
            ),
            Panel(
                coverage_curves(curves, marks, "Precision against recall", axis="recall: share of the labels found"),
                f"Precision of all decisions together by recall: {', '.join(marks)}.",
                "precision-recall",
            ),
        ],
        caption=f"Every class of every image is a decision. Reliability of {' and '.join(reliability_of)}, all seeds "
        f"together, in {CALIBRATION_BINS} bins of probability: on the diagonal, images have a class as often as its "
        f"probability says; below it, it is too high. Larger dots stand for more decisions. Precision against recall: "
        f"the best precision at that recall or more, over all decisions together, mean over seeds. Accuracy against "
        f"coverage is left out: it needs one answer per image that is correct or wrong.",
        legend=tuple(marks.values()),
    )
    return Section(title=TITLE, blocks=[plots])


def _scores(record: RunRecord) -> tuple[Tensor, Tensor]:
    """Return the confidence of each prediction, and whether it is correct."""
    correct = torch.tensor(record.labels) == torch.tensor(record.predictions)
    return torch.tensor(record.confidences, dtype=torch.float64), correct


def _decisions(record: RunRecord) -> tuple[Tensor, Tensor]:
    """Return the probability of every class of every image `(N C,)`, and whether the image has it."""
    true = torch.from_numpy(indicators(record.labels, len(record.classes)))
    return torch.tensor(record.confidences, dtype=torch.float64).flatten(), true.flatten()


def _pooled_reliability(
    records: Iterable[RunRecord], scores: Callable[[RunRecord], tuple[Tensor, Tensor]] = _scores
) -> Reliability:
    confidences, correct = zip(*map(scores, records), strict=True)
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


def _mean_precision(records: Iterable[RunRecord]) -> list[float]:
    """Return the best precision at recalls of at least 1 % to 100 %, of all decisions together, mean over runs."""
    curves = []
    for record in records:
        probabilities, true = _decisions(record)
        hits = true[probabilities.argsort(descending=True, stable=True)].double().cumsum(0)
        precision = hits / torch.arange(1, len(hits) + 1)
        best = precision.flip(0).cummax(0).values.flip(0)  # at this recall or more
        wanted = torch.arange(1, COVERAGES + 1, dtype=torch.float64) / COVERAGES * hits[-1] - 1e-9
        curves.append(best[torch.searchsorted(hits, wanted)])
    means: list[float] = torch.stack(curves).mean(0).tolist()
    return means
