"""The tensors that a run's settings ask for, against those in its files, before any of them is allocated.

Each setting is bounded, but not their product: 256 layers, 16,384 wide each, have a terabyte. So the model is
built without memory first, on torch's device "meta", and a run whose files do not hold its tensors is refused.
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import get_ident
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from marnet.errors import RunDirectoryError
from marnet.runs.layout import CONFIG
from marnet.runs.tensor_files import Shape

_Module = TypeVar("_Module", bound=nn.Module)
_LARGEST_SHARE = 0.8  # of the machine's memory
_FLOAT = 4  # bytes
_SPARE = 10_000  # parameters of a module over those that a file holds; up to there, it is refused by names and sizes


def build_without_memory(build: Callable[[], _Module], *, held: int) -> _Module:
    """Return the module that `build` makes, with shapes and without values; no random number is drawn.

    Args:
        build: makes the module from settings that nobody vouches for.
        held: the number of tensors in the file for it; building stops where the module has many more.

    Raises:
        MarnetError: the module cannot be built, or has many more parameters than the file has tensors.
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta"), _at_most(4 * held + _SPARE):
        return build()


def module_shapes(module: nn.Module) -> dict[str, Shape]:
    """Return the shapes of the tensors of a module by name, as its state dict has them."""
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def check_shapes(needed: Mapping[str, Shape], held: Mapping[str, Shape], file: Path) -> None:
    """Refuse weights that are not those of the model, and a model that is larger than the machine.

    Args:
        needed: shapes of the model's tensors by name.
        held: shapes of the tensors in `file`, by the same names.
        file: the weights file.

    Raises:
        RunDirectoryError: a tensor is missing, has another shape, or is not part of the model.
    """
    both = f"{file.parent / CONFIG}; both must come from the same run"
    missing = [name for name in needed if name not in held]
    other = [name for name in needed if name in held and held[name] != needed[name]]
    unexpected = [name for name in held if name not in needed]
    if missing or unexpected:
        raise RunDirectoryError(
            f"{file} does not fit {both}. Missing are {_some(missing, needed)}, and unexpected are "
            f"{_some(unexpected, held)}."
        )
    if other:
        found = ", ".join(f"{name} {_size(held[name])} instead of {_size(needed[name])}" for name in other[:3])
        raise RunDirectoryError(
            f"{file} does not fit {both}. {len(other)} of {len(needed)} tensors have another size: found {found}"
            f"{' ...' if other[3:] else ''}."
        )
    total, memory = byte_count(needed.values()), _machine_memory()
    if memory and total > _LARGEST_SHARE * memory:
        raise RunDirectoryError(
            f"{file} holds a model of {readable_size(total)}, but this machine has {readable_size(memory)} of memory. "
            f"Use a machine with more."
        )


def byte_count(shapes: Iterable[Shape]) -> int:
    """Return the bytes of tensors of these shapes in single precision.

    >>> byte_count([(2, 3), ()])
    28
    """
    return _FLOAT * sum(map(math.prod, shapes))


def readable_size(count: int) -> str:
    """Return a number of bytes as people read it.

    >>> readable_size(3 * 2**30), readable_size(3 * 2**20)
    ('3.0 GiB', '3.0 MiB')
    """
    return f"{count / 2**30:,.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


@contextmanager
def _at_most(count: int) -> Iterator[None]:
    """Stop this thread from registering more parameters than `count`, which a damaged number of layers would do."""
    thread, registered = get_ident(), 0

    def hook(module: nn.Module, name: str, parameter: Any) -> None:
        nonlocal registered
        registered += get_ident() == thread
        if registered > count:
            raise RunDirectoryError(
                f"The settings of the run ask for a model of more than {count:,} tensors, but its files hold far "
                f"fewer. Both must come from the same run; restore them, or train again."
            )

    handle = register_module_parameter_registration_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _some(names: list[str], shapes: Mapping[str, Shape]) -> str:
    if not names:
        return "no tensors"
    shown = ", ".join(f"{name} {_size(shapes[name])}" for name in names[:3])
    return f"{shown}{' ...' if names[3:] else ''} ({len(names)} in all)"


def _size(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "()"


def _machine_memory() -> int:
    """Return the bytes of memory of this machine, 0 where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 0
