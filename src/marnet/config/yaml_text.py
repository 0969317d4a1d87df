"""YAML of bounded size and depth as plain values; whatever else the format allows is refused with a reason."""

from typing import Any

import yaml
from yaml.nodes import MappingNode, Node

MOST_CHARACTERS = 1_000_000
MOST_VALUES = 50_000  # written out: an alias counts as often as it is used
DEEPEST = 50


class YamlTextError(Exception):
    """A text that is not usable YAML; the message says why, and ends without a full stop."""


def parse_yaml(text: str) -> Any:
    """Return the values of a YAML text.

    Example:
        >>> parse_yaml("training: {epochs: 40}")
        {'training': {'epochs': 40}}

    Raises:
        YamlTextError: the text is not YAML, holds a value that cannot be read, or is larger or deeper than settings.
    """
    if len(text) > MOST_CHARACTERS:
        raise YamlTextError(f"it has {len(text):,} characters, but at most {MOST_CHARACTERS:,} are read")
    try:
        content = yaml.load(text, Loader=_Loader)  # a safe loader with bounds
    except yaml.YAMLError as error:
        raise YamlTextError(str(error)) from None
    except RecursionError:
        raise YamlTextError(_too_deep()) from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # PyYAML lets these through for dates such as 2020-99-99, numbers of 5,000 digits, and wrong tags.
        raise YamlTextError(f"it holds a value that cannot be read ({error})") from None
    _check_size(content)
    return content


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, stopped before deep nesting or repeated merging takes long."""

    depth = 0
    nodes = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        self.depth += 1
        self.nodes += 1
        if self.nodes > MOST_VALUES:
            raise YamlTextError(_too_large())
        if self.depth > DEEPEST:
            raise YamlTextError(_too_deep())
        node: Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def flatten_mapping(self, node: MappingNode) -> None:
        super().flatten_mapping(node)
        if len(node.value) > MOST_VALUES:
            raise YamlTextError(_too_large())


def _check_size(content: Any) -> None:
    """Refuse more values than settings have, counted as they are written out, and an alias within itself."""
    count = 0
    rest = [(content, 1)]
    while rest:
        value, depth = rest.pop()
        count += 1
        if depth > DEEPEST:
            raise YamlTextError(_too_deep())
        if count > MOST_VALUES:
            raise YamlTextError(_too_large())
        below = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ()
        rest += [(each, depth + 1) for each in below]


def _too_deep() -> str:
    return f"it is nested more than {DEEPEST} levels deep"


def _too_large() -> str:
    return f"it holds more than {MOST_VALUES:,} values, aliases written out"
