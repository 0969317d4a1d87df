"""Trials in which 'marnet train' and 'marnet compare' are killed, some several times, and then gone on with."""

import fcntl
import json
import os
import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from chaos_commands import NEVER, Ended, Moment, count_changes, run_command

TRAIN_OPTIONS = ["--image-size", "32", "--batch-size", "4", "--devices", "cpu", "--backbone", "timm:test_resnet"]
EPOCHS = 4
# Files that must have the bytes of an undisturbed run.
EQUAL = ("model.safetensors", "text.safetensors", "history.csv", "manifest.jsonl", "config.yaml")
PLAN = """\
arms: [image-only, marnet]
seeds: 2
split: val
keep_runs: all
base:
  data: {{source: {table}, image_size: 32}}
  backbone: {{name: "timm:test_resnet"}}
  training: {{epochs: 2, batch_size: 4, devices: cpu}}
"""
KINDS = ("train", "compare", "overwrite")
_LEFT = (".part", ".partial")


class Undisturbed(NamedTuple):
    """A run or comparison that nothing disturbed, and what it takes."""

    arguments: list[str]  # without the folder of the results
    out: Path
    seconds: float
    changes: int


class Trial(NamedTuple):
    """The results of one trial."""

    kills: int  # that hit the command while it ran
    phases: list[str]  # the newest thing in the folder when each kill fell
    faults: list[str]


def train_arguments(table: Path, *, seed: int = 0) -> list[str]:
    """Return the command line of a small training, without its folder."""
    return ["train", "--data", str(table), *TRAIN_OPTIONS, "--epochs", str(EPOCHS), "--seed", str(seed)]


def make_undisturbed(folder: Path, table: Path) -> dict[str, Undisturbed]:
    """Run every kind of command undisturbed, each in a cache of its own; "old" is the run to be replaced."""
    plan = folder / "plan.yaml"
    plan.write_text(PLAN.format(table=json.dumps(str(table))), encoding="utf-8")
    lines = {
        "train": train_arguments(table),
        "compare": ["compare", str(plan)],
        "old": train_arguments(table, seed=1),
    }
    found = {}
    for kind, line in lines.items():
        out = folder / "undisturbed" / kind
        out.parent.mkdir(exist_ok=True)
        environment = {"MARNET_CACHE": str(folder / f"cache-{kind}"), "TMPDIR": str(folder)}
        ended, changes = count_changes([*line, "--out", str(out)], folder / f"{kind}.log", environment=environment)
        if ended.code:
            raise RuntimeError(f"The undisturbed {kind} failed: {ended.output}")
        found[kind] = Undisturbed(line, out, ended.seconds, changes)
    return {**found, "overwrite": found["train"]}


def run_trial(kind: str, rng: random.Random, known: dict[str, Undisturbed], folder: Path, temporary: Path) -> Trial:
    """Kill a command once or several times, go on as marnet says, and compare the result.

    Args:
        kind: one of `KINDS`.
        rng: decides the moments.
        known: of `make_undisturbed`.
        folder: for the results of the trial.
        temporary: TMPDIR, which may lie on another file system.
    """
    out, whole = folder / "out", known[kind]
    if kind == "overwrite":
        shutil.copytree(known["old"].out, out)
    start = partial(
        run_command,
        log=folder / "log",
        environment={"MARNET_CACHE": str(folder / "cache"), "TMPDIR": str(temporary)},
        every_epoch=rng.random() < 0.7,
    )
    line = [*whole.arguments, "--out", str(out)]
    moments = [_draw_moment(rng, whole) for _ in range(rng.choice((1, 1, 1, 2, 3, 4)))]
    phases: list[str] = []
    faults: list[str] = []
    begun = False
    for moment in [*moments, NEVER]:
        ended = (go_on if begun else _begin)(kind, line, partial(start, kill=moment), faults)
        begun = True
        if not ended.killed and not phases and moment is not NEVER and ended.code == 0:  # it ended before the moment
            shutil.rmtree(out)
            return run_trial(kind, rng, known, folder, temporary)
        if not ended.killed:
            break
        phases.append(_phase(out))
        if kind == "overwrite" and not _has_weights(out):
            faults.append(f"neither the old weights nor new ones after a kill ({phases[-1]})")
    if not faults:
        faults += differences(kind, whole.out, out)
        faults += [f"left over: {path.relative_to(out)}" for path in out.rglob("*") if is_left_over(path)]
        faults += [f"still locked: {path.relative_to(out)}" for path in out.rglob("*.lock") if _is_locked(path)]
        faults += [f"left in TMPDIR: {path.name}" for path in temporary.iterdir() if "ckpt" in path.name]
    return Trial(len(phases), phases, faults)


