"""Resume points: the state of training after an epoch. Of two, the one before stays until a newer one is whole."""

import io
import logging
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile

import torch

from marnet.atomic import replacing
from marnet.errors import RunDirectoryError
from marnet.runs.layout import PREVIOUS_RESUME_POINT, RESUME_POINT

_logger = logging.getLogger("marnet")


def write_resume_point(state: dict[str, Any], path: Path) -> None:
    """Write the state of training to `path`; the file that was there becomes `last.previous.ckpt` beside it.

    Raises:
        RunDirectoryError: it cannot be written; both older files stay as they are.
    """
    buffer = io.BytesIO()  # because torch wraps the error of a full disk into its own
    torch.save(state, buffer)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        with partial.open("wb") as file:
            file.write(buffer.getbuffer())
        if path.exists():
            path.replace(path.with_name(PREVIOUS_RESUME_POINT.name))


def find_resume_point(run: Path) -> Path | None:
    """Return the newest whole resume point of a run, None if there is none."""
    paths = (run / name for name in (RESUME_POINT, PREVIOUS_RESUME_POINT))
    return next((path for path in paths if path.is_file() and _damage(path) is None), None)


def finished_epochs(point: Path) -> int:
    """Return how many epochs of training a resume point holds."""
    return int(torch.load(point, map_location="cpu", mmap=True, weights_only=True)["epoch"]) + 1


def choose_resume_point(run: Path) -> Path:
    """Return the newest whole resume point of a run; a fall back to the one before is told in the log.

    Raises:
        RunDirectoryError: there is none, or all are damaged.
    """
    found = find_resume_point(run)
    if found is None:
        raise RunDirectoryError(
            f"{run} has no whole {RESUME_POINT} to resume from. Restore it, or train again without `resume=True`."
        )
    if found != run / RESUME_POINT:
        last = run / RESUME_POINT
        reason = f"damaged ({_damage(last)})" if last.is_file() else "missing"
        _logger.warning("%s is %s. Resuming from %s; the epochs since are repeated.", last, reason, found)
    return found


def _damage(path: Path) -> str | None:
    """Return why a file is not a whole archive of torch, None if it is."""
    try:
        with ZipFile(path) as archive:
            if any(part.compress_type != ZIP_STORED for part in archive.infolist()):
                return "it is compressed, and torch writes none that are"  # unpacked, it could be of any size
            broken = archive.testzip()
    except Exception as error:  # damaged bytes make zipfile raise many kinds
        return str(error) or type(error).__name__
    return None if broken is None else f"its part {broken} is broken"
