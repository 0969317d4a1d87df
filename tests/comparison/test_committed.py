"""The committed comparisons: their records load, and their results are exactly those of the records."""

import json
from pathlib import Path

import pytest

from marnet.comparison.record_store import record_paths
from marnet.comparison.records import read_record, write_record
from marnet.comparison.results import rewrite_results, write_results
from marnet.config.nested import merge_settings, older_settings

COMPARISONS = sorted((Path(__file__).parents[2] / "benchmarks" / "comparisons").iterdir())


@pytest.mark.parametrize("folder", COMPARISONS, ids=lambda folder: folder.name)
def test_the_records_give_the_committed_results(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "runs").symlink_to(folder / "runs")
    assert rewrite_results(tmp_path).read_bytes() == (folder / "results.md").read_bytes()
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {"runs", "results.md", "results.json", "tables"}  # no page and no plots


def test_a_record_of_the_first_format_is_read_and_written_with_the_new_name(tmp_path: Path) -> None:
    path = record_paths(COMPARISONS[0])[0]
    old = json.loads(path.read_text(encoding="utf-8"))
    assert (old["format"], len(old["rows"])) == (1, 16)
    record = read_record(path)
    assert record.rows_digest == old["rows"]
    write_record(record, tmp_path / "record.json")
    new = json.loads((tmp_path / "record.json").read_text(encoding="utf-8"))
    assert {**new, "rows": new["rows_digest"], "config": {}} == {**old, "rows_digest": old["rows"], "config": {}}
    assert new["config"] == merge_settings(older_settings(), old["config"])  # with the settings that were new since
    assert read_record(tmp_path / "record.json") == record


def test_the_same_records_under_either_name_give_the_same_bytes(tmp_path: Path) -> None:
    records = [read_record(path) for path in record_paths(COMPARISONS[0])]
    for record in records:
        write_record(record, tmp_path / "runs" / record.arm / f"seed-{record.seed}.json")
    again = [read_record(path) for path in record_paths(tmp_path)]
    first = write_results(records, tmp_path / "first").read_bytes()
    assert write_results(again, tmp_path / "second").read_bytes() == first
