"""Several training processes: figures that are those of one process, and none that outlives another."""

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import marnet
from marnet.config import read_config
from marnet.errors import MarnetError, TrainingProcessError
from marnet.runs.directory import read_history
from marnet.runs.weights import load_run, save_weights
from marnet.training import processes

SMALL = ["--backbone", "timm:test_resnet", "--image-size", "32", "--batch-size", "4", "--devices", "cpu:2"]
KEEP_EVERY_EPOCH = """
import shutil, sys, marnet
from marnet.training.lightning import callbacks

callbacks.RESUME_SECONDS = -1.0
manifest, run, kept = sys.argv[1:]
settings = {"training.epochs": 4, "training.batch_size": 4, "data.image_size": 32, "training.devices": "cpu:2"}
settings |= {"training.keep": kept, "training.calibrate": False}


def keep(epoch, epochs):
    shutil.copy(f"{run}/checkpoints/last.ckpt", f"{run}-{epoch}.ckpt")


marnet.train(manifest, out=run, backbone="timm:test_resnet", settings=settings, on_epoch=keep)
"""


@pytest.fixture
def odd_manifest(manifest_file: Path, tmp_path: Path) -> Path:
    """39 rows to train on and 21 of val, which two processes cannot share equally."""
    with manifest_file.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if row["image"].endswith("-0.png"):
            row["split"] = "val"
        row["image"] = str(manifest_file.parent / row["image"])
    with (tmp_path / "odd.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
    return tmp_path / "odd.csv"


@pytest.mark.slow  # the next one, of averaged weights, takes the same way
def test_two_processes_validate_as_one_does(odd_manifest: Path, tmp_path: Path) -> None:
    """In every epoch, on 21 rows in batches of 4; so they choose the epoch that one process would choose."""
    script, run = tmp_path / "train.py", tmp_path / "run"
    script.write_text(KEEP_EVERY_EPOCH)
    subprocess.run([sys.executable, script, odd_manifest, run, "best"], check=True, timeout=600)
    history = read_history(run / "history.csv")
    alone = Path(shutil.copytree(run, tmp_path / "alone"))
    model = load_run(run).model
    found = []
    for row in history:
        state = torch.load(f"{run}-{int(row['epoch'])}.ckpt", weights_only=True)["state_dict"]
        model.load_state_dict({name.removeprefix("model."): tensor for name, tensor in state.items()}, strict=False)
        save_weights(alone, model)
        metrics = marnet.evaluate(alone)
        assert isinstance(metrics, marnet.Metrics)
        assert metrics.n == 21
        assert (row["val/top1"], row["val/nll"]) == pytest.approx((metrics.top1, metrics.nll), abs=1e-6)
        found.append((metrics.top1, -metrics.nll))
    assert len(found) == 4
    chosen = marnet.evaluate(run)
    assert isinstance(chosen, marnet.Metrics)
    assert (chosen.top1, -chosen.nll) == pytest.approx(max(found), abs=1e-6)


def test_two_processes_validate_averaged_weights_as_one_does(odd_manifest: Path, tmp_path: Path) -> None:
    script, run = tmp_path / "train.py", tmp_path / "run"
    script.write_text(KEEP_EVERY_EPOCH)
    subprocess.run([sys.executable, script, odd_manifest, run, "averaged"], check=True, timeout=600)
    last = read_history(run / "history.csv")[-1]
    metrics = marnet.evaluate(run)
    assert isinstance(metrics, marnet.Metrics)
    assert (last["val/top1"], last["val/nll"]) == pytest.approx((metrics.top1, metrics.nll), abs=1e-6)


def train_and_stop(manifest: Path, run: Path, number: signal.Signals, *, rank: int) -> tuple[int, str]:
    """Train with two processes, send one of them a signal after two epochs, and return the exit code and what was said.

    All that they said is known only when all of them have ended.
    """
    command = [sys.executable, "-m", "marnet", "train", "--data", manifest, "--out", run, *SMALL, "--epochs", "5000"]
    first = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert first.stderr is not None
    for line in first.stderr:
        if re.search("epoch 2 of", line):
            break
    children = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()
    os.kill(first.pid if rank == 0 else int(children[0]), number)
    said = first.communicate(timeout=300)[1]
    return first.returncode, said


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="the other process is found in /proc")


