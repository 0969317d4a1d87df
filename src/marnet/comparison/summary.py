"""From the records of a comparison to its results: metrics per arm, paired differences to the baseline and placebos.

Accuracies are fractions here; tables and sentences show them in per cent and points.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from marnet.choices import LabelForm
from marnet.comparison.arms import ABLATIONS, BASELINES, Role, find_roles, in_order
from marnet.comparison.new_class_results import NewClassResult, summarise_new_classes
from marnet.comparison.records import RunRecord
from marnet.comparison.statistics import (
    McNemar,
    MeanSD,
    PairedDifference,
    mcnemar,
    mean_sd,
    paired_difference,
)
from marnet.comparison.verdict import describe_outcome
from marnet.errors import RunDirectoryError
from marnet.evaluation.corruption_metrics import corruption_metrics
from marnet.methods import FULL
from marnet.tasks import Task, task_of

BASELINE = "image-only"
END = "_end"  # ends the name of the mean score over the last quarter of the epochs: top1_end, map_end

ContrastKind = Literal["baseline", "placebo", "text-baseline", "ablation"]
RunsOfArm = Mapping[int, RunRecord]  # by seed


class ArmResult(NamedTuple):
    """The metrics of the runs of one arm."""

    arm: str
    role: Role
    seeds: tuple[int, ...]
    metrics: dict[str, MeanSD]  # of the records, and those of robustness that were measured
    corruptions: dict[str, tuple[MeanSD, ...]]  # the score by corruption, one entry per severity
    seconds: MeanSD  # of training


class Contrast(NamedTuple):
    """The difference between two arms, paired by seed.

    By kind: an arm minus the comparison's baseline, a method minus its placebo, marnet minus a baseline that learns
    from the same text, or an ablation minus the full method.
    """

    arm: str
    against: str
    kind: ContrastKind
    seeds: tuple[int, ...]  # the pairs; () if the two have no seed in common
    metrics: dict[str, PairedDifference]
    mcnemar: McNemar | None  # on the first of the seeds; None where images have several classes
    all_seeds: bool  # whether every run of both is in a pair


class Results(NamedTuple):
    """The results of a comparison: metrics, differences, and a verdict in words."""

    baseline: str
    source: str
    split: str
    images: tuple[int, ...]  # number of scored images; several numbers if the split differs from seed to seed
    classes: int
    arms: tuple[ArmResult, ...]
    contrasts: tuple[Contrast, ...]
    verdict: str
    notes: tuple[str, ...]
    label_form: LabelForm = "single"
    new_classes: tuple[NewClassResult, ...] = ()  # where classes were left out of training

    @property
    def task(self) -> Task:
        """The task of all runs, which names their score."""
        return task_of(self.label_form, self.classes)

    @property
    def roles(self) -> dict[str, Role]:
        """The role of each arm, in the order of `arms`."""
        return {arm.arm: arm.role for arm in self.arms}

    def arm(self, name: str) -> ArmResult | None:
        """Return the results of an arm, None if it has no run."""
        return next((arm for arm in self.arms if arm.arm == name), None)

    def contrast(self, arm: str, against: str) -> Contrast | None:
        """Return the contrast of two arms, None if there is none."""
        return next((each for each in self.contrasts if (each.arm, each.against) == (arm, against)), None)


def summarise(records: Sequence[RunRecord], baseline: str = BASELINE) -> Results:
    """Compare the arms of a comparison. It need not be complete: pairs are the seeds that two arms have in common.

    Args:
        records: of one comparison, in any order.
        baseline: the arm that the others are compared with; if it has no run, there are no differences to it.

    Raises:
        RunDirectoryError: there is no record, an arm has two of one seed, or the records differ in classes, split,
            images or the form of their labels.
    """
    runs = group_records(records)
    first_records = {arm: next(iter(found.values())) for arm, found in runs.items()}
    found = find_roles(first_records)
    roles = {name: found[name] for name in in_order(found, baseline=baseline)}
    names = list(roles)
    contrasts = [
        *(_contrast(name, baseline, "baseline", runs) for name in names if name != baseline and baseline in runs),
        *(
            _contrast(role.of, name, "placebo", runs)
            for name, role in roles.items()
            if role.kind == "placebo" and role.of is not None
        ),
        *(
            _contrast(FULL, name, "text-baseline", runs)
            for name in BASELINES
            if {name, FULL} <= set(runs) and name != baseline
        ),
        *(_contrast(name, FULL, "ablation", runs) for name in ABLATIONS if name != FULL and {name, FULL} <= set(runs)),
    ]
    first = first_records[names[0]]
    score = first.task.score
    differences = {(each.arm, each.against): (each.metrics.get(score), each.seeds) for each in contrasts}
    return Results(
        baseline=baseline,
        source=first.source,
        split=first.split,
        images=tuple(sorted({len(record.labels) for record in records})),
        classes=len(first.classes),
        arms=tuple(_arm_result(name, roles[name], runs[name], runs.get(baseline, {})) for name in names),
        contrasts=tuple(contrasts),
        verdict=describe_outcome(roles, differences, baseline, unit=_unit(first)),
        notes=_notes(runs, names),
        label_form=first.label_form,
        new_classes=summarise_new_classes({name: runs[name] for name in names}),
    )


def group_records(records: Sequence[RunRecord]) -> dict[str, dict[int, RunRecord]]:
    """Return the records by arm and seed; raise RunDirectoryError if they cannot be compared (see `summarise`)."""
    runs: dict[str, dict[int, RunRecord]] = defaultdict(dict)
    for record in sorted(records, key=lambda record: (record.arm, record.seed)):
        if record.seed in runs[record.arm]:
            raise RunDirectoryError(
                f"Arm {record.arm!r} has two records of seed {record.seed}. Remove the one that does not belong to "
                f"this comparison."
            )
        runs[record.arm][record.seed] = record
    if not runs:
        raise RunDirectoryError("There is no record of a run to summarise. Train a run first.")
    _check_same_images(records)
    return dict(runs)


def _check_same_images(records: Sequence[RunRecord]) -> None:
    first = records[0]
    labels: dict[int, RunRecord] = {}
    for record in records:
        for what, found, needed in (
            ("split", record.split, first.split),
            ("form of labels", record.label_form, first.label_form),
            ("number of classes", len(record.classes), len(first.classes)),
            *([] if first.leave_classes_out else [("classes", record.classes, first.classes)]),
        ):
            if found != needed:
                shown = f": {found!r} and {needed!r}" if what != "classes" else ""
                raise RunDirectoryError(
                    f"The records of {record.arm!r}, seed {record.seed}, and {first.arm!r}, seed {first.seed}, differ "
                    f"in their {what}{shown}. All records of a comparison must agree. Train one of the two again."
                )
        other = labels.setdefault(record.seed, record)
        if record.labels != other.labels:
            raise RunDirectoryError(
                f"The records of {record.arm!r} and {other.arm!r} of seed {record.seed} were scored on different "
                f"images ({len(record.labels)} and {len(other.labels)} of them), so they cannot be compared. Train one "
                f"of the two again."
            )


def _metrics(record: RunRecord, baseline: RunRecord | None) -> dict[str, float]:
    """Return the record's metrics, that of the end of training and those under corruption, without NaN."""
    found = {name: value for name, value in record.metrics.items() if name != "n"}
    task = record.task
    if record.split == "val" and record.chose_epoch:  # on these images, which raises its score
        found[f"{task.score}{END}"] = record.score_at_the_end()
    if record.robustness:
        other = baseline.robustness if baseline is not None else None
        under = corruption_metrics(record.robustness, other, mean=task.corrupted_score)
        found |= {name: value for name, value in under.items() if value is not None}
    return {name: value for name, value in found.items() if not math.isnan(value)}


