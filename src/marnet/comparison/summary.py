"""From the records of a comparison to its results: spread by arm, paired differences to the baseline and to placebos.

Accuracies are fractions here; tables and sentences turn them into per cent and points.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from marnet.comparison.arms import ABLATIONS, RIVALS, Standing, find_standings, in_order
from marnet.comparison.records import RunRecord
from marnet.comparison.statistics import (
    McNemar,
    PairedDifference,
    Spread,
    mcnemar,
    paired_difference,
    spread,
)
from marnet.comparison.verdict import describe_outcome
from marnet.errors import RunDirectoryError
from marnet.evaluation.corruption_metrics import corruption_metrics
from marnet.methods import FULL

BASELINE = "image-only"
END_TOP1 = "top1_end"  # mean top-1 over the last quarter of the epochs

ContrastKind = Literal["baseline", "placebo", "rival", "ablation"]
RunsOfArm = Mapping[int, RunRecord]  # by seed


class ArmResult(NamedTuple):
    """What the runs of one arm show."""

    arm: str
    standing: Standing
    seeds: tuple[int, ...]
    metrics: dict[str, Spread]  # of the records, and those of `corruption_metrics` that were measured
    corruptions: dict[str, tuple[Spread, ...]]  # top-1 by corruption, one a severity
    seconds: Spread  # of training


class Contrast(NamedTuple):
    """By how much an arm exceeds its baseline, placebo or rival, or what it is an ablation of; pairs are by seed."""

    arm: str
    against: str
    kind: ContrastKind
    seeds: tuple[int, ...]  # the pairs; () where the two have none in common
    metrics: dict[str, PairedDifference]
    mcnemar: McNemar | None  # on the first of the seeds
    all_seeds: bool  # whether every run of both is in a pair


class Results(NamedTuple):
    """Everything that a comparison says in figures, and in a sentence."""

    baseline: str
    source: str
    split: str
    images: tuple[int, ...]  # how many were judged; several figures where the split differs from seed to seed
    classes: int
    arms: tuple[ArmResult, ...]
    contrasts: tuple[Contrast, ...]
    verdict: str
    notes: tuple[str, ...]

    @property
    def standings(self) -> dict[str, Standing]:
        """What each arm is to the others, in the order of `arms`."""
        return {arm.arm: arm.standing for arm in self.arms}

    def arm(self, name: str) -> ArmResult | None:
        """The results of an arm, None if it has no run."""
        return next((arm for arm in self.arms if arm.arm == name), None)

    def contrast(self, arm: str, against: str) -> Contrast | None:
        """The comparison of two arms, None if there is none."""
        return next((each for each in self.contrasts if (each.arm, each.against) == (arm, against)), None)


def summarise(records: Sequence[RunRecord], baseline: str = BASELINE) -> Results:
    """Compare the arms of a comparison, which need not be complete: pairs are the seeds that two arms have in common.

    Args:
        records: of one comparison, in any order.
        baseline: the arm that the others are compared with; without a run of it there are no differences to it.

    Raises:
        RunDirectoryError: there is no record, an arm has two of one seed, or the records do not judge the same classes,
            split and images.
    """
    runs = group_records(records)
    first_records = {arm: next(iter(found.values())) for arm, found in runs.items()}
    found = find_standings(first_records)
    standings = {name: found[name] for name in in_order(found, baseline=baseline)}
    names = list(standings)
    contrasts = [
        *(_contrast(name, baseline, "baseline", runs) for name in names if name != baseline and baseline in runs),
        *(
            _contrast(standing.of, name, "placebo", runs)
            for name, standing in standings.items()
            if standing.kind == "placebo" and standing.of is not None
        ),
        *(_contrast(FULL, name, "rival", runs) for name in RIVALS if {name, FULL} <= set(runs) and name != baseline),
        *(_contrast(name, FULL, "ablation", runs) for name in ABLATIONS if name != FULL and {name, FULL} <= set(runs)),
    ]
    top1 = {(each.arm, each.against): (each.metrics.get("top1"), each.seeds) for each in contrasts}
    first = first_records[names[0]]
    return Results(
        baseline=baseline,
        source=first.source,
        split=first.split,
        images=tuple(sorted({len(record.labels) for record in records})),
        classes=len(first.classes),
        arms=tuple(_arm_result(name, standings[name], runs[name], runs.get(baseline, {})) for name in names),
        contrasts=tuple(contrasts),
        verdict=describe_outcome(standings, top1, baseline),
        notes=_notes(runs, names),
    )


def group_records(records: Sequence[RunRecord]) -> dict[str, dict[int, RunRecord]]:
    """The records by arm and seed, refused where they are not of one comparison; see `summarise`."""
    runs: dict[str, dict[int, RunRecord]] = defaultdict(dict)
    for record in sorted(records, key=lambda record: (record.arm, record.seed)):
        if record.seed in runs[record.arm]:
            raise RunDirectoryError(
                f"Arm {record.arm!r} has two records of seed {record.seed}; needed one. Remove the one that is not of "
                f"this comparison."
            )
        runs[record.arm][record.seed] = record
    if not runs:
        raise RunDirectoryError("There is no record of a run to summarise; needed one or more.")
    _check_same_images(records)
    return dict(runs)


def _check_same_images(records: Sequence[RunRecord]) -> None:
    first = records[0]
    labels: dict[int, RunRecord] = {}
    for record in records:
        for what, found, needed in (
            ("split", record.split, first.split),
            ("number of classes", len(record.classes), len(first.classes)),
            ("classes", record.classes, first.classes),
        ):
            if found != needed:
                shown = f": {found!r} and {needed!r}" if what != "classes" else ""
                raise RunDirectoryError(
                    f"The records of {record.arm!r}, seed {record.seed}, and {first.arm!r}, seed {first.seed}, differ "
                    f"in their {what}{shown}; needed the same in all records of a comparison. Run one of them again."
                )
        other = labels.setdefault(record.seed, record)
        if record.labels != other.labels:
            raise RunDirectoryError(
                f"The records of {record.arm!r} and {other.arm!r} of seed {record.seed} judge different images "
                f"({len(record.labels)} and {len(other.labels)} of them); needed the same, so that they can be "
                f"compared. Run one of them again."
            )


def _metrics(record: RunRecord, baseline: RunRecord | None) -> dict[str, float]:
    """The record's own metrics, that of the end of training and those under corruption; none that is NaN."""
    found = {name: value for name, value in record.metrics.items() if name != "n"}
    epochs = [row["val/top1"] for row in record.history if "val/top1" in row]
    if record.split == "val" and epochs:  # the best epoch was chosen on these images, which flatters its top-1
        end = epochs[-max(1, len(epochs) // 4) :]
        found[END_TOP1] = sum(end) / len(end)
    if record.robustness:
        figures = corruption_metrics(record.robustness, baseline.robustness if baseline is not None else None)
        found |= {name: value for name, value in figures.items() if value is not None}
    return {name: value for name, value in found.items() if not math.isnan(value)}


def _arm_result(name: str, standing: Standing, runs: RunsOfArm, baseline: RunsOfArm) -> ArmResult:
    measured = [_metrics(record, baseline.get(seed)) for seed, record in runs.items()]
    names = dict.fromkeys(metric for found in measured for metric in found)
    corruptions: dict[str, tuple[Spread, ...]] = {}
    robust = [record.robustness for record in runs.values() if record.robustness]
    for corruption in dict.fromkeys(key for each in robust for key in each):
        rows = [each[corruption] for each in robust if corruption in each]
        severities = min(len(row) for row in rows)
        corruptions[corruption] = tuple(spread([row[level] for row in rows]) for level in range(severities))
    return ArmResult(
        name,
        standing,
        tuple(runs),
        {metric: spread([found[metric] for found in measured if metric in found]) for metric in names},
        corruptions,
        spread([record.seconds for record in runs.values()]),
    )


def _contrast(arm: str, against: str, kind: ContrastKind, runs: Mapping[str, RunsOfArm]) -> Contrast:
    seeds = tuple(sorted(set(runs[arm]) & set(runs[against])))
    all_seeds = len(seeds) == len(runs[arm]) == len(runs[against])
    if not seeds:
        return Contrast(arm, against, kind, (), {}, None, all_seeds)
    pairs = [(_metrics(runs[arm][seed], None), _metrics(runs[against][seed], None)) for seed in seeds]
    metrics = {}
    for name in pairs[0][0]:
        both = [(first[name], second[name]) for first, second in pairs if name in first and name in second]
        if both:
            metrics[name] = paired_difference([first for first, _ in both], [second for _, second in both])
    first, second = runs[arm][seeds[0]], runs[against][seeds[0]]
    test = mcnemar(first.labels, first.predictions, second.predictions)
    return Contrast(arm, against, kind, seeds, metrics, test, all_seeds)


def _notes(runs: Mapping[str, RunsOfArm], names: Sequence[str]) -> tuple[str, ...]:
    """What a reader must know of the figures; first where runs are missing."""
    every = sorted({seed for found in runs.values() for seed in found})
    notes = []
    for name in names:
        missing = [seed for seed in every if seed not in runs[name]]
        if missing:
            notes.append(
                f"{name} lacks seed{'s' if len(missing) > 1 else ''} {', '.join(map(str, missing))}; it is compared "
                f"over the seeds that it shares with the other arm."
            )
    return (
        *notes,
        "Differences are paired by seed. Intervals are 95 % percentile bootstrap intervals of the mean over seeds, "
        "which are too narrow for few seeds (five hold the truth in about 83 of 100 experiments); p is the exact "
        "two-sided paired permutation test over seeds, not corrected for the number of comparisons.",
    )
