"""Running a file of torch.export."""

import json
from pathlib import Path

import numpy as np
import torch

from marnet.errors import ExportError
from marnet.inference.device import choose_device
from marnet.inference.exported.artefact import PT2_METADATA, from_metadata


class Pt2Session:
    """The graph of a .pt2 file, ready to run; a `Session`.

    Args:
        path: the file. torch unpickles parts of it, so that a file of a stranger can run code; see `marnet.load`.
        device: see `marnet.load`.

    Raises:
        ExportError: the file is missing, damaged or was not written by marnet.
        ConfigError: there is no such device.
    """

    def __init__(self, path: Path, *, device: str = "auto") -> None:
        self._device = choose_device(device)
        if not path.is_file():
            raise ExportError(f"{path} does not exist. Name a file that 'marnet export' wrote.")
        extra = {PT2_METADATA: ""}
        try:
            program = torch.export.load(path, extra_files=extra)
            metadata = json.loads(extra[PT2_METADATA] or "{}")
        except Exception as error:  # torch has many, in words of its own
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise ExportError(
                f"{path} is no file of torch.export, or damaged ({first}). Export the run again."
            ) from None
        self.artefact = from_metadata(metadata, path)
        self._names: list[str] = json.loads(metadata["outputs"])
        self._module = program.module().to(self._device)
        start = self.artefact.noise
        self._start = None if start is None else torch.tensor(start, device=self._device)

    @torch.inference_mode()
    def run(self, images: np.ndarray, noise: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Return all outputs by name; see `Session.run`."""
        inputs = [torch.from_numpy(images).to(self._device)]
        if noise is not None:
            inputs.append(torch.from_numpy(noise).float().to(self._device))
        elif self._start is not None:
            inputs.append(self._start.expand(len(images), -1))
        return {name: each.cpu().numpy() for name, each in zip(self._names, self._module(*inputs), strict=True)}
