"""Seeded inputs of `fuzz_inputs.py` through the command line, each in a forked child under limits.

    uv run python benchmarks/fuzz.py 2000

prints one line per fault and a table of counts; the exit code is 1 if there was any. A fault is a traceback, an error
that marnet does not foresee, another exit code than 0, 1 or 2, more than 10 s of time of the processor or 120 s in all
(a busy machine makes a child wait), more than 2 GiB of memory, a file written outside of the input's folder and the
caches, an import that an input named, a connection, or a program that was started.
"""

import argparse
import os
import random
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent))
from fuzz_inputs import KINDS, TINY, Base, draw_data

CPU_SECONDS, WALL_SECONDS = 10, 120
MEMORY = 2 * 2**30  # bytes resident
ADDRESSES = 16 * 2**30  # a child that wants more gets a MemoryError
_NAMED = ("evil", "antigravity")  # beginnings of the modules that inputs name
_OUTSIDE = (
    "socket.connect",
    "socket.bind",
    "socket.getaddrinfo",
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "webbrowser.open",
)
_CHANGES = ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "shutil.rmtree", "os.truncate")


class Outcome(NamedTuple):
    """What one command line did."""

    faults: list[str]
    code: int | None
    output: str
    memory: int  # bytes resident at most


class Figures(NamedTuple):
    """What all inputs did."""

    counts: Counter[str]  # inputs by kind and exit code, and faults by kind
    memory: int  # bytes resident at most


def run_command(arguments: list[str], folder: Path, allowed: list[Path]) -> Outcome:
    """Run a command line in a forked child, and return its faults; its output goes to files in `folder`."""
    from marnet.cli.app import main

    files = [folder / name for name in (".stdout", ".stderr", ".audit")]
    handles = [os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) for file in files]
    child = os.fork()
    if child == 0:
        _be_child(main, arguments, folder, handles, [folder, *allowed])
    for handle in handles:
        os.close(handle)
    began, code, usage = time.monotonic(), None, None
    while usage is None and time.monotonic() - began < WALL_SECONDS:
        done, status, found = os.wait4(child, os.WNOHANG)
        if done:
            code, usage = os.waitstatus_to_exitcode(status), found
        else:
            time.sleep(0.01)
    if usage is None:
        os.killpg(child, 9)
        usage = os.wait4(child, 0)[2]
    out, err, audit = (file.read_text(encoding="utf-8", errors="replace") for file in files)
    return Outcome(_faults(code, out + err, audit, usage), code, out + err, usage.ru_maxrss * 1024)


def _faults(code: int | None, output: str, audit: str, usage: Any) -> list[str]:
    checks = {
        "hang": code is None or usage.ru_utime + usage.ru_stime > CPU_SECONDS,
        "traceback": "Traceback (most recent call last)" in output,
        "unforeseen": "in a way that it does not foresee" in output,
        "exit code": code not in (0, 1, 2, None),
        "memory": usage.ru_maxrss * 1024 > MEMORY,
    }
    return [name for name, found in checks.items() if found] + sorted(set(audit.splitlines()))


def _be_child(main: Any, arguments: list[str], folder: Path, handles: list[int], allowed: list[Path]) -> None:
    code = 70
    try:
        os.setsid()
        os.chdir(folder)
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(handles[0], 1)
        os.dup2(handles[1], 2)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - until the child ends
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        _watch(handles[2], [os.path.realpath(each) for each in allowed])
        sys.argv = ["marnet", *arguments]
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


