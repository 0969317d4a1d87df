"""Resume points survive kills, full disks and damage: the one before stays until a newer one is whole."""

import builtins
import logging
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from marnet import Config, fit, make_config
from marnet.errors import RunDirectoryError
from marnet.runs.layout import PREVIOUS_RESUME_POINT, RESUME_POINT
from marnet.training.resume_points import choose_resume_point, find_resume_point, write_resume_point


def settings(manifest_file: Path, epochs: int) -> Config:
    return make_config(
        {
            "method": "image-only",
            "data": {"source": str(manifest_file), "image_size": 32},
            "backbone": {"name": "timm:test_resnet"},
            "training": {"epochs": epochs, "batch_size": 16, "devices": "cpu"},
        }
    )


@pytest.fixture(scope="module")
def finished(manifest_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four epochs with a resume point after each of the first two: it stopped there and went on."""
    run = tmp_path_factory.mktemp("points") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("marnet.training.lightning.callbacks.RESUME_SECONDS", 0.0)
        fit(settings(manifest_file, 4), run)
    return run


@pytest.mark.parametrize("damage", ["cut short", "one byte", "missing"])
def test_a_damaged_resume_point_falls_back_to_the_one_before(
    damage: str, finished: Path, manifest_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    last = run / RESUME_POINT
    content = bytearray(last.read_bytes())
    if damage == "missing":
        last.unlink()
    elif damage == "cut short":
        last.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 1
        last.write_bytes(content)
    with caplog.at_level(logging.WARNING, "marnet"):
        fit(settings(manifest_file, 4), run, resume=True)
    reason = "missing" if damage == "missing" else "damaged ("
    assert f"{last} is {reason}" in caplog.text
    assert f"Resuming from {run / PREVIOUS_RESUME_POINT}; the epochs since are repeated." in caplog.text
    for name in ("model.safetensors", "history.csv"):
        assert (run / name).read_bytes() == (finished / name).read_bytes()


def test_without_a_whole_resume_point_nothing_is_resumed(finished: Path, manifest_file: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    for point in (RESUME_POINT, PREVIOUS_RESUME_POINT):
        (run / point).write_bytes(b"nonsense")
    with pytest.raises(
        RunDirectoryError, match=r"has no whole checkpoints.last\.ckpt to resume from\. .*`resume=True`"
    ):
        fit(settings(manifest_file, 5), run, resume=True)
    assert find_resume_point(run) is None


def test_a_full_disk_keeps_both_resume_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    last = tmp_path / RESUME_POINT
    for number in range(2):
        write_resume_point({"number": number}, last)
    before = {path.name: path.read_bytes() for path in last.parent.iterdir()}
    assert set(before) == {RESUME_POINT.name, PREVIOUS_RESUME_POINT.name}
    real = Path.open

    def on_a_full_disk(path: Path, *args: Any, **options: Any) -> Any:
        return real(Path("/dev/full") if ".partial" in path.name else path, *args, **options)

    monkeypatch.setattr(Path, "open", on_a_full_disk)
    with pytest.raises(RunDirectoryError, match=r"last\.ckpt could not be written: No space left on device"):
        write_resume_point({"number": 2}, last)
    assert {path.name: path.read_bytes() for path in last.parent.iterdir()} == before


def test_a_kill_between_the_renames_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    last = tmp_path / RESUME_POINT
    write_resume_point({"number": 0}, last)
    replace, renames = Path.replace, 0

    def killed_after_one(path: Path, target: Path) -> Path:
        nonlocal renames
        renames += 1
        if renames > 1:
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", killed_after_one)
    with pytest.raises(KeyboardInterrupt):
        write_resume_point({"number": 1}, last)
    assert not last.exists()
    assert choose_resume_point(tmp_path) == tmp_path / PREVIOUS_RESUME_POINT


def test_nothing_of_a_run_passes_through_another_folder(
    manifest_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of temporary files may lie on another file system, where a rename becomes a copy."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    opened: list[str] = []
    real = builtins.open

    def watch(file: Any, *args: Any, **options: Any) -> Any:
        opened.append(str(file))
        return real(file, *args, **options)

    monkeypatch.setattr(builtins, "open", watch)
    fit(settings(manifest_file, 1), tmp_path / "run")
    assert not [name for name in opened if name.startswith(str(temporary)) and "ckpt" in name]
    assert list(temporary.rglob("*")) == []
