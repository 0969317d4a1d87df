"""`overwrite=True`: only what a run wrote goes, and only after the new run has its first weights."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

import marnet
from marnet import Config, fit, make_config
from marnet.errors import NonFiniteLossError, RunDirectoryError
from marnet.runs.layout import LOCK, MARKER, REPLACED
from marnet.runs.lock import claimed
from marnet.runs.overwriting import foreign_entries, put_back, set_aside
from marnet.runs.starting import check_run_directory

OLD = Path(__file__).parent / "written_by_0_1"


@pytest.fixture
def run(trained_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained_run, tmp_path / "run"))


def settings(manifest_file: Path, **training: object) -> Config:
    return make_config(
        {
            "method": "image-only",
            "data": {"source": str(manifest_file), "image_size": 32},
            "backbone": {"name": "timm:test_resnet"},
            "training": {"epochs": 1, "batch_size": 16, "devices": "cpu", **training},
        }
    )


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != LOCK)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("name", ["notes.txt", "src/main.py", "tensorboard/notes.txt", "checkpoints/mine.pt", ".git/x"])
def test_a_run_with_a_file_of_somebody_else_is_refused(run: Path, manifest_file: Path, name: str) -> None:
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).write_text("years of work")
    before = content(run)
    shown = name if name.startswith(("tensorboard", "checkpoints")) else name.partition("/")[0]
    with pytest.raises(RunDirectoryError) as refused:
        fit(settings(manifest_file), run, overwrite=True)
    assert f"files that no run writes ({shown})" in str(refused.value)
    assert content(run) == before


def test_a_project_with_a_configuration_of_its_own_is_refused(tmp_path: Path, manifest_file: Path) -> None:
    (tmp_path / "config.yaml").write_text("mine: true\n")
    with pytest.raises(RunDirectoryError, match="is not a whole run"):
        fit(settings(manifest_file), tmp_path, overwrite=True)
    (tmp_path / "classes.json").write_text("[]")
    (tmp_path / "model.safetensors").write_text("")
    with pytest.raises(RunDirectoryError, match="is not a whole run"):  # the configuration is not one of marnet
        fit(settings(manifest_file), tmp_path, overwrite=True)
    assert (tmp_path / "config.yaml").read_text() == "mine: true\n"


def test_the_current_folder_is_replaced_only_if_it_is_a_run(
    run: Path, tmp_path: Path, manifest_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunDirectoryError, match=r"\. holds files that no run writes \(run\)"):
        fit(settings(manifest_file), ".", overwrite=True)
    monkeypatch.chdir(run)
    assert fit(settings(manifest_file, seed=5), ".", overwrite=True).load().config.training.seed == 5
    assert Path.cwd() == run


def test_a_link_to_a_run_is_followed_and_stays(run: Path, tmp_path: Path, manifest_file: Path) -> None:
    (tmp_path / "link").symlink_to(run)
    fit(settings(manifest_file, seed=5), tmp_path / "link", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert marnet.load(run).config.training.seed == 5


def test_a_link_inside_a_run_goes_and_its_target_stays(run: Path, tmp_path: Path, manifest_file: Path) -> None:
    shutil.rmtree(run / "tensorboard")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("mine")
    (run / "tensorboard").symlink_to(tmp_path / "photos")
    with pytest.raises(RunDirectoryError, match="tensorboard is a link, and a run writes nothing outside"):
        check_run_directory(run, resume=True)
    fit(settings(manifest_file), run, overwrite=True)
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["a.jpg"]
    assert not (run / "tensorboard").is_symlink()


def test_a_run_of_marnet_0_1_is_recognised_without_a_marker(tmp_path: Path, manifest_file: Path) -> None:
    old = Path(shutil.copytree(OLD / "marnet", tmp_path / "old"))
    assert foreign_entries(old) == ["probabilities.json"]  # of the tests
    (old / "probabilities.json").unlink()
    assert not (old / MARKER).exists()
    fit(settings(manifest_file), old, overwrite=True)
    assert not (old / "text.safetensors").exists()
    assert (old / MARKER).is_file()


def test_a_training_that_fails_before_its_first_weights_puts_the_old_run_back(run: Path, manifest_file: Path) -> None:
    before = content(run)
    with pytest.raises(NonFiniteLossError):
        fit(settings(manifest_file, lr=1e30), run, overwrite=True)
    assert content(run) == before


def test_a_killed_training_leaves_the_old_run_for_the_next(run: Path, manifest_file: Path) -> None:
    before = content(run)
    set_aside(run)  # killed right after this
    (run / MARKER).write_text("{}")
    (run / "config.yaml").write_text("method: marnet\n...\n")
    with pytest.raises(RunDirectoryError, match=r"The run that it was to replace is kept in .*\.replaced"):
        fit(settings(manifest_file), run, resume=True)
    with pytest.raises(NonFiniteLossError):
        fit(settings(manifest_file, lr=1e30), run, overwrite=True)
    assert content(run) == before


@pytest.mark.parametrize("marked", [True, False])
def test_every_moment_of_setting_aside_and_putting_back_can_be_undone(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, marked: bool
) -> None:
    """A kill after each of the renames; the copy of the last round saw all of them."""
    if not marked:
        (run / MARKER).unlink()  # as marnet 0.1 left it
    before = content(run)
    rename, budget = Path.rename, 0

    def rename_a_few(path: Path, target: Path) -> Path:
        nonlocal budget
        budget -= 1
        if budget < 0:
            raise KeyboardInterrupt
        return rename(path, target)

    def call(function: Callable[[Path], None], folder: Path, renames: int) -> None:
        nonlocal budget
        budget = renames
        with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
            patch.setattr(Path, "rename", rename_a_few)
            function(folder)

    entries = len(list(run.iterdir())) + 1
    for moment in range(2 * entries):
        copy = Path(shutil.copytree(run, tmp_path / f"copy-{moment}"))
        call(set_aside, copy, moment)
        if moment >= entries:  # the new run begins
            (copy / MARKER).write_text("{}")
            (copy / "text.json").write_text("new")
        call(put_back, copy, moment % entries)
        put_back(copy)
        found = content(copy)
        assert found.pop(MARKER) is not None
        assert found == {name: each for name, each in before.items() if name != MARKER}
        assert not (copy / REPLACED).exists()


def test_the_old_run_goes_with_the_first_weights(run: Path, manifest_file: Path) -> None:
    found: list[bool] = []
    fit(
        settings(manifest_file),
        run,
        overwrite=True,
        on_epoch=lambda epoch, epochs: found.append((run / REPLACED).exists()),
    )
    assert found == [False]


def test_a_model_of_your_own_replaces_only_a_model(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = marnet.wrap(net, texts=["red", "green"], labels=[0, 1], image_size=32)
    marnet.save(model, tmp_path / "m")
    marnet.save(model, tmp_path / "m", overwrite=True)
    (tmp_path / "m" / "notes.txt").write_text("mine")
    with pytest.raises(RunDirectoryError, match=r"\(notes\.txt\)"):
        marnet.save(model, tmp_path / "m", overwrite=True)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda d: (d / "file").write_text("x") and d / "file" / "sub", r"cannot be created, because .*file is a file"),
        (lambda d: (d / "link").symlink_to(d / "nowhere") or d / "link", "is a link that leads nowhere"),
        (lambda d: d / ("a" * 300), "cannot be used as a folder: File name too long"),
    ],
)
def test_a_place_where_no_run_can_be_is_refused(make, sentence: str, tmp_path: Path, manifest_file: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(RunDirectoryError, match=sentence):
        fit(settings(manifest_file), make(tmp_path))


def test_two_trainings_into_one_folder_are_refused(run: Path, manifest_file: Path) -> None:
    """Another process holds the lock; it is named, and its death releases the run."""
    hold = (
        "import sys, time; from pathlib import Path; from marnet.runs.lock import claimed\n"
        "with claimed(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", hold, str(run)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        before = content(run)
        for option in ({"overwrite": True}, {"resume": True}):
            with pytest.raises(RunDirectoryError, match=rf"written by another training: process {other.pid} on "):
                fit(settings(manifest_file), run, **option)
        assert content(run) == before
    finally:
        other.kill()
        other.wait()
    with claimed(run):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked here")
def test_a_loader_process_does_not_keep_the_lock_of_a_killed_training(run: Path) -> None:
    fork = (
        "import os, sys, time; from pathlib import Path; from marnet.runs.lock import claimed\n"
        "with claimed(Path(sys.argv[1])):\n"
        "    child = os.fork()\n"
        "    if child == 0: time.sleep(60)\n"
        "    print(child, flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", fork, str(run)], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    child = int(other.stdout.readline())
    try:
        time.sleep(0.2)
        other.kill()
        other.wait()
        with claimed(run):
            pass
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK).symlink_to(tmp_path / "victim")
    with pytest.raises(RunDirectoryError, match="cannot be written to"), claimed(tmp_path / "run"):
        pass
    assert (tmp_path / "victim").read_text() == "mine"


def test_equal_runs_write_equal_bytes(manifest_file: Path, tmp_path: Path) -> None:
    """Written in processes with different hash seeds; the header once was in random order."""
    script = (
        "import sys, marnet, torch; from torch import nn; torch.manual_seed(0)\n"
        "net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
        "marnet.save(marnet.wrap(net, texts=['red', 'green'], labels=[0, 1], image_size=32), sys.argv[1])"
    )
    for number in range(3):
        subprocess.run([sys.executable, "-c", script, str(tmp_path / str(number))], check=True)
    for name in ("model.safetensors", "text.safetensors", "config.yaml", "text.json", MARKER):
        assert len({(tmp_path / str(number) / name).read_bytes() for number in range(3)}) == 1
    header = (tmp_path / "0" / "model.safetensors").read_bytes()
    length = int.from_bytes(header[:8], "little")
    metadata = json.loads(header[8 : 8 + length])["__metadata__"]
    assert list(metadata) == sorted(metadata)
    assert len(metadata) == 3
