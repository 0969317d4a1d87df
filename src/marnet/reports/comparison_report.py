"""The report of a comparison, from its records, and from its run directories for what needs weights."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from marnet.comparison.arms import main_arm, placebos_of
from marnet.comparison.records import RunRecord, read_records
from marnet.comparison.result_tables import METRICS, result_tables, show_difference, show_spread
from marnet.comparison.results import record_paths, write_results
from marnet.comparison.summary import BASELINE, Results, group_records, summarise
from marnet.errors import MarnetError, RunDirectoryError
from marnet.evaluation.corruption_metrics import MEAN_ACCURACY
from marnet.inference import SplitOutputs, load
from marnet.reports.blocks import Gap, Gaps, KeyFigure, Report, Section
from marnet.reports.page import check_report_target, write_figures, write_report
from marnet.reports.plots.style import Mark, line_marks
from marnet.reports.sections.cases import TITLE as CASES
from marnet.reports.sections.cases import case_section
from marnet.reports.sections.classes import class_section
from marnet.reports.sections.comparison import ablation_section, figure_section
from marnet.reports.sections.confidence import confidence_section
from marnet.reports.sections.features import TITLE as FEATURES
from marnet.reports.sections.features import feature_section
from marnet.reports.sections.robustness import robustness_section
from marnet.reports.sections.settings import configuration_text, environment_lines, settings_section
from marnet.reports.sections.training import training_section

REPORT, FIGURES, WORK, PLAN = "report.html", "figures", "work", "comparison.yaml"


def is_comparison(folder: Path) -> bool:
    """Whether a folder holds records of a comparison."""
    return bool(record_paths(folder))


def write_comparison_report(out: Path, *, page: Path | None = None, baseline: str | None = None) -> Path:
    """Write the report of the comparison in `out` and return its path.

    Results, tables and figures are written as well, into `out`, from its records; see `results.write_results`. What
    needs weights (features, case studies) is made from the run directories `out`/work/ARM/seed-N that are there; a
    section whose input is missing is named in the report with the command that makes it.

    Args:
        out: the folder of the comparison, with runs/ARM/seed-N.json.
        page: the HTML file; `out`/report.html by default.
        baseline: the arm that the others are compared with, which must have a run; None is image-only, if it has one.

    Raises:
        RunDirectoryError: there are no records, none of them is of `baseline`, they cannot be compared, or `page` is
            some other file.
    """
    target = page or out / REPORT
    check_report_target(target)
    paths = record_paths(out)
    if not paths:
        raise RunDirectoryError(
            f"{out} holds no record of a run; needed files runs/ARM/seed-N.json, as 'marnet compare' writes them; see "
            f"docs/comparing.md."
        )
    records = read_records(paths)
    arms = list(dict.fromkeys(record.arm for record in records))
    if baseline is not None and baseline not in arms:
        raise RunDirectoryError(
            f"There is no record of the baseline {baseline!r} in {out}; found {', '.join(arms)}. Run that arm as well, "
            f"or name another baseline."
        )
    write_results(records, out, baseline or BASELINE)
    report = _make_report(records, out, baseline or BASELINE)
    write_figures(report, out / FIGURES)
    return write_report(report, target)


def _make_report(records: Sequence[RunRecord], out: Path, baseline: str) -> Report:
    results = summarise(records, baseline)
    runs = group_records(records)
    names = [arm.arm for arm in results.arms]
    arm = main_arm(results.standings, baseline=baseline) or names[0]
    pair = [name for name in dict.fromkeys([baseline, arm]) if name in runs]
    placebos = placebos_of(arm, results.standings)
    methods = list(dict.fromkeys([*pair, *(each.arm for each in results.arms if each.standing.kind == "method")]))
    marks = line_marks(list(dict.fromkeys([*methods, *placebos, *names])))
    tables = result_tables(results)
    command = f"marnet compare {out / PLAN} --out {out}"
    first = {name: runs[name][min(runs[name])] for name in names}
    made = [
        figure_section(results, tables),
        ablation_section(tables, plan=out / PLAN, command=command),
        robustness_section(results, _pick(marks, [*methods, *placebos]), tables, command=f"{command}-corruptions"),
        class_section(runs, arm, baseline if baseline in runs else None),
        confidence_section(runs, _pick(marks, methods), reliability_of=pair),
        *_weight_sections(runs[arm], pair, out, command),
        training_section({name: first[name].history for name in methods}, marks=marks, terms_of=[arm]),
        settings_section({name: record.config for name, record in first.items()}),
    ]
    sections = [section for section in made if isinstance(section, Section)]
    gaps = [gap for gap in made if isinstance(gap, Gap)]
    if gaps:
        sections.append(Section(title="Not in this report", blocks=[Gaps(gaps=gaps)]))
    return Report(
        title=" against ".join(reversed(pair)),
        summary=[_describe_data(results), results.verdict],
        key_figures=_key_figures(results, arm),
        sections=sections,
        configuration=configuration_text(first[arm].config),
        environment=environment_lines(first[arm].environment),
    )


def _pick(marks: Mapping[str, Mark], names: Sequence[str]) -> dict[str, Mark]:
    return {name: marks[name] for name in names}


def _describe_data(results: Results) -> str:
    images = " or ".join(map(str, results.images))
    seeds = max(len(arm.seeds) for arm in results.arms)
    return (
        f"{len(results.arms)} arms were trained on {results.source}, each with up to {seeds} "
        f"seed{'s' if seeds > 1 else ''}, and judged on {images} images of {results.classes} classes, split "
        f"{results.split}, without any text."
    )


def _key_figures(results: Results, arm: str) -> list[KeyFigure]:
    """Top-1 and mean corruption accuracy of the main arm beside the baseline's, and the difference."""
    ours, plain, contrast = results.arm(arm), results.arm(results.baseline), results.contrast(arm, results.baseline)
    if ours is None or plain is None or contrast is None:
        return []
    found = []
    for name, label in (("top1", "top-1"), (MEAN_ACCURACY, "top-1 under corruption")):
        if name in ours.metrics and name in plain.metrics:
            texts = [show_spread(each.metrics[name], METRICS[name]).text for each in (ours, plain)]
            found.append(KeyFigure(f"{METRICS[name].show(ours.metrics[name].mean)} %", f"{arm}, {label}",
                                   f"{texts[0]}; {results.baseline} {texts[1]}"))  # fmt: skip
    difference = show_difference(contrast.metrics.get("top1"))
    if difference is not None:
        value, _, interval = difference.text.partition(" ")
        found.append(
            KeyFigure(
                value, f"points of top-1 over {results.baseline}", f"95 % interval {interval}" if interval else ""
            )
        )
    return found


