"""SIGTERM and Ctrl-C in every phase of a command: the exit code, how to go on, and nothing half written."""

import os
import signal
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

Call = Callable[..., tuple[int, str, str]]
CODES = {"SIGTERM": (signal.SIGTERM, 143), "Ctrl-C": (signal.SIGINT, 130)}
SMALL = {"data.image_size": 32, "backbone.name": "timm:test_resnet", "training.epochs": 2, "training.devices": "cpu"}
FLAGS = [flag for name, value in SMALL.items() for flag in ("--set", f"{name}={value}")]

NOTHING = "Training had not begun, and nothing was changed in {out}. Start again."
FIRST = "The first epoch had not ended, so {out} has nothing to resume. Start again with --overwrite."
RESUME = "Go on with the run in {out} by --resume; the epochs that were finished are kept."
AGAIN = "Start the comparison in {out} again to go on"
TRAIN = [
    ("marnet.config", "make_config", NOTHING),
    ("marnet.training.training_data", "open_splits", NOTHING),
    ("marnet.training.fit", "start_run_directory", FIRST),
    ("marnet.training.fit", "write_recorded", FIRST),
    ("marnet.training.lightning.callbacks", "save_weights", FIRST),
    ("marnet.training.lightning.callbacks", "write_history", FIRST),
    ("marnet.training.finishing", "load_run", RESUME),
    ("marnet.training.finishing", "write_json", RESUME),
]
COMPARE = [
    ("marnet.comparison.plan", "read_comparison_config", "The comparison had not begun. Start it again."),
    ("marnet.comparison.data", "open_data", AGAIN),
    ("marnet.training.training_data", "open_splits", AGAIN),
    ("marnet.comparison.runner", "write_record", AGAIN),
    ("marnet.comparison.runner", "write_results", AGAIN),
    ("marnet.reports.comparison_report", "write_comparison_report", AGAIN),
]


def both_signals(phases: list[tuple[str, str, str]]) -> list[tuple[str, str, str, str]]:
    """Return all phases with SIGTERM, and every other one with Ctrl-C."""
    return [("SIGTERM", *phase) for phase in phases] + [("Ctrl-C", *phase) for phase in phases[1::2]]


def stop_at(monkeypatch: pytest.MonkeyPatch, module: str, name: str, number: signal.Signals) -> None:
    """Send this process a signal when a function is called."""
    within = import_module(module)  # by name, because functions hide some modules
    real = getattr(within, name)

    def stopping(*arguments: Any, **options: Any) -> Any:
        os.kill(os.getpid(), number)
        return real(*arguments, **options)

    monkeypatch.setattr(within, name, stopping)


def check_left(out: Path) -> None:
    """Check that nothing half written is left, and no lock is held."""
    import fcntl

    assert not [path for path in out.rglob("*") if ".part" in path.name]
    for lock in [*out.rglob("*.lock"), *out.rglob(".lock")]:
        with lock.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize(("word", "module", "name", "sentence"), both_signals(TRAIN))
def test_train_says_how_to_go_on_in_every_phase(
    word: str, module: str, name: str, sentence: str,
    call: Call, manifest_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    out = tmp_path / "run"
    number, code = CODES[word]
    stop_at(monkeypatch, module, name, number)
    found, _, err = call("train", "--data", manifest_file, "--out", out, *FLAGS)
    assert (found, err.count("Stopped by")) == (code, 1)
    assert f"Stopped by {word}. {sentence.format(out=out)}" in err
    check_left(tmp_path)


@pytest.mark.parametrize(("word", "module", "name", "sentence"), both_signals(COMPARE))
def test_compare_says_how_to_go_on_in_every_phase(
    word: str, module: str, name: str, sentence: str,
    call: Call, manifest_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    out, plan = tmp_path / "out", tmp_path / "plan.yaml"
    base = {"data": {"source": str(manifest_file)}}
    plan.write_text(yaml.safe_dump({"arms": ["image-only"], "seeds": 1, "split": "val", "base": base}))
    number, code = CODES[word]
    stop_at(monkeypatch, module, name, number)
    found, _, err = call("compare", plan, "--out", out, *FLAGS)
    assert (found, err.count("Stopped by")) == (code, 1)
    assert f"Stopped by {word}. {sentence.format(out=out)}" in err
    check_left(tmp_path)
