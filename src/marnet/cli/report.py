"""`marnet report`: the report of runs or of a comparison. As in `cli.py`, it parses, calls one function and prints."""

from pathlib import Path
from typing import Annotated

import typer

from marnet.errors import ConfigError


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Run directories of 'marnet train', or the one folder of a comparison.",
            metavar="RUN... | COMPARISON",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="The HTML file to write",
            show_default="report.html in the folder of the one run or comparison",
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Of runs: judge them on train, val or test", show_default="val")
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            help="Of a comparison: the arm to compare with",
            show_default="image-only",
        ),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(
            help="Of runs: a folder for every drawing as SVG and PNG. A comparison writes them anyway.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write one HTML file that shows what runs or a comparison found; it needs no network and no other file."""
    from marnet.comparison.results import rewrite_results
    from marnet.reports.comparison_report import comparison_page, is_comparison, write_comparison_report
    from marnet.reports.run_report import write_run_report

    if len(runs) == 1 and is_comparison(runs[0]):
        _refuse("a comparison", {"--split": split, "--figures": figures})
        page = comparison_page(runs[0], out)  # refused before the results are written
        rewrite_results(runs[0], baseline=baseline)
        typer.echo(f"Report: {write_comparison_report(runs[0], page=page, baseline=baseline)}")
        return
    _refuse("runs", {"--baseline": baseline})
    if out is None and len(runs) > 1:
        raise ConfigError(f"{len(runs)} runs have no folder in common to write to; needed --out FILE.")
    page = write_run_report(runs, out or runs[0] / "report.html", split=split or "val", plots=figures)
    typer.echo(f"Report: {page}")


def _refuse(what: str, given: dict[str, object]) -> None:
    found = [name for name, value in given.items() if value is not None]
    if found:
        raise ConfigError(
            f"{' and '.join(found)} cannot be used with {what}; leave that out (see marnet report --help)."
        )
