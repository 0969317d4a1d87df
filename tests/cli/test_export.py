"""`marnet export`, and the commands that take its file."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import marnet

pytest.importorskip("onnxruntime")
Call = Callable[..., tuple[int, str, str]]


def test_export_predict_evaluate(call: Call, trained_run: Path, manifest_file: Path, tmp_path: Path) -> None:
    file = tmp_path / "new" / "run.onnx"
    code, out, err = call("export", trained_run, file)
    assert (code, err) == (0, "")
    assert f"File: {file} (" in out
    assert "Compared on 18 images of split val: the same class for 100.0 %, probabilities within" in out
    image = marnet.Predictor(trained_run, device="cpu").manifest().records[0].image
    assert call("predict", file, image, "--top", "1") == call("predict", trained_run, image, "--top", "1")
    code, out, err = call("export", trained_run, file)
    assert (code, out) == (1, "")
    assert "already exists. Choose another name, or replace it with --overwrite." in err
    code, out, _ = call("export", trained_run, file, "--overwrite", "--json")
    done = json.loads(out)
    assert (code, done["precision"], done["images"], done["scores"]) == (0, "fp32", 18, None)

    code, ours, _ = call("evaluate", file, "--data", manifest_file, "--split", "train", "--json")
    assert code == 0
    _, theirs, _ = call("evaluate", trained_run, "--split", "train", "--json")
    assert json.loads(ours) == pytest.approx(json.loads(theirs), abs=1e-5)
    for arguments, message in (
        (("evaluate", file), "has no rows of its own. Name some with --data."),
        (("evaluate", file, "--corruptions"), "is a file, but this takes a run directory."),
        (("explain", file, image), "is a file, but this takes a run directory."),
        (("search", file, "red"), "is a file, but this takes a run directory."),
        (("report", file), "is a file, but this takes a run directory."),
    ):
        code, _, err = call(*arguments)
        assert code == 1
        assert message in err, arguments


@pytest.mark.slow
def test_fewer_bits_are_printed_with_their_cost(call: Call, trained_run: Path, tmp_path: Path) -> None:
    code, out, err = call("export", trained_run, tmp_path / "run.onnx", "--precision", "fp16")
    assert (code, err) == (0, "")
    assert "fp16)" in out
    assert "Top-1 on 18 rows of val: " in out
