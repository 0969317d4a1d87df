"""Command lines of marnet in forked children that are killed, or whose disk fills up, at a chosen moment.

A moment is a time, or a number of changes to files: the opening of a file to write, a rename, a removal. Counting
changes makes kills fall between the steps of writing, where little time passes.
"""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fuzz_inputs import draw_data

PATIENCE = 300  # seconds until a command counts as hanging
_CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree", "sqlite3.connect")

Change = Callable[[str], None]  # called before a change to a file, with its path


class Ended(NamedTuple):
    """How a command ended; the code of a killed one is negative."""

    code: int | None
    output: str
    seconds: float  # of the processor

    @property
    def killed(self) -> bool:
        """Return whether SIGKILL ended the command."""
        return self.code == -signal.SIGKILL

    def unclear(self) -> list[str]:
        """Return what is wrong with the message of a command that failed: it must be one clear sentence."""
        shown = self.output.strip().splitlines()[-1:] or [""]
        checks = {
            "hang": self.code is None,
            f"exit code {self.code}": self.code not in (None, 1),
            "traceback": "Traceback" in self.output or "Exception ignored" in self.output,
            "unforeseen error": "does not foresee" in self.output,
            "no message": not shown[0].startswith("Error: ") and "\nError: " not in f"\n{self.output}",
        }
        return [name for name, found in checks.items() if found]


class Moment(NamedTuple):
    """When to kill: after so many seconds or before so many changes to files; None is never."""

    seconds: float | None = None  # of the processor, which other programs on the machine do not lengthen
    changes: int | None = None


NEVER = Moment()


def warm_up(folder: Path) -> Path:
    """Import everything once, before the forks, and draw the data; return the table."""
    import lightning  # noqa: F401
    import timm  # noqa: F401
    import torch

    import marnet.training  # noqa: F401

    torch.set_num_threads(1)
    os.environ |= {"HF_HUB_OFFLINE": "1", "MPLBACKEND": "agg"}
    (folder / "data").mkdir()
    return draw_data(folder / "data")


def run_command(
    arguments: list[str],
    log: Path,
    *,
    environment: Mapping[str, str],
    kill: Moment = NEVER,
    on_change: Change | None = None,
    every_epoch: bool = False,
    until: float = PATIENCE,
) -> Ended:
    """Run a command line in a forked child with a process group of its own.

    Args:
        arguments: of 'marnet'.
        log: the file for its output.
        environment: variables of the child.
        kill: the moment of SIGKILL, for the whole group.
        on_change: called in the child before each change to a file.
        every_epoch: write a resume point after every epoch, however short it was.
        until: the seconds until the command counts as hanging.
    """
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        _be_child(arguments, log, environment, kill.changes, on_change, every_epoch=every_epoch)
    code, computed = None, 0.0
    while code is None and time.monotonic() - began < until:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            code, computed = os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime
            break
        if kill.seconds is not None and _computed(child) >= kill.seconds:
            _kill_group(child)
        time.sleep(0.005)
    _kill_group(child)  # processes that outlive it, too
    if code is None:
        os.waitpid(child, 0)
    return Ended(code, log.read_text(encoding="utf-8", errors="replace"), computed)


def count_changes(arguments: list[str], log: Path, *, environment: Mapping[str, str]) -> tuple[Ended, int]:
    """Run a command undisturbed; return how it ended and the number of changes to files."""
    counted = log.with_suffix(".changes")

    def note(path: str) -> None:
        with os.fdopen(os.open(handle, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "a") as file:
            file.write(".")

    handle = os.fspath(counted)
    ended = run_command(arguments, log, environment=environment, on_change=note, every_epoch=True)
    return ended, counted.stat().st_size


def _computed(child: int) -> float:
    """Return the time of the processor that a child has taken, in seconds."""
    fields = Path(f"/proc/{child}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _kill_group(child: int) -> None:
    try:
        os.killpg(child, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _be_child(
    arguments: list[str],
    log: Path,
    environment: Mapping[str, str],
    changes: int | None,
    on_change: Change | None,
    *,
    every_epoch: bool,
) -> None:
    code = 70
    try:
        os.setsid()
        os.environ |= environment
        tempfile.tempdir = None  # so that TMPDIR is read
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - until the child ends
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        _watch(changes, on_change)
        sys.argv = ["marnet", *arguments]
        if every_epoch:
            import marnet.training.lightning.callbacks as bridge

            bridge.RESUME_SECONDS = 0.0
        from marnet.cli.app import main

        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        except BaseException:
            import traceback

            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _watch(changes: int | None, on_change: Change | None) -> None:
    if changes is None and on_change is None:
        return
    seen, inside = 0, False

    def hook(event: str, found: tuple[Any, ...]) -> None:
        nonlocal seen, inside
        if event == "open":
            writes = isinstance(found[2], int) and found[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        else:
            writes = event in _CHANGES
        if inside or not writes or not isinstance(found[0], str | bytes | os.PathLike):
            return
        inside = True
        try:
            seen += 1
            if on_change is not None:
                on_change(os.fsdecode(found[0]))
            if changes is not None and seen >= changes:
                os.killpg(0, signal.SIGKILL)
        finally:
            inside = False

    sys.addaudithook(hook)
