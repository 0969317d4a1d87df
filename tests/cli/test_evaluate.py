"""`marnet evaluate --corruptions`: the table, the JSON, and mistakes."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from marnet.cli.robustness import print_robustness, robustness_json
from marnet.evaluation.corruptions import CORRUPTIONS, HELD_OUT, OURS, STANDARD
from marnet.evaluation.robustness import Robustness
from marnet.metrics import Metrics

Call = Callable[..., tuple[int, str, str]]

METRICS = Metrics(top1=0.9, top5=1.0, macro_f1=0.8, macro_recall=0.7, nll=0.3, ece=0.05, brier=0.2, aurc=0.02, n=40)


def found(*, baseline: bool) -> Robustness:
    """0.6 under ImageNet-C's, 0.7 under those held out, 0.8 under ours; the baseline 0.5 throughout, 1 under fog."""
    values = {**dict.fromkeys(STANDARD, 0.6), **dict.fromkeys(HELD_OUT, 0.7), **dict.fromkeys(OURS, 0.8)}
    compared = {**dict.fromkeys(CORRUPTIONS, 0.5), "fog": 1.0}
    return Robustness(
        METRICS,
        {name: [value] * 5 for name, value in values.items()},
        {name: [value] * 5 for name, value in compared.items()} if baseline else None,
    )


def test_the_json_is_flat() -> None:
    content = robustness_json(found(baseline=False))
    assert {name: content[name] for name in Metrics._fields} == METRICS._asdict()
    assert content["corruptions"]["fog"] == [0.6] * 5
    assert content["mean_corruption_accuracy"] == pytest.approx(0.6)
    assert content["mean_corruption_accuracy_held_out"] == pytest.approx(0.7)
    assert content["mean_corruption_accuracy_ours"] == pytest.approx(0.8)
    assert not [name for name in content if "relative" in name or "baseline" in name]
    compared = robustness_json(found(baseline=True))
    assert compared["baseline_corruptions"]["snow"] == [0.5] * 5
    assert compared["relative_errors"]["snow"] == pytest.approx(0.8)
    assert compared["relative_errors"]["fog"] is None
    assert compared["relative_corruption_error"] is None
    assert compared["relative_corruption_error_held_out"] == pytest.approx(0.6)
    assert compared["relative_corruption_error_ours"] == pytest.approx(0.4)
    assert json.loads(json.dumps(compared)) == compared


def test_the_table_has_every_corruption_and_the_means(capsys: pytest.CaptureFixture[str]) -> None:
    print_robustness(found(baseline=True), "a title")
    lines = capsys.readouterr().out.splitlines()
    cells = {line.split("│")[1].strip(): line.split("│")[2:-1] for line in lines if line.startswith("│")}
    assert [name for name in cells if name in CORRUPTIONS] == list(CORRUPTIONS)
    assert [cell.strip() for cell in cells["snow"]] == ["60.0"] * 6 + ["0.800"]
    assert [cell.strip() for cell in cells["none"]][-2] == "90.0"
    assert [cell.strip() for cell in cells["mean of 4 held out"]][-2:] == ["70.0", "0.600"]
    assert [cell.strip() for cell in cells["mean of 15 standard"]][-2:] == ["60.0", "-"]


def test_from_the_command_line(trained_run: Path, call: Call) -> None:
    code, out, err = call("evaluate", trained_run, "--corruptions", "--baseline", trained_run, "--json")
    assert code == 0, err
    content = json.loads(out)
    assert set(content["corruptions"]) == set(CORRUPTIONS)
    assert content["n"] == 18
    assert content["baseline_corruptions"] == content["corruptions"]
    code, out, _ = call("evaluate", trained_run, "--corruptions")
    assert code == 0
    assert "brier" in out
    assert "jpeg_compression" in out
    assert "relative error" not in out


def test_the_table_of_some_corruptions_and_one_from_outside(capsys: pytest.CaptureFixture[str]) -> None:
    measured = {"fog": [0.6] * 5, "module:weather.hail": [0.5, 0.5, 0.5, 0.5, 0.25]}
    some = Robustness(METRICS, measured, None)
    print_robustness(some, "title")
    out = capsys.readouterr().out
    assert "module:weather.hail" in out
    lines = [line.split("│") for line in out.splitlines() if "mean of" in line]
    assert [(cells[1].strip(), cells[-2].strip()) for cells in lines] == [("mean of 1 other", "45.0")]
    assert robustness_json(some)["mean_corruption_accuracy_other"] == pytest.approx(0.45)


def test_a_baseline_without_corruptions(trained_run: Path, call: Call) -> None:
    code, out, err = call("evaluate", trained_run, "--baseline", trained_run)
    assert (code, out) == (1, "")
    assert "Error: --baseline is used under corruptions only. Add --corruptions, or leave --baseline out." in err
    code, out, err = call("evaluate", trained_run, "--corruptions", "--baseline", "nowhere")
    assert (code, out) == (1, "")
    assert "Run directory nowhere does not exist" in err
