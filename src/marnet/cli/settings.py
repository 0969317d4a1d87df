"""`marnet settings`: every setting with its type, its default and what it does."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from marnet.cli.flags import COMMANDS
from marnet.cli.options import AsJson
from marnet.cli.output import print_json, say
from marnet.errors import ConfigError, suggest

if TYPE_CHECKING:
    from marnet.config.listing import SettingInfo


def settings(
    pattern: Annotated[
        str | None, typer.Argument(help="Show only these settings, such as training.* or lr.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the settings of a training run: name, default, type, and what each one does."""
    from marnet.config.listing import list_settings, matching_settings

    found = matching_settings(pattern or "*")
    if not found:
        hint = suggest(pattern or "", [setting.name for setting in list_settings()])
        raise ConfigError(f"No setting matches {pattern!r}.{hint} 'marnet settings' lists all of them.")
    if as_json:
        content = [{**setting._asdict(), "flag": _flag(setting)} for setting in found]
        print_json(content)
        return
    for setting in found:
        say(f"{setting.name} = {_as_yaml(setting)}  ({setting.type})")
        described = [setting.description, _flag(setting) and f"flag: {_flag(setting)}"]
        for line in filter(None, described):
            say(f"    {line}")


def _flag(setting: "SettingInfo") -> str | None:
    return COMMANDS["train"].settings.get(setting.name)


def _as_yaml(setting: "SettingInfo") -> str:
    """Return the default as a configuration file and `--set` take it."""
    return setting.default if isinstance(setting.default, str) and setting.default else json.dumps(setting.default)
