"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Run = Annotated[Path, typer.Argument(help="A run directory written by 'marnet train'.", show_default=False)]
RunOrFile = Annotated[
    Path,
    typer.Argument(
        help="A run directory written by 'marnet train', or a file written by 'marnet export'.", show_default=False
    ),
]
Source = Annotated[
    str,
    typer.Argument(
        help="A CSV, JSONL or Parquet file, a folder of images, NAME:PATH, or synthetic; see docs/data.md.",
        show_default=False,
    ),
]
AllowCode = Annotated[
    bool,
    typer.Option(
        "--allow-code",
        help="Import code and download models that the run names (module:PACKAGE.NAME, hf:NAME), if you trust the run.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON to stdout and nothing else.")]
Labels = Annotated[
    str | None,
    typer.Option(
        help="Form of the labels: single (one class per image, the default) or multi (a comma-separated list of "
        "classes)."
    ),
]
Backbone = Annotated[
    str | None,
    typer.Option(
        help="Image backbone: timm:NAME, torchvision:NAME, hf:NAME or module:PACKAGE.NAME", show_default="timm:resnet18"
    ),
]
Pretrained = Annotated[bool, typer.Option("--pretrained", help="Start from the backbone's published weights.")]
ImageSize = Annotated[
    int | None, typer.Option(help="Side of the square input image in pixels", show_default="the backbone's")
]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Any setting, as section.key=value; may be repeated. 'marnet settings' lists all settings."
    ),
]
DataSets = Annotated[
    list[str] | None,
    typer.Option("--set", help="A data setting, such as data.columns.label=dish; may be repeated."),
]
