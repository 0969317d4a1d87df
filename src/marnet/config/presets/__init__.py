"""Settings that have a name: a YAML file each in this folder, for `marnet train --preset NAME`."""

from pathlib import Path

from marnet.errors import ConfigError, suggest


def preset_names() -> list[str]:
    """The known presets."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.yaml"))


def preset_file(name: str) -> Path:
    """The file of a preset.

    Raises:
        ConfigError: there is none of that name.
    """
    known = preset_names()
    if name not in known:
        raise ConfigError(f"Preset {name!r} is not known; needed one of {', '.join(known)}.{suggest(name, known)}")
    return Path(__file__).parent / f"{name}.yaml"
