"""The files of results: they follow from the records alone, to the byte."""

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from marnet.comparison.record_store import record_paths
from marnet.comparison.records import RunRecord, read_records, write_record
from marnet.comparison.result_tables import metric_format, result_tables
from marnet.comparison.results import write_results
from marnet.comparison.summary import summarise
from marnet.comparison.table_formats import latex, markdown
from marnet.comparison.tables import Column, Shown, Table
from marnet.comparison.verdict import format_p
from marnet.evaluation.corruptions import OURS, STANDARD
from marnet.metrics import percent

Make = Callable[..., list[RunRecord]]


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_results_are_rebuilt_from_the_records_to_the_byte(make_records: Make, tmp_path: Path) -> None:
    for record in make_records(4):
        write_record(record, tmp_path / "runs" / record.arm / f"seed-{record.seed}.json")
    records = read_records(record_paths(tmp_path))
    assert len(records) == 32
    target = write_results(records, tmp_path)
    assert target == tmp_path / "results.md"
    first = files_of(tmp_path)
    assert {"results.json", "results.md", "tables/main.tex", "tables/text.tex", "tables/ablation.tex"} <= set(first)
    assert {"tables/runs.csv", "tables/metrics.csv", "tables/differences.csv", "tables/corruptions.csv"} <= set(first)
    shutil.rmtree(tmp_path / "tables")
    (tmp_path / "results.json").unlink()
    target.unlink()
    write_results(read_records(record_paths(tmp_path)[::-1]), tmp_path)
    assert files_of(tmp_path) == first


def test_json_and_csv_hold_the_same_numbers(make_records: Make, tmp_path: Path) -> None:
    records = make_records(3)
    write_results(records, tmp_path)
    results = summarise(records)
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["verdict"] == results.verdict
    top1 = results.contrast("marnet", "image-only").metrics["top1"]
    contrasts = {(each["arm"], each["against"]): each for each in found["contrasts"]}
    assert contrasts["marnet", "image-only"]["metrics"]["top1"] == top1._asdict()
    with (tmp_path / "tables" / "differences.csv").open(newline="") as file:
        rows = {(row["arm"], row["against"], row["metric"]): row for row in csv.DictReader(file)}
    assert float(rows["marnet", "image-only", "top1"]["mean"]) == top1.mean
    assert rows["marnet", "marnet-shuffled", "top1"]["kind"] == "placebo"
    with (tmp_path / "tables" / "runs.csv").open(newline="") as file:
        runs = list(csv.DictReader(file))
    assert len(runs) == len(records)
    assert {float(row["top1"]) for row in runs} == {record.metrics["top1"] for record in records}
    with (tmp_path / "tables" / "corruptions.csv").open(newline="") as file:
        assert sum(row["arm"] == "marnet" for row in csv.DictReader(file)) == 3 * 5


def test_one_seed_has_no_deviation_and_null_in_json(make_records: Make, tmp_path: Path) -> None:
    text = write_results(make_records(1), tmp_path).read_text()
    assert "NaN" not in (tmp_path / "results.json").read_text()
    assert json.loads((tmp_path / "results.json").read_text())["arms"][0]["metrics"]["top1"]["sd"] is None
    assert "±" not in text.split("**Contribution of the text")[0].split("| ---")[1]
    assert "With 1 seed the smallest possible two-sided p is 2/2^1 = 1" in text


def test_the_tables_show_the_numbers(make_records: Make) -> None:
    results = summarise(make_records(6, corruptions=(*STANDARD, *OURS)))
    tables = result_tables(results)
    assert list(tables) == ["main", "text", "ablation", "robustness", "corruptions", "mcnemar"]
    main = {row[0]: row for row in tables["main"].rows}
    found = results.contrast("marnet", "image-only").metrics["top1"]
    assert main["image-only"][3:5] == [None, None]
    assert main["marnet"][3] == Shown(
        found.mean, f"+{100 * found.mean:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"
    )
    assert main["marnet"][4] == "0.031"
    assert [row[0] for row in tables["text"].rows] == ["marnet minus random text", "marnet minus shuffled text"]
    assert [row[1] for row in tables["ablation"].rows] == [
        "marnet", "reconstruct", "match", "marnet-no-mse", "marnet-no-semantic", "image-only",
    ]  # fmt: skip
    assert [column.title for column in tables["main"].columns[5:]] == ["NLL, nats", "ECE, %"]


