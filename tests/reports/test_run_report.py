"""`marnet report`: of one run, of several, of a comparison, and of what is neither."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from marnet.comparison.records import RunRecord, write_record
from marnet.comparison.scoring import score_run
from marnet.evaluation.evaluate import evaluate
from marnet.inference import load
from marnet.reports.run_report import write_run_report

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def plain_run(manifest_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image-only counterpart of `trained_run`."""
    from marnet import fit, make_config

    config = make_config(
        {
            "method": "image-only",
            "data": {"source": str(manifest_file), "image_size": 32},
            "backbone": {"name": "timm:test_resnet"},
            "training": {"epochs": 1, "batch_size": 16, "devices": "cpu", "seed": 3},
        }
    )
    return fit(config, tmp_path_factory.mktemp("runs") / "plain").path


def test_a_run_is_scored_as_evaluate_scores_it(trained_run: Path) -> None:
    predictor = load(trained_run)
    record, outputs = score_run(predictor, predictor.manifest(), "val", arm="mine")
    assert (record.arm, record.seed, record.split) == ("mine", 0, "val")
    assert record.metrics == dict(evaluate(trained_run, split="val")._asdict())
    correct = sum(a == b for a, b in zip(record.labels, record.predictions, strict=True))
    assert record.metrics["top1"] == pytest.approx(correct / len(record.labels))
    assert record.confidences == pytest.approx(outputs.logits.softmax(-1).max(-1).values.tolist())
    assert len(record.history) == 2


def test_one_run(trained_run: Path, tmp_path: Path, call: Call) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    code, out, _ = call("report", run, "--plots", tmp_path / "plots")
    assert (code, out) == (0, f"Report: {run / 'report.html'}\n")
    page = (run / "report.html").read_text(encoding="utf-8")
    for title in ("Metrics", "Classes", "Confidence", "Calibration", "Features", "Case studies", "Training"):
        assert f">{title}</h2>" in page, title
    assert "The moving average of the weights at the end of training was kept." in page
    assert "The epoch to keep" not in page
    assert "Logits are divided by the temperature" in page
    assert "method: marnet" in page
    assert page.count("<code>marnet compare</code>") == 2  # ablation, robustness
    names = {path.stem for path in (tmp_path / "plots").glob("*.svg")}
    assert names == {path.stem for path in (tmp_path / "plots").glob("*.png")}
    assert {"confusion", "reliability", "calibration-run", "coverage", "training-loss", "loss-terms-run"} <= names
    assert call("report", run)[0] == 0  # it replaces its own


def test_several_runs(trained_run: Path, plain_run: Path, tmp_path: Path, look: Callable[[Path, int], Any]) -> None:
    page = write_run_report([plain_run, trained_run], tmp_path / "two.html")
    text = page.read_text(encoding="utf-8")
    assert "2 runs, evaluated on the 18 images of 3 classes" in text
    assert "plain and run" in text  # McNemar's test
    assert "run minus plain, by class" in text
    assert "training.epochs" in text
    assert "losses.classification" in text or "method" in text
    found = look(page, 375)
    assert "CONSOLE" not in found.log, found.log
    assert found.too_wide == []
    assert found.widths[0] == found.widths[1]


def test_a_run_of_version_0_1_has_no_calibration_and_chose_its_epoch(trained_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained_run, tmp_path / "run")
    (run / "calibration.json").unlink()
    settings = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(settings.replace("keep: averaged", "keep: best"))
    text = write_run_report([run], tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<dt>Calibration</dt>" in text
    assert "No run has a calibration.json" in text
    assert "The epoch to keep was chosen on this split" in text
    assert "The weights of the epoch with the best top-1 on val were kept." in text


def test_two_runs_of_one_name_go_by_their_paths(trained_run: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        shutil.copytree(trained_run, tmp_path / folder / "run")
    page = write_run_report([tmp_path / "a" / "run", tmp_path / "b" / "run"], tmp_path / "r.html")
    assert f"{tmp_path}/a/run and {tmp_path}/b/run" in page.read_text(encoding="utf-8")


def test_runs_of_other_classes_are_left_to_themselves(plain_run: Path, trained_run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(plain_run, other)
    for name in ("classes.json", "manifest.jsonl"):
        path = other / name
        path.write_text(re.sub(r"\beel\b", "worm", path.read_text()).replace("worm-", "eel-"))
    text = write_run_report([trained_run, other], tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<dt>Features and cases of other</dt>" in text
    assert "Its classes are not those of run. Report on it alone." in text
    assert "run minus other" not in text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["missing"], r"Run directory \S*missing does not exist\. Name one that 'marnet train' wrote"),
        (["empty"], r"empty is neither a run nor a comparison: it has no config\.yaml and no runs/ARM/seed-N\.json"),
        (["run", "run2"], r"2 runs share no folder for the report\. Say where to write it with --out FILE\."),
        (["run", "--baseline", "x"], r"--baseline cannot be used for runs\. Leave it out\."),
        (["comparison", "--split", "val"], r"--split cannot be used for a comparison\. Leave it out\."),
        (["run", "comparison", "--out", "x.html"], r"comparison holds a comparison, not a run\. Report on it alone"),
        (
            ["comparison", "--baseline", "nothing"],
            r"no record of the baseline 'nothing' in comparison; found image-only, marnet",
        ),
        (["run", "--out", "thesis.html"], r"thesis\.html is not a report of marnet\. Nothing was changed"),
        (["run", "--out", "empty"], r"empty is a folder\. Name an HTML file"),
        (["run", "--split", "test"], r"split 'test'|'test'"),
    ],
)
def test_wrong_input_is_answered(
    arguments: list[str],
    sentence: str,
    trained_run: Path,
    make_records: Callable[..., list[RunRecord]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: Call,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("thesis.html").write_text("<html>years of work</html>")
    Path("run").symlink_to(trained_run)
    Path("run2").symlink_to(trained_run)
    for record in make_records(1, {"image-only": 0, "marnet": 1}):
        write_record(record, Path("comparison") / "runs" / record.arm / f"seed-{record.seed}.json")
    code, out, err = call("report", *arguments)
    assert (code, out) == (1, "")
    assert err.startswith("Error: ")
    assert re.search(sentence, err), err
    assert Path("thesis.html").read_text() == "<html>years of work</html>"


def test_a_comparison(make_records: Callable[..., list[RunRecord]], tmp_path: Path, call: Call) -> None:
    for record in make_records(1, {"match": 0, "marnet": 1}, robust=False):
        write_record(record, tmp_path / "runs" / record.arm / f"seed-{record.seed}.json")
    code, out, _ = call("report", tmp_path, "--baseline", "match", "--out", tmp_path / "r.html")
    assert (code, out) == (0, f"Report: {tmp_path / 'r.html'}\n")
    assert "<title>marnet against match</title>" in (tmp_path / "r.html").read_text(encoding="utf-8")
