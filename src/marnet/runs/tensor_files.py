"""Safetensors files whose bytes follow from their content alone, and their headers, read before the tensors are."""

import json
import math
import os
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from marnet.errors import RunDirectoryError

Shape = tuple[int, ...]
_WAY_OUT = "Restore it, or train again."
_LENGTH = 8  # bytes at the beginning of the file: the length of its header
_LONGEST_HEADER = 16 * 2**20  # bytes; a tensor takes some 100
_MOST_AXES = 16
_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8,
}  # fmt: skip


class Header(NamedTuple):
    """The content of a safetensors file without its values."""

    shapes: dict[str, Shape]  # by name of the tensor
    metadata: dict[str, str]


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


def read_header(path: Path, *, way_out: str = _WAY_OUT) -> Header:
    """Return names, shapes and metadata of a safetensors file; no tensor is read and none is allocated.

    Raises:
        RunDirectoryError: the file is missing or no regular file, its header is no header, or the tensors that it
            describes are not those that the file has room for.
    """
    try:
        if not path.is_file():
            raise _DamageError("it is not a regular file")
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH), "little")
            if not 2 <= length <= min(size - _LENGTH, _LONGEST_HEADER):
                raise _DamageError(
                    f"its header would have {length:,} bytes, but there are {max(size - _LENGTH, 0):,} after it, and "
                    f"at most {_LONGEST_HEADER:,} are read"
                )
            content = json.loads(file.read(length).decode())
        return _check_header(content, size - _LENGTH - length)
    except (_DamageError, ValueError, RecursionError) as error:
        raise _damaged(path, error, way_out) from None
    except OSError as error:
        raise _damaged(path, error.strerror or error, way_out) from None


def load_tensors(path: Path, *, way_out: str = _WAY_OUT) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, whose header the caller has checked.

    Raises:
        RunDirectoryError: the file is damaged.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error, way_out) from None


class _DamageError(Exception):
    """The reason why a file is not a whole safetensors file."""


def _damaged(path: Path, reason: object, way_out: str) -> RunDirectoryError:
    size = f"its {path.stat().st_size:,} bytes are" if path.is_file() else "it is"
    return RunDirectoryError(f"{path} is damaged ({reason}); {size} not a whole safetensors file. {way_out}")


def _check_header(content: Any, room: int) -> Header:
    """Return a header whose tensors fill exactly the `room` bytes behind it, one after the other."""
    if not isinstance(content, dict):
        raise _DamageError("its header is not a JSON object")
    metadata = content.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _DamageError("its metadata are not texts")
    shapes: dict[str, Shape] = {}
    places = [(0, 0)]
    for name, tensor in content.items():
        shapes[name], place = _read_entry(name[:200], tensor)
        places.append(place)
    places.sort()
    if any(before[1] != after[0] for before, after in pairwise(places)) or places[-1][1] != room:
        raise _DamageError(f"its tensors do not fill the {room:,} bytes that it has for them")
    return Header(shapes, metadata)


def _read_entry(name: str, tensor: Any) -> tuple[Shape, tuple[int, int]]:
    """Return the shape of a tensor, and the positions where its bytes begin and end."""
    entry = tensor if isinstance(tensor, dict) else {}
    dtype, shape, place = (entry.get(key) for key in ("dtype", "shape", "data_offsets"))
    sizes, known = _sizes(shape), isinstance(dtype, str) and dtype in _BYTES
    begin_end = _sizes(place)
    if sizes is None or len(sizes) > _MOST_AXES or begin_end is None or len(begin_end) != 2:
        raise _DamageError(f"it does not say the shape and the place of {name!r}")
    if not known:
        raise _DamageError(f"{name!r} is of the unknown type {str(dtype)[:20]!r}")
    begin, end = begin_end
    if end - begin != math.prod(sizes) * _BYTES[str(dtype)]:
        raise _DamageError(f"{name!r} has {end - begin:,} bytes, which are not {list(sizes)} of {dtype}")
    return sizes, (begin, end)


def _sizes(values: Any) -> tuple[int, ...] | None:
    """Return whole numbers from 0 to 2**63; None if `values` are anything else."""
    if not isinstance(values, list) or not all(type(value) is int and 0 <= value < 2**63 for value in values):
        return None
    return tuple(values)
