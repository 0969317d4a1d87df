"""The device that a run predicts on, by name."""

import torch

from marnet.errors import ConfigError


def choose_device(name: str) -> torch.device:
    """Return the device of a name; "auto" takes CUDA if there is any, else MPS, else the CPU.

    Raises:
        ConfigError: the name is unknown, or this machine has no such device.

    Example:
        >>> choose_device("cpu")
        device(type='cpu')
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except Exception as error:  # torch raises RuntimeError, AssertionError and others, each in its own words
        first = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ConfigError(
            f"The device {name!r} cannot be used: {first}. Expected 'auto', 'cpu', or a device that this machine has, "
            f"such as 'cuda', 'cuda:1' or 'mps'."
        ) from None
    return device
