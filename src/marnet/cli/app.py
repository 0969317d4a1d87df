"""The command `marnet`. Each command parses, calls one function of the library, and prints.

Results go to stdout; progress, notes and errors to stderr. Heavy imports stand inside the commands, so that
`marnet --help` answers at once.
"""

import logging
import sys
from typing import Annotated

import typer

from marnet import __version__
from marnet.cli import compare, demo, embed, evaluate, predict, report, settings, train
from marnet.cli.data import data_app
from marnet.cli.messages import find_command, translate
from marnet.errors import MarnetError

app = typer.Typer(
    help="Image classifiers that learn from text at training time and need none at prediction time.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(train.train)
app.command()(embed.embed)
app.command()(evaluate.evaluate)
app.command()(predict.predict)
app.command()(compare.compare)
app.command()(report.report)
app.command()(demo.demo)
app.command()(settings.settings)
app.add_typer(data_app, name="data")


def main() -> None:
    """Run the command line; print errors that the user can mend without a traceback, and exit with code 1."""
    command = find_command(sys.argv[1:])
    _log_to_stderr(command)
    try:
        app()
    except MarnetError as error:
        typer.echo(f"Error: {translate(str(error), command)}", err=True)
        sys.exit(1)


@app.callback(invoke_without_command=True)
def _options(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


class _FlagFormatter(logging.Formatter):
    """Log lines as the library writes them, with the flags of the command that runs."""

    def __init__(self, command: str) -> None:
        super().__init__("%(message)s")
        self.command = command

    def format(self, record: logging.LogRecord) -> str:
        return translate(super().format(record), self.command)


def _log_to_stderr(command: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_FlagFormatter(command))
    log = logging.getLogger("marnet")
    log.handlers = [handler]  # not added: a second call in one process would print everything twice
    log.setLevel(logging.INFO)
