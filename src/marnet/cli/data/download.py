"""`marnet data download`."""

from pathlib import Path
from typing import Annotated

import typer

from marnet.cli.messages import translate
from marnet.cli.output import say


def download(
    name: Annotated[str, typer.Argument(help="food-101, grocery-store or ingredient-101", show_default=False)],
    folder: Annotated[Path, typer.Argument(help="The folder to unpack it in.", show_default=False)],
    url: Annotated[
        str | None,
        typer.Option(help="Another address for the archive, such as a mirror (ingredient-101: for its annotations)."),
    ] = None,
) -> None:
    """Fetch a published data set, verify it and unpack it. An interrupted download resumes."""
    from marnet.data.tools.download import download as get

    found = get(name, folder, url=url)
    for note in found.notes:
        say(translate(note, "data download"), error=True)
    say(f"Use: --data {found.source}")
