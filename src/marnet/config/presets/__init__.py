"""Presets: sets of settings with a name, each a YAML file in this folder."""

from pathlib import Path

from marnet.errors import ConfigError, suggest

OLDEST = "0.1"  # the preset of the settings by which the oldest version acted whose runs are still read


def preset_names() -> list[str]:
    """Return the names of the presets in alphabetical order."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.yaml"))


def preset_file(name: str) -> Path:
    """Return the file of a preset.

    Raises:
        ConfigError: no preset has that name.
    """
    known = preset_names()
    if name not in known:
        raise ConfigError(f"Preset {name!r} is not known. Expected {' or '.join(known)}.{suggest(name, known)}")
    return Path(__file__).parent / f"{name}.yaml"
