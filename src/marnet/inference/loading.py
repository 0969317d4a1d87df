"""`load`: from a run directory or an exported file to something that predicts."""

from pathlib import Path
from typing import TYPE_CHECKING

from marnet.errors import ConfigError, ExportError
from marnet.inference.exported.onnx_session import OnnxSession
from marnet.inference.exported.predictor import ExportedPredictor

if TYPE_CHECKING:  # an ONNX file predicts without torch
    from torch import nn

    from marnet.inference.predictor import Predictor
    from marnet.runs.code import AllowCode

ONNX, PT2 = ".onnx", ".pt2"  # the suffixes of exported files


def load(
    run: Path | str, *, backbone: "nn.Module | None" = None, device: str = "auto", allow_code: "AllowCode" = False
) -> "Predictor | ExportedPredictor":
    """Load a run directory, or a file that `marnet export` wrote, for prediction.

    Args:
        run: the run directory, a `TrainedRun`, or a file with the suffix .onnx or .pt2.
        backbone: the module that the run was trained with, where it was handed over in Python.
        device: where to compute, such as "cpu" or "cuda:1"; "auto" takes CUDA if there is any, else MPS, else the CPU,
            and for an ONNX file always the CPU.
        allow_code: import code that the run names (`module:PACKAGE.NAME`); without it, such a run is refused, as
            is every .pt2 file, parts of which torch unpickles.

    Raises:
        RunDirectoryError: the run directory is incomplete or damaged, or names code that is not allowed.
        ExportError: the file is missing or damaged, or what runs it is not installed.
        ConfigError: there is no such device, or a file was given together with `backbone`.

    Example:
        >>> import marnet
        >>> marnet.load("runs/p").predict("a.jpg").labels[0] in ("apple", "eel", "lime")
        True
    """
    path = Path(run)
    if is_exported(path):
        if backbone is not None:
            raise ConfigError(f"{path} holds its backbone. Leave `backbone` out.")
        return open_exported(path, device=device, trusted=allow_code is True)
    from marnet.inference.predictor import Predictor

    return Predictor(run, backbone=backbone, device=device, allow_code=allow_code)


def open_exported(path: Path, *, device: str = "auto", trusted: bool = False) -> ExportedPredictor:
    """Load an exported file, as `load` does.

    Args:
        path: the file.
        device: see `load`.
        trusted: the file may be one of torch.export.

    Raises:
        ExportError: see `load`.
    """
    if path.suffix == ONNX:
        return ExportedPredictor(path, OnnxSession(path, device=device))
    if not trusted:
        raise ExportError(
            f"{path} is a file of torch.export, which can hold code that loading it runs. Export to {ONNX}, or pass "
            f"`allow_code=True` if you trust the file."
        )
    from marnet.inference.exported.pt2_session import Pt2Session

    return ExportedPredictor(path, Pt2Session(path, device=device))


def is_exported(path: Path) -> bool:
    """Return whether a path is that of an exported file, by its suffix; a run directory may have any name."""
    return path.suffix in (ONNX, PT2) and not path.is_dir()
