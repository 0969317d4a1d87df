"""The score under corruption, top-1 or mAP: by severity, and corruption by method."""

from collections.abc import Mapping, Sequence

import numpy as np

from marnet.comparison.summary import ArmResult, Results
from marnet.comparison.tables import Table
from marnet.evaluation.corruption_metrics import groups_of, is_measured
from marnet.metrics import capitalised
from marnet.reports.blocks import Block, Panel, Plots, Section
from marnet.reports.context import ReportContext, Unavailable
from marnet.reports.plots.robustness import corruption_map, severity_curves
from marnet.reports.plots.style import Mark
from marnet.tasks import Task

TITLE = "Robustness"


def build(context: ReportContext) -> Section:
    """Build the section of a comparison that measured corruptions.

    Raises:
        Unavailable: there is no comparison, or it measured no corruptions.
    """
    comparison = context.comparison
    if not any(arm.corruptions for arm in comparison.results.arms):
        raise Unavailable(
            f"No run was evaluated under corruptions. Set `corruptions: true` and a new folder `out` in "
            f"{comparison.plan}, then run:",
            comparison.command,
        )
    marks = context.marks_of([*context.methods, *context.placebos])
    return robustness_section(comparison.results, marks, comparison.tables)


def robustness_section(results: Results, marks: Mapping[str, Mark], tables: Mapping[str, Table]) -> Section:
    """Return the table of means, curves by severity, a map of corruption by method, and the table of each corruption.

    Args:
        results: of the comparison.
        marks: the arms with curves; the map and the tables show all arms.
        tables: of the results; "robustness" and "corruptions" are shown if present.
    """
    measured = [arm for arm in results.arms if arm.corruptions]
    names = list(dict.fromkeys(name for arm in measured for name in arm.corruptions))
    task = results.task
    blocks: list[Block] = [_map_block(measured, names, results.baseline, task)]
    drawn = [arm for arm in measured if arm.arm in marks]
    if drawn:
        shown = {arm.arm: marks[arm.arm] for arm in drawn}
        blocks = [*_mean_blocks(drawn, shown, task), *blocks, _each_block(drawn, names, shown, task)]
    means, each = ([tables[name]] if name in tables else [] for name in ("robustness", "corruptions"))
    return Section(title=TITLE, blocks=[*means, *blocks, *each])


def _mean_blocks(arms: Sequence[ArmResult], marks: Mapping[str, Mark], task: Task) -> list[Block]:
    """Return one panel for each group of corruptions that some arm was measured on completely."""
    panels = []
    for group in groups_of(name for arm in arms for name in arm.corruptions):
        mean = {arm.arm: _curve(arm, group.names, task) for arm in arms if is_measured(arm.corruptions, group.names)}
        if mean:
            figure = severity_curves(mean, marks, f"{capitalised(task.score_title)} under corruption ({group.title})")
            words = f"Mean {task.score_title} by severity of the corruption ({group.title}): {', '.join(mean)}."
            panels.append(Panel(figure, words, f"robustness{group.ending.replace('_', '-')}"))
    caption = (
        "Mean over corruptions and all seeds: the standard ones of ImageNet-C, its four held-out ones, and ours "
        "(viewpoint, lighting, occlusion), as far as measured. Every method sees the same corrupted pixels."
    )
    return [Plots(panels=panels, caption=caption, legend=tuple(marks.values()))] if panels else []


def _each_block(arms: Sequence[ArmResult], names: Sequence[str], marks: Mapping[str, Mark], task: Task) -> Plots:
    each = {name: {arm.arm: _curve(arm, [name], task) for arm in arms if name in arm.corruptions} for name in names}
    every = [value for curves in each.values() for curve in curves.values() for value in curve if not np.isnan(value)]
    limits = (min(every) - 0.02, max(every) + 0.02)
    return Plots(
        panels=[
            Panel(
                severity_curves(curves, marks, name, small=True, limits=limits),
                f"{capitalised(task.score_title)} by severity of {name}.",
                f"robustness-{_file_name(name)}",
            )
            for name, curves in each.items()
            if curves
        ],
        caption=f"{capitalised(task.score_title)} by severity, from 0 (uncorrupted) to the worst, for each corruption "
        f"on the same scale.",
        legend=tuple(marks.values()),
        layout="small",
    )


def _file_name(corruption: str) -> str:
    return corruption.replace(":", "-")  # of module:PACKAGE.NAME; some systems refuse a colon in a file's name


def _curve(arm: ArmResult, names: Sequence[str], task: Task) -> list[float]:
    """Return the mean score over corruptions by severity, uncorrupted first."""
    clean = arm.metrics[task.score].mean if task.score in arm.metrics else float("nan")
    severities = min(len(arm.corruptions[name]) for name in names)
    means = [np.mean([arm.corruptions[name][level].mean for name in names]) for level in range(severities)]
    return [clean, *map(float, means)]


def _map_block(measured: Sequence[ArmResult], names: Sequence[str], baseline: str, task: Task) -> Plots:
    columns = [arm.arm for arm in measured]
    accuracies = np.array(
        [
            [
                np.mean([each.mean for each in arm.corruptions[name]]) if name in arm.corruptions else np.nan
                for arm in measured
            ]
            for name in names
        ]
    )
    reference = baseline if baseline in columns else columns[0]
    figure = corruption_map(
        accuracies,
        rows=names,
        columns=columns,
        reference=columns.index(reference),
        title=f"{capitalised(task.score_title)} by corruption, %, mean over severities and seeds",
    )
    return Plots(
        panels=[Panel(figure, f"Map of {task.score_title}: corruptions by methods.", "robustness-map")],
        caption=f"Colour shows how far a method is above {reference} (blue) or below it (orange) under a corruption; "
        f"the strongest colour marks the largest difference on the map.",
        layout="wide",
    )
