"""`marnet data text-value`."""

from pathlib import Path
from typing import Annotated

import typer

from marnet.cli.flags import settings_from_flags
from marnet.cli.options import AllowCode, AsJson, Backbone, ImageSize, Labels, Pretrained
from marnet.cli.output import as_json_value, print_json, say


def text_value(  # noqa: PLR0917 - typer calls it by keyword
    source: Annotated[
        str | None,
        typer.Argument(help="A data source, see docs/data.md; or leave it out for --features.", show_default=False),
    ] = None,
    features: Annotated[
        Path | None, typer.Option(help="A folder written by 'marnet embed', in place of SOURCE.", show_default=False)
    ] = None,
    labels: Labels = None,
    backbone: Backbone = None,
    pretrained: Pretrained = False,
    image_size: ImageSize = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of the data, the backbone or the text, as section.key=value."),
    ] = None,
    as_json: AsJson = False,
    allow_code: AllowCode = False,
) -> None:
    """Say what the texts hold that the images lack: for accuracy, new classes and search. Nothing is trained."""
    from marnet.config import make_config
    from marnet.evaluation.text_value import text_value_of
    from marnet.semantic.datasets.text_value import describe_text_value

    typed = {
        "SOURCE": source,
        "--features": features,
        "--labels": labels,
        "--backbone": backbone,
        "--pretrained": pretrained or None,
        "--image-size": image_size,
    }
    config = make_config(settings_from_flags("data text-value", typed), sets=sets or [])
    found = text_value_of(config, allow_code=allow_code)
    score = "top-1" if found.score == "top1" else "mAP"
    sentences = describe_text_value(found, score)
    if as_json:
        print_json({**as_json_value(found), "sentences": list(sentences)})
        return

    from marnet.cli.tables import print_table

    print_table(
        f"{found.rows} rows with text, {found.classes} classes, {found.texts} different texts",
        ("", "found", "texts shuffled", "chance"),
        [
            (f"{score}, image features", f"{100 * found.image:.1f} %", "", ""),
            (f"{score}, texts", f"{100 * found.text:.1f} %", "", ""),
            (f"{score}, both", f"{100 * found.both:.1f} %", f"{100 * found.both_shuffled:.1f} %", ""),
            *(
                (name, *(f"{100 * share:.1f} %" for share in witness))
                for name, witness in (
                    ("variance of the texts between classes", found.explained),
                    ("new classes from their text alone", found.new_classes),
                    ("own text among the ten nearest", found.search),
                )
                if witness is not None
            ),
        ],
    )
    if found.geometry is not None:
        say(
            f"Classes that are alike in text are alike in images: rank correlation {found.geometry:.2f} "
            f"(p = {found.geometry_p:.3f})."
        )
    if found.rows < found.with_text:
        say(f"{found.rows} rows were drawn from {found.with_text} with text.")
    if found.without_text:
        say(f"{found.without_text} rows have no text and were left out.")
    for sentence in sentences:
        say(sentence)
