"""The identity of a trained run: what was computed with other weights does not belong to it."""

import hashlib
from pathlib import Path

from marnet.errors import RunDirectoryError
from marnet.runs.layout import IMAGE, TEXT_SETTINGS, TEXT_WEIGHTS, WEIGHTS

_FILES = (WEIGHTS, TEXT_WEIGHTS, TEXT_SETTINGS, IMAGE)


def run_digest(run: Path | str) -> str:
    """Return a hash of everything that places images and texts: the weights, the text encoder, the input's form.

    A copy of a run has the same one, also after classes were added to it; a run that was trained again has another.

    Raises:
        RunDirectoryError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in (Path(run) / name for name in _FILES):
        if not path.is_file():
            continue
        try:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise RunDirectoryError(f"{path} cannot be read: {error.strerror or error}.") from None
    return digest.hexdigest()[:16]
