"""`marnet report`: one HTML file about runs or about a comparison."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from marnet.cli.options import AllowCode
from marnet.cli.output import say
from marnet.errors import ConfigError


def report(  # noqa: PLR0917 - typer calls it by keyword
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Run directories of 'marnet train', or the folder of one comparison.",
            metavar="RUN... | COMPARISON",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="The HTML file to write", show_default="report.html in the folder of the one run or comparison"
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="For runs: the split to score (train, val or test)", show_default="val")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="For runs: score another data source, or the runs' own data at its new place, if it was moved."
        ),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="For a comparison: the arm to compare with", show_default="image-only")
    ] = None,
    plots: Annotated[
        Path | None,
        typer.Option(
            help="For runs: also write every plot as SVG and PNG into this folder. A comparison always writes them.",
            show_default=False,
        ),
    ] = None,
    allow_code: AllowCode = False,
) -> None:
    """Write one HTML file with the results of runs or of a comparison. It needs no network and no other file."""
    from marnet.comparison.results import rewrite_results
    from marnet.reports.comparison_report import comparison_page, is_comparison, write_comparison_report
    from marnet.reports.run_report import write_run_report

    if len(runs) == 1 and is_comparison(runs[0]):
        _refuse_flags("a comparison", {"--split": split, "--data": data, "--plots": plots})
        page = comparison_page(runs[0], out)  # refused before the results are written
        try:
            rewrite_results(runs[0], baseline=baseline)
        except OSError as error:
            if out is None:
                raise
            say(f"Note: the results in {runs[0]} stay as they are: {error.strerror or error}.", error=True)
        say(f"Report: {write_comparison_report(runs[0], page=page, baseline=baseline, allow_code=allow_code)}")
        return
    _refuse_flags("runs", {"--baseline": baseline})
    if out is None and len(runs) > 1:
        raise ConfigError(f"{len(runs)} runs share no folder for the report. Say where to write it with --out FILE.")
    page = write_run_report(
        runs, out or runs[0] / "report.html", split=split or "val", data=data, plots=plots, allow_code=allow_code
    )
    say(f"Report: {page}")


def _refuse_flags(subject: str, given: Mapping[str, object]) -> None:
    found = [flag for flag, value in given.items() if value is not None]
    if found:
        raise ConfigError(
            f"{' and '.join(found)} cannot be used for {subject}. Leave {'them' if found[1:] else 'it'} out."
        )
