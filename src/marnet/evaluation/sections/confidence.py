"""Whether confidence can be trusted: reliability, and accuracy against coverage."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from marnet.evaluation.blocks import Panel, Plots, Section
from marnet.evaluation.figures.confidence import ReliabilityBins, coverage_curves, reliability_diagram
from marnet.evaluation.figures.style import Mark
from marnet.evaluation.records import RunRecord
from marnet.metrics import CALIBRATION_BINS

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
    bins = {name: _reliability(runs[name].values()) for name in reliability_of}
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


def _correct(record: RunRecord) -> np.ndarray:
    return np.equal(record.labels, record.predictions)


def _reliability(records: Iterable[RunRecord]) -> ReliabilityBins:
    pairs = [(np.asarray(record.confidences), _correct(record)) for record in records]
    confidences, correct = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    # (0, 1/15], (1/15, 2/15], ... as torchmetrics bins them.
    bins = np.clip(np.ceil(confidences * CALIBRATION_BINS).astype(int) - 1, 0, CALIBRATION_BINS - 1)
    present = np.unique(bins)
    return ReliabilityBins(
        tuple(float(confidences[bins == number].mean()) for number in present),
        tuple(float(correct[bins == number].mean()) for number in present),
        tuple(float((bins == number).mean()) for number in present),
    )


def _mean_coverage(records: Iterable[RunRecord]) -> list[float]:
    """Mean over runs of the accuracy at coverages of 1 % to 100 %."""
    curves = []
    for record in records:
        correct = _correct(record)[np.argsort(-np.asarray(record.confidences), kind="stable")]
        accuracy = np.cumsum(correct) / np.arange(1, len(correct) + 1)
        places = np.ceil(np.arange(1, COVERAGES + 1) * len(correct) / COVERAGES).astype(int) - 1
        curves.append(accuracy[places])
    return np.mean(curves, axis=0).tolist()  # type: ignore[no-any-return]
