"""`marnet remove-class`."""

from pathlib import Path
from typing import Annotated

import typer

from marnet.cli.options import Run
from marnet.cli.output import say


def remove_class(
    run: Run,
    name: Annotated[str, typer.Option(help="A class that 'marnet add-class' added.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The directory of the new run.", show_default=False)],
) -> None:
    """Remove a class that was added to a run; all others stay as they are."""
    from marnet.semantic.classes.adding import remove_class as remove

    say(f"Run: {remove(run, name, out)}")
