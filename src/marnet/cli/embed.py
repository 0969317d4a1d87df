"""`marnet embed`."""

from pathlib import Path
from typing import Annotated

import typer

from marnet.cli.flags import settings_from_flags
from marnet.cli.options import Backbone, ImageSize, Labels, Pretrained, Source
from marnet.cli.output import say


def embed(  # noqa: PLR0917 - typer calls it by keyword
    source: Source,
    out: Annotated[Path, typer.Option(help="The folder to write.", show_default=False)],
    labels: Labels = None,
    backbone: Backbone = None,
    pretrained: Pretrained = False,
    image_size: ImageSize = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of the data or the backbone, as section.key=value; may be repeated."),
    ] = None,
) -> None:
    """Compute image features once, to train on them with 'marnet train --features'."""
    from marnet.config import make_config
    from marnet.training import embed as compute

    typed = {
        "SOURCE": source,
        "--labels": labels,
        "--backbone": backbone,
        "--pretrained": pretrained or None,
        "--image-size": image_size,
    }
    folder = compute(make_config(settings_from_flags("embed", typed), sets=sets or []), out)
    say(f"Features: {folder}")
