"""Replacing a run: only what a run wrote goes, and only after the new run has its first weights.

The old run waits in RUN/.replaced until then. A training that fails before its first weights puts it back; one that was
killed leaves it there, and the next training in that folder puts it back first.
"""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from marnet.atomic import is_partial
from marnet.errors import MarnetError
from marnet.jsonfile import read_json, write_json
from marnet.runs.layout import (
    BACKBONE,
    CLASSES,
    CONFIG,
    FILES,
    FOLDERS,
    LOCK,
    MARKER,
    METRICS,
    REPLACED,
    RESUME_POINT,
    TENSORBOARD,
    TEXT_FILES,
    WEIGHTS,
)

_CHECKPOINTS = str(RESUME_POINT.parent)
# Files of backbones and tokenizers, for runs whose marker does not list them.
_ENCODER_SUFFIXES = frozenset({".json", ".txt", ".model", ".jinja", ".bpe", ".vocab"})


def foreign_entries(run: Path) -> list[str]:
    """Return the files in a folder that no run writes, such as "notes.txt" or "tensorboard/notes.txt", sorted.

    Links inside a run are not followed: one in the place of a folder counts as that folder, whatever it leads to.
    """
    recorded = _recorded_files(run)
    found = []
    for entry in run.iterdir():
        if entry.name in (f"{BACKBONE}.partial", f"{TEXT_FILES}.partial"):
            continue
        if entry.name in FOLDERS and entry.is_dir():
            if not entry.is_symlink():
                found += [f"{entry.name}/{name}" for name in _foreign_below(entry, recorded)]
        elif entry.is_dir() or not (entry.name in FILES or is_leftover(entry.name)):
            found.append(entry.name)
    return sorted(found)


def is_run(run: Path) -> bool:
    """Return whether a folder is a run: it has the marker, or as in marnet 0.1 the files of a run and weights."""
    if (run / MARKER).is_file():
        return True
    if not all((run / name).is_file() for name in (CONFIG, CLASSES)):
        return False
    if not any((run / name).is_file() for name in (WEIGHTS, METRICS, RESUME_POINT)):
        return False
    return _ends_as_written(run / CONFIG)


def set_aside(run: Path) -> None:
    """Move all files of a run into RUN/.replaced, the marker last: if it is there, so is everything."""
    if not (run / MARKER).is_file():
        write_json(run / MARKER, {})
    (run / REPLACED).mkdir()
    for name in (*_entries(run), MARKER):
        (run / name).rename(run / REPLACED / name)


def put_back(run: Path) -> None:
    """Put the run that was set aside back in its place, unless the new run has weights; then the old one goes.

    A call that is cut off at any moment can be repeated.
    """
    old = run / REPLACED
    if not old.is_dir():
        return
    if (old / MARKER).exists():  # everything was moved, so what is here belongs to the new run
        if (run / WEIGHTS).exists():
            forget_replaced(run)
            return
        for name in (*_entries(run), MARKER):
            _remove(run / name)
        (old / MARKER).rename(run / MARKER)
    for name in _entries(old):
        (old / name).rename(run / name)
    old.rmdir()


@contextlib.contextmanager
def keeping_replaced(run: Path) -> Iterator[None]:
    """Put the old run back if the block fails before the new one has weights."""
    try:
        yield
    except BaseException:
        put_back(run)
        raise


def forget_replaced(run: Path) -> None:
    """Remove the run that was set aside."""
    if (run / REPLACED).is_dir():
        _remove(run / REPLACED)


def is_leftover(name: str) -> bool:
    """Return whether a file of this name was left half written by a training that was killed.

    >>> is_leftover("config.partial.yaml"), is_leftover("notes.partial.yaml"), is_leftover("config.yaml")
    (True, False, False)
    """
    return is_partial(name) and _whole_name(name) in FILES


def clear_leftovers(run: Path) -> None:
    """Remove the files that a killed training left half written; the caller holds the lock of the run."""
    left = [path for path in run.iterdir() if is_leftover(path.name)]
    if (run / _CHECKPOINTS).is_dir():
        left += [path for path in (run / _CHECKPOINTS).iterdir() if _is_leftover_below(path.name)]
    for path in left:
        if not path.is_dir():
            path.unlink(missing_ok=True)


def _entries(folder: Path) -> list[str]:
    """Return the entries of a run but the marker, the lock and the run that was set aside."""
    return sorted(entry.name for entry in folder.iterdir() if entry.name not in (MARKER, LOCK, REPLACED))


def _foreign_below(folder: Path, recorded: frozenset[str] | None) -> list[str]:
    found = []
    for path in folder.rglob("*"):
        inside = path.relative_to(folder).as_posix()
        if path.is_dir() and not path.is_symlink():
            continue
        if not _is_leftover_below(path.name) and not _belongs(folder.name, inside, recorded):
            found.append(inside)
    return found


def _belongs(folder: str, inside: str, recorded: frozenset[str] | None) -> bool:
    if folder == _CHECKPOINTS:
        return inside.endswith(".ckpt") and inside.startswith(RESUME_POINT.stem)
    if folder == TENSORBOARD:
        return inside.startswith("events.out.tfevents") or inside == "hparams.yaml"
    if folder == REPLACED:
        return True  # written by `set_aside` alone
    if recorded is not None:
        return f"{folder}/{inside}" in recorded
    return folder in (BACKBONE, TEXT_FILES) and Path(inside).suffix in _ENCODER_SUFFIXES


def _recorded_files(run: Path) -> frozenset[str] | None:
    """Return the files of encoders that the marker lists; None if it lists none."""
    if not (run / MARKER).is_file():
        return None
    try:
        content = read_json(run / MARKER)
    except MarnetError:
        return None
    files = content.get("files") if isinstance(content, dict) else None
    return frozenset(map(str, files)) if isinstance(files, list) else None


def _is_leftover_below(name: str) -> bool:
    """Return whether a file in a folder of a run was left half written: a resume point, or a file of an encoder."""
    return is_leftover(name) or (is_partial(name) and _whole_name(name).endswith((".ckpt", ".json")))


def _whole_name(name: str) -> str:
    return name.removesuffix(".partial").replace(".partial.", ".")


def _ends_as_written(config: Path) -> bool:
    try:
        text = config.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return text.startswith("method:") and text.rstrip().endswith("...")


def _remove(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
