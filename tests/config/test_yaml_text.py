"""YAML that would take for ever, fill the memory or end in a traceback is refused with a reason."""

from pathlib import Path

import pytest

from marnet.config import make_config
from marnet.config.nested import parse_assignment
from marnet.config.yaml_text import DEEPEST, MOST_VALUES, YamlTextError, parse_yaml
from marnet.errors import ConfigError

TOO_MANY = f"it holds more than {MOST_VALUES:,} values, aliases written out"
TOO_DEEP = f"it is nested more than {DEEPEST} levels deep"


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


def laughs(form: str) -> str:
    """Return ten lines, each of which uses the one before ten times."""
    lines = [f"a0: &a0 {'{x: 1}' if '<<' in form else '[lol]'}"]
    for number in range(1, 10):
        uses = ", ".join([f"*a{number - 1}"] * 10)
        lines.append(f"a{number}: &a{number} {form.format(uses)}")
    return "\n".join(lines)


def test_aliases_and_merging_work_within_bounds() -> None:
    assert parse_yaml("a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: [*a, *a]") == {
        "a": {"x": 1}, "b": {"x": 1, "y": 2}, "c": [{"x": 1}, {"x": 1}],
    }  # fmt: skip
    assert parse_yaml(nested(DEEPEST - 1)) is not None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (nested(DEEPEST + 1), TOO_DEEP),
        (nested(100_000), TOO_DEEP),
        (laughs("[{}]"), TOO_MANY),
        (laughs("{{<<: [{}]}}"), TOO_MANY),
        ("a: &a [*a]", TOO_DEEP),
        ("a: [" + "1, " * 60_000 + "]", TOO_MANY),
        ("a: 2020-99-99", "it holds a value that cannot be read (month must be in 1..12"),
        ("a: " + "9" * 5000, "it holds a value that cannot be read (Exceeds the limit"),
        ("a: !!bool perhaps", "it holds a value that cannot be read ("),
        ("a: !!timestamp never", "it holds a value that cannot be read ("),
        ("a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("x" * 1_000_001, "it has 1,000,001 characters, but at most 1,000,000 are read"),
    ],
)  # fmt: skip
def test_the_rest_is_refused(text: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(YamlTextError) as error:
        parse_yaml(text)
    assert str(error.value).startswith(reason)
    file = tmp_path / "settings.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"settings\.yaml is not readable YAML: "):
        make_config(file=file)


def test_a_value_that_is_no_yaml_is_a_text() -> None:
    for text in (nested(1000), "2020-99-99", "[1, 2"):
        assert parse_assignment(f"data.source={text}") == {"data": {"source": text}}
    with pytest.raises(ConfigError, match="a setting of 60 names"):
        parse_assignment(".".join(["a"] * 60) + "=1")
