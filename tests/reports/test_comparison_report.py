"""The report of a comparison: complete, incomplete, in a browser."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from marnet.comparison.records import RunRecord, write_record
from marnet.comparison.results import rewrite_results
from marnet.comparison.scoring import score_run
from marnet.errors import RunDirectoryError
from marnet.evaluation.corruptions import OURS, STANDARD
from marnet.inference import load
from marnet.reports.comparison_report import is_comparison, write_comparison_report

Make = Callable[..., list[RunRecord]]


def write_records(records: list[RunRecord], out: Path) -> None:
    for record in records:
        write_record(record, out / "runs" / record.arm / f"seed-{record.seed}.json")


@pytest.fixture(scope="module")
def whole(make_records: Make, trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison with every kind of arm and one run directory, that of marnet's seed 0."""
    out = tmp_path_factory.mktemp("comparison")
    predictor = load(trained_run)
    real = score_run(predictor, predictor.manifest(), "val", arm="marnet").record
    records = make_records(6, corruptions=(*STANDARD, *OURS))
    shared = {"classes": real.classes, "split": "val"}
    for record in records:
        labels = [label % 3 for label in record.labels]
        predictions = [label % 3 for label in record.predictions]
        fields = {**shared, "labels": labels, "predictions": predictions}
        if record.arm == "marnet" or record.placebo == "shuffled":
            fields["config"] = real.config
        elif record.placebo == "random":
            fields["config"] = {**real.config, "text": {**real.config["text"], "name": "random:bow"}}
        write_records([record.model_copy(update=fields)], out)
    shutil.copytree(trained_run, out / "work" / "marnet" / "seed-0")
    rewrite_results(out)
    write_comparison_report(out)
    return out


def test_the_report_has_every_section(whole: Path) -> None:
    page = (whole / "report.html").read_text(encoding="utf-8")
    for title in (
        "Metrics", "Ablation", "Robustness", "Classes", "Confidence", "Features", "Case studies", "Training",
        "Differences between the runs", "Settings",
    ):  # fmt: skip
        assert f">{title}</h2>" in page, title
    assert "Not in this report" not in page
    assert "marnet minus shuffled text" in page
    assert "method: marnet" in page  # the configuration
    verdict = (whole / "results.md").read_text(encoding="utf-8").split("\n\n")[1]
    assert verdict.startswith("marnet leads image-only by ")
    assert verdict.replace("<", "&lt;") in page


def test_plots_and_tables_are_in_its_folder(whole: Path) -> None:
    plots = {path.name for path in (whole / "plots").iterdir()}
    for name in (
        "training-loss", "training-accuracy", "loss-terms-marnet", "robustness", "robustness-ours",
        "robustness-map", "robustness-fog", "confusion", "class-changes", "reliability", "coverage",
        "features-marnet-x_v", "features-marnet-x_CDR",
    ):  # fmt: skip
        assert {f"{name}.svg", f"{name}.png"} <= plots
    assert (whole / "tables" / "main.tex").is_file()
    assert (whole / "tables" / "differences.csv").is_file()
    assert (whole / "results.json").is_file()


def test_it_fits_a_screen_and_a_phone(whole: Path, look: Callable[[Path, int], Any]) -> None:
    for width in (375, 1280):
        found = look(whole / "report.html", width)
        assert "CONSOLE" not in found.log, found.log
        assert found.too_wide == []
        assert found.widths[0] == found.widths[1] <= width


def test_the_same_records_and_weights_give_the_same_report(whole: Path, tmp_path: Path) -> None:
    again = write_comparison_report(whole, page=tmp_path / "again.html")
    assert again == tmp_path / "again.html"
    assert again.read_bytes() == (whole / "report.html").read_bytes()


def test_what_is_missing_is_named_with_the_command(make_records: Make, tmp_path: Path) -> None:
    write_records(make_records(2, {"image-only": 0, "marnet": 1}, robust=False), tmp_path)
    page = write_comparison_report(tmp_path).read_text(encoding="utf-8")
    missing = page.split(">Not in this report</h2>")[1]
    for title, words in (
        ("Ablation", "No ablation of marnet was trained. Add reconstruct, match, marnet-no-mse, "),
        ("Robustness", "Set `corruptions: true` and a new folder `out` in "),
        (
            "Features",
            f"The trained weights are needed, but {tmp_path}/work/marnet/seed-0 is missing.",
        ),
        ("Case studies", f"move {tmp_path}/runs/marnet/seed-0.json away and run:"),
    ):
        assert f">{title}</h2>" not in page
        assert f"<dt>{title}</dt>" in missing
        assert words in missing
    assert missing.count(f"<code>marnet compare {tmp_path}/comparison.yaml</code>") == 4
    assert "so no difference could have been significant" in page


def test_a_damaged_run_directory_costs_its_sections_only(whole: Path, tmp_path: Path) -> None:
    for arm in ("image-only", "marnet"):
        (tmp_path / "runs" / arm).mkdir(parents=True)
        shutil.copy(whole / "runs" / arm / "seed-0.json", tmp_path / "runs" / arm)
    run = tmp_path / "work" / "marnet" / "seed-0"
    shutil.copytree(whole / "work" / "marnet" / "seed-0", run)
    (run / "model.safetensors").write_bytes(b"half")
    page = write_comparison_report(tmp_path).read_text(encoding="utf-8")
    assert f"The run in {run} cannot be evaluated again: {run}/model.safetensors is damaged" in page
    assert ">Confidence</h2>" in page


def test_a_comparison_of_the_baseline_alone_is_a_report(make_records: Make, tmp_path: Path) -> None:
    write_records(make_records(1, {"image-only": 0}), tmp_path)
    page = write_comparison_report(tmp_path).read_text(encoding="utf-8")
    assert "Only image-only has runs, so there is nothing to compare it with." in page


def test_a_comparison_whose_baseline_has_not_run_yet_is_a_report(make_records: Make, tmp_path: Path) -> None:
    write_records(make_records(2, {"marnet": 0, "match": 1}), tmp_path)
    page = write_comparison_report(tmp_path).read_text(encoding="utf-8")
    assert "image-only has no run, so there is nothing to compare marnet with." in page
    assert "<title>marnet</title>" in page
    assert ">Robustness</h2>" in page


def test_what_is_no_comparison_is_refused(make_records: Make, tmp_path: Path) -> None:
    assert not is_comparison(tmp_path)
    with pytest.raises(RunDirectoryError, match=r"holds no record of a run\. Expected files runs/ARM/seed-N\.json"):
        write_comparison_report(tmp_path)
    write_records(make_records(1, {"marnet": 0}), tmp_path)
    assert is_comparison(tmp_path)
    with pytest.raises(RunDirectoryError, match=r"no record of the baseline 'image-only' in \S+; found marnet\. Train"):
        write_comparison_report(tmp_path, baseline="image-only")
    assert not (tmp_path / "report.html").exists()
