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
    """The flat settings of a run without those that change nothing about what it learns.

    What belongs to a part that the run's method does without is left out too: where only CDR is set otherwise, the runs
    of `image-only` need not be repeated.
    """
    flat = flatten(settings)
    idle = (*_NO_MATTER, *_idle(flat))
    return {name: value for name, value in flat.items() if name.endswith(".enabled") or not name.startswith(idle)}


def _idle(flat: Mapping[str, Any]) -> list[str]:
    """Beginnings of the names of settings that nothing reads, given the method and its modules."""
    method = flat.get("method")
    aligns, reconstructs = flat.get("alignment.enabled"), flat.get("reconstruction.enabled")
    idle: list[str] = []
    if aligns is False:
        idle += ["alignment.", "losses.matching", "losses.alignment"]
    if reconstructs is False:
        idle += ["reconstruction.", "losses.reconstruction", "losses.guess", "losses.semantic"]
    if reconstructs is False and (aligns is False or flat.get("text.trainable")):  # then EMA reads the text itself
        idle += ["semantics."]
    if aligns is False and reconstructs is False and method not in ("multitask", "late-fusion", None):
        idle += ["text.", "fusion.", "losses.text"]
    if method not in ("late-fusion", None):
        idle += ["late_fusion."]
    if method not in ("multitask", None):
        idle += ["losses.words"]
    return idle
