"""A list of all settings with their types, defaults and descriptions, read from the schema."""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from marnet.config.schema import Config

_TYPES = {
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "string": "str",
    "null": "null",
    "object": "mapping",
    "array": "list",
}
_BOUNDS = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}


class SettingInfo(NamedTuple):
    """One setting of a configuration."""

    name: str  # dotted, such as "training.lr"
    type: str  # such as `"none" | "light" | "strong"` or `int >= 1`
    default: Any  # as in YAML and JSON; None where it depends on other settings or is off
    description: str  # "" if the schema has none


def list_settings() -> list[SettingInfo]:
    """Return every setting of a training run, section by section in the order of the schema.

    >>> settings = {setting.name: setting for setting in list_settings()}
    >>> settings["training.epochs"].type, settings["training.epochs"].default
    ('int >= 1', 60)
    """
    schema = Config.model_json_schema(by_alias=False)
    return list(_settings(schema, schema.get("$defs", {}), ""))


def matching_settings(pattern: str) -> list[SettingInfo]:
    """Return the settings whose name fits a pattern such as "training.*", or holds it as a part, such as "lr".

    >>> [setting.name for setting in matching_settings("data.*_share")]
    ['data.val_share', 'data.test_share']
    """
    return [each for each in list_settings() if fnmatchcase(each.name, pattern) or pattern in each.name]


def _settings(section: Mapping[str, Any], definitions: Mapping[str, Any], prefix: str) -> Iterator[SettingInfo]:
    for key, found in section["properties"].items():
        held = definitions.get(found.get("$ref", "").rpartition("/")[2], {})
        if "properties" in held:  # a section
            yield from _settings(held, definitions, f"{prefix}{key}.")
        else:
            shown = _type(held or found, definitions)
            default = found.get("default", {} if shown == "mapping" else None)
            yield SettingInfo(f"{prefix}{key}", shown, default, found.get("description", ""))


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def _type(found: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """Return the type of a JSON schema in words: alternatives, literals, or a type with its bounds."""
    if "$ref" in found:
        return _type(definitions[found["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in found:
        return " | ".join(_type(each, definitions) for each in found["anyOf"])
    if "enum" in found or "const" in found:
        return " | ".join(f'"{word}"' for word in found.get("enum", [found.get("const")]))
    name = "path" if found.get("format") == "path" else _TYPES.get(found.get("type", ""), "any")
    bounds = " and ".join(f"{sign} {_number(found[key])}" for key, sign in _BOUNDS.items() if key in found)
    return f"{name} {bounds}" if bounds else name
