"""The runner of a comparison: it trains every arm with every seed, records each finished run and writes the results.

```
OUT/
  comparison.yaml              the plan
  runs/ARM/seed-N.json         the record of a finished run; a recorded run is never trained again
  work/ARM/seed-N/             the run directory while it trains; kept for seed 0 of each arm
  results.json, results.md     written from the records, with the files in tables/
```
"""

from collections.abc import Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import yaml

from marnet.atomic import write_text
from marnet.comparison.data import ComparisonData, check_images, open_comparison_data
from marnet.comparison.plan import (
    ComparisonConfig,
    PlannedRun,
    base_config,
    plan_runs,
)
from marnet.comparison.progress import ComparisonProgress, quiet_log
from marnet.comparison.record_store import read_own_records, record_path
from marnet.comparison.records import RunRecord, read_record, write_record
from marnet.comparison.results import write_results
from marnet.comparison.single_run import clear_work, perform
from marnet.data.manifest import Manifest
from marnet.errors import ConfigError, NonFiniteLossError, suggest
from marnet.runs.lock import locked
from marnet.stopping import stoppable


class ComparisonResult(NamedTuple):
    """The state of a comparison after a call."""

    out: Path
    records: tuple[RunRecord, ...]  # of all arms of the comparison
    trained: int  # runs that this call finished
    elsewhere: int  # runs that another process is training
    results: Path | None  # results.md; None before there is a record


class _Workshop(NamedTuple):
    """The inputs that every run of a comparison shares."""

    comparison: ComparisonConfig
    data: ComparisonData
    out: Path
    progress: ComparisonProgress

    def clear(self, run: PlannedRun) -> None:
        """Remove the leftovers of a recorded run from OUT/work."""
        clear_work(self.out, run, keep=self.comparison.keep_runs == "all" or run.seed == 0)

    def write_results(self) -> Path | None:
        """Write the results of all records that there are; return None before there is one."""
        records = read_own_records(self.comparison, self.out, self.data)
        if not records:
            return None
        with locked(self.out / "work" / "results.lock", wait=True):
            return write_results(list(records.values()), self.out)


def run_comparison(
    comparison: ComparisonConfig, out: Path, *, methods: Sequence[str] = (), manifest: Manifest | None = None
) -> ComparisonResult:
    """Complete a comparison: train, score and record every run that has no record yet, then write the results.

    A call may be killed at any time and repeated: recorded runs are not repeated, and an unfinished run resumes after
    its last epoch. Several calls at once share the runs. Results are also written after each seed, so that a comparison
    that is stopped has results of the seeds so far.

    Args:
        comparison: the arms, seeds and settings to compare.
        out: the folder of the comparison.
        methods: names of the arms to train in this call; all of them if empty.
        manifest: rows instead of those of `base.data.source`; not next to `base.data.features`, which has its own.

    Raises:
        RunDirectoryError: `out` holds a record that was made with other settings.
        NonFiniteLossError: the loss of a run became NaN; raised after all other runs are done.
        MarnetError: the data, an arm or a configuration cannot be used.
    """
    wanted = _choose_arms(comparison, methods)
    data = open_comparison_data(base_config(comparison), manifest)
    data.manifest.split(comparison.split)  # refuses a split without rows before any training
    if comparison.corruptions:
        check_images(data, comparison.split)
    records = read_own_records(comparison, out, data)
    planned = plan_runs(comparison, data.fingerprint, data.features)
    runs = [run for run in planned if run.arm.name in wanted]
    _write_plan(comparison, out)
    with stoppable(partial(way_on_of_comparison, out)), ComparisonProgress(runs, records) as progress:
        workshop = _Workshop(comparison, data, out, progress)
        for run in runs:
            if run.name in records:
                workshop.clear(run)
        trained, failures = _train_all([run for run in runs if run.name not in records], workshop)
    results = workshop.write_results()
    if failures:
        raise NonFiniteLossError(
            f"{len(failures)} of {len(runs)} runs failed. All others are recorded in {out / 'runs'}:\n  "
            + "\n  ".join(failures)
        )
    records = read_own_records(comparison, out, data)
    elsewhere = sum(run.name not in records for run in runs)
    return ComparisonResult(out, tuple(records.values()), trained, elsewhere, results)


def _train_all(runs: Sequence[PlannedRun], workshop: _Workshop) -> tuple[int, list[str]]:
    """Train runs seed by seed; return how many this process finished, and a sentence for each that failed."""
    trained = 0
    failures: list[str] = []
    for number, (_, of_one_seed) in enumerate(groupby(runs, key=lambda run: run.seed)):
        if number > 0:
            workshop.write_results()
        for run in of_one_seed:
            try:
                trained += _train_if_free(run, workshop, quiet=trained > 0)
            except NonFiniteLossError as error:
                failures.append(f"{run.name}: {error}")
    return trained, failures


def _train_if_free(run: PlannedRun, workshop: _Workshop, *, quiet: bool) -> bool:
    """Train and record a run unless another process does or did so; return whether this one did."""
    comparison, data, out, progress = workshop
    path = record_path(out, run)
    with locked(out / "work" / f"{run.name}.lock") as free:
        if path.exists():
            progress.recorded(run, read_record(path))
            workshop.clear(run)
            return False
        if not free:
            return False
        with quiet_log(quiet):
            record = perform(run, comparison, data, out, progress)
        write_record(record, path)
        workshop.clear(run)
        progress.finished(run, record)
        return True


def way_on_of_comparison(out: Path) -> str:
    """Return how to go on with a comparison that was stopped."""
    return (
        f"Start the comparison in {out} again to go on: recorded runs are kept, and the unfinished one resumes after "
        f"its last epoch."
    )


def _choose_arms(comparison: ComparisonConfig, methods: Sequence[str]) -> set[str]:
    names = [arm.name for arm in comparison.arms]
    for name in methods:
        if name not in names:
            raise ConfigError(
                f"The comparison has no arm {name!r}; it has {', '.join(names)}.{suggest(name, names)} "
                f"Correct `methods`, or add the arm to the comparison's file."
            )
    return set(methods or names)


def _write_plan(comparison: ComparisonConfig, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    plan = comparison.model_copy(update={"out": out}).model_dump(mode="json")
    write_text(out / "comparison.yaml", yaml.safe_dump(plan, sort_keys=False, allow_unicode=True))
