"""The report of a comparison, from its records, and from its run directories for the sections that need weights."""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from marnet.comparison.arms import main_arm, placebos_of
from marnet.comparison.cells import show_difference
from marnet.comparison.record_store import read_comparison, record_paths
from marnet.comparison.records import RunRecord
from marnet.comparison.result_tables import METRICS, result_tables, show_mean_sd
from marnet.comparison.summary import BASELINE, Results, group_records, summarise
from marnet.errors import MarnetError, RunDirectoryError
from marnet.inference import Predictor, SplitOutputs
from marnet.reports.blocks import KeyMetric, Report
from marnet.reports.contents import build_sections
from marnet.reports.context import ComparisonOutcome, ReportContext, Unavailable
from marnet.reports.page import check_report_target, write_plots, write_report
from marnet.reports.plots.style import line_marks
from marnet.reports.sections.settings import configuration_text, environment_lines
from marnet.runs.code import AllowCode

_logger = logging.getLogger("marnet")
REPORT, PLOTS, WORK, PLAN = "report.html", "plots", "work", "comparison.yaml"


def is_comparison(folder: Path) -> bool:
    """Return whether a folder holds records of a comparison."""
    return bool(record_paths(folder))


def write_comparison_report(
    out: Path, *, page: Path | None = None, baseline: str | None = None, allow_code: AllowCode = False
) -> Path:
    """Write the page and the plots of the comparison in `out` and return the path of the page.

    The results (results.md, results.json and tables) are written by `comparison.results`. Features and case studies
    need weights, and are made from the run directories `out`/work/ARM/seed-N that are there. A section whose input is
    missing is listed on the page with the command that makes it.

    Args:
        out: the folder of the comparison, with runs/ARM/seed-N.json. The plots are written to `out`/plots.
        page: the HTML file; `out`/report.html by default.
        baseline: the arm that the others are compared with, which must have a run; None means image-only.
        allow_code: import code that the runs name (`module:PACKAGE.NAME`): all of it, or the given names. Without it,
            the sections that need the weights of such a run are left out and listed.

    Raises:
        RunDirectoryError: there are no records, none of them is of `baseline`, they cannot be compared, or `page` is
            another file.
    """
    target = comparison_page(out, page)
    report = _make_report(read_comparison(out, baseline=baseline), out, baseline or BASELINE, allow_code)
    try:
        write_plots(report, out / PLOTS)
    except RunDirectoryError as error:
        if page is None:
            raise
        _logger.warning("The page is written without its plots as files. %s", error)
    return write_report(report, target)


def comparison_page(out: Path, page: Path | None = None) -> Path:
    """Return the path of a comparison's page, `out`/report.html by default.

    Raises:
        RunDirectoryError: the path is a folder or another file.
    """
    target = page or out / REPORT
    check_report_target(target)
    return target


def _make_report(records: Sequence[RunRecord], out: Path, baseline: str, allow_code: AllowCode) -> Report:
    results = summarise(records, baseline)
    context = _make_context(results, group_records(records), out, allow_code)
    ours = context.first_records[context.arm]
    return Report(
        title=" against ".join([context.arm] if context.baseline is None else [context.arm, context.baseline]),
        summary=[_describe_data(results), results.verdict],
        key_metrics=_key_metrics(results, context.arm),
        sections=build_sections(context),
        configuration=configuration_text(ours.config),
        environment=environment_lines(ours.environment),
    )


def _make_context(
    results: Results, runs: Mapping[str, Mapping[int, RunRecord]], out: Path, allow_code: AllowCode
) -> ReportContext:
    names = [arm.arm for arm in results.arms]
    arm = main_arm(results.roles, baseline=results.baseline) or names[0]
    pair = [name for name in dict.fromkeys([results.baseline, arm]) if name in runs]
    methods = list(dict.fromkeys([*pair, *(each.arm for each in results.arms if each.role.kind == "method")]))
    placebos = placebos_of(arm, results.roles)
    command = f"marnet compare {out / PLAN}"
    return ReportContext(
        runs=runs,
        arm=arm,
        baseline=results.baseline if results.baseline in runs and results.baseline != arm else None,
        split=results.split,
        marks=line_marks(list(dict.fromkeys([*methods, *placebos, *names]))),
        methods=methods,
        placebos=placebos,
        reliability_of=pair,
        detailed=[arm],
        load_outputs=partial(_load_outputs, runs[arm], pair, out, command, allow_code),
        outcome=ComparisonOutcome(results=results, tables=result_tables(results), plan=out / PLAN, command=command),
    )


def _describe_data(results: Results) -> str:
    few = results.images[:2] == results.images
    images = " or ".join(map(str, results.images)) if few else f"{results.images[0]} to {results.images[-1]}"
    seeds = max(len(arm.seeds) for arm in results.arms)
    return (
        f"{len(results.arms)} arms were trained on {results.source}, each with up to {seeds} "
        f"seed{'s' if seeds > 1 else ''}, and evaluated on the {images} images of {results.classes} classes in the "
        f"split {results.split}, without any text."
    )


def _key_metrics(results: Results, arm: str) -> list[KeyMetric]:
    """Return the score of the main arm and its mean under corruption with the baseline's, and the difference."""
    ours, plain, contrast = results.arm(arm), results.arm(results.baseline), results.contrast(arm, results.baseline)
    if ours is None or plain is None or contrast is None:
        return []
    found = []
    task = results.task
    for name, label in ((task.score, task.score_title), (task.corrupted_score, f"{task.score_title} under corruption")):
        if name in ours.metrics and name in plain.metrics:
            texts = [show_mean_sd(each.metrics[name], METRICS[name]).text for each in (ours, plain)]
            found.append(KeyMetric(f"{METRICS[name].show(ours.metrics[name].mean)} %", f"{arm}, {label}",
                                   f"{texts[0]}; {results.baseline} {texts[1]}"))  # fmt: skip
    difference = show_difference(contrast.metrics.get(task.score))
    if difference is not None:
        value, _, interval = difference.text.partition(" ")
        note = f"95 % interval {interval}" if interval else ""
        found.append(KeyMetric(value, f"points of {task.score_title} over {results.baseline}", note))
    return found


def _load_outputs(
    ours: Mapping[int, RunRecord], pair: Sequence[str], out: Path, command: str, allow_code: AllowCode
) -> dict[str, SplitOutputs]:
    """Return the outputs of the first seed that has weights, by arm of the pair.

    Raises:
        Unavailable: there are no weights, or they cannot be used.
    """
    arm = pair[-1]
    seed = next((seed for seed in ours if _run_folder(out, arm, seed).is_dir()), None)
    if seed is None:
        where = _run_folder(out, arm, min(ours))
        path = out / "runs" / arm / f"seed-{min(ours)}.json"
        raise Unavailable(
            f"The trained weights are needed, but {where} is missing. To train that run again, move {path} away and "
            f"run:",
            command,
        )
    outputs: dict[str, SplitOutputs] = {}
    try:
        for name in pair:
            folder = _run_folder(out, name, seed)
            if name == arm or folder.is_dir():
                predictor = Predictor(folder, allow_code=allow_code)
                outputs[name] = predictor.outputs(predictor.manifest(), ours[seed].split)
    except MarnetError as error:
        raise Unavailable(f"The run in {_run_folder(out, arm, seed)} cannot be evaluated again: {error}") from None
    return outputs


def _run_folder(out: Path, arm: str, seed: int) -> Path:
    return out / WORK / arm / f"seed-{seed}"
