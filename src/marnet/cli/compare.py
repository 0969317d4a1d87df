"""`marnet compare`: methods, placebos and ablations over several seeds, from one file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from marnet.cli.flags import settings_from_flags
from marnet.cli.output import say
from marnet.stopping import telling_way_on

if TYPE_CHECKING:
    from marnet.comparison.runner import ComparisonResult


def compare(  # noqa: PLR0917 - typer calls it by keyword
    config: Annotated[
        Path,
        typer.Argument(help="A YAML file that describes the comparison; see docs/comparing.md.", show_default=False),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="The folder for the results", show_default="the file's, else comparisons/NAME"),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="A data source instead of the one in the file; see docs/data.md.")
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(
            help="Train every arm on features that 'marnet embed' wrote, instead of the rows in the file.",
            show_default="the file's",
        ),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(help="How many seeds to train with, counted from 0", show_default="the file's")
    ] = None,
    methods: Annotated[
        str | None, typer.Option(help="Train only these arms of the file, such as image-only,marnet.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="The split to score: train, val or test", show_default="the file's")
    ] = None,
    label_budget: Annotated[
        float | None,
        typer.Option(help="Share of the training rows to train on, class by class", show_default="the file's"),
    ] = None,
    text_budget: Annotated[
        float | None, typer.Option(help="Share of the training texts to keep", show_default="the file's")
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting for all runs, as section.key=value; may be repeated."),
    ] = None,
) -> None:
    """Train every arm with every seed and compare them. Stop at any time; run it again to go on."""
    typed = {
        "--data": data,
        "--features": None if features is None else str(features),
        "--seeds": seeds,
        "--split": split,
        "--label-budget": label_budget,
        "--text-budget": text_budget,
    }
    with telling_way_on(lambda: "The comparison had not begun. Start it again."):
        from marnet.comparison.plan import read_comparison_config, results_folder
        from marnet.comparison.runner import run_comparison, way_on_of_comparison
        from marnet.reports.comparison_report import write_comparison_report

        comparison = read_comparison_config(config, values=settings_from_flags("compare", typed), sets=sets or [])
        names = [name.strip() for name in (methods or "").split(",") if name.strip()]
        folder = results_folder(comparison, out=out, plan=config)
    with telling_way_on(lambda: way_on_of_comparison(folder)):
        result = run_comparison(comparison, folder, methods=names)
        _print_result(result, write_comparison_report(folder) if result.records else None)


def _count_runs(count: int) -> str:
    return "1 run is" if count == 1 else f"{count} runs are"


def _print_result(result: "ComparisonResult", report: Path | None) -> None:
    if result.elsewhere:
        say(f"{_count_runs(result.elsewhere)} in progress in another process; rerun to pick up anything left.")
    say(f"Records: {result.out / 'runs'}, {len(result.records)} in all, {result.trained} new")
    for name, path in (("Results", result.results), ("Report", report)):
        if path is not None:
            say(f"{name}: {path}")
