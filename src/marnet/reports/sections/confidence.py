"""Whether confidence can be trusted: reliability, and accuracy against coverage."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from marnet.comparison.records import RunRecord
from marnet.metrics import CALIBRATION_BINS, Reliability, accuracy_coverage, reliability
from marnet.reports.blocks import Panel, Plots, Section
from marnet.reports.plots.confidence import coverage_curves, reliability_diagram
from marnet.reports.plots.style import Mark

COVERAGES = 100


def confidence_section(
    runs: Mapping[str, Mapping[int, RunRecord]], marks: Mapping[str, Mark], *, reliability_of: Sequence[str]
) -> Section:
    """Reliability of some arms and accuracy against coverage of all, over their seeds.

    Args:
        runs: records by arm and seed.
        marks: the arms to show, and how each is drawn.
        reliability_of: the arms in the reliability diagram; many lines there could not be told apart.
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
        caption=f"Reliability of {' and '.join(reliability_of)}, all seeds together: on the line, the "
        f"{CALIBRATION_BINS} bins of confidence are as often right as they claim; below it they claim too much. The "
        f"size of a dot grows with the share of the predictions. Coverage: the accuracy where the least confident "
        f"images are left to a person, mean over seeds.",
        legend=tuple(marks.values()),
    )
    return Section(title="Confidence", blocks=[plots])


def _scores(record: RunRecord) -> tuple[Tensor, Tensor]:
    """The confidence of each prediction, and whether it is right."""
    right = torch.tensor(record.labels) == torch.tensor(record.predictions)
    return torch.tensor(record.confidences, dtype=torch.float64), right


def _pooled_reliability(records: Iterable[RunRecord]) -> Reliability:
    confidences, right = zip(*map(_scores, records), strict=True)
    return reliability(torch.cat(confidences), torch.cat(right))


def _mean_coverage(records: Iterable[RunRecord]) -> list[float]:
    """Mean over runs of the accuracy at coverages of 1 % to 100 %."""
    curves = []
    for record in records:
        accuracy = accuracy_coverage(*_scores(record)).accuracy
        places = [-(-share * len(accuracy) // COVERAGES) - 1 for share in range(1, COVERAGES + 1)]  # rounded up
        curves.append(accuracy[places])
    means: list[float] = torch.stack(curves).mean(0).tolist()
    return means