def _weight_sections(
    ours: Mapping[int, RunRecord], pair: Sequence[str], out: Path, command: str
) -> list[Section | Gap]:
    """Features of the first seed that has weights, and case studies; gaps where they cannot be made."""
    arm = pair[-1]
    seed = next((seed for seed in ours if _run_folder(out, arm, seed).is_dir()), None)
    if seed is None:
        where = _run_folder(out, arm, min(ours))
        path = out / "runs" / arm / f"seed-{min(ours)}.json"
        reason = f"The trained weights are needed, and {where} is missing. To train that run again, move {path} away:"
        return [Gap(title, reason, command) for title in (FEATURES, CASES)]
    record = ours[seed]
    outputs: dict[str, SplitOutputs] = {}
    try:
        for name in pair:
            folder = _run_folder(out, name, seed)
            if name == arm or folder.is_dir():
                predictor = load(folder)
                outputs[name] = predictor.outputs(predictor.manifest(), record.split)
        features = feature_section(outputs, record.classes, seed=seed)
        return [features, case_section({arm: outputs[arm]}, record.classes)]
    except MarnetError as error:
        reason = f"The run in {_run_folder(out, arm, seed)} cannot be judged again: {error}"
        return [Gap(title, reason) for title in (FEATURES, CASES)]


def _run_folder(out: Path, arm: str, seed: int) -> Path:
    return out / WORK / arm / f"seed-{seed}"
