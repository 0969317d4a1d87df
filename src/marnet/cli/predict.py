"""`marnet predict`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from marnet.cli.messages import translate
from marnet.cli.options import AllowCode, AsJson, Run
from marnet.cli.output import on_one_line, print_json, say

if TYPE_CHECKING:
    from marnet.inference import Prediction


def predict(
    run: Run,
    images: Annotated[list[Path], typer.Argument(help="Image files.", show_default=False)],
    top: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How many classes to print per image. By default 5, or, for a run with --labels multi, all classes "
            "that reach its threshold.",
        ),
    ] = None,
    as_json: AsJson = False,
    allow_code: AllowCode = False,
) -> None:
    """Print the classes of images, the most probable first.

    An image that cannot be read is reported and does not stop the others.
    """
    from marnet.errors import ImageError
    from marnet.inference import load

    predictor = load(run, allow_code=allow_code)
    rows: list[Prediction] = []
    failures = 0
    for image in images:
        try:
            rows += predictor.predict([image], top=top)
        except ImageError as error:
            failures += 1
            say(f"Error: {translate(str(error), 'predict')}", error=True)
    if as_json:
        print_json([_as_dict(row) for row in rows])
    else:
        _print_rows(rows, threshold=predictor.config.data.threshold)
    if failures:
        raise typer.Exit(1)


def _as_dict(row: "Prediction") -> dict[str, Any]:
    predictions = [
        {"label": label, "probability": probability}
        for label, probability in zip(row.labels, row.probabilities, strict=True)
    ]
    return {"image": row.image, "predictions": predictions}


def _print_rows(rows: "Sequence[Prediction]", *, threshold: float) -> None:
    for row in rows:
        say(on_one_line(row.image))
        for label, probability in zip(row.labels, row.probabilities, strict=True):
            say(f"  {100 * probability:5.1f} %  {on_one_line(label)}")
        if not row.labels:
            say(f"  none: no class reaches {100 * threshold:g} % (--top 3 shows the most probable)")
