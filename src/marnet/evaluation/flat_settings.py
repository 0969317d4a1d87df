"""Nested settings under dotted names, as `--set` takes them."""

from collections.abc import Mapping
from typing import Any


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The settings in their order, such as "training.lr" for `lr` in `training`."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


# Settings that change nothing about what a run learns; and the source, for which the fingerprint of its rows stands.
_NO_MATTER = ("data.source", "data.cache", "data.workers", "training.devices")


def learned_from(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The flat settings without those that change nothing about what a run learns."""
    return {name: value for name, value in flatten(settings).items() if name not in _NO_MATTER}
