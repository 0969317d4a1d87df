"""`marnet predict`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from marnet.cli.messages import translate
from marnet.cli.options import AllowCode, AsJson, RunOrFile
from marnet.cli.output import on_one_line, print_json, say

if TYPE_CHECKING:
    from marnet.inference import Prediction


def predict(  # noqa: PLR0917 - typer calls it by keyword
    run: RunOrFile,
    images: Annotated[list[Path], typer.Argument(help="Image files.", show_default=False)],
    top: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How many classes to print per image. By default 5, or, for a run with --labels multi, all classes "
            "that reach its threshold.",
        ),
    ] = None,
    abstain: Annotated[
        float | None,
        typer.Option(
            help="Print as many classes as it takes to miss the true one at this rate, such as 0.05. An image that "
            "needs more than one is marked as unsure."
        ),
    ] = None,
    open_set: Annotated[
        float | None,
        typer.Option(
            "--open",
            help="Mark images of none of the classes, so that this share of the images of known classes, such as "
            "0.05, is marked as well.",
        ),
    ] = None,
    as_json: AsJson = False,
    allow_code: AllowCode = False,
) -> None:
    """Print the classes of images, the most probable first.

    An image that cannot be read is reported and does not stop the others.
    """
    from marnet.errors import ConfigError, ImageError
    from marnet.inference.loading import load

    if top is not None and abstain is not None:
        raise ConfigError("--abstain decides how many classes are printed. Leave --top out, or --abstain.")
    predictor = load(run, allow_code=allow_code)
    rows: list[Prediction] = []
    failures = 0
    for image in images:
        try:
            rows += predictor.predict([image], top=top, abstain=abstain, open_set=open_set)
        except ImageError as error:
            failures += 1
            say(f"Error: {translate(str(error), 'predict')}", error=True)
    if as_json:
        print_json([_as_dict(row) for row in rows])
    else:
        _print_rows(rows)
    if failures:
        raise typer.Exit(1)


def _as_dict(row: "Prediction") -> dict[str, Any]:
    predictions = [
        {"label": label, "probability": probability}
        for label, probability in zip(row.labels, row.probabilities, strict=True)
    ]
    marks = {"abstained": row.abstained, "unknown": row.unknown}
    return {"image": row.image, "predictions": predictions} | {k: v for k, v in marks.items() if v is not None}


def _print_rows(rows: "Sequence[Prediction]") -> None:
    for row in rows:
        unsure = f"  unsure: one of {len(row.labels)} classes" if row.abstained else ""
        unknown = "  none of these" if row.unknown else ""
        say(on_one_line(row.image) + unknown + unsure)
        for label, probability in zip(row.labels, row.probabilities, strict=True):
            say(f"  {100 * probability:5.1f} %  {on_one_line(label)}")
        if not row.labels:
            say("  none: no class reaches its threshold (--top 3 shows the most probable)")
