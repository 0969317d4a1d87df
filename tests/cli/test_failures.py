"""No traceback for anything that a user can cause, and how to see it all the same."""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import marnet.config
from marnet.cli.failures import describe_failure
from marnet.errors import ConfigError

Call = Callable[..., tuple[int, str, str]]
HINT = "Set the environment variable MARNET_TRACEBACK=1 to see the traceback."


class OutOfMemoryError(RuntimeError):
    """Named as PyTorch's."""


def os_error(code: int, *names: str) -> OSError:
    between = (None,) if names[1:] else ()  # OSError takes the second name as its fifth argument
    return OSError(code, os.strerror(code), *names[:1], *between, *names[1:])


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (os_error(errno.ENOSPC, "runs/a"), "runs/a cannot be used: No space left on device. Free some space, or "),
        (os_error(errno.EACCES, "runs/a"), "runs/a cannot be used: Permission denied. Check its permissions, or "),
        (os_error(errno.ENOTDIR, "f/a"), "f/a cannot be used: Not a directory. A part of the path is a file, not "),
        (os_error(errno.EXDEV, "a", "b"), "a or b cannot be used: Invalid cross-device link. Check it, and try"),
        (OSError("no name"), "A file cannot be used: no name. Check it"),
        (MemoryError(), "Memory ran out. Close other programs, or take smaller batches"),
        (OutOfMemoryError("CUDA out of memory."), "Memory ran out (CUDA out of memory). Close other programs"),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried"), "Memory ran out (DefaultCPUAllocator: "),
        (RecursionError("maximum"), "Something is nested too deeply to be read. Check the settings"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "Text cannot be read or written ('utf-8'"),
        (ZeroDivisionError("one\ntwo"), "marnet failed in a way that it does not foresee (ZeroDivisionError: one)."),
        (ValueError(), "marnet failed in a way that it does not foresee (ValueError: ValueError)."),
    ],
)  # fmt: skip
def test_an_error_is_a_sentence_with_a_way_out(error: Exception, sentence: str) -> None:
    said = describe_failure(error)
    assert said.startswith(sentence)
    assert said.endswith("smaller images.") or said.endswith(HINT)
    assert "\n" not in said


def test_errors_of_other_packages_are_named() -> None:
    import pyarrow
    from safetensors import SafetensorError

    for error in (pyarrow.ArrowKeyError("text"), SafetensorError("header too large")):
        said = describe_failure(error)
        assert said.startswith("A file cannot be read or written: ")
        assert type(error).__module__.partition(".")[0] in said


def fail(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every command that reads settings fail."""

    def raise_it(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(marnet.config, "make_config", raise_it)


@pytest.mark.parametrize("error", [ZeroDivisionError("x"), os_error(errno.ENOSPC, "here"), ConfigError("x")])
def test_a_traceback_is_shown_on_demand(error: Exception, monkeypatch: pytest.MonkeyPatch, call: Call) -> None:
    fail(error, monkeypatch)
    code, out, err = call("train", "--out", "X")
    assert (code, out) == (1, "")
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    monkeypatch.setenv("MARNET_TRACEBACK", "1")
    code, out, shown = call("train", "--out", "X")
    assert (code, out) == (1, "")
    assert shown.startswith("Traceback (most recent call last)")
    assert shown.endswith(err)


def test_ctrl_c_ends_with_130(monkeypatch: pytest.MonkeyPatch, call: Call) -> None:
    fail(KeyboardInterrupt(), monkeypatch)
    code, out, err = call("train", "--out", "X")
    assert (code, out) == (130, "")
    assert err == "Stopped by Ctrl-C. Training had not begun, and nothing was changed in X. Start again.\nStopped.\n"
    assert call("data", "info", "X") == (130, "", "Stopped.\n")


def test_a_terminal_without_the_characters_gets_escapes() -> None:
    found = subprocess.run(
        [sys.executable, "-m", "marnet", "settings", "\u98df"],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONIOENCODING": "latin-1"},
    )  # fmt: skip
    assert found.returncode == 1
    assert r"No setting matches '\u98df'" in found.stderr


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    command = f"{sys.executable} -m marnet settings --json | head -c 1"
    found = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert (found.stdout, "Traceback" in found.stderr) == ("[", False)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_predict_nothing(
    value: float, trained_run: Path, manifest_file: Path, tmp_path: Path, call: Call
) -> None:
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    run = shutil.copytree(trained_run, tmp_path / "run")
    file = run / "model.safetensors"
    with safe_open(file, framework="pt") as opened:
        metadata = opened.metadata()
    weights = {name: tensor * value if "head" in name else tensor for name, tensor in load_file(file).items()}
    save_file(weights, file, metadata)
    for arguments in (["predict", run, next(manifest_file.parent.glob("*.png"))], ["evaluate", run], ["report", run]):
        code, out, err = call(*arguments)
        assert (code, out) == (1, "")
        found = "hold NaN" if value != value else "gives predictions that are no numbers (NaN or infinite)"
        assert found in err
        assert "Restore " in err
        assert "or train again" in err