def test_the_tables_of_robustness_show_the_numbers(make_records: Make) -> None:
    results = summarise(make_records(6, corruptions=(*STANDARD, *OURS)))
    tables = result_tables(results)
    corruptions = {row[0]: row[1:] for row in tables["corruptions"].rows}
    assert list(corruptions) == [*STANDARD, *OURS]
    plain = results.arm("image-only")
    assert corruptions["fog"][0] == pytest.approx(sum(each.mean for each in plain.corruptions["fog"]) / 5)
    means = tables["robustness"]
    assert [column.title for column in means.columns] == [
        "method", "seeds", "corrupted top-1, % (15 standard)", "difference to image-only, points [95 %]", "p",
        "relative error (15 standard)", "corrupted top-1, % (3 ours)", "relative error (3 ours)",
    ]  # fmt: skip
    rows = {row[0]: row for row in means.rows}
    assert rows.keys() == {arm.arm for arm in results.arms}
    assert [cell and cell.text for cell in rows["image-only"][3:6:2]] == [None, "1.00 ± 0.00"]
    assert rows["image-only"][6].value == plain.metrics["mean_corruption_accuracy_ours"].mean
    found = results.contrast("marnet", "image-only").metrics["mean_corruption_accuracy"]
    assert rows["marnet"][3].value == found.mean
    assert rows["marnet"][4] == format_p(found.p)


def test_tables_without_rows_are_left_out(make_records: Make) -> None:
    tables = result_tables(summarise(make_records(2, {"image-only": 0, "multitask": 1}, robust=False)))
    assert list(tables) == ["main", "mcnemar"]
    assert "corrupted" not in " ".join(column.title for column in tables["main"].columns)


def test_an_unknown_metric_is_shown_and_none_is_best() -> None:
    assert metric_format("recall_at_3") == ("recall_at_3", 1, 3, None)
    assert metric_format("top1").show(0.6341) == "63.4"


TABLE = Table(
    title="Top_1 & more",
    columns=[Column("method"), Column("top-1, %", percent, "max"), Column("d", "{:+.1f}".format)],
    rows=[["a|b_1", Shown(0.5, "50.0 ± 0.1"), None], ["c<d", Shown(0.7, "70.0 ± 0.2"), -1.0], ["e\nf", 0.1, "x"]],
    note="100 % of it.",
)


def test_markdown_by_hand() -> None:
    assert markdown(TABLE) == (
        "**Top\\_1 & more**\n\n"
        "| method | top-1, % | d |\n"
        "| --- | ---: | ---: |\n"
        "| a\\|b\\_1 | 50.0 ± 0.1 | – |\n"  # noqa: RUF001
        "| c&lt;d | **70.0 ± 0.2** | -1.0 |\n"
        "| e f | 10.0 % | x |\n\n"
        "100 % of it.\n"
    )


def test_latex_by_hand() -> None:
    assert latex(TABLE) == (
        "% needs \\usepackage{booktabs}\n"
        "\\begin{table}\n\\centering\n\\caption{Top\\_1 \\& more. 100 \\% of it.}\n"
        "\\begin{tabular}{lrr}\n\\toprule\n"
        "method & top-1, \\% & d \\\\\n\\midrule\n"
        "a|b\\_1 & 50.0 $\\pm$ 0.1 & -- \\\\\n"
        "c$<$d & \\textbf{70.0 $\\pm$ 0.2} & -1.0 \\\\\n"
        "e f & 10.0 \\% & x \\\\\n"
        "\\bottomrule\n\\end{tabular}\n\\end{table}\n"
    )


def test_latex_of_a_comparison_holds_nothing_that_latex_would_trip_over(make_records: Make, tmp_path: Path) -> None:
    write_results(make_records(3), tmp_path)
    for path in (tmp_path / "tables").glob("*.tex"):
        text = path.read_text(encoding="utf-8")
        assert text.isascii(), path
        body = text.splitlines()[1:]
        assert not [line for line in body if re.search(r"(?<!\\)[%_#]", line)], path
        assert text.count("{") == text.count("}")
        assert len({line.count(" & ") for line in body if line.endswith("\\\\")}) == 1