def _watch(handle: int, allowed: list[str]) -> None:
    """Note what a child does that no input may make it do; a hook cannot be removed again."""

    def outside(path: Any, *, itself: bool = False) -> bool:
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        name = os.fsdecode(path)
        if itself:  # a link that is renamed or removed is changed, and not the file that it leads to
            folder, _, last = name.rstrip("/").rpartition("/")
            real = f"{os.path.realpath(folder or '/' * name.startswith('/') or '.')}/{last}"
        else:
            real = os.path.realpath(name)
        return not any(real == each or real.startswith(f"{each}/") for each in (*allowed, "/dev/null", "/dev/shm"))

    def hook(event: str, found: tuple[Any, ...]) -> None:
        note = ""
        if event == "import" and str(found[0]).startswith(_NAMED):
            note = f"import of {found[0]}"
        elif event in _OUTSIDE:
            note = f"{event} {found[1:2]}"
        elif event == "open" and isinstance(found[2], int) and found[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            note = f"write to {found[0]}" if outside(found[0]) else ""
        elif event in _CHANGES:
            changed = found[1:2] if event in ("os.link", "os.symlink") else found[: 1 + (event == "os.rename")]
            note = "".join(f"{event} {path}" for path in changed if outside(path, itself=True))
        if note:
            os.write(handle, f"{note}\n".encode("utf-8", "backslashreplace"))

    sys.addaudithook(hook)


def make_base(folder: Path) -> Base:
    """Draw the pictures and train the run that the inputs are made from."""
    (folder / "data").mkdir(parents=True)
    table = draw_data(folder / "data")
    outcome = run_command(
        ["train", "--data", str(table), "--out", str(folder / "run"), *TINY], folder / "data", [folder]
    )
    if outcome.code:
        raise RuntimeError(f"The run to damage could not be trained: {outcome.output}")
    for command in (
        ["embed", str(table), "--out", str(folder / "features"), *TINY[:4]],
        ["data", "convert", str(table), str(folder / "shards"), "--shards"],
    ):
        outcome = run_command(command, folder / "data", [folder])
        if outcome.code:
            raise RuntimeError(f"{command[0]} failed: {outcome.output}")
    return Base(folder / "data", folder / "run", folder / "features", folder / "shards")


def fuzz(count: int, *, seed: int = 0, only: str | None = None, folder: Path) -> Figures:
    """Run `count` inputs, print each fault with its command line, and return what they did in all."""
    # Once, before the fork; children start at once.
    import lightning  # noqa: F401
    import timm  # noqa: F401
    import torch

    import marnet.training  # noqa: F401

    torch.set_num_threads(1)
    (folder / "tmp").mkdir()
    os.environ |= {
        "TMPDIR": str(folder / "tmp"),
        "MARNET_CACHE": str(folder / "cache"),
        "HF_HUB_OFFLINE": "1",
        "MPLBACKEND": "agg",
    }
    tempfile.tempdir = None  # so that TMPDIR is read
    base = make_base(folder / "base")
    counts: Counter[str] = Counter()
    memory = 0
    for number in range(count):
        rng = random.Random(f"{seed}-{number}")
        kind = only or list(KINDS)[number % len(KINDS)]
        case = folder / f"case-{number}"
        case.mkdir()
        arguments = KINDS[kind](case, base, rng)
        outcome = run_command(arguments, case, [folder / "cache", folder / "tmp"])
        counts[f"{kind}, exit code {outcome.code}"] += 1
        memory = max(memory, outcome.memory)
        for fault in outcome.faults:
            counts[f"FAULT {fault.split(' ')[0]}"] += 1
            last = outcome.output.strip().splitlines()[-1:] or [""]
            shown = " ".join(argument.replace(str(folder), "") for argument in arguments)[:300]
            print(f"{number} {fault}: marnet {shown!r}\n    {last[0][:400]!r}", flush=True)
        shutil.rmtree(case, ignore_errors=True)
    return Figures(counts, memory)


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=list(KINDS))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        counts, memory = fuzz(given.count, seed=given.seed, only=given.only, folder=Path(folder))
    for name, found in sorted(counts.items()):
        print(f"{found:6} {name}")
    print(f"{memory // 2**20:6} MiB of memory at most")
    sys.exit(1 if any(name.startswith("FAULT") for name in counts) else 0)


if __name__ == "__main__":
    main()