@needs_proc
@pytest.mark.parametrize(
    ("number", "rank", "code", "sentence"),
    [
        pytest.param(
            signal.SIGKILL,
            0,
            -9,
            "The first of the training processes was killed, and the others ended.",
            marks=pytest.mark.slow,
        ),
        (signal.SIGKILL, 1, 1, "Error: The training process with rank 1 was killed (SIGKILL)"),
        pytest.param(signal.SIGTERM, 0, 143, "Stopped by SIGTERM.", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, 1, 143, "Stopped by SIGTERM.", marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, 0, 130, "Stopped by Ctrl-C.", marks=pytest.mark.slow),
    ],
)
def test_all_end_and_say_once_how_to_go_on(
    number: signal.Signals, rank: int, code: int, sentence: str, odd_manifest: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    found, said = train_and_stop(odd_manifest, run, number, rank=rank)
    assert found == code
    assert said.count(sentence) == 1
    assert said.count(f"Go on with the run in {run} by --resume; the epochs that were finished are kept.") == 1
    assert "Traceback" not in said

    # One process goes on where two left off, and ends at the learning rate at which one process ends.
    epochs = len(read_history(run / "history.csv")) + 2
    marnet.train(out=run, resume=True, settings={"training.epochs": epochs, "training.devices": "cpu"})
    last = read_history(run / "history.csv")[-1]
    settings = read_config(run / "config.yaml").training
    assert last["epoch"] == epochs
    assert last["lr"] == pytest.approx(settings.lr * settings.min_lr_share, rel=1e-3)


class Stopped:
    """A process of another rank as `processes` sees it."""

    def __init__(self, code: int | None) -> None:
        self.returncode = code
        self.killed = False

    def poll(self) -> int | None:
        return self.returncode

    def kill(self) -> None:
        self.killed = True


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (-9, "The training process with rank 2 was killed (SIGKILL), as the system does where memory runs out."),
        (-11, "The training process with rank 2 was killed (SIGSEGV)."),
        (3, "The training process with rank 2 ended with exit code 3; its own message is above."),
    ],
)
def test_a_broken_connection_is_explained_by_the_process_that_ended(
    code: int, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = processes._Others()
    running = Stopped(None)
    others.processes = [running, Stopped(code)]  # type: ignore[list-item]
    monkeypatch.setattr(processes, "_others", others)
    with pytest.raises(TrainingProcessError) as failed, processes.together(lambda: "Go on."):
        raise RuntimeError("Connection closed by peer")
    assert str(failed.value) == f"{sentence} The others ended with it. Go on."
    assert running.killed


def test_an_error_of_ones_own_is_raised_as_it_is_and_ends_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    others = processes._Others()
    running = Stopped(None)
    others.processes = [running]  # type: ignore[list-item]
    monkeypatch.setattr(processes, "_others", others)
    with pytest.raises(MarnetError, match="no space"), processes.together(lambda: "Go on."):
        raise MarnetError("no space")
    assert running.killed


@pytest.mark.parametrize(
    ("rank", "first", "started"), [("0", "7", False), ("1", "7", True), ("1", None, False), (None, None, False)]
)
def test_a_process_knows_whether_the_first_one_started_it(
    monkeypatch: pytest.MonkeyPatch, rank: str | None, first: str | None, started: bool
) -> None:
    """One that torchrun started cannot rely on what the first one has written."""
    for name, value in (("LOCAL_RANK", rank), ("MARNET_FIRST_PROCESS", first)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert processes.started_by_first() == started
