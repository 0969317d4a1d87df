"""The records of a comparison on disk, OUT/runs/ARM/seed-N.json, and whether they belong to its settings."""

from pathlib import Path

from marnet.comparison.data import ComparisonData
from marnet.comparison.keys import learned_settings, record_key
from marnet.comparison.plan import ComparisonConfig, PlannedRun, plan_run
from marnet.comparison.records import RunRecord, read_record, read_records
from marnet.config.nested import flatten
from marnet.errors import RunDirectoryError

MOST_DIFFERENCES = 5  # that an error lists


def record_paths(out: Path) -> list[Path]:
    """Return the files of the records of a comparison, OUT/runs/ARM/seed-N.json."""
    return sorted(out.glob("runs/*/seed-*.json"))


def read_comparison(out: Path, *, baseline: str | None = None) -> list[RunRecord]:
    """Read all records of a comparison, sorted by arm and seed.

    Args:
        out: the folder of the comparison.
        baseline: an arm that must have a run; None requires none.

    Raises:
        RunDirectoryError: there is no record, a record is damaged, or none is of `baseline`.
    """
    paths = record_paths(out)
    if not paths:
        raise RunDirectoryError(
            f"{out} holds no record of a run. Expected files runs/ARM/seed-N.json, as 'marnet compare' writes them; "
            f"see docs/comparing.md."
        )
    records = read_records(paths)
    arms = list(dict.fromkeys(record.arm for record in records))
    if baseline is not None and baseline not in arms:
        raise RunDirectoryError(
            f"There is no record of the baseline {baseline!r} in {out}; found {', '.join(arms)}. Train that arm as "
            f"well, or name another baseline."
        )
    return records


def record_path(out: Path, run: PlannedRun) -> Path:
    """Return the path of the record of a run."""
    return out / "runs" / f"{run.name}.json"


def read_own_records(comparison: ComparisonConfig, out: Path, data: ComparisonData) -> dict[str, RunRecord]:
    """Read the records of a comparison's arms, by name of the run.

    Args:
        comparison: the settings that all of them must have been made with.
        out: the folder of the comparison.
        data: the rows and features of all runs.

    Raises:
        RunDirectoryError: a record is damaged, or was made with other settings.
    """
    records: dict[str, RunRecord] = {}
    foreign = []
    for arm in comparison.arms:
        for path in sorted((out / "runs" / arm.name).glob("seed-*.json")):
            record = read_record(path)
            run = plan_run(comparison, arm, record.seed, data.fingerprint, data.features)
            if record_key(record) != run.key:
                foreign.append((path, _describe_differences(record, run, comparison, data)))
            elif comparison.corruptions and record.robustness is None:
                foreign.append((path, "it was not measured under corruptions, but the comparison now asks for that"))
            records[run.name] = record
    if foreign:
        path, difference = foreign[0]
        others = f" The same is true of {len(foreign) - 1} more." if len(foreign) > 1 else ""
        raise RunDirectoryError(
            f"{path} is the record of a run with other settings: {difference}.{others} Nothing was changed. Choose "
            f"another `out`, restore the settings, or move the old records away to train those arms again."
        )
    return records


def _describe_differences(
    record: RunRecord, run: PlannedRun, comparison: ComparisonConfig, data: ComparisonData
) -> str:
    before, now = learned_settings(record.config), learned_settings(run.config.model_dump(mode="json"))
    for name, old, new in (
        ("placebo", record.placebo, run.arm.placebo),
        ("split", record.split, comparison.split),
        ("label_budget", record.label_budget, comparison.label_budget),
        ("keep_unlabelled", record.keep_unlabelled, comparison.keep_unlabelled),
        ("text_budget", record.text_budget, comparison.text_budget),
        ("long_tail", record.long_tail, comparison.long_tail),
        ("leave_classes_out", record.leave_classes_out, comparison.leave_classes_out),
        *(
            [("new_class_images", record.new_class_images, comparison.new_class_images)]
            if comparison.leave_classes_out
            else []
        ),
        ("the digest of the data's rows", record.rows_digest, data.fingerprint),
        ("the digest of the features", record.features_digest, data.features.digest if data.features else ""),
    ):
        before[name], now[name] = old, new
    shown = [
        f"{name} was {before[name]!r} and is now {now[name]!r}"
        for name in before
        if name in now and before[name] != now[name]
    ]
    if not shown:  # else the settings that only one of them has belong to a part that these differences switch
        gone = [name for name in before if name not in now]
        renamed = [name for name in gone if name not in flatten(run.config.model_dump(mode="json"))]
        shown = [f"{name} no longer applies" for name in renamed or gone]
        shown += [f"{name} is new" for name in now if name not in before]
    more = f" and {len(shown) - MOST_DIFFERENCES} more" if len(shown) > MOST_DIFFERENCES else ""
    return (", ".join(shown[:MOST_DIFFERENCES]) + more) or f"its key {record.key} is not {run.key}"
