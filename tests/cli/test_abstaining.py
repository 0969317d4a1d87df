"""`predict --abstain` and `evaluate --abstain`: what is printed, and how mistakes are answered."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from marnet.data.recorded import read_recorded

Call = Callable[..., tuple[int, str, str]]


def val_images(run: Path) -> list[str]:
    return [record.image for record in read_recorded(run, label_form="single").split("val")]


def with_scores(run: Path, folder: Path, scores: list[float]) -> Path:
    """Copy a run, and let the held-out rows have had these scores."""
    copy = shutil.copytree(run, folder)
    found = json.loads((copy / "calibration.json").read_text())
    (copy / "calibration.json").write_text(json.dumps(found | {"rows": len(scores), "scores": scores}))
    return copy


def test_an_image_gets_as_many_classes_as_the_rate_takes(trained_run: Path, tmp_path: Path, call: Call) -> None:
    image = val_images(trained_run)[0]
    careful = with_scores(trained_run, tmp_path / "careful", [1.0] * 19)
    code, out, _ = call("predict", careful, image, "--abstain", "0.05")
    assert code == 0
    assert out.splitlines()[0] == f"{image}  unsure: one of 3 classes"
    assert len(out.splitlines()) == 4
    code, out, _ = call("predict", careful, image, "--abstain", "0.05", "--json")
    (row,) = json.loads(out)
    assert (row["image"], row["abstained"], len(row["predictions"])) == (image, True, 3)
    assert row["predictions"][0]["probability"] >= row["predictions"][2]["probability"]

    sure = with_scores(trained_run, tmp_path / "sure", [0.0] * 19)
    code, out, _ = call("predict", sure, image, "--abstain", "0.05")
    assert code == 0
    assert out.splitlines()[0] == image
    assert len(out.splitlines()) == 2
    assert json.loads(call("predict", sure, image, "--abstain", "0.05", "--json")[1])[0]["abstained"] is False
    assert "abstained" not in json.loads(call("predict", sure, image, "--json")[1])[0]


def test_sets_are_scored(trained_run: Path, tmp_path: Path, call: Call) -> None:
    code, out, _ = call("evaluate", trained_run, "--abstain", "0.1", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["top1"] == json.loads(call("evaluate", trained_run, "--json")[1])["top1"]
    assert found["coverage"] >= 17 / 18 - 1e-9  # rank 18 of 18 rows leaves out none of them, but for the last digit
    assert 1 <= found["set_size"] <= 3
    assert 0 <= found["answered"] <= 1
    careful = with_scores(trained_run, tmp_path / "careful", [1.0] * 19)
    code, out, _ = call("evaluate", careful, "--abstain", "0.1", "--json")
    found = json.loads(out)
    assert (found["coverage"], found["set_size"], found["answered"]) == (1.0, 3.0, 0.0)
    assert found["error_answered"] is None  # nothing was answered, and JSON has no NaN
    code, out, _ = call("evaluate", careful, "--abstain", "0.1")
    assert "coverage" in out
    assert "nan" not in out


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_mistakes_are_answered(command: str, trained_run: Path, tmp_path: Path, call: Call) -> None:
    arguments = [trained_run, *(val_images(trained_run)[:1] if command == "predict" else [])]
    code, _, err = call(command, *arguments, "--abstain", "0.01")
    assert (code, err) == (
        1,
        "Error: An error rate of 0.01 cannot be promised from 18 held-out rows; it needs 99 or more. Give a larger "
        "--abstain, or train with more rows in val.\n",
    )
    code, _, err = call(command, *arguments, "--abstain", "5")
    assert (code, err) == (1, "Error: --abstain is 5, but a rate of error lies between 0 and 1. Try 0.05.\n")

    plain = shutil.copytree(trained_run, tmp_path / "plain")
    (plain / "calibration.json").unlink()
    code, _, err = call(command, plain, *arguments[1:], "--abstain", "0.1")
    assert code == 1
    assert "plain has no calibration.json, so that it cannot promise a rate of error. Leave --abstain out" in err


def test_top_and_abstain_exclude_each_other(trained_run: Path, call: Call) -> None:
    code, _, err = call("predict", trained_run, "a.jpg", "--abstain", "0.1", "--top", "2")
    assert (code, err) == (
        1,
        "Error: --abstain decides how many classes are printed. Leave --top out, or --abstain.\n",
    )


def test_several_classes_have_thresholds_instead(salads: Path, tmp_path: Path, call: Call) -> None:
    run = tmp_path / "run"
    code, _, _ = call(
        "train", "--data", salads, "--labels", "multi", "--method", "image-only", "--backbone", "timm:test_resnet",
        "--image-size", "32", "--epochs", "1", "--devices", "cpu", "--out", run,
    )  # fmt: skip
    assert code == 0
    for arguments in (["predict", run, "a.jpg"], ["evaluate", run]):
        code, _, err = call(*arguments, "--abstain", "0.1")
        assert code == 1
        assert "--abstain needs one class per image" in err
        assert "each class has a threshold of its own" in err


def test_a_damaged_calibration_is_refused_with_the_way_out(trained_run: Path, tmp_path: Path, call: Call) -> None:
    run = shutil.copytree(trained_run, tmp_path / "run")
    (run / "calibration.json").write_text('{"rows": 18}')
    code, _, err = call("predict", run, val_images(trained_run)[0])
    assert code == 1
    assert "calibration.json is damaged" in err
    assert "Restore it, or remove it to predict without a calibration." in err
