"""The report of one or several runs, scored again from their run directories."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from marnet.comparison.record_store import record_paths
from marnet.comparison.records import RunRecord
from marnet.comparison.scoring import ScoredRun, score_run
from marnet.comparison.summary import BASELINE
from marnet.errors import ConfigError, MarnetError, RunDirectoryError
from marnet.inference import Predictor
from marnet.jsonfile import read_json
from marnet.metrics import percent
from marnet.modules.calibration import FittedCalibration
from marnet.reports.blocks import Gap, KeyMetric, Report
from marnet.reports.contents import build_sections
from marnet.reports.context import ReportContext
from marnet.reports.page import check_report_target, write_plots, write_report
from marnet.reports.plots.style import line_marks
from marnet.reports.sections.metrics import same_images
from marnet.reports.sections.settings import configuration_text, environment_lines
from marnet.runs.code import AllowCode
from marnet.runs.directory import CONFIG, METRICS

MOST_KEY_METRICS = 4  # and most runs in the reliability diagram
_SECOND = {"top5": "top-5", "micro_f1": "micro F1"}  # the metric below the score: the first that a run has


def write_run_report(
    runs: Sequence[Path | str],
    page: Path | str,
    *,
    split: str = "val",
    data: str | None = None,
    plots: Path | None = None,
    allow_code: AllowCode = False,
) -> Path:
    """Score runs on a split, write a report and return its path. Only the page and the plots are written.

    Args:
        runs: run directories.
        page: the HTML file to write.
        split: train, val or test.
        data: a data source to score the runs on instead of their own rows, such as their data at a new place; labels
            are matched by name.
        plots: a folder for every plot as SVG and PNG.
        allow_code: import code that a run names (`module:PACKAGE.NAME`); without it, such a run is refused.

    Raises:
        MarnetError: a folder is not a run, the runs differ in the form of their labels, the split is empty, or an image
            can no longer be read.
    """
    target = Path(page)
    check_report_target(target)
    folders = [Path(run) for run in runs]
    for folder in folders:
        _check_is_run(folder)
    scored = {}
    calibrations, unlabelled = {}, {}
    for name, folder in _name_runs(folders).items():
        predictor = Predictor(folder, allow_code=allow_code)
        run = score_run(predictor, predictor.rows(data, split), split, arm=name)
        calibrations[name] = predictor.calibration
        if sentence := _read_unlabelled(folder):
            unlabelled[name] = sentence
        scored[name] = run if data is None else run._replace(record=run.record.model_copy(update={"source": data}))
    _check_same_form(scored)
    report = _make_report(scored, split, calibrations, unlabelled)
    if plots is not None:
        write_plots(report, plots)
    return write_report(report, target)


def _check_is_run(folder: Path) -> None:
    if record_paths(folder):
        raise RunDirectoryError(
            f"{folder} holds a comparison, not a run. Report on it alone with 'marnet report {folder}', or name the "
            f"run directories in {folder / 'work'}."
        )
    if folder.is_dir() and not (folder / CONFIG).is_file():
        raise RunDirectoryError(
            f"{folder} is neither a run nor a comparison: it has no {CONFIG} and no runs/ARM/seed-N.json. Pass a run "
            f"directory that 'marnet train' wrote, or the folder of 'marnet compare'."
        )


def _name_runs(folders: Sequence[Path]) -> dict[str, Path]:
    """Return the runs by the name of their folder, or by their whole path if two would have the same name."""
    times = Counter(folder.resolve().name for folder in folders)
    return {
        folder.resolve().name if times[folder.resolve().name] == 1 else str(folder): folder
        for folder in dict.fromkeys(folders)
    }


def _read_unlabelled(run: Path) -> str:
    """Return how a run used the rows without a label, in a sentence; "" if it had none, or does not say."""
    try:
        found = read_json(run / METRICS)["data"]["unlabelled"]["reason"]
    except (KeyError, TypeError, MarnetError, OSError):
        return ""
    return str(found)


def _make_report(
    scored: Mapping[str, ScoredRun],
    split: str,
    calibrations: Mapping[str, FittedCalibration | None],
    unlabelled: Mapping[str, str],
) -> Report:
    records = {name: run.record for name, run in scored.items()}
    arm = next((name for name, record in records.items() if record.config["method"] == "marnet"), list(records)[-1])
    ours = records[arm]
    other_classes = [name for name, record in records.items() if record.classes != ours.classes]
    outputs = {name: run.outputs for name, run in scored.items() if name not in other_classes}
    names = list(records)
    context = ReportContext(
        runs={name: {0: record} for name, record in records.items()},  # paired, whatever their seeds
        arm=arm,
        baseline=_find_baseline(records, arm),
        split=split,
        marks=line_marks(names),
        methods=names,
        reliability_of=names[:MOST_KEY_METRICS],
        detailed=names,
        load_outputs=lambda: outputs,
        calibrations=calibrations,
        unlabelled=unlabelled,
    )
    gaps = [
        Gap(f"Features and cases of {name}", f"Its classes are not those of {arm}. Report on it alone.")
        for name in other_classes
    ]
    return Report(
        title=arm if len(records) == 1 else ", ".join(records),
        summary=_summarise(records, split),
        key_metrics=[_key_metric(name, record, split) for name, record in list(records.items())[:MOST_KEY_METRICS]],
        sections=build_sections(context, gaps=tuple(gaps)),
        configuration=configuration_text(ours.config),
        environment=environment_lines(ours.environment),
    )


def _check_same_form(scored: Mapping[str, ScoredRun]) -> None:
    forms = {name: run.record.label_form for name, run in scored.items()}
    if len(set(forms.values())) > 1:
        found = ", ".join(f"{name} ({form})" for name, form in forms.items())
        raise ConfigError(
            f"The runs differ in `data.labels`, so they have no score in common: {found}. Report on those of one form "
            f"at a time."
        )


def _key_metric(name: str, record: RunRecord, split: str) -> KeyMetric:
    score, title = record.task.score, record.task.score_title
    note = next(
        f"{label} {percent(record.metrics[second])}" for second, label in _SECOND.items() if second in record.metrics
    )
    return KeyMetric(percent(record.metrics[score]), f"{name}, {title} on {split}", note)


def _find_baseline(records: Mapping[str, RunRecord], arm: str) -> str | None:
    """Return the run of image-only that was scored on the same images as `arm`, None if there is none."""
    for name, record in records.items():
        if record.config["method"] == BASELINE and name != arm and same_images(record, records[arm]):
            return name
    return None


def _summarise(records: Mapping[str, RunRecord], split: str) -> list[str]:
    first = next(iter(records.values()))
    one = len(records) == 1
    sentences = [
        f"{'One run' if one else f'{len(records)} runs'}, evaluated on the {len(first.labels)} images of "
        f"{len(first.classes)} classes in the split {split} of {first.source}, without any text."
    ]
    chosen = [name for name, record in records.items() if record.chose_epoch]
    if split == "val" and chosen:
        whose = "" if one else f" of {', '.join(chosen)}"
        sentences.append(f"The epoch to keep{whose} was chosen on this split, so its metrics are slightly optimistic.")
    if not one:
        sentences.append("With one seed each, a difference of a few points may be chance.")
    return sentences
