r"""All that the command line prints. Texts of users reach the terminal with their control characters escaped.

Class names, texts and file names come from files that somebody else may have written. A terminal obeys the control
characters in them: they could set its title, hide a line, or forge one. Here they are printed as `\x1b`.
"""

import io
import json
import re
import sys
from typing import Any

import typer

# Control characters except line feed and tab, surrogates that stand for bytes that are no text, line separators, and
# the marks that turn the direction of writing.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_BREAKS = {"\n": "\\n", "\t": "\\t"}


def printable(text: str) -> str:
    r"""Return a text of several lines with its control characters escaped; line feeds and tabs stay.

    Example:
        >>> print(printable("app\x1b]0;owned\x07le"))
        app\x1b]0;owned\x07le
    """
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def on_one_line(text: str) -> str:
    r"""Return a value, such as the name of a class, with line feeds and tabs escaped as well.

    Example:
        >>> print(on_one_line("apple\n  99.9 %  lime"))
        apple\n  99.9 %  lime
    """
    return re.sub("[\n\t]", lambda match: _BREAKS[match[0]], printable(text))


def say(text: str, *, error: bool = False) -> None:
    """Print a text to stdout, or to stderr."""
    typer.echo(printable(text), err=error)


def print_json(content: Any) -> None:
    r"""Print JSON that programs read back exactly; control characters are `\u001b` in it, which means the same."""
    text = json.dumps(content, indent=2, ensure_ascii=False)
    typer.echo(_UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text))


def print_any_character() -> None:
    """Let stdout and stderr escape the characters that their encoding lacks, where they would raise an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def as_json_value(value: Any) -> Any:
    """Return NamedTuples as dicts and tuples as lists, down to the leaves."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {key: as_json_value(each) for key, each in value.items()}
    return [as_json_value(each) for each in value] if isinstance(value, list | tuple) else value
