"""`marnet data next`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from marnet.cli.messages import translate
from marnet.cli.options import AllowCode, AsJson, Run
from marnet.cli.output import print_json, say

if TYPE_CHECKING:
    from marnet.evaluation.next_to_label import NextToLabel


def next_(  # noqa: PLR0917 - typer calls it by keyword
    run: Run,
    source: Annotated[
        str,
        typer.Argument(
            help="A folder of images, or a table (.csv, .jsonl or .parquet) with a column of images, of which the rows "
            "count that lack what is wanted.",
            show_default=False,
        ),
    ],
    wanted: Annotated[
        str, typer.Option("--for", help="What is to be added: label, or text, a description of the image.")
    ] = "label",
    budget: Annotated[int, typer.Option(min=1, help="How many images to choose.")] = 100,
    out: Annotated[
        Path | None,
        typer.Option(help="Also write them as a table (.csv, .jsonl or .parquet) to fill in.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the clusters.")] = 0,
    as_json: AsJson = False,
    allow_code: AllowCode = False,
) -> None:
    """Choose the images to label, or to describe, next.

    For a label these are images that the run is unsure about, spread over all such. For a text they are spread evenly.
    """
    from marnet.data.tables import check_new_table
    from marnet.evaluation.next_to_label import next_to_label, write_next

    if out is not None:
        check_new_table(out)
    found = next_to_label(run, source, wanted=wanted, budget=budget, seed=seed, allow_code=allow_code)
    for sentence in found.skipped:
        say(f"Skipped: {translate(sentence, 'data next')}", error=True)
    if as_json:
        print_json(
            {
                "for": found.wanted,
                "candidates": found.candidates,
                "known": found.known,
                "skipped": list(found.skipped),
                "images": [each._asdict() for each in found.images],
            }
        )
    else:
        _print(found)
    if out is not None:
        write_next(found.images, out)
        say(f"Table: {out}", error=as_json)


def _print(found: "NextToLabel") -> None:
    from marnet.cli.tables import print_table

    print_table(
        f"{len(found.images)} of {found.candidates} images that should get a {found.wanted} next",
        ("image", "likely", "or", "uncertainty", "stands for"),
        [
            (
                Path(each.image).name,
                *(f"{label} {100 * share:.0f} %" for label, share in zip(each.likely, each.probabilities, strict=True)),
                f"{each.uncertainty:.2f}",
                str(each.stands_for),
            )
            for each in found.images
        ],
    )
    if found.known:
        say(f"{found.known} images were left out: the rows of the run have a {found.wanted} for them.")
    if found.skipped:
        say(f"{len(found.skipped)} images cannot be read and were left out.")
