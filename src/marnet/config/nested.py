"""Nested settings before they are a configuration: read from YAML, merged, or written as "section.key=value"."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from marnet.config.presets import OLDEST, preset_file
from marnet.config.yaml_text import DEEPEST, YamlTextError, parse_yaml
from marnet.errors import ConfigError, shorten


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping that a YAML file holds, `{}` for an empty file.

    Raises:
        ConfigError: the file is missing, is not YAML, or holds something other than a mapping.
    """
    try:
        content = parse_yaml(_read_text(path))
    except YamlTextError as error:
        raise ConfigError(
            f"Configuration file {path} is not readable YAML: {error}. Correct it, or name another file."
        ) from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(
            f"Configuration file {path} holds a {type(content).__name__}, but it must be a mapping of sections such as "
            f"'training: {{epochs: 40}}'."
        )
    return content


def older_settings() -> dict[str, Any]:
    """Return the nested settings by which versions acted that did not have these settings yet."""
    return read_yaml(preset_file(OLDEST))


def _read_text(path: Path) -> str:
    if path.exists() and not path.is_file():
        raise ConfigError(f"Configuration file {path} is not a file. Name a YAML file.")
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"Configuration file {path} does not exist. Check the path.") from None
    except (OSError, ValueError) as error:
        if isinstance(error, UnicodeDecodeError):
            raise ConfigError(
                f"Configuration file {path} is not UTF-8 text: found byte 0x{error.object[error.start]:02X} at "
                f"position {error.start}. Save it as UTF-8."
            ) from None
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"Configuration file {path} cannot be read: {reason}. Check the path.") from None


def merge_settings(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return both nested settings in one; `over` wins.

    >>> merge_settings({"training": {"lr": 0.1, "seed": 1}}, {"training": {"lr": 0.2}})
    {'training': {'lr': 0.2, 'seed': 1}}
    """
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = (
            merge_settings(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
        )
    return merged


def expand_preset(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings merged over the preset that they name under `preset`, if they name one.

    Raises:
        ConfigError: the preset is unknown.
    """
    rest = {name: value for name, value in settings.items() if name != "preset"}
    if settings.get("preset") is None:
        return rest
    return merge_settings(read_yaml(preset_file(str(settings["preset"]))), rest)


def parse_assignment(assignment: str) -> dict[str, Any]:
    """Return the nested setting that "section.key=value" stands for, with its value read as YAML.

    >>> parse_assignment("training.lr=1e-3")
    {'training': {'lr': 0.001}}

    Raises:
        ConfigError: the assignment has another form.
    """
    dotted, separator, text = assignment.partition("=")
    keys = dotted.strip().split(".")
    if len(keys) > DEEPEST:
        raise ConfigError(f"`sets` holds a setting of {len(keys)} names, but settings have three at most.")
    if not separator or not all(keys):
        raise ConfigError(
            f"`sets` holds {shorten(repr(assignment))}, which is not of the form section.key=value. An example: "
            f"training.epochs=40."
        )
    try:
        value: Any = parse_yaml(text)
    except YamlTextError:
        value = text
    bare = isinstance(value, str) and value == text.strip()  # a string in quotes stays one
    if bare and any(c.isdigit() for c in value):  # YAML reads 1e-3 as a string; "nan" stays one
        with contextlib.suppress(ValueError):
            value = float(value)
    nested: dict[str, Any] = {keys[-1]: value}
    for key in reversed(keys[:-1]):
        nested = {key: nested}
    return nested


def unflatten(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the nested form of settings whose names may be dotted; nested settings come back equal.

    Raises:
        ConfigError: a name is empty, or is given both a value and settings below it.

    Example:
        >>> unflatten({"training.epochs": 5, "losses": {"matching": 0.2}})
        {'training': {'epochs': 5}, 'losses': {'matching': 0.2}}
    """
    nested: dict[str, Any] = {}
    for name, value in settings.items():
        keys = str(name).split(".")
        if not all(keys):
            raise ConfigError(
                f"{name!r} is no name of a setting. Write it as 'section.key', such as 'training.epochs'."
            )
        section = nested
        for key in keys[:-1]:
            section = section.setdefault(key, {})
            if not isinstance(section, dict):
                raise ConfigError(f"{name!r} is set, but so is {key!r} above it. Leave one of the two out.")
        _put(section, keys[-1], unflatten(value) if isinstance(value, Mapping) else value, name)
    return nested


def flatten(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by their dotted names; empty sections are left out.

    Example:
        >>> flatten({"training": {"epochs": 5}, "method": "marnet"})
        {'training.epochs': 5, 'method': 'marnet'}
    """
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{below}": each for below, each in flatten(value).items()}
        else:
            flat[name] = value
    return flat


def _put(section: dict[str, Any], key: str, value: Any, name: str) -> None:
    """Put a value into a section, next to those that dotted names have put there."""
    before = section.get(key)
    if key not in section:
        section[key] = value
    elif isinstance(before, dict) and isinstance(value, dict) and not set(flatten(before)) & set(flatten(value)):
        section[key] = merge_settings(before, value)
    else:
        raise ConfigError(f"{name!r} is set twice. Leave one of the two out.")
