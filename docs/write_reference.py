"""Write the reference pages from the code: the Python API, the command line and the settings.

Run: uv run python docs/write_reference.py [FOLDER]
The pages go to docs/reference/, which git ignores, or to FOLDER.
"""

import inspect
import re
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

import marnet
from marnet.cli.app import app
from marnet.config import Config

DOCS = Path(__file__).parent


class Option(NamedTuple):
    """An argument or an option of a command, as its table shows it."""

    name: str  # such as "--out PATH" or "RUN"
    help: str
    default: str
    is_argument: bool


class Command(NamedTuple):
    """A command, with its full name such as "marnet data check"."""

    name: str
    help: str
    options: list[Option]


class Setting(NamedTuple):
    """A setting of a configuration, with its full name such as "training.lr"."""

    name: str
    type: str
    default: str
    description: str


def commands(group: typer.Typer = app, prefix: str = "marnet") -> Iterator[Command]:
    """Yield every command of the command line, groups within groups included."""
    for info in group.registered_commands:
        if info.callback is None:
            continue
        name = info.name or info.callback.__name__.replace("_", "-")
        text = inspect.cleandoc(info.help or info.callback.__doc__ or "")
        yield Command(f"{prefix} {name}", text, list(_options(info.callback)))
    for inner in group.registered_groups:
        if inner.typer_instance is not None:
            yield from commands(inner.typer_instance, f"{prefix} {inner.name}")


def _options(callback: Any) -> Iterator[Option]:
    hints = typing.get_type_hints(callback, include_extras=True)
    for name, parameter in inspect.signature(callback).parameters.items():
        kind, (info, *_) = get_args(hints[name])[0], hints[name].__metadata__
        default = "" if parameter.default in (inspect.Parameter.empty, None, False) else f"`{parameter.default}`"
        if isinstance(info.show_default, str):
            default = info.show_default
        if isinstance(info, typer.models.ArgumentInfo):
            several = get_origin(kind) is list
            shown = info.metavar or name.upper() + ("..." if several else "")
            yield Option(shown, info.help or "", default, is_argument=True)
            continue
        declared = [info.default] if isinstance(info.default, str) else []  # where Annotated puts the first of them
        flags = ", ".join([*declared, *(info.param_decls or ())] or ["--" + name.replace("_", "-")])
        value = "" if kind is bool else " " + (info.metavar or _value_name(kind))
        if parameter.default is inspect.Parameter.empty:
            default = "required"
        yield Option(flags + value, info.help or "", default, is_argument=False)


def _value_name(kind: Any) -> str:
    names = {int: "INTEGER", float: "NUMBER", Path: "PATH", str: "TEXT"}
    found = [names[each] for each in (kind, *get_args(kind)) if each in names]
    return found[0] if found else _value_name(get_args(kind)[0]) if get_args(kind) else "TEXT"


def settings(section: type[BaseModel] = Config, prefix: str = "") -> Iterator[Setting]:
    """Yield every setting of a configuration, nested ones with their full names."""
    for name, field in section.model_fields.items():
        full = f"{prefix}{name}"
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from settings(inner, f"{full}.")
        else:
            yield Setting(full, _type_name(inner, field), _default(field), field.description or "")


def _type_name(kind: Any, field: FieldInfo) -> str:
    if get_origin(kind) is Annotated:
        return _type_name(get_args(kind)[0], field)
    if get_origin(kind) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(kind))
    arguments = get_args(kind)
    if get_origin(kind) is Union or type(None) in arguments:
        return " or ".join("`null`" if each is type(None) else _type_name(each, field) for each in arguments)
    names = {bool: "`true` or `false`", int: "whole number", float: "number", str: "text", Path: "path"}
    bounds = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    found = [
        f"{word} {getattr(limit, key):g}"
        for limit in field.metadata
        for key, word in bounds.items()
        if getattr(limit, key, None) is not None
    ]
    if get_origin(kind) is dict:
        return "mapping"
    if get_origin(kind) is not None:
        return f"`{kind}`".replace("|", "or")
    shown = names.get(kind, f"`{getattr(kind, '__name__', kind)}`")
    return " ".join([shown, " and ".join(found)]).strip()


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, bool) or value is None:
        return f"`{str(value).lower().replace('none', 'null')}`"
    return f"`{value}`" if value != "" else '`""`'


def _cell(text: str) -> str:
    """Return `text` for a cell of a table; names of pages become links."""
    text = " ".join(text.split()).replace("|", "\\|")
    return re.sub(r"docs/([\w-]+)\.md", r"[\1](../\1.md)", text)


def _table(heading: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [heading, ("---",) * len(heading), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def python_page() -> str:
    """Return the page of the public names: functions first, then classes, then errors."""
    groups: dict[str, list[str]] = {"Functions": [], "Classes": [], "Errors": []}
    for name in sorted(marnet.__all__):
        value = getattr(marnet, name)
        if isinstance(value, str):
            continue
        is_error = isinstance(value, type) and issubclass(value, Exception)
        groups["Errors" if is_error else "Classes" if isinstance(value, type) else "Functions"].append(name)
    lines = ["# Python", "", "Every public name of `marnet`, from its docstring. `marnet.__version__` is the version."]
    for heading, names in groups.items():
        lines += ["", f"## {heading}"]
        for name in names:
            lines += ["", f"::: marnet.{name}", "    options:", "      heading_level: 3"]
    return "\n".join(lines) + "\n"


def commands_page() -> str:
    """Return the page of the command line."""
    lines = [
        "# Command line",
        "",
        "In a clone of the repository put `uv run` before each command. Results go to stdout; progress, notes and",
        "errors go to stderr. A command that fails exits with code 1, and one that is typed wrongly with code 2.",
    ]
    for command in commands():
        arguments = [option.name for option in command.options if option.is_argument]
        usage = " ".join([command.name, *arguments, *(["[OPTIONS]"] if len(arguments) < len(command.options) else [])])
        lines += ["", f"## {command.name}", "", command.help, "", "```text", usage, "```", ""]
        rows = [(f"`{option.name}`", _cell(option.help), option.default) for option in command.options]
        lines.append(_table(("argument or option", "meaning", "default"), rows))
    return "\n".join(lines) + "\n"


def settings_page() -> str:
    """Return the page of the settings: a table for each section."""
    lines = [
        "# Settings",
        "",
        "A setting is given as `--set section.name=value` on the command line, in a YAML file for `--config`, or as",
        "`settings={...}` in Python. Each run directory lists the values it used in `config.yaml`.",
    ]
    grouped: dict[str, list[Setting]] = {}
    for setting in settings():
        grouped.setdefault(setting.name.rpartition(".")[0], []).append(setting)
    for section, found in grouped.items():
        lines += ["", f"## {section or 'The method'}", "", _section_text(section), ""]
        rows = [
            (f'<span id="{each.name}">`{each.name}`</span>', each.type, each.default, _cell(each.description))
            for each in found
        ]
        lines.append(_table(("setting", "value", "default", "meaning"), rows))
    return "\n".join(lines) + "\n"


def _section_text(section: str) -> str:
    kind: Any = Config
    for name in filter(None, section.split(".")):
        kind = kind.model_fields[name].annotation
    return "" if kind is Config else _cell(inspect.getdoc(kind) or "")


def write(folder: Path) -> None:
    """Write the three pages into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {"python": python_page, "commands": commands_page, "settings": settings_page}
    for name, page in pages.items():
        (folder / f"{name}.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS / "reference"
    write(target)
    print(target)
