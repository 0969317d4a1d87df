"""`load`: from a run directory to something that predicts."""

from pathlib import Path

from torch import nn

from marnet.inference.predictor import Predictor
from marnet.runs.code import AllowCode


def load(
    run: Path | str, *, backbone: nn.Module | None = None, device: str = "auto", allow_code: AllowCode = False
) -> Predictor:
    """Load a run directory for prediction.

    Args:
        run: the run directory, or a `TrainedRun`.
        backbone: the module that the run was trained with, where it was handed over in Python.
        device: where to compute, such as "cpu" or "cuda:1"; "auto" takes CUDA if there is any, else MPS, else the CPU.
        allow_code: import code that the run names (`module:PACKAGE.NAME`); without it, such a run is refused.

    Raises:
        RunDirectoryError: the run directory is incomplete or damaged, or names code that is not allowed.
        ConfigError: there is no such device.

    Example:
        >>> import marnet
        >>> marnet.load("runs/p").predict("a.jpg").labels[0] in ("apple", "eel", "lime")
        True
    """
    return Predictor(run, backbone=backbone, device=device, allow_code=allow_code)
