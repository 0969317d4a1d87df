"""Settings as older versions of marnet wrote them, in the names of today."""

from collections.abc import Mapping
from typing import Any

from marnet.errors import ConfigError

# Until 0.1 two switches chose the modules of a method; a method now is its modules.
_SWITCHES = {
    "image-only": (False, False),
    "match": (True, False),
    "reconstruct": (False, True),
    "marnet": (True, True),
    "regress": (False, True),
    "multitask": (False, False),
    "late-fusion": (False, False),
}
_BY_SWITCHES = {switches: name for name, switches in list(_SWITCHES.items())[:4]}


def upgrade_settings(settings: Mapping[str, Any], *, method: str = "marnet") -> dict[str, Any]:
    """Return nested settings with the names of today; those of today come back as they are.

    Args:
        settings: nested settings.
        method: the method, if the settings do not name one.

    Raises:
        ConfigError: they describe a model that can no longer be built, or name a setting by both names.

    Example:
        >>> upgrade_settings({"losses": {"guess": 5.0}})
        {'losses': {'linear_head': 5.0}}
    """
    upgraded = {key: dict(value) if isinstance(value, Mapping) else value for key, value in settings.items()}
    losses, reconstruction = upgraded.get("losses"), upgraded.get("reconstruction")
    if isinstance(losses, dict) and "guess" in losses:
        if "linear_head" in losses:
            raise ConfigError("`losses.guess` is the old name of `losses.linear_head`; both are set. Leave one out.")
        losses["linear_head"] = losses.pop("guess")
    if isinstance(reconstruction, dict) and reconstruction.get("guide") == "guess":
        reconstruction["guide"] = "linear"
    return _drop_switches(upgraded, method)


def _drop_switches(settings: dict[str, Any], method: str) -> dict[str, Any]:
    """Remove `alignment.enabled` and `reconstruction.enabled`; where they overrode the method, name the one they made.

    Raises:
        ConfigError: no method has these modules.
    """
    given = []
    for name in ("alignment", "reconstruction"):
        section = settings.get(name)
        given.append(section.pop("enabled", None) if isinstance(section, dict) else None)
    if given == [None, None]:
        return settings
    method = str(settings.get("method", method))
    usual = _SWITCHES.get(method)
    if usual is None:
        return settings
    align, reconstruct = (own if switch is None else bool(switch) for own, switch in zip(usual, given, strict=True))
    wanted = (align, reconstruct)
    if wanted == usual:
        return settings
    if method not in _BY_SWITCHES.values():
        raise ConfigError(
            f"`alignment.enabled` and `reconstruction.enabled` are no settings any more, and method {method!r} with "
            f"{wanted} for them cannot be built. Leave them out, or write a method of your own (docs/extending.md)."
        )
    settings["method"] = _BY_SWITCHES[wanted]
    return settings
