"""A run whose images were moved: each command says `--data`, and takes it."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from marnet.data.manifest import read_manifest
from marnet.data.recorded import read_recorded

Call = Callable[..., tuple[int, str, str]]
TINY = ["--backbone", "timm:test_resnet", "--image-size", "32", "--batch-size", "16", "--devices", "cpu"]


@pytest.fixture(scope="module")
def moved(manifest_file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run of one epoch, and the table of its rows at its new place."""
    from marnet import fit, make_config

    folder = tmp_path_factory.mktemp("moved")
    shutil.copytree(manifest_file.parent, folder / "a")
    config = make_config(
        {
            "data": {"source": str(folder / "a" / "manifest.csv"), "image_size": 32},
            "backbone": {"name": "timm:test_resnet"},
            "training": {"epochs": 1, "batch_size": 16, "devices": "cpu"},
        }
    )
    run = fit(config, folder / "run").path
    (folder / "a").rename(folder / "b")
    return run, folder / "b" / "manifest.csv"


@pytest.mark.parametrize("command", [["evaluate"], ["report"], ["train", "--resume", "--epochs", "2", "--out"]])
def test_a_command_says_where_to_name_the_new_place(command: list[str], moved: tuple[Path, Path], call: Call) -> None:
    run, _ = moved
    code, out, err = call(*command, run)
    assert (code, out) == (1, "")
    split = "train" if command[0] == "train" else "val"
    count = {"train": 42, "val": 18}[split]
    assert f"Error: The run {run}, split '{split}', has {count} images, of which {count} do not exist any more" in err
    assert f"... and {count - 5} more" in err
    assert "name the data at its new place with --data; else restore them." in err
    assert len(err) < 2000


def test_the_new_place_is_taken(moved: tuple[Path, Path], tmp_path: Path, call: Call) -> None:
    run, table = moved
    recorded = json.loads((run / "metrics.json").read_text())["val"]
    code, out, _ = call("evaluate", run, "--data", table, "--json")
    assert (code, json.loads(out)["top1"]) == (0, recorded["top1"])

    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    code, out, err = call("report", run, "--data", table, "--out", tmp_path / "new" / "r.html")
    assert (code, out) == (0, f"Report: {tmp_path / 'new' / 'r.html'}\n"), err
    assert f"split val of {table}" in (tmp_path / "new" / "r.html").read_text(encoding="utf-8")
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before  # a run may be read-only

    resumed = shutil.copytree(run, tmp_path / "resumed")
    code, _, err = call("train", "--resume", "--data", table, "--epochs", "2", "--out", resumed)
    assert code == 0, err
    assert call("evaluate", resumed)[0] == 0  # the new places are recorded

    other = tmp_path / "other.csv"
    lines = table.read_text(encoding="utf-8").replace("round", "square").splitlines()
    other.write_text("\n".join([lines[0], *(f"{table.parent}/{line}" for line in lines[1:])]), encoding="utf-8")
    code, _, err = call("train", "--resume", "--data", other, "--epochs", "3", "--out", resumed)
    assert code == 1
    assert "has 60 rows that are not the 60 rows of the run; row 2 is the first that differs" in err


def test_resuming_at_the_new_place_changes_no_weight(
    moved: tuple[Path, Path], manifest_file: Path, tmp_path: Path, call: Call
) -> None:
    run, table = moved
    resumed = shutil.copytree(run, tmp_path / "resumed")
    assert call("train", "--resume", "--data", table, "--epochs", "2", "--out", resumed)[0] == 0
    settings = ["--data", manifest_file, "--epochs", "1", *TINY]
    assert call("train", *settings, "--out", tmp_path / "stayed")[0] == 0
    assert call("train", "--resume", "--epochs", "2", "--out", tmp_path / "stayed")[0] == 0
    from safetensors.torch import load_file

    one, two = (load_file(folder / "model.safetensors") for folder in (resumed, tmp_path / "stayed"))
    assert all(one[name].equal(two[name]) for name in two)
    assert [Path(each.image).name for each in read_recorded(resumed).records] == [
        Path(each.image).name for each in read_manifest(manifest_file).records
    ]


def test_a_report_that_cannot_be_written_says_so(trained_run: Path, tmp_path: Path, call: Call) -> None:
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file" / "r.html", tmp_path / ("n" * 300)):
        code, _, err = call("report", trained_run, "--out", out)
        assert code == 1
        assert err.startswith("Error: ")
        assert "Choose another" in err
        assert "--out" in err
    code, _, err = call("report", trained_run, "--out", tmp_path / "r.html", "--plots", tmp_path / "file")
    assert (code, err.startswith(f"Error: The plots cannot be written to {tmp_path / 'file'}: ")) == (1, True)


def test_data_without_splits_is_scored_whole_unless_it_holds_the_rows_of_the_run(
    trained_run: Path, manifest_file: Path, tmp_path: Path, call: Call
) -> None:
    rows = [(each.image, each.text, each.label) for each in read_manifest(manifest_file).records]
    own, other = tmp_path / "own.csv", tmp_path / "other.csv"
    for file, shown in ((own, rows), (other, rows[:20])):
        with file.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([("image", "text", "label"), *shown])
    recorded = json.loads(call("evaluate", trained_run, "--json")[1])
    code, out, err = call("evaluate", trained_run, "--data", own, "--json")
    assert (code, json.loads(out)) == (0, recorded)
    assert "names no splits and holds the rows of the run, which keep the splits they have there." in err
    for split in ("val", "test"):
        code, out, err = call("evaluate", trained_run, "--data", other, "--split", split, "--json")
        assert (code, json.loads(out)["n"]) == (0, 20)
        assert "names no splits: all its 20 rows are scored." in err
        assert "stratified" not in err
