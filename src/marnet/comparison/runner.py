"""`compare`: every arm with every seed, a record for each finished run, and the results out of the records.

```
OUT/
  comparison.yaml              what was asked for
  runs/ARM/seed-N.json         the record of a finished run; it is never made twice
  work/ARM/seed-N/             the run directory while it trains; kept for seed 0 of each arm
  results.json, results.md, report.html
```
"""

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import yaml

from marnet.comparison.keys import learned_settings, record_key
from marnet.comparison.plan import (
    ComparisonConfig,
    ComparisonData,
    PlannedRun,
    base_config,
    fingerprint,
    plan_run,
    plan_runs,
)
from marnet.comparison.progress import ComparisonProgress, quiet_log
from marnet.comparison.records import RunRecord, read_record, write_record
from marnet.comparison.results import write_results
from marnet.comparison.single_run import clear_work, locked, perform
from marnet.data.sources import open_data
from marnet.errors import ConfigError, NonFiniteLossError, RunDirectoryError, suggest
from marnet.evaluation.evaluate import require_one_class


class ComparisonResult(NamedTuple):
    """What there is after a comparison."""

    out: Path
    records: tuple[RunRecord, ...]  # of all arms of the comparison
    trained: int  # runs that this call finished
    elsewhere: int  # runs that another process has in hand
    results: Path | None  # results.md


def run_comparison(comparison: ComparisonConfig, out: Path, *, methods: Sequence[str] = ()) -> ComparisonResult:
    """Do what is left of a comparison: train, judge and record every run that has no record yet.

    It may be killed at any time and started again: a recorded run is not repeated, an unfinished one resumes after its
    last epoch. Started twice at once it shares the runs out.

    Args:
        comparison: what to compare.
        out: the folder of the comparison.
        methods: names of the arms to run this time; none is all.

    Raises:
        RunDirectoryError: `out` holds a record that was made with other settings.
        NonFiniteLossError: the loss of a run became NaN; raised after all other runs are done.
        MarnetError: the data, an arm or a configuration cannot be used.
    """
    wanted = _choose_arms(comparison, methods)
    section = base_config(comparison).data
    manifest = open_data(section.source, section)
    require_one_class(manifest.label_form, manifest.source, "A comparison")
    manifest.split(comparison.split)  # refuses one without rows before any training
    data = ComparisonData(manifest, fingerprint(manifest))
    records = _read_own_records(comparison, out, data.fingerprint)
    runs = [run for run in plan_runs(comparison, data.fingerprint) if run.arm.name in wanted]
    _write_plan(comparison, out)
    for run in runs:
        if run.name in records:
            clear_work(out, run, keep=_kept(comparison, run))
    todo = [run for run in runs if run.name not in records]
    trained = 0
    failures = []
    with ComparisonProgress(runs, records) as progress:
        for run, following in zip_longest(todo, todo[1:]):
            with locked(out / "work" / f"{run.name}.lock") as free:
                if record_path(out, run).exists():  # another process has made it by now
                    progress.recorded(run, read_record(record_path(out, run)))
                    clear_work(out, run, keep=_kept(comparison, run))
                elif free:
                    try:
                        with quiet_log(trained > 0):
                            record = perform(run, comparison, data, out, progress)
                    except NonFiniteLossError as error:
                        failures.append(f"{run.name}: {error}")
                    else:
                        write_record(record, record_path(out, run))
                        clear_work(out, run, keep=_kept(comparison, run))
                        trained += 1
                        progress.finished(run, record)
            if following is not None and following.seed != run.seed:
                _write_results(_read_own_records(comparison, out, data.fingerprint), out)
    records = _read_own_records(comparison, out, data.fingerprint)
    results = _write_results(records, out)
    if failures:
        raise NonFiniteLossError(
            f"{len(failures)} of {len(runs)} runs failed; all others are recorded in {out / 'runs'}:\n  "
            + "\n  ".join(failures)
        )
    elsewhere = sum(run.name not in records for run in runs)
    return ComparisonResult(out, tuple(records.values()), trained, elsewhere, results)


def record_path(out: Path, run: PlannedRun) -> Path:
    """Where the record of a run stands."""
    return out / "runs" / f"{run.name}.json"


def _choose_arms(comparison: ComparisonConfig, methods: Sequence[str]) -> set[str]:
    names = [arm.name for arm in comparison.arms]
    for name in methods:
        if name not in names:
            raise ConfigError(
                f"The comparison has no arm {name!r}; it has {', '.join(names)}.{suggest(name, names)} "
                f"Correct --methods, or add the arm to the configuration."
            )
    return set(methods or names)


def _read_own_records(comparison: ComparisonConfig, out: Path, rows: str) -> dict[str, RunRecord]:
    """The records of this comparison's arms, by name of the run, all of them made with its settings."""
    records: dict[str, RunRecord] = {}
    foreign = []
    for arm in comparison.arms:
        for path in sorted((out / "runs" / arm.name).glob("seed-*.json")):
            record = read_record(path)
            run = plan_run(comparison, arm, record.seed, rows)
            if record_key(record) != run.key:
                foreign.append((path, _differences(record, run, comparison, rows)))
            elif comparison.corruptions and record.robustness is None:
                foreign.append((path, "it was not measured under corruptions, which the comparison now asks for"))
            records[run.name] = record
    if foreign:
        path, difference = foreign[0]
        others = f" The same goes for {len(foreign) - 1} more." if len(foreign) > 1 else ""
        raise RunDirectoryError(
            f"{path} is the record of a run with other settings: {difference}.{others} Nothing was changed. Choose "
            f"another --out, put the settings back, or move the old records away to run those arms again."
        )
    return records


def _differences(record: RunRecord, run: PlannedRun, comparison: ComparisonConfig, rows: str) -> str:
    before, now = learned_settings(record.config), learned_settings(run.config.model_dump(mode="json"))
    for name, old, new in (
        ("placebo", record.placebo, run.arm.placebo),
        ("split", record.split, comparison.split),
        ("label_budget", record.label_budget, comparison.label_budget),
        ("text_budget", record.text_budget, comparison.text_budget),
        ("the rows of the data", record.rows, rows),
    ):
        before[name], now[name] = old, new
    shown = [
        f"{name} was {before[name]!r} and is now {now[name]!r}"
        for name in before
        if name in now and before[name] != now[name]
    ]
    if not shown:  # else what only one of them has belongs to a part that this difference switches on or off
        shown = [f"{name} is no setting of it any more" for name in before if name not in now]
        shown += [f"{name} is new" for name in now if name not in before]
    more = f" and {len(shown) - 5} more" if len(shown) > 5 else ""
    return (", ".join(shown[:5]) + more) or f"its key {record.key} is not {run.key}"


def _kept(comparison: ComparisonConfig, run: PlannedRun) -> bool:
    return comparison.keep_runs == "all" or run.seed == 0


def _write_plan(comparison: ComparisonConfig, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    plan = comparison.model_copy(update={"out": out}).model_dump(mode="json")
    partial = out / "comparison.yaml.partial"
    partial.write_text(yaml.safe_dump(plan, sort_keys=False, allow_unicode=True), encoding="utf-8")
    partial.replace(out / "comparison.yaml")


def _write_results(records: dict[str, RunRecord], out: Path) -> Path | None:
    """results.json, results.md and tables; None before there is a record."""
    if not records:
        return None
    with locked(out / "work" / "results.lock", wait=True):
        return write_results(list(records.values()), out)