def _arm_result(name: str, role: Role, runs: RunsOfArm, baseline: RunsOfArm) -> ArmResult:
    measured = [_metrics(record, baseline.get(seed)) for seed, record in runs.items()]
    names = dict.fromkeys(metric for found in measured for metric in found)
    corruptions: dict[str, tuple[MeanSD, ...]] = {}
    robust = [record.robustness for record in runs.values() if record.robustness]
    for corruption in dict.fromkeys(key for each in robust for key in each):
        rows = [each[corruption] for each in robust if corruption in each]
        severities = min(len(row) for row in rows)
        corruptions[corruption] = tuple(mean_sd([row[level] for row in rows]) for level in range(severities))
    return ArmResult(
        name,
        role,
        tuple(runs),
        {metric: mean_sd([found[metric] for found in measured if metric in found]) for metric in names},
        corruptions,
        mean_sd([record.seconds for record in runs.values()]),
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
    test = compare_images(first, second)
    return Contrast(arm, against, kind, seeds, metrics, test, all_seeds)


def compare_images(first: RunRecord, second: RunRecord) -> McNemar | None:
    """Return McNemar's test of two runs on the same images, None where an answer is not simply correct or wrong."""
    if first.label_form != "single":
        return None
    return mcnemar(*map(np.asarray, (first.labels, first.predictions, second.predictions)))


def _unit(record: RunRecord) -> str:
    """Return the unit of differences in words: points, of which score where it is not accuracy."""
    return "points" if record.label_form == "single" else f"points of {record.task.score_title}"


def _notes(runs: Mapping[str, RunsOfArm], names: Sequence[str]) -> tuple[str, ...]:
    """Return notes on how to read the numbers, first on missing runs."""
    every = sorted({seed for found in runs.values() for seed in found})
    notes = []
    for name in names:
        missing = [seed for seed in every if seed not in runs[name]]
        if missing:
            notes.append(
                f"{name} has no run of seed{'s' if len(missing) > 1 else ''} {', '.join(map(str, missing))}; it is "
                f"compared on the seeds that it shares with the other arm."
            )
    if next(iter(runs[names[0]].values())).label_form != "single":
        notes.append(
            "Images have several classes or none, so the main score is mAP, the mean over classes of the average "
            "precision. McNemar's test is left out: it needs one answer per image that is correct or wrong."
        )
    return (
        *notes,
        "Differences are paired by seed. Intervals are 95 % percentile bootstrap intervals of the mean over seeds, "
        "which are too narrow for few seeds (with five, they contain the true mean in about 83 of 100 experiments). "
        "p comes from the exact two-sided paired permutation test over seeds and is not corrected for the number of "
        "comparisons.",
    )
