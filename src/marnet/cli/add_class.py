"""`marnet add-class`."""

from pathlib import Path
from typing import Annotated

import typer

from marnet.cli.options import AllowCode, Run
from marnet.cli.output import say
from marnet.errors import ConfigError


def add_class(  # noqa: PLR0917 - typer calls it by keyword
    run: Run,
    out: Annotated[Path, typer.Option(help="The directory of the new run.", show_default=False)],
    name: Annotated[str | None, typer.Option(help="The name of the new class.")] = None,
    text: Annotated[
        str | None, typer.Option(help="A description of it, in the words that the run's texts use for its classes.")
    ] = None,
    images: Annotated[Path | None, typer.Option(help="An image of it, or a folder with images.")] = None,
    table: Annotated[
        Path | None,
        typer.Option(help="Several classes: a CSV, JSONL or Parquet file with the columns name, text, images."),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="The rows that the run was trained on, if they are at another place by now.")
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(help="Features of these rows, written by 'marnet embed' with the backbone of the run."),
    ] = None,
    text_encoder: Annotated[
        str | None,
        typer.Option(
            help="Compares the texts of classes: hf:NAME or hf:FOLDER, or tfidf for words alone.",
            show_default="sentence embeddings where they are installed",
        ),
    ] = None,
    allow_code: AllowCode = False,
) -> None:
    """Add classes to a trained run from a description, a few images or both, without training."""
    from marnet.semantic.classes.adding import NewClass, add_classes
    from marnet.semantic.classes.table import find_images, read_class_table

    if (table is None) == (name is None):
        raise ConfigError("The new classes are given either by --name with --text or --images, or by --table. Use one.")
    if table is not None:
        if text is not None or images is not None:
            raise ConfigError("--table has the texts and images of its classes. Leave --text and --images out.")
        classes = read_class_table(table)
    else:
        classes = [NewClass(name or "", text, () if images is None else find_images(images))]
    add_classes(run, classes, out, data=data, features=features, text_encoder=text_encoder, allow_code=allow_code)
    say(f"Run: {out}")
