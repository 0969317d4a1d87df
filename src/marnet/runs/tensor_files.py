"""Safetensors files whose bytes follow from their content alone."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

_LENGTH = 8  # bytes at the beginning of the file: the length of its header


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors as safetensors; equal content makes equal bytes.

    The package `safetensors` writes metadata in an order that differs between processes, so the header is written again
    in the order of names.

    Raises:
        OSError: the file cannot be written.
    """
    try:
        save_file(dict(tensors), path, dict(metadata))
    except SafetensorError as error:  # it wraps the reason into its own words
        raise OSError(str(error)) from error
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(_LENGTH), "little")
        header = json.loads(file.read(length))
        if "__metadata__" in header:
            header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        written = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(written) > length:
            raise OSError(f"the header of {path} would grow from {length} to {len(written)} bytes")
        file.seek(_LENGTH)
        file.write(written.ljust(length, b" "))
        file.flush()
        os.fsync(file.fileno())
