"""At a terminal of 80 columns no heading and no cell of a table is cut off."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from marnet.cli.robustness import print_robustness
from marnet.cli.tables import print_metrics, print_table
from marnet.evaluation.corruptions import CORRUPTIONS
from marnet.evaluation.robustness import Robustness
from marnet.metrics import Metrics, MultiLabelMetrics
from marnet.reports import demo

Call = Callable[..., tuple[int, str, str]]

METRICS = Metrics(top1=0.9, top5=1.0, macro_f1=0.8, macro_recall=0.7, nll=0.3, ece=0.05, brier=0.2, aurc=0.02, n=40)


@pytest.fixture(autouse=True)
def _terminal_of_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def cells(text: str) -> list[list[str]]:
    """The rows of a printed table, headings first."""
    lines = [line for line in text.splitlines() if re.match(r"[┃│]", line)]
    return [[cell.strip() for cell in re.split("[┃│]", line)[1:-1]] for line in lines]


def check_whole(text: str) -> None:
    assert "…" not in text
    assert max(len(line) for line in text.splitlines() if re.match(r"[┃│┏┡└]", line)) <= 80


def test_metrics_stand_one_per_row(capsys: pytest.CaptureFixture[str]) -> None:
    print_metrics(METRICS._asdict(), "a [title] in brackets")
    text = capsys.readouterr().out
    check_whole(text)
    assert "a [title] in brackets" in text
    heading, *rows = cells(text)
    assert heading == ["metric", "value"]
    assert [row[0] for row in rows] == list(Metrics._fields)
    assert rows[2] == ["macro_f1", "0.8000"]
    assert rows[-1] == ["n", "40"]


def test_train_and_evaluate_show_whole_names(manifest_file: Path, tmp_path: Path, call: Call) -> None:
    flags = ["--backbone", "timm:test_resnet", "--image-size", "32", "--batch-size", "16", "--devices", "cpu"]
    _, trained, _ = call("train", "--data", manifest_file, "--epochs", "1", *flags, "--out", tmp_path / "run")
    _, scored, _ = call("evaluate", tmp_path / "run")
    for text in (trained, scored):
        check_whole(text)
        assert [row[0] for row in cells(text)] == ["metric", *Metrics._fields]
    assert cells(trained) == cells(scored)


def test_several_labels_have_whole_names_too(capsys: pytest.CaptureFixture[str]) -> None:
    print_metrics(dict.fromkeys(MultiLabelMetrics._fields, 0.123456), "x")
    assert [row[0] for row in cells(capsys.readouterr().out)][1:] == list(MultiLabelMetrics._fields)


def test_data_info(manifest_file: Path, tmp_path: Path, call: Call) -> None:
    code, text, _ = call("data", "info", manifest_file)
    assert code == 0
    check_whole(text)
    heading, *rows = cells(text)
    assert heading == ["", "train", "val", "all"]
    found = {row[0]: row[1:] for row in rows}
    assert found["images"] == ["42", "18", "60"]
    assert [found[f"images per class, {which}"] for which in ("min", "median", "max")] == [["14", "6", "20"]] * 3
    assert found["words per text, median"] == ["2", "2", "2"]

    several = tmp_path / "several.csv"
    header, *lines = manifest_file.read_text().splitlines()
    texts = [f"{manifest_file.parent}/{line}" for line in lines]
    several.write_text("\n".join([header, *(re.sub(",(apple|lime|eel),", r',"\1, \1s",', line) for line in texts)]))
    code, text, _ = call("data", "info", several, "--labels", "multi")
    assert code == 0, text
    check_whole(text)
    found = {row[0]: row[1:] for row in cells(text)}
    assert found["classes per image, max"] == ["2", "2", "2"]
    assert found["images without a class"] == ["0", "0", "0"]


def test_the_table_of_corruptions(capsys: pytest.CaptureFixture[str]) -> None:
    values = dict.fromkeys(CORRUPTIONS, [0.6] * 5)
    print_robustness(Robustness(METRICS, values, values), "x")
    text = capsys.readouterr().out
    check_whole(text)
    first = [row[0] for row in cells(text)]
    assert set(CORRUPTIONS) <= set(first)
    assert "mean of 15 standard" in first
    headings = [" ".join(words).strip() for words in zip(*cells(text)[:2], strict=True)]  # on two lines
    assert headings == ["corruption", "1", "2", "3", "4", "5", "mean", "relative error"]


def test_the_demo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, call: Call) -> None:
    """With the numbers of a demo, which takes minutes, in the place of a demo."""
    conditions = ("as trained", *demo.DIALS)
    found = demo.DemoResult(
        conditions, dict.fromkeys(demo.METHODS, (1.0,) * 5), "A verdict.", tmp_path / "report.html", 83.0
    )
    asked = []
    monkeypatch.setattr(demo, "run_demo", lambda out, *, seed, pretrained: asked.append(pretrained) or found)
    assert call("demo", "--out", tmp_path, "--pretrained")[0] == 0
    code, text, _ = call("demo", "--out", tmp_path)
    assert code == 0
    assert asked == [True, False]
    check_whole(text)
    assert cells(text)[0] == ["method", *conditions]
    assert cells(text)[1][:2] == ["image-only", "100.0 %"]
    assert "The demo took 1 min." in text


def test_what_is_too_wide_goes_on_below(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("x", ["a" * 50, "b" * 50], [["c" * 100, "d"]])
    text = capsys.readouterr().out
    check_whole(text)
    assert "".join(row[0] for row in cells(text)) == "a" * 50 + "c" * 100
    assert "".join(row[1] for row in cells(text)) == "b" * 50 + "d"
