"""Messages of the library in the words of the command line: settings and arguments in backticks become flags.

With `marnet train`, `` `training.lr` `` becomes `--lr`, `` `overwrite=True` `` becomes `--overwrite`, and
`` `losses.matching=0.1` ``, which has no flag, becomes `--set losses.matching=0.1`.
"""

import re
import shlex
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from marnet.cli.flags import COMMANDS, CommandFlags
from marnet.errors import NAMES

_HOME = re.compile(r"^(--[a-z-]+=)~(/|$)")


def expand_home(arguments: Sequence[str]) -> list[str]:
    """Return command-line arguments with the home folder for `~` after an equals sign, where shells leave it alone.

    >>> expand_home(["train", "~/a", "--out=runs/~"])
    ['train', '~/a', '--out=runs/~']
    """
    return [_HOME.sub(lambda match: f"{match[1]}{Path.home()}{match[2]}", argument) for argument in arguments]


def find_command(arguments: Sequence[str]) -> str:
    """Return the command that command-line arguments run, such as "train" or "data check"; "" if there is none."""
    words = [word for word in arguments if not word.startswith("-")]
    for length in (2, 1):
        name = " ".join(words[:length])
        if name in COMMANDS:
            return name
    return ""


def translate(text: str, command: str) -> str:
    """Return a message of the library with the flags of `command`.

    A setting without a flag becomes `--set section.key=value` if the command has `--set`, else its name in quotes.
    Names that are neither a setting nor an argument of the command stay as they are. At the head of a finding
    (`` `training.lr`: found -1 ``) the name of the setting stands beside its flag, because the value may have come from
    a file.
    """
    flags = COMMANDS.get(command)
    return text if flags is None else NAMES.sub(lambda match: _typed(match, flags), text)


def _typed(match: re.Match[str], flags: CommandFlags) -> str:
    name, value = match["name"], match["value"]
    if name is None:  # a stretch in quotes: text of the user
        return match[0]
    heads_a_finding = value is None and match.string.startswith(":", match.end())
    return (_finding_head(name, flags) if heads_a_finding else _word(name, value, flags)) or match[0]


def _finding_head(name: str, flags: CommandFlags) -> str | None:
    flag = flags.flag_of(name)
    if flag is None:
        return name if _is_setting(name, flags) else None
    return f"{flag} ({name})" if "." in name else flag


def _word(name: str, value: str | None, flags: CommandFlags) -> str | None:
    flag = flags.flag_of(name)
    switched_off = value is not None and value.lower() in ("false", "none", "null")
    if flag is not None and not switched_off:
        return flag if value is None or value.lower() == "true" else f"{flag} {shlex.quote(value)}"
    if not _is_setting(name, flags):
        return None
    if flags.can_set(name.removeprefix(flags.prefix)):
        return "--set " + shlex.quote(f"{name.removeprefix(flags.prefix)}={'...' if value is None else value}")
    return f"'{name}'" if value is None else f"'{name}={value}'"


def _is_setting(name: str, flags: CommandFlags) -> bool:
    return name in flags.settings or name.removeprefix(flags.prefix) in _known_settings()


@cache
def _known_settings() -> frozenset[str]:
    from marnet.config.listing import list_settings  # here, because it loads pydantic

    return frozenset(setting.name for setting in list_settings())
