"""Running an ONNX file. Only this file knows onnxruntime; it is imported when a file is opened."""

from pathlib import Path
from typing import Any

import numpy as np

from marnet.errors import ConfigError, ExportError
from marnet.inference.exported.artefact import from_metadata

_WANTED = "Install it: pip install 'marnet[runtime]'"


class OnnxSession:
    """The graph of an ONNX file, ready to run; a `Session`.

    Args:
        path: the file.
        device: "auto" and "cpu" take the CPU, "cuda" or "cuda:1" a GPU, for which onnxruntime-gpu is needed.

    Raises:
        ExportError: onnxruntime is missing, or the file is missing, damaged or was not written by marnet.
        ConfigError: there is no such device.
    """

    def __init__(self, path: Path, *, device: str = "auto") -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ExportError(
                f"ONNX files need the package onnxruntime, which cannot be imported ({error}). {_WANTED}"
            ) from error
        if not path.is_file():
            raise ExportError(f"{path} does not exist. Name a file that 'marnet export' wrote.")
        providers = _providers(device, onnxruntime.get_available_providers())
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors: it would warn that noise can be given
        try:
            self._session: Any = onnxruntime.InferenceSession(path, options, providers=providers)
        except Exception as error:  # onnxruntime has many, in words of its own
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise ExportError(f"{path} is no ONNX file, or damaged ({first}). Export the run again.") from None
        self.artefact = from_metadata(self._session.get_modelmeta().custom_metadata_map, path)
        self._names = [output.name for output in self._session.get_outputs()]

    def run(self, images: np.ndarray, noise: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Return all outputs by name; see `Session.run`."""
        inputs = {"images": np.ascontiguousarray(images)}
        if noise is not None:
            inputs["noise"] = np.ascontiguousarray(noise, np.float32)
        return dict(zip(self._names, self._session.run(None, inputs), strict=True))


def _providers(device: str, available: list[str]) -> list[Any]:
    """Return onnxruntime's name of a device."""
    kind, _, number = device.partition(":")
    if device in ("auto", "cpu"):
        return ["CPUExecutionProvider"]
    if kind != "cuda" or not (number or "0").isdigit() or "CUDAExecutionProvider" not in available:
        raise ConfigError(
            f"The device {device!r} cannot be used: onnxruntime has {', '.join(available)} here. Choose 'cpu', or "
            f"'cuda' with the package onnxruntime-gpu."
        )
    return [("CUDAExecutionProvider", {"device_id": int(number or 0)})]
