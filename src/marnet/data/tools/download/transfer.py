"""Fetching one file over HTTP: resumed where it broke off, checked, and under its name only when it is whole."""

import errno
import hashlib
import http.client
import logging
import shutil
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple, NoReturn

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from marnet.errors import DataError

ATTEMPTS = 5  # in a row that bring no byte
_BLOCK = 1 << 20
_TIMEOUT = 30.0  # seconds without a byte
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_logger = logging.getLogger("marnet")


class Remote(NamedTuple):
    """A file to fetch, and its checksum."""

    url: str
    checksum: str = ""  # "md5:..." or "sha256:...", "" where none is published
    advice: str = ""  # what to do by hand where it cannot be fetched


class _Answer(NamedTuple):
    """The answer of a server: where its bytes begin and how many the whole file has."""

    start: int
    total: int | None


def fetch(remote: Remote, target: Path, *, attempts: int = ATTEMPTS, pause: float = 1.0) -> None:
    """Fetch a file.

    Bytes go to `target` + ".part", and a later call goes on where an earlier one broke off. That is done only where the
    result can be told from a mixture of two releases: where a checksum is known, or the server names a version.

    Args:
        remote: the file's address and checksum.
        target: where it goes; its folder is made.
        attempts: how many in a row may bring no byte before giving up.
        pause: seconds before the second attempt; each further one waits twice as long.

    Raises:
        DataError: no network, another status than 200 or 206, too little space, no permission, or another checksum.
    """
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _progress() as progress:
            _fetch_whole(remote, part, progress, attempts, pause)
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
        _refuse_network(remote, part, error)
    except OSError as error:
        _refuse_disk(target, error)
    if remote.checksum and not has_checksum(part, remote.checksum):
        found = _digest(part, remote.checksum.partition(":")[0])
        size = part.stat().st_size
        _forget(part)
        raise DataError(
            f"{remote.url} gave a file of {size:,} bytes with the checksum {found} instead of {remote.checksum}. It "
            "was removed. Run the command again; if that does not help, the file was changed at its source. "
            f"{remote.advice}"
        )
    part.replace(target)
    _forget(part)


def has_checksum(file: Path, checksum: str) -> bool:
    """Return True if a file has a checksum such as "md5:0123..."; takes as long as reading it."""
    return _digest(file, checksum.partition(":")[0]) == checksum.lower()


def _digest(file: Path, algorithm: str) -> str:
    with file.open("rb") as stream:
        return f"{algorithm}:{hashlib.file_digest(stream, algorithm).hexdigest()}"


def _fetch_whole(remote: Remote, part: Path, progress: Progress, attempts: int, pause: float) -> None:
    task = progress.add_task(remote.url.rpartition("/")[2] or remote.url, total=None)
    failed = 0
    while True:
        before = _size(part)
        try:
            if _fetch_once(remote, part, progress, task):
                return
            problem: Exception = ConnectionError("the connection broke off")
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            if isinstance(error, urllib.error.HTTPError) and error.code not in _PASSING:
                raise
            if not _size(part) and isinstance(getattr(error, "reason", None), socket.gaierror | ConnectionRefusedError):
                raise  # no network, or no such server: waiting does not help
            problem = error
        failed = failed + 1 if _size(part) <= before else 1
        if failed >= attempts:
            raise problem
        _logger.info("%s after %d bytes; trying again.", _reason(problem).capitalize(), _size(part))
        time.sleep(pause * 2 ** (failed - 1))


def _fetch_once(remote: Remote, part: Path, progress: Progress, task: object) -> bool:
    """Ask for what is missing and write it; False where the answer ended too early."""
    offset, version = _resumable(remote, part)
    request = urllib.request.Request(remote.url, headers={"User-Agent": "marnet", "Accept-Encoding": "identity"})
    if offset:
        request.add_header("Range", f"bytes={offset}-")
        if version:
            request.add_header("If-Range", version)
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and offset:  # nothing lies beyond: the part is whole, or of another release
            whole = error.headers.get("Content-Range", "").rpartition("/")[2] == str(offset)
            if not whole:
                _forget(part)
            return whole
        raise
    with response:
        answer = _read_answer(response, offset)
        _keep_version(part, response)
        if answer.total is not None:
            _check_space(part, answer.total - answer.start)
        progress.update(task, total=answer.total, completed=answer.start)  # type: ignore[arg-type]
        written = answer.start
        with part.open("r+b" if answer.start else "wb") as stream:
            stream.seek(answer.start)
            while block := response.read(_BLOCK):
                stream.write(block)
                written += len(block)
                progress.update(task, completed=written)  # type: ignore[arg-type]
            stream.truncate()
    return answer.total is None or written >= answer.total


def _read_answer(response: http.client.HTTPResponse, offset: int) -> _Answer:
    """Start over where a server ignores the range and begins at the start."""
    length = response.headers.get("Content-Length", "")
    if response.status == 206:
        span, _, total = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        start = span.partition("-")[0]
        if start != str(offset):
            raise http.client.HTTPException(f"the server sent bytes from {start or 'nowhere'}, asked for from {offset}")
        return _Answer(offset, int(total) if total.isdecimal() else None)
    return _Answer(0, int(length) if length.isdecimal() else None)


def _resumable(remote: Remote, part: Path) -> tuple[int, str]:
    """Return how many bytes of an earlier call can be kept, and the version of the file that they belong to."""
    size = _size(part)
    version_file = _version_file(part)
    version = version_file.read_text(encoding="utf-8").strip() if version_file.is_file() else ""
    return (size, version) if size and (version or remote.checksum) else (0, "")


def _keep_version(part: Path, response: http.client.HTTPResponse) -> None:
    tag = response.headers.get("ETag", "")
    # A weak tag says "much the same", which is too little for joining bytes.
    version = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")
    if version:
        _version_file(part).write_text(version, encoding="utf-8")
    else:
        _version_file(part).unlink(missing_ok=True)


def _version_file(part: Path) -> Path:
    return part.with_name(part.name + ".version")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _version_file(part).unlink(missing_ok=True)


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _check_space(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"{needed:,} bytes are needed and {free:,} are free")


def _refuse_network(remote: Remote, part: Path, error: Exception) -> NoReturn:
    kept = f" The {_size(part):,} bytes so far are kept: run the command again to go on." if _size(part) else ""
    if isinstance(error, urllib.error.HTTPError):
        found = f"the server answered {error.code} {error.reason}"
    else:
        found = _reason(error)
        if not kept:
            kept = " Is this machine connected to the internet?"
    raise DataError(f"{remote.url} cannot be fetched: {found.rstrip('.')}.{kept} {remote.advice}".rstrip()) from None


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return str(getattr(reason, "strerror", None) or reason or type(error).__name__)


def _refuse_disk(target: Path, error: OSError) -> NoReturn:
    raise DataError(
        f"{target} cannot be written: {error.strerror or error}. Free some space, or give a folder that can be written."
    ) from None


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal)
