"""The command `marnet`. Each command parses, calls one function of the library, and prints.

Results go to stdout; progress, notes and errors to stderr. Heavy imports stand inside the commands, so that
`marnet --help` answers at once.
"""

import logging
import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from marnet import __version__
from marnet.cli import (
    add_class,
    compare,
    demo,
    embed,
    evaluate,
    explain,
    export,
    predict,
    remove_class,
    report,
    search,
    settings,
    train,
)
from marnet.cli.data import data_app
from marnet.cli.failures import describe_failure, wants_traceback
from marnet.cli.messages import expand_home, find_command, translate
from marnet.cli.output import print_any_character, printable, say
from marnet.errors import MarnetError
from marnet.stopping import Terminated, ending_on_sigterm

STOPPED = 130  # the exit code of a shell for a program that Ctrl-C stopped


class _Commands(TyperGroup):
    """The commands, which Ctrl-C stops with a word."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise _stopped() from None


def _stopped() -> typer.Exit:
    say("Stopped.", error=True)
    return typer.Exit(STOPPED)


app = typer.Typer(
    cls=_Commands,
    help="Image classifiers that learn from text at training time and need none at prediction time.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(train.train)
app.command()(embed.embed)
app.command()(evaluate.evaluate)
app.command()(predict.predict)
app.command("add-class")(add_class.add_class)
app.command("remove-class")(remove_class.remove_class)
app.command()(explain.explain)
app.command()(search.search)
app.command()(compare.compare)
app.command()(report.report)
app.command()(export.export)
app.command()(demo.demo)
app.command()(settings.settings)
app.add_typer(data_app, name="data")


def main() -> None:
    """Run the command line; print errors without a traceback, and exit with code 1.

    The environment variable `MARNET_TRACEBACK=1` shows the traceback as well.
    """
    sys.argv[1:] = expand_home(sys.argv[1:])
    command = find_command(sys.argv[1:])
    print_any_character()
    _log_to_stderr(command)
    try:
        with ending_on_sigterm():
            app()
    except Terminated:
        say("Stopped.", error=True)
        raise
    except KeyboardInterrupt:  # outside of a command
        sys.exit(_stopped().exit_code)
    except Exception as error:
        if wants_traceback():
            say(traceback.format_exc(), error=True)
        message = str(error) if isinstance(error, MarnetError) else describe_failure(error)
        say(f"Error: {translate(message, command)}", error=True)
        sys.exit(1)


@app.callback(invoke_without_command=True)
def _options(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        say(__version__)
        raise typer.Exit


class _FlagFormatter(logging.Formatter):
    """Log lines as the library writes them, with the flags of the command that runs, and no control characters."""

    def __init__(self, command: str) -> None:
        super().__init__("%(message)s")
        self.command = command

    def format(self, record: logging.LogRecord) -> str:
        return printable(translate(super().format(record), self.command))


def _log_to_stderr(command: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_FlagFormatter(command))
    log = logging.getLogger("marnet")
    log.handlers = [handler]  # not added: a second call in one process would print everything twice
    log.setLevel(logging.INFO)
