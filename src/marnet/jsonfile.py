"""JSON files that people can read, written whole or not at all."""

import json
from pathlib import Path
from typing import Any

from marnet.atomic import write_text
from marnet.errors import RunDirectoryError

LARGEST = 64 * 2**20  # bytes of a JSON file that is read; its values may take 25 times as many


def write_json(path: Path, content: Any, *, sync: bool = True) -> None:
    """Write JSON as people can read it, whole or not at all. See `marnet.atomic.replacing` for `sync`.

    Raises:
        RunDirectoryError: the file cannot be written.
    """
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n", sync=sync)


def read_json(path: Path) -> Any:
    """Read a JSON file of a run directory.

    Raises:
        RunDirectoryError: the file is missing, is no regular file, is larger than `LARGEST`, or is not whole JSON.
    """
    check_file(path, largest=LARGEST)
    try:
        return json.loads(path.read_text(encoding="utf-8", errors="surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise RunDirectoryError(f"{path} is damaged ({error}). Restore it, or train again.") from None
    except OSError as error:
        raise RunDirectoryError(f"{path} cannot be read: {error.strerror or error}.") from None


def check_file(path: Path, *, largest: int) -> None:
    """Refuse what is not a regular file of at most `largest` bytes, before it is opened.

    Raises:
        RunDirectoryError: the file is missing, is a folder, a pipe or a device, or is larger.
    """
    if not path.exists():
        raise RunDirectoryError(f"{path} is missing from the run directory. Restore it, or train again.")
    if not path.is_file():
        raise RunDirectoryError(f"{path} is not a regular file. Restore it, or train again.")
    size = path.stat().st_size
    if size > largest:
        raise RunDirectoryError(
            f"{path} has {size:,} bytes, but such a file of a run has at most {largest:,}. Restore it, or train again."
        )
