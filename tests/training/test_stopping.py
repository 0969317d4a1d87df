"""Ctrl-C and SIGTERM: the exit code, the sentence that says how to go on, and that one can."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from lightning.pytorch.utilities.exceptions import SIGTERMException

import marnet

SMALL = ["--set", "data.image_size=32", "--set", "backbone.name=timm:test_resnet", "--set", "training.batch_size=4"]


def stop(command: list[str], number: signal.Signals, *, after: str) -> tuple[int, str]:
    """Run a command, send the signal after a line, and return the exit code and what it said."""
    child = subprocess.Popen([sys.executable, *command], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert child.stderr is not None
    said = ""
    for line in child.stderr:
        said += line
        if re.search(after, line):
            break
    child.send_signal(number)
    said += child.stderr.read()
    return child.wait(60), said


@pytest.mark.parametrize(
    ("number", "code", "name"),
    [(signal.SIGTERM, 143, "SIGTERM"), pytest.param(signal.SIGINT, 130, "Ctrl-C", marks=pytest.mark.slow)],
)
def test_train_says_how_to_go_on(
    number: signal.Signals, code: int, name: str, manifest_file: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command = ["-m", "marnet", "train", "--data", str(manifest_file), "--out", str(run), *SMALL, "--devices", "cpu"]
    found, said = stop([*command, "--epochs", "5000"], number, after="epoch 2 of")
    assert found == code
    assert (
        f"Stopped by {name}. Go on with the run in {run} by --resume; the epochs that were finished are kept." in said
    )
    marnet.train(out=run, resume=True, settings={"training.epochs": 3})
    assert marnet.load(run).classes == ("apple", "eel", "lime")


@pytest.mark.slow
def test_a_script_in_python_ends_with_143_and_names_the_argument(manifest_file: Path, tmp_path: Path) -> None:
    script = (
        "import logging, sys, marnet; logging.basicConfig(level='INFO')\n"
        "settings = {'training.epochs': 5000, 'data.image_size': 32, 'training.devices': 'cpu'}\n"
        "marnet.train(sys.argv[1], out=sys.argv[2], backbone='timm:test_resnet', settings=settings)"
    )
    run = tmp_path / "run"
    code, said = stop(["-c", script, str(manifest_file), str(run)], signal.SIGTERM, after="epoch 1 of")
    assert code == 143
    assert f"Stopped by SIGTERM. Go on with the run in {run} by `resume=True`" in said


@pytest.mark.parametrize(
    ("number", "code"), [pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow), (signal.SIGINT, 130)]
)
def test_compare_says_that_it_goes_on_when_started_again(
    number: signal.Signals, code: int, manifest_file: Path, tmp_path: Path
) -> None:
    plan = {
        "arms": ["image-only", "marnet"],
        "seeds": 1,
        "base": {"data": {"source": str(manifest_file)}, "training": {"epochs": 5000, "devices": "cpu"}},
    }
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    command = ["-m", "marnet", "compare", str(tmp_path / "plan.yaml"), "--out", str(tmp_path / "out"), *SMALL]
    child = subprocess.Popen([sys.executable, *command], stderr=subprocess.PIPE, text=True)
    for _ in range(600):
        if (tmp_path / "out" / "work" / "image-only" / "seed-0" / "history.csv").is_file():
            break
        time.sleep(0.1)
    child.send_signal(number)
    said = child.communicate(timeout=60)[1]
    found = child.returncode
    assert found == code
    assert f"Start the comparison in {tmp_path / 'out'} again to go on: recorded runs are kept" in said
    assert "resume=True" not in said


def test_a_handler_of_the_program_is_called(manifest_file: Path, tmp_path: Path) -> None:
    called: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: called.append(number))

    def on_epoch(epoch: int, epochs: int) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)

    try:
        with contextlib.suppress(SIGTERMException):  # Lightning ends its loop as well
            marnet.train(
                manifest_file,
                out=tmp_path / "run",
                backbone="timm:test_resnet",
                settings={"training.epochs": 1, "data.image_size": 32, "training.devices": "cpu"},
                on_epoch=on_epoch,
            )
    finally:
        signal.signal(signal.SIGTERM, before)
    assert called == [signal.SIGTERM]
