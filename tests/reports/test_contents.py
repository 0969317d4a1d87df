"""The registry of sections: one from outside is found on the page, and a section without its input becomes a gap."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from marnet.comparison.records import RunRecord, write_record
from marnet.comparison.tables import Column, Table
from marnet.reports import contents
from marnet.reports.blocks import Section
from marnet.reports.comparison_report import write_comparison_report
from marnet.reports.contents import SECTIONS, register_section
from marnet.reports.context import ReportContext, Unavailable
from marnet.reports.run_report import write_run_report

Make = Callable[..., list[RunRecord]]


@pytest.fixture(autouse=True)
def registry() -> Iterator[None]:
    """Put the registry back after each test."""
    before = list(SECTIONS)
    yield
    SECTIONS[:] = before


@pytest.fixture
def comparison(make_records: Make, tmp_path: Path) -> Path:
    for record in make_records(2, {"image-only": 0, "marnet": 1}, robust=False):
        write_record(record, tmp_path / "runs" / record.arm / f"seed-{record.seed}.json")
    return tmp_path


def count_errors(context: ReportContext) -> Section:
    """A toy section, as a user would write it."""
    rows = [
        [arm, sum(a != b for record in runs.values() for a, b in zip(record.labels, record.predictions, strict=True))]
        for arm, runs in context.runs.items()
    ]
    table = Table(title="Errors over all seeds", columns=[Column("arm"), Column("errors", "{:.0f}".format)], rows=rows)
    return Section(title="Errors", blocks=[table])


def test_a_section_from_outside_is_on_the_page_of_a_comparison_and_of_a_run(
    comparison: Path, trained_run: Path, tmp_path: Path, make_records: Make
) -> None:
    register_section("Errors", count_errors, before="Ablation")
    page = write_comparison_report(comparison).read_text(encoding="utf-8")
    assert page.index(">Metrics</h2>") < page.index(">Errors</h2>") < page.index(">Classes</h2>")
    marnet = [
        record for record in make_records(2, {"image-only": 0, "marnet": 1}, robust=False) if record.arm == "marnet"
    ]
    errors = sum(round(len(record.labels) * (1 - record.metrics["top1"])) for record in marnet)
    assert f">{errors}</td>" in page.split("Errors over all seeds")[-1].split("</table>")[0]
    of_run = write_run_report([trained_run], tmp_path / "run.html").read_text(encoding="utf-8")
    assert of_run.index(">Metrics</h2>") < of_run.index(">Errors</h2>")


def test_a_section_without_its_input_is_a_gap_with_its_command(comparison: Path) -> None:
    def need_weights(context: ReportContext) -> Section:
        return Section(title="Weights", text=[f"{len(context.outputs)} runs"], blocks=[])

    def need_more(context: ReportContext) -> Section:
        raise Unavailable("The moon is missing.", "marnet moon")

    register_section("Weights", need_weights)
    register_section("Moon", need_more)
    missing = write_comparison_report(comparison).read_text(encoding="utf-8").split(">Not in this report</h2>")[1]
    assert "<dt>Weights</dt>\n<dd>The trained weights are needed, but " in missing
    assert "<dt>Moon</dt>\n<dd>The moon is missing. <code>marnet moon</code></dd>" in missing


def test_a_section_with_nothing_to_show_is_left_out(comparison: Path) -> None:
    register_section("Nothing", lambda context: None)
    assert "Nothing" not in write_comparison_report(comparison).read_text(encoding="utf-8")


def test_outputs_are_loaded_once_whatever_comes_of_it(comparison: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def load_outputs(*_: object) -> dict[str, object]:
        calls.append(1)
        raise Unavailable("No weights.")

    monkeypatch.setattr("marnet.reports.comparison_report._load_outputs", load_outputs)
    missing = write_comparison_report(comparison).read_text(encoding="utf-8").split(">Not in this report</h2>")[1]
    assert missing.count("No weights.") == 2  # features and cases
    assert calls == [1]


def test_titles_are_unique_and_places_exist() -> None:
    assert [section.title for section in contents.SECTIONS] == [
        "Metrics", "Ablation", "Robustness", "Classes", "Confidence", "Calibration", "Features", "Case studies",
        "Training", "Differences between the runs",
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"There is already a section 'Classes'\. Choose another title\."):
        register_section("Classes", count_errors)
    with pytest.raises(
        ValueError, match=r"There is no section 'Moon' to put 'Errors' before\. Choose one of Metrics, "
    ):
        register_section("Errors", count_errors, before="Moon")


def test_a_report_leaves_the_results_alone(comparison: Path) -> None:
    write_comparison_report(comparison)
    assert {path.name for path in comparison.iterdir()} == {"runs", "plots", "report.html"}
