"""Nested settings before they are a configuration: read from YAML, put over one another, given as `--set a.b=c`."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from marnet.config.presets import preset_file
from marnet.errors import ConfigError


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds, `{}` of an empty file.

    Raises:
        ConfigError: the file is missing, is not YAML or holds something else.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"Configuration file {path} does not exist. Check the path.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"Configuration file {path} is not readable YAML: {error}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(
            f"Configuration file {path} holds a {type(content).__name__}; needed a mapping of sections such as "
            f"'training: {{epochs: 40}}'."
        )
    return content


def merge_settings(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings, those of `over` winning."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = (
            merge_settings(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
        )
    return merged


def expand_preset(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings over those of the preset that they name under `preset`, where they name one.

    Raises:
        ConfigError: the preset is unknown.
    """
    rest = {name: value for name, value in settings.items() if name != "preset"}
    if settings.get("preset") is None:
        return rest
    return merge_settings(read_yaml(preset_file(str(settings["preset"]))), rest)


def parse_assignment(assignment: str) -> dict[str, Any]:
    """The nested setting that "a.b=c" means, its value read as YAML.

    Raises:
        ConfigError: it has another form.
    """
    dotted, separator, text = assignment.partition("=")
    keys = dotted.strip().split(".")
    if not separator or not all(keys):
        raise ConfigError(f"--set {assignment!r} is not of the form section.key=value, such as training.epochs=40.")
    try:
        value: Any = yaml.safe_load(text)
    except yaml.YAMLError:
        value = text
    if isinstance(value, str) and any(c.isdigit() for c in value):  # YAML reads 1e-3 as a string; "nan" stays one
        with contextlib.suppress(ValueError):
            value = float(value)
    nested: dict[str, Any] = {keys[-1]: value}
    for key in reversed(keys[:-1]):
        nested = {key: nested}
    return nested
