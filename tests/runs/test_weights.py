"""Run directories: what they hold, and what happens when a part is missing or damaged."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from marnet.errors import RunDirectoryError
from marnet.runs.directory import read_run_config
from marnet.runs.starting import check_run_directory
from marnet.runs.weights import load_run


@pytest.fixture
def run(trained_run: Path, tmp_path: Path) -> Path:
    """A copy of a trained run that a test may damage."""
    return Path(shutil.copytree(trained_run, tmp_path / "run"))


def test_a_run_holds_everything_and_no_pickled_weights(run: Path) -> None:
    names = {path.name for path in run.iterdir()}
    assert {
        "config.yaml",
        "classes.json",
        "image.json",
        "model.safetensors",
        "text.safetensors",
        "text.json",
        "manifest.jsonl",
        "metrics.json",
        "history.csv",
        "environment.json",
    } <= names
    assert not [path for path in run.iterdir() if path.suffix in {".pt", ".pth", ".pkl", ".bin"}]
    environment = json.loads((run / "environment.json").read_text())
    assert environment["seed"] == read_run_config(run).training.seed
    assert environment["packages"]["torch"] == torch.__version__.split("+")[0]


def test_prediction_weights_hold_nothing_of_the_text(run: Path) -> None:
    names = set(load_file(run / "model.safetensors"))
    assert names
    assert not [name for name in names if name.startswith("training_only.") or "text" in name or "semantic" in name]
    training = set(load_file(run / "text.safetensors"))
    assert training
    assert all(name.startswith("training_only.") for name in training)  # one prefix separates the two


def test_predictions_are_the_same_without_the_text_files(run: Path) -> None:
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        before = load_run(run).model(images)
        (run / "text.safetensors").unlink()
        (run / "text.json").unlink()
        after = load_run(run).model(images)
    assert torch.equal(before, after)


def test_the_text_encoder_comes_back_with_its_vocabulary(run: Path) -> None:
    loaded = load_run(run, with_text=True).model
    texts = ["red, round", "", "blue, long"]
    outputs = loaded.training_outputs(torch.randn(3, 3, 32, 32), texts)
    assert outputs.x_s is not None
    assert outputs.text_rows.tolist() == [0, 2]
    assert float(outputs.x_s.norm(dim=-1).min()) > 0  # the words are known, so the vectors are not zero


@pytest.mark.parametrize("name", ["classes.json", "image.json", "model.safetensors"])
def test_a_missing_file_is_named(run: Path, name: str) -> None:
    (run / name).unlink()
    with pytest.raises(
        RunDirectoryError, match=f"{name} is missing from the run directory. Restore it, or train again"
    ):
        load_run(run)


@pytest.mark.parametrize("name", ["classes.json", "image.json", "model.safetensors"])
def test_a_truncated_file_is_named(run: Path, name: str) -> None:
    content = (run / name).read_bytes()
    (run / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(RunDirectoryError, match=f"{name} is damaged .*Restore it, or train again"):
        load_run(run)


def test_a_truncated_configuration_is_refused_though_it_is_valid_yaml(run: Path) -> None:
    lines = (run / "config.yaml").read_text().splitlines()
    (run / "config.yaml").write_text("\n".join(lines[:5]))
    with pytest.raises(RunDirectoryError, match="was cut short"):
        load_run(run)


def test_a_missing_configuration_and_a_missing_run(run: Path, tmp_path: Path) -> None:
    (run / "config.yaml").unlink()
    with pytest.raises(RunDirectoryError, match=r"has no config\.yaml\. Name one that 'marnet train' wrote"):
        load_run(run)
    with pytest.raises(RunDirectoryError, match=r"nowhere does not exist\. Name one that 'marnet train' wrote"):
        load_run(tmp_path / "nowhere")


def test_files_of_two_runs_do_not_mix(run: Path) -> None:
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("timm:test_resnet", "timm:resnet10t"))
    with pytest.raises(RunDirectoryError, match=r"[Bb]oth must come from the same run"):
        load_run(run)


def test_an_output_directory_that_is_taken_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(
        RunDirectoryError, match=r"already holds a run\. Nothing was changed.*`overwrite=True`.*`resume=True`"
    ):
        check_run_directory(run)
    check_run_directory(run, overwrite=True)
    assert (run / "model.safetensors").exists()  # checking deletes nothing


def test_overwrite_never_deletes_what_is_not_a_run(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(RunDirectoryError, match=r"holds files that no run writes \(thesis\.txt\)"):
        check_run_directory(tmp_path, overwrite=True)
    with pytest.raises(RunDirectoryError, match="is a file, but a run is a directory"):
        check_run_directory(tmp_path / "thesis.txt")


def test_there_must_be_something_to_resume(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match=r"has no checkpoints.last.ckpt to resume from"):
        check_run_directory(tmp_path / "empty", resume=True)
