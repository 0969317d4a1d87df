"""The report of one or several runs, judged again from their run directories."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from marnet.comparison.judge import JudgedRun, judge
from marnet.comparison.records import RunRecord
from marnet.comparison.result_tables import mcnemar_table, metric_format
from marnet.comparison.results import record_paths
from marnet.comparison.statistics import mcnemar
from marnet.comparison.summary import BASELINE
from marnet.comparison.tables import CellValue, Column, Table
from marnet.errors import RunDirectoryError
from marnet.inference import load
from marnet.metrics import percent
from marnet.reports.blocks import Gap, Gaps, KeyFigure, Report, Section
from marnet.reports.page import check_report_target, write_figures, write_report
from marnet.reports.plots.style import line_marks
from marnet.reports.sections.cases import case_section
from marnet.reports.sections.classes import class_section
from marnet.reports.sections.confidence import confidence_section
from marnet.reports.sections.features import feature_section
from marnet.reports.sections.settings import configuration_text, environment_lines, settings_section
from marnet.reports.sections.training import training_section
from marnet.runs.directory import CONFIG


def write_run_report(
    runs: Sequence[Path | str], page: Path | str, *, split: str = "val", figures: Path | None = None
) -> Path:
    """Judge runs on a split of their own rows, write a report and return its path.

    Args:
        runs: run directories.
        page: the HTML file to write.
        split: train, val or test.
        figures: a folder to write every drawing to as SVG and PNG.

    Raises:
        MarnetError: a folder is not a run, a run has images with several classes, the split is empty, or an image can
            no longer be read.
    """
    target = Path(page)
    check_report_target(target)
    folders = [Path(run) for run in runs]
    for folder in folders:
        _check_is_run(folder)
    judged = {}
    for name, folder in _name_runs(folders).items():
        predictor = load(folder)
        judged[name] = judge(predictor, predictor.manifest(), split, arm=name)
    report = _make_report(judged, split)
    if figures is not None:
        write_figures(report, figures)
    return write_report(report, target)


def _check_is_run(folder: Path) -> None:
    if record_paths(folder):
        raise RunDirectoryError(
            f"{folder} holds a comparison, not a run. Report on it alone: 'marnet report {folder}'; or name the run "
            f"directories in {folder / 'work'}."
        )
    if folder.is_dir() and not (folder / CONFIG).is_file():
        raise RunDirectoryError(
            f"{folder} is neither a run nor a comparison: it has no {CONFIG} and no runs/ARM/seed-N.json. Needed a run "
            f"directory written by 'marnet train --out {folder}', or the folder of 'marnet compare'."
        )


def _name_runs(folders: Sequence[Path]) -> dict[str, Path]:
    """Runs by the name of their folder, by the whole path where two would have the same name."""
    times = Counter(folder.resolve().name for folder in folders)
    return {
        folder.resolve().name if times[folder.resolve().name] == 1 else str(folder): folder
        for folder in dict.fromkeys(folders)
    }


def _make_report(judged: Mapping[str, JudgedRun], split: str) -> Report:
    records = {name: run.record for name, run in judged.items()}
    outputs = {name: run.outputs for name, run in judged.items()}
    arm = next((name for name, record in records.items() if record.config["method"] == "marnet"), list(records)[-1])
    ours = records[arm]
    baseline = next(
        (
            name
            for name, record in records.items()
            if record.config["method"] == BASELINE and name != arm and _same_images(record, ours)
        ),
        None,
    )
    compared = {name: {0: record} for name, record in records.items()}  # paired, whatever their seeds
    marks = line_marks(list(records))
    same_classes = {name: found for name, found in outputs.items() if records[name].classes == ours.classes}
    made = [
        _figure_section(records, split),
        class_section(compared, arm, baseline),
        confidence_section(compared, marks, reliability_of=list(records)[:4]),
        feature_section(same_classes, ours.classes, seed=ours.seed),
        case_section(same_classes, ours.classes),
        training_section(
            {name: record.history for name, record in records.items()}, marks=marks, terms_of=list(records)
        ),
        settings_section({name: record.config for name, record in records.items()}) if len(records) > 1 else None,
    ]
    sections = [section for section in made if isinstance(section, Section)]
    gaps = [gap for gap in made if isinstance(gap, Gap)]
    gaps += [
        Gap(f"Features and cases of {name}", f"Its classes are not those of {arm}; report on it alone.")
        for name in records
        if name not in same_classes
    ]
    gaps.append(
        Gap("Intervals, placebos, robustness", "They take several seeds of several methods:", "marnet compare --help")
    )
    sections.append(Section(title="Not in this report", blocks=[Gaps(gaps=gaps)]))
    return Report(
        title=arm if len(records) == 1 else ", ".join(records),
        summary=_summarise(records, split),
        key_figures=[
            KeyFigure(
                percent(record.metrics["top1"]), f"{name}, top-1 on {split}", f"top-5 {percent(record.metrics['top5'])}"
            )
            for name, record in list(records.items())[:4]
        ],
        sections=sections,
        configuration=configuration_text(ours.config),
        environment=environment_lines(ours.environment),
    )


def _summarise(records: Mapping[str, RunRecord], split: str) -> list[str]:
    first = next(iter(records.values()))
    one = len(records) == 1
    sentences = [
        f"{'One run' if one else f'{len(records)} runs'}, judged on {len(first.labels)} images of "
        f"{len(first.classes)} classes of {first.source}, split {split}, without any text."
    ]
    if split == "val":
        sentences.append("This split chose the epoch that was kept, so that its figures flatter a little.")
    if not one:
        sentences.append("One seed each: a difference of a few points may be chance.")
    return sentences


def _same_images(first: RunRecord, second: RunRecord) -> bool:
    return first.classes == second.classes and first.labels == second.labels


def _figure_section(records: Mapping[str, RunRecord], split: str) -> Section:
    names = [name for name in next(iter(records.values())).metrics if name != "n"]
    formats = [metric_format(name) for name in names]
    rows: list[list[CellValue]] = [
        [name, str(record.config["method"]), len(record.labels), *(record.metrics.get(each) for each in names)]
        for name, record in records.items()
    ]
    columns = [Column("run"), Column("method"), Column("images", "{:.0f}".format)]
    columns += [Column(shown.title, shown.show, shown.best) for shown in formats]
    blocks = [Table(title=f"Figures on {split}", columns=columns, rows=rows)]
    first, *others = records.values()
    tests = [
        (f"{first.arm} and {other.arm}", first.seed, mcnemar(first.labels, first.predictions, other.predictions))
        for other in others
        if _same_images(first, other)
    ]
    if tests:
        blocks.append(mcnemar_table(tests))
    return Section(title="Figures", blocks=blocks)
