"""The metrics: of each run, or of each arm over seeds with differences, placebos and McNemar's test."""

from collections.abc import Mapping

from marnet.comparison.records import RunRecord
from marnet.comparison.result_tables import mcnemar_table, metric_format
from marnet.comparison.summary import compare_images
from marnet.comparison.tables import CellValue, Column, Table
from marnet.reports.blocks import Section
from marnet.reports.context import ReportContext

TITLE = "Metrics"


def build(context: ReportContext) -> Section:
    """Build the section: the tables of a comparison with their notes, or one table of the runs."""
    if context.outcome is None:
        return Section(title=TITLE, blocks=_run_tables(context.first_records, context.split))
    tables = context.outcome.tables
    names = ("main", "text", "baselines", "long-tail", "new-classes", "mcnemar")
    shown = [tables[name] for name in names if name in tables]
    return Section(title=TITLE, text=context.outcome.results.notes, blocks=shown)


def same_images(first: RunRecord, second: RunRecord) -> bool:
    """Return whether two runs were scored on the same images and classes."""
    return first.classes == second.classes and first.labels == second.labels


def _run_tables(records: Mapping[str, RunRecord], split: str) -> list[Table]:
    names = [name for name in next(iter(records.values())).metrics if name != "n"]
    formats = [metric_format(name) for name in names]
    rows: list[list[CellValue]] = [
        [name, str(record.config["method"]), len(record.labels), *(record.metrics.get(each) for each in names)]
        for name, record in records.items()
    ]
    columns = [Column("run"), Column("method"), Column("images", "{:.0f}".format)]
    columns += [Column(shown.title, shown.show, shown.best) for shown in formats]
    tables = [Table(title=f"Metrics on {split}", columns=columns, rows=rows)]
    first, *others = records.values()
    tests = [
        (f"{first.arm} and {other.arm}", first.seed, test)
        for other in others
        if same_images(first, other) and (test := compare_images(first, other)) is not None
    ]
    return [*tables, mcnemar_table(tests)] if tests else tables
