"""A copy of a trained run at a new place."""

import shutil
import tempfile
from pathlib import Path

from marnet.data.recorded import read_recorded, write_recorded
from marnet.errors import RunDirectoryError
from marnet.runs.layout import BACKBONE, FILES, LOCK, MANIFEST, REPORT, TEXT_FILES
from marnet.runs.starting import check_run_directory

_LEFT_OUT = {LOCK, REPORT, MANIFEST}  # the rows are written again, because paths of images may be relative to them


def check_free(out: Path) -> None:
    """Refuse a place that holds something, or that cannot be written to; nothing is changed.

    Raises:
        RunDirectoryError: see above.
    """
    if out.is_dir() and any(out.iterdir()):
        raise RunDirectoryError(f"{out} already holds something; nothing was changed. Choose another `out`.")
    check_run_directory(out)


def copy_run(run: Path, out: Path) -> None:
    """Copy everything that a trained run needs to `out`, whole or not at all; no resume point, log or report.

    Raises:
        RunDirectoryError: `out` already holds something, or cannot be written.
    """
    check_free(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as folder:
            copy = Path(folder) / "run"
            copy.mkdir()
            for name in sorted(FILES - _LEFT_OUT):
                if (run / name).is_file():
                    shutil.copy2(run / name, copy / name)
            for name in (BACKBONE, TEXT_FILES):
                if (run / name).is_dir():
                    shutil.copytree(run / name, copy / name)
            if out.is_dir():
                out.rmdir()  # it is empty
            copy.rename(out)
    except OSError as error:
        raise RunDirectoryError(f"{out} cannot be written: {error.strerror or error}. Choose another `out`.") from error
    if (run / MANIFEST).is_file():
        write_recorded(read_recorded(run), out)
