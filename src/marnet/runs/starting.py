"""Starting a run directory: where a run may be written, and the files that are known before training."""

import os
from collections.abc import Sequence
from pathlib import Path

from marnet.config import Config, write_config
from marnet.data.image_spec import ImageSpec
from marnet.errors import RunDirectoryError
from marnet.jsonfile import read_json, write_json
from marnet.runs.directory import describe_environment, package_version
from marnet.runs.layout import (
    BACKBONE,
    CLASSES,
    CONFIG,
    ENVIRONMENT,
    FOLDERS,
    IMAGE,
    LOCK,
    MARKER,
    PREVIOUS_RESUME_POINT,
    REPLACED,
    RESUME_POINT,
    TEXT_FILES,
)
from marnet.runs.lock import check_unclaimed
from marnet.runs.overwriting import clear_leftovers, foreign_entries, is_leftover, is_run, put_back, set_aside


def check_run_directory(run: Path, *, overwrite: bool = False, resume: bool = False) -> None:
    """Check that a run may be written to `run`; nothing is changed.

    A link to a run stands for that run.

    Raises:
        RunDirectoryError: `run` already holds something and neither option was given, it holds files that no run
            writes, it cannot be created, another training writes there, or there is nothing to resume.
    """
    _check_place(run)
    check_unclaimed(run)
    if resume:
        if not any((run / point).exists() for point in (RESUME_POINT, PREVIOUS_RESUME_POINT)):
            raise RunDirectoryError(
                f"{run} has no {RESUME_POINT} to resume from{_kept_hint(run)}. Check `out`, or train without "
                f"`resume=True`."
            )
        links = sorted(name for name in FOLDERS if (run / name).is_symlink())
        if links:
            raise RunDirectoryError(
                f"{run / links[0]} is a link, and a run writes nothing outside its directory. Put the folder itself "
                f"there."
            )
        return
    if not run.is_dir() or not _holds_something(run):
        return
    _check_replaceable(run, overwrite=overwrite)


def start_run_directory(
    run: Path,
    config: Config,
    classes: Sequence[str],
    spec: ImageSpec,
    *,
    overwrite: bool = False,
    resume: bool = False,
) -> None:
    """Write the files that are known before training: configuration, classes, input, environment.

    An older run there is set aside, unless it is resumed; the first weights of the new run remove it
    (`marnet.runs.overwriting`). The caller claims the folder (`marnet.runs.lock.claimed`).

    Raises:
        RunDirectoryError: the folder holds something by now that must not be replaced, or a file cannot be written.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
        if not resume:
            put_back(run)
        clear_leftovers(run)
        if not resume and _holds_something(run):
            _check_replaceable(run, overwrite=overwrite)
            set_aside(run)
    except OSError as error:
        raise RunDirectoryError(
            f"{run} cannot be written to: {error.strerror or error}. Choose another `out`."
        ) from error
    if not (run / MARKER).is_file():
        write_json(run / MARKER, {"marnet": package_version("marnet")})
    write_config(config, run / CONFIG)
    write_json(run / CLASSES, list(classes))
    write_json(run / IMAGE, spec._asdict())
    write_json(run / ENVIRONMENT, describe_environment(config.training.seed))


def record_encoder_files(run: Path) -> None:
    """List the files that the encoders wrote in the marker of a run, once, so that others are told from them."""
    if not (run / MARKER).is_file():
        return
    marker = read_json(run / MARKER)
    if isinstance(marker, dict) and "files" not in marker:
        paths = (path for name in (BACKBONE, TEXT_FILES) for path in (run / name).rglob("*") if not path.is_dir())
        write_json(run / MARKER, {**marker, "files": sorted(path.relative_to(run).as_posix() for path in paths)})


def _check_place(run: Path) -> None:
    """Refuse a folder that cannot be created or written to.

    Raises:
        RunDirectoryError: see above.
    """
    try:
        if run.is_symlink() and not run.exists():
            raise RunDirectoryError(f"{run} is a link that leads nowhere. Remove it, or choose another `out`.")
        if run.exists() and not run.is_dir():
            raise RunDirectoryError(f"{run} is a file, but a run is a directory. Choose another `out`.")
        there = next(folder for folder in (run.absolute(), *run.absolute().parents) if folder.exists())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RunDirectoryError(f"{run} cannot be used as a folder: {reason}. Choose another `out`.") from None
    if not there.is_dir():
        raise RunDirectoryError(f"{run} cannot be created, because {there} is a file. Choose another `out`.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise RunDirectoryError(f"{there} cannot be written to. Choose another `out`, or allow writing there.")


def _holds_something(run: Path) -> bool:
    """Return whether a folder holds more than a training leaves that was killed before it wrote its first file."""
    return any(entry.name != LOCK and not is_leftover(entry.name) for entry in run.iterdir())


def _kept_hint(run: Path) -> str:
    if not (run / REPLACED).is_dir():
        return ""
    return (
        f"; its first epoch did not end. The run that it was to replace is kept in {run / REPLACED} until training "
        f"there succeeds"
    )


def _check_replaceable(run: Path, *, overwrite: bool) -> None:
    """Refuse to replace what a folder holds unless it is a run, all of it, and `overwrite` is given."""
    if not overwrite:
        holds_run = is_run(run) or (run / CONFIG).exists()
        found = "already holds a run" if holds_run else "already holds other files"
        way_out = "pass `overwrite=True` to replace it, or `resume=True` to continue it" if holds_run else "empty it"
        raise RunDirectoryError(f"{run} {found}. Nothing was changed. Choose another `out`, or {way_out}.")
    foreign = foreign_entries(run)
    if foreign:
        some = ", ".join(foreign[:5]) + (f" and {len(foreign) - 5} more" if foreign[5:] else "")
        raise RunDirectoryError(
            f"{run} holds files that no run writes ({some}), and `overwrite=True` replaces runs only. Nothing was "
            f"changed. Choose another `out`, or move these files away."
        )
    if not is_run(run):
        raise RunDirectoryError(
            f"{run} holds files but is not a whole run, and `overwrite=True` replaces runs only. Nothing was changed. "
            f"Choose another `out`, or empty it."
        )