def _draw_moment(rng: random.Random, whole: Undisturbed) -> Moment:
    if rng.random() < 0.5:
        return Moment(seconds=rng.random() * whole.seconds)
    return Moment(changes=rng.randint(1, whole.changes))


def _begin(kind: str, line: list[str], start: Callable[[list[str]], Ended], faults: list[str]) -> Ended:
    ended = start([*line, "--overwrite"] if kind == "overwrite" else line)
    if not ended.killed and ended.code:
        faults.append(f"failed without a kill: {ended.output[-300:]}")
    return ended


def go_on(kind: str, line: list[str], start: Callable[[list[str]], Ended], faults: list[str]) -> Ended:
    """Go on as a user does who reads the messages: `--resume` first; the same command, if there is nothing to resume.

    `--overwrite` is used only if it was used before, or the message asks for it.
    """
    ways = {"train": ["--resume", "", "--overwrite"], "compare": [""], "overwrite": ["--overwrite"]}[kind]
    for way in ways:
        command = [line[0], "--out", line[-1], way] if way == "--resume" else [*line, *([way] if way else [])]
        ended = start(command)
        if ended.killed or ended.code == 0:
            return ended
        faults += [f"{way or 'again'}: {fault}: {ended.output[-300:]}" for fault in ended.unclear()]
        if way == "" and "--overwrite" not in ended.output:
            break
    faults.append(f"cannot be gone on with: {ended.output[-400:]}")
    return ended


def _phase(out: Path) -> str:
    """Return a word for how far a command had come, from what it left."""
    if (out / "comparison.yaml").exists():
        records = len(list((out / "runs").rglob("*.json")))
        half = any(out.glob("work/*/*/checkpoints/last*.ckpt"))
        return f"{records} records" + (", and a resume point" if half else "")
    steps = {
        "last metrics": "metrics.json",
        "a resume point": "checkpoints/last.ckpt",
        "only the resume point before": "checkpoints/last.previous.ckpt",
        "weights": "model.safetensors",
        "rows": "manifest.jsonl",
        "the settings": "config.yaml",
        "the marker": ".marnet-run.json",
    }
    found = next((name for name, file in steps.items() if (out / file).exists()), "nothing")
    return f"{found}, the old run aside" if (out / ".replaced").exists() else found


def _has_weights(out: Path) -> bool:
    return any((place / "model.safetensors").is_file() for place in (out, out / ".replaced"))


def differences(kind: str, whole: Path, out: Path) -> list[str]:
    """Return in which files the results differ from undisturbed ones, but for times."""
    if kind != "compare":
        found = [f"{name} differs" for name in EQUAL if _bytes(whole / name) != _bytes(out / name)]
        equal = _metrics(whole) == _metrics(out)
        return found if equal else [*found, "metrics.json differs"]
    found = []
    for path in sorted(whole.glob("work/*/*/*.safetensors")):
        name = path.relative_to(whole)
        if _bytes(path) != _bytes(out / name):
            found.append(f"{name} differs")
    for path in (*sorted(whole.glob("runs/*/*.json")), whole / "results.json"):
        name = path.relative_to(whole)
        if not (out / name).is_file() or _without_times(path) != _without_times(out / name):
            found.append(f"{name} differs")
    return found + [f"{name} is missing" for name in ("results.md", "report.html") if not (out / name).is_file()]


def _metrics(run: Path) -> Any:
    """Return the metrics of a run; a resumed one names its own rows as their source."""
    if not (run / "metrics.json").is_file():
        return None
    content = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    return content | {"data": {**content["data"], "source": None, "notes": None}}


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _without_times(path: Path) -> Any:
    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: strip(each) for name, each in value.items() if name not in ("seconds", "fit_seconds")}
        return [strip(each) for each in value] if isinstance(value, list) else value

    return strip(json.loads(path.read_text(encoding="utf-8")))


def is_left_over(path: Path) -> bool:
    """Return whether a file is half written, or a run set aside for ever."""
    return path.suffix in _LEFT or ".partial." in path.name or path.name == ".replaced"


def _is_locked(path: Path) -> bool:
    handle = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
