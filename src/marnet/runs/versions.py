"""Errors about a run that a newer marnet wrote say so, because its version explains them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from marnet.errors import MarnetError
from marnet.jsonfile import read_json
from marnet.runs.directory import ENVIRONMENT, package_version


@contextmanager
def naming_newer_version(run: Path) -> Iterator[None]:
    """Add the version to errors that are raised within, if a newer marnet than the installed one wrote the run."""
    try:
        yield
    except MarnetError as error:
        written, installed = written_by(run), package_version("marnet")
        if written is None or _numbers(written) <= _numbers(installed):
            raise
        raise type(error)(
            f"{error}\n{run} was written by marnet {written}, but marnet {installed} is installed. Install marnet "
            f"{written} or later to use it."
        ) from None


def written_by(run: Path) -> str | None:
    """Return the version of marnet that wrote a run, None where the run does not say."""
    try:
        version = read_json(run / ENVIRONMENT)["packages"]["marnet"]
    except (MarnetError, LookupError, TypeError):
        return None
    return version if isinstance(version, str) and len(version) < 50 and _numbers(version) else None


def _numbers(version: str) -> tuple[int, ...]:
    """Return the numbers that a version begins with: (0, 2, 1) of "0.2.1.dev3"."""
    found = re.match(r"\d{1,9}(\.\d{1,9})*", version)
    return tuple(map(int, found[0].split("."))) if found else ()
