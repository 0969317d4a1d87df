"""The tables of a comparison, for its report, its Markdown and its LaTeX."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from marnet.comparison.arms import ABLATIONS
from marnet.comparison.cells import show_difference, show_p
from marnet.comparison.long_tail import PARTS, long_tail_table, part_name
from marnet.comparison.new_class_results import new_class_table
from marnet.comparison.new_classes import NEW_CLASS
from marnet.comparison.statistics import McNemar, MeanSD
from marnet.comparison.summary import END, ArmResult, Contrast, Results
from marnet.comparison.tables import CellValue, Column, Shown, Table
from marnet.comparison.verdict import format_p, points
from marnet.evaluation.corruption_metrics import GROUPS, OTHER_ENDING, RELATIVE_ERROR
from marnet.methods import FULL
from marnet.metrics import capitalised
from marnet.tasks.multi import MultiLabel
from marnet.tasks.single import SingleLabel


class MetricFormat(NamedTuple):
    """The format of a metric in tables."""

    title: str
    scale: float  # 100 for fractions shown in per cent
    digits: int
    best: Literal["max", "min"] | None

    def show(self, value: float) -> str:
        """Format a value in the unit of the title."""
        return f"{self.scale * value:.{self.digits}f}"


_UNDER_CORRUPTION = {
    f"{metric}{ending}": shown._replace(title=f"{shown.title} ({title})")
    for ending, title in (*((group.ending, group.title) for group in GROUPS), (OTHER_ENDING, "other"))
    for metric, shown in (
        *(
            (task.corrupted_score, MetricFormat(f"corrupted {task.score_title}, %", 100, 1, "max"))
            for task in (SingleLabel, MultiLabel)
        ),
        (RELATIVE_ERROR, MetricFormat("relative error", 1, 2, "min")),
    )
}
_SCORES = {
    name: shown
    for task in (SingleLabel, MultiLabel)
    for name, shown in (
        (task.score, MetricFormat(f"{task.score_title}, %", 100, 1, "max")),
        (
            f"{task.score}{END}",
            MetricFormat(f"{task.score_title} over the last quarter of epochs, %", 100, 1, "max"),
        ),
    )
}
METRICS = {
    **_SCORES,
    "top5": MetricFormat("top-5, %", 100, 1, "max"),
    "micro_f1": MetricFormat("micro F1, %", 100, 1, "max"),
    "macro_f1": MetricFormat("macro F1, %", 100, 1, "max"),
    "macro_recall": MetricFormat("macro recall, %", 100, 1, "max"),
    "exact_match": MetricFormat("exact match, %", 100, 1, "max"),
    "hamming_loss": MetricFormat("Hamming loss, %", 100, 1, "min"),
    "nll": MetricFormat("NLL, nats", 1, 3, "min"),
    "ece": MetricFormat("ECE, %", 100, 1, "min"),
    "brier": MetricFormat("Brier", 1, 3, "min"),
    "aurc": MetricFormat("AURC, %", 100, 1, "min"),
    **_UNDER_CORRUPTION,
}


def metric_format(name: str) -> MetricFormat:
    """Return the format of a metric; a metric that is not in `METRICS` has three decimals and no best value."""
    return METRICS.get(name, MetricFormat(name, 1, 3, None))


def result_tables(results: Results) -> dict[str, Table]:
    """Return the tables that have rows, by name.

    These are main, text, baselines, ablation, robustness, corruptions, long-tail, new-classes and mcnemar.
    """
    tables = {
        "main": _main_table(results),
        "text": _text_table(results),
        "baselines": _text_baseline_table(results),
        "ablation": _ablation_table(results),
        "robustness": _robustness_table(results),
        "corruptions": _corruption_table(results),
        "long-tail": long_tail_table(
            [(arm.arm, arm.metrics) for arm in results.arms],
            {each.arm: each.metrics for each in results.contrasts if each.kind == "baseline"},
        ),
        "new-classes": new_class_table(results.new_classes),
        "mcnemar": mcnemar_table(
            [
                (f"{each.arm} and {each.against}", each.seeds[0], each.mcnemar)
                for each in results.contrasts
                if each.mcnemar is not None and each.kind != "ablation"
            ]
        ),
    }
    return {name: table for name, table in tables.items() if table.rows}


def show_mean_sd(found: MeanSD, shown: MetricFormat) -> Shown:
    """Format mean and deviation, such as "63.4 ± 0.5"; a single run has no deviation."""
    text = shown.show(found.mean)
    return Shown(found.mean, text if found.n < 2 else f"{text} \N{PLUS-MINUS SIGN} {shown.show(found.sd)}")


def _difference_columns(title: str) -> list[Column]:
    return [Column(f"{title}, points [95 %]", points), Column("p", format_p)]


def _main_table(results: Results) -> Table:
    names = dict.fromkeys(metric for arm in results.arms for metric in arm.metrics)
    elsewhere = {*_UNDER_CORRUPTION, *map(part_name, PARTS)}  # in tables of their own, as are those of new classes
    return _metric_table(
        results,
        results.arms,
        [
            name
            for name in dict.fromkeys((*METRICS, *names))
            if name in names and name not in elsewhere and not name.startswith(NEW_CLASS)
        ],
        title=f"Metrics on {results.split}, mean \N{PLUS-MINUS SIGN} standard deviation over seeds",
        note="The best mean of each column is marked, even if its lead may be chance. Differences are paired by seed; "
        "the interval is a bootstrap over seeds, p comes from the exact permutation test.",
    )


def _robustness_table(results: Results) -> Table:
    measured = [arm for arm in results.arms if any(name in arm.metrics for name in _UNDER_CORRUPTION)]
    return _metric_table(
        results,
        measured,
        [name for name in _UNDER_CORRUPTION if any(name in arm.metrics for arm in measured)],
        title=f"Under corruption on {results.split}, mean \N{PLUS-MINUS SIGN} standard deviation over seeds",
        note=f"For each group of corruptions that was measured completely: {results.task.score_title}, the mean over "
        f"its corruptions and severities; and the relative error, {_error_of(results)} {results.baseline}, mean over "
        f"corruptions. A relative error below 1 is better than {results.baseline}.",
    )


def _error_of(results: Results) -> str:
    if results.label_form == "single":
        return "errors divided by those of"
    return f"1 minus {results.task.score_title}, divided by that of"


def _metric_table(results: Results, arms: Sequence[ArmResult], names: Sequence[str], *, title: str, note: str) -> Table:
    """Return a table with one row per arm: the metrics `names`, the first with its difference to the baseline."""
    columns = [Column(shown.title, shown.show, shown.best) for shown in map(metric_format, names)]
    columns[1:1] = _difference_columns(f"difference to {results.baseline}")
    columns = [Column("method"), Column("seeds", "{:.0f}".format), *columns]
    rows: list[list[CellValue]] = []
    for arm in arms:
        contrast = results.contrast(arm.arm, results.baseline)
        difference = contrast.metrics.get(names[0]) if contrast is not None else None
        cells = [_metric_cell(arm, name) for name in names]
        rows.append([arm.arm, len(arm.seeds), cells[0], show_difference(difference), show_p(difference), *cells[1:]])
    return Table(title=title, columns=columns, rows=rows, note=note)


def _metric_cell(arm: ArmResult, name: str) -> CellValue:
    return show_mean_sd(arm.metrics[name], metric_format(name)) if name in arm.metrics else None


def _text_table(results: Results) -> Table:
    found = [contrast for contrast in results.contrasts if contrast.kind == "placebo"]
    return _contrast_table(
        results,
        found,
        title="Contribution of the text: each method minus its placebo",
        names=[f"{each.arm} minus {results.roles[each.against].text}" for each in found],
        note="A placebo is the same method, trained with texts that say nothing about the images. A gain that the "
        "placebo also shows is regularisation and does not come from the text.",
    )


def _text_baseline_table(results: Results) -> Table:
    found = [contrast for contrast in results.contrasts if contrast.kind == "text-baseline"]
    return _contrast_table(
        results,
        found,
        title=f"{FULL} minus each baseline that learns from the same text",
        names=[f"{each.arm} minus {each.against}" for each in found],
        note="A difference below 0 favours the baseline.",
    )


def _contrast_table(
    results: Results, contrasts: Sequence[Contrast], *, title: str, names: Sequence[str], note: str
) -> Table:
    task = results.task
    corrupted = any(task.corrupted_score in each.metrics for each in contrasts)
    columns = [Column("difference"), Column("pairs", "{:.0f}".format), *_difference_columns(task.score_title)]
    columns += _difference_columns(f"corrupted {task.score_title}") if corrupted else []
    rows: list[list[CellValue]] = []
    for name, contrast in zip(names, contrasts, strict=True):
        clean, under = contrast.metrics.get(task.score), contrast.metrics.get(task.corrupted_score)
        row: list[CellValue] = [name, len(contrast.seeds), show_difference(clean), show_p(clean)]
        rows.append([*row, show_difference(under), show_p(under)] if corrupted else row)
    return Table(title=title, columns=columns, rows=rows, note=note)


def _ablation_table(results: Results) -> Table:
    """Table 2 of the paper; empty where no ablation beside the full method and the baseline was run."""
    present = [arm for name in ABLATIONS if (arm := results.arm(name)) is not None]
    score, shown = results.task.score, METRICS[results.task.score]
    rows: list[list[CellValue]] = []
    for arm in present if len(present) > 2 and results.arm(FULL) is not None else ():
        contrast = results.contrast(arm.arm, FULL)
        difference = contrast.metrics.get(score) if contrast is not None else None
        row: list[CellValue] = [ABLATIONS[arm.arm], arm.arm, len(arm.seeds), _metric_cell(arm, score)]
        rows.append([*row, show_difference(difference), show_p(difference)])
    columns = [
        Column("left out"),
        Column("arm"),
        Column("seeds", "{:.0f}".format),
        Column(shown.title, shown.show, "max"),
    ]
    return Table(
        title="Contribution of each part (Table 2 of the paper)",
        columns=[*columns, *_difference_columns(f"difference to {FULL}")],
        rows=rows,
        note="If a part helps, leaving it out gives a negative difference.",
    )


def _corruption_table(results: Results) -> Table:
    measured = [arm for arm in results.arms if arm.corruptions]
    names = dict.fromkeys(name for arm in measured for name in arm.corruptions)
    shown = METRICS[results.task.score]
    rows: list[list[CellValue]] = []
    for name in names:
        means: list[CellValue] = []
        for arm in measured:
            severities = arm.corruptions.get(name, ())
            means.append(sum(each.mean for each in severities) / len(severities) if severities else None)
        rows.append([name, *means])
    return Table(
        title=f"{capitalised(results.task.score_title)} by corruption, %, mean over severities and seeds",
        columns=[Column("corruption"), *(Column(arm.arm, shown.show) for arm in measured)],
        rows=rows,
    )


def mcnemar_table(tests: Sequence[tuple[str, int, McNemar]]) -> Table:
    """Return the table of McNemar's tests, each with the names of the two arms and the seed of the first."""
    rows: list[list[CellValue]] = [
        [names, seed, test.only_first, test.only_second, format_p(test.p)] for names, seed, test in tests
    ]
    count = "{:.0f}".format
    return Table(
        title="Two methods on the same images: McNemar's exact test",
        columns=[
            Column("first and second"),
            Column("seed", count),
            Column("only the first correct", count),
            Column("only the second correct", count),
            Column("p", format_p),
        ],
        rows=rows,
        note="For the runs of one seed: do they differ by more than the choice of the images explains? The test says "
        "nothing about other seeds.",
    )
