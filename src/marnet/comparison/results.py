"""The results of a comparison as files, computed from its records alone.

```
OUT/results.json          everything, accuracies as fractions
OUT/results.md            the verdict and the tables
OUT/tables/NAME.tex       the tables of results.md for a paper
OUT/tables/runs.csv       one row per run
OUT/tables/metrics.csv    one row per arm and metric: n, mean, sd
OUT/tables/differences.csv   one row per pair of arms and metric: n, mean, sd, interval, p
OUT/tables/corruptions.csv   one row per arm, corruption and severity
```
"""

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from marnet.atomic import replacing, write_text
from marnet.comparison.record_store import read_comparison
from marnet.comparison.records import RunRecord
from marnet.comparison.result_tables import result_tables
from marnet.comparison.statistics import MeanSD, PairedDifference
from marnet.comparison.summary import BASELINE, Results, summarise
from marnet.comparison.table_formats import latex, markdown
from marnet.jsonfile import write_json

RESULTS, MARKDOWN, TABLES = "results.json", "results.md", "tables"


def write_results(records: Sequence[RunRecord], out: Path, baseline: str = BASELINE) -> Path:
    """Write the results into `out` and return the path of results.md.

    The same records give the same bytes.

    Args:
        records: of one comparison, in any order.
        out: the folder of the comparison.
        baseline: the arm that the others are compared with.

    Raises:
        RunDirectoryError: the records cannot be compared; see `summarise`.
    """
    results = summarise(records, baseline)
    tables = result_tables(results)
    (out / TABLES).mkdir(parents=True, exist_ok=True)
    write_json(out / RESULTS, _plain(results))
    for name, table in tables.items():
        write_text(out / TABLES / f"{name}.tex", latex(table))
    _write_csv(out / TABLES / "runs.csv", *_run_rows(records))
    _write_csv(out / TABLES / "metrics.csv", ("arm", "metric", *MeanSD._fields), _metric_rows(results))
    _write_csv(
        out / TABLES / "differences.csv",
        ("arm", "against", "kind", "metric", *PairedDifference._fields),
        _difference_rows(results),
    )
    _write_csv(
        out / TABLES / "corruptions.csv", ("arm", "corruption", "severity", *MeanSD._fields), _corruption_rows(results)
    )
    target = out / MARKDOWN
    parts = ["# Results", results.verdict, *map(markdown, tables.values()), *results.notes]
    write_text(target, "\n\n".join(part.rstrip("\n") for part in parts) + "\n")
    return target


def rewrite_results(out: Path, *, baseline: str | None = None) -> Path:
    """Write the results of the records in `out` again and return the path of results.md.

    Args:
        out: the folder of the comparison.
        baseline: the arm that the others are compared with, which must have a run; None means image-only.

    Raises:
        RunDirectoryError: there are no records, none of them is of `baseline`, or they cannot be compared.
    """
    return write_results(read_comparison(out, baseline=baseline), out, baseline or BASELINE)


def _run_rows(records: Sequence[RunRecord]) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
    names = list(dict.fromkeys(name for record in records for name in record.metrics))
    ordered = sorted(records, key=lambda record: (record.arm, record.seed))
    rows = [
        [each.arm, each.seed, *(each.metrics.get(name, math.nan) for name in names), each.seconds] for each in ordered
    ]
    return ["arm", "seed", *names, "seconds"], rows


def _metric_rows(results: Results) -> Iterable[Sequence[Any]]:
    return [(arm.arm, name, *found) for arm in results.arms for name, found in arm.metrics.items()]


def _difference_rows(results: Results) -> Iterable[Sequence[Any]]:
    return [
        (each.arm, each.against, each.kind, name, *found)
        for each in results.contrasts
        for name, found in each.metrics.items()
    ]


def _corruption_rows(results: Results) -> Iterable[Sequence[Any]]:
    return [
        (arm.arm, name, severity, *found)
        for arm in results.arms
        for name, severities in arm.corruptions.items()
        for severity, found in enumerate(severities, start=1)
    ]


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for row in rows:
            writer.writerow(["" if isinstance(value, float) and math.isnan(value) else value for value in row])


def _plain(value: Any) -> Any:
    """Return NamedTuples as dictionaries and NaN as None, because JSON has neither."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: _plain(part) for name, part in value._asdict().items()}
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value
