"""`marnet export`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from marnet.choices import Precision
from marnet.cli.options import AllowCode, AsJson, Run
from marnet.cli.output import print_json, say

if TYPE_CHECKING:
    from marnet.export.export import Export


def export(  # noqa: PLR0917 - typer calls it by keyword
    run: Run,
    out: Annotated[
        Path,
        typer.Argument(
            help="The file to write: .onnx, which needs no torch to predict, or .pt2 (torch.export).",
            show_default=False,
        ),
    ],
    precision: Annotated[
        Precision,
        typer.Option(
            help="fp32, fp16 or int8: the numbers of the backbone in an ONNX file. int8 is calibrated on training "
            "images; what fewer bits cost is printed."
        ),
    ] = "fp32",
    data: Annotated[
        str | None, typer.Option(help="The rows that the run was trained on, if they are at another place by now.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="A folder of images to compare on, in place of the run's rows of val.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file OUT.")] = False,
    as_json: AsJson = False,
    allow_code: AllowCode = False,
) -> None:
    """Export a run as one file that predicts images without marnet's training parts, and check it against the run."""
    from marnet.export.export import export_run

    done = export_run(
        run, out, precision=precision, data=data, images=images, overwrite=overwrite, allow_code=allow_code
    )
    if as_json:
        print_json(_as_dict(done))
    else:
        _print(done)


def _as_dict(done: "Export") -> dict[str, Any]:
    scores = None if done.scores is None else done.scores._asdict()
    return done._asdict() | {"path": str(done.path), "scores": scores}


def _print(done: "Export") -> None:
    say(f"File: {done.path} ({done.size / 1e6:.1f} MB, {done.precision})")
    say(
        f"Compared on {done.images} images {done.origin}: the same class for {100 * done.agreement:.1f} %, "
        f"probabilities within {done.largest_difference:.1g}"
    )
    if done.scores is not None:
        found = done.scores
        say(
            f"{found.title[0].upper()}{found.title[1:]} on {found.rows} rows of val: {100 * found.file:.1f} %, "
            f"of the run {100 * found.run:.1f} %"
        )
    elif done.precision != "fp32":
        say("The images of val cannot be read, so that what the precision costs was not measured (see --data).")
