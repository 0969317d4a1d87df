"""JSON files that people can read, written whole or not at all."""

import json
from pathlib import Path
from typing import Any

from marnet.errors import RunDirectoryError


def write_json(path: Path, content: Any) -> None:
    """Write JSON as people can read it, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)


def read_json(path: Path) -> Any:
    """Read a JSON file of a run directory.

    Raises:
        RunDirectoryError: the file is missing or is not whole JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunDirectoryError(f"{path} is missing from the run directory. Restore it, or train again.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RunDirectoryError(f"{path} is damaged ({error}). Restore it, or train again.") from None
