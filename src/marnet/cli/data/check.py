"""`marnet data check`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from marnet.cli.data.opening import data_settings, open_manifest
from marnet.cli.messages import translate
from marnet.cli.options import AsJson, DataSets, Labels, Source
from marnet.cli.output import as_json_value, on_one_line, print_json, printable

if TYPE_CHECKING:
    from marnet.data.tools.audit.check import CheckResult
    from marnet.data.tools.audit.findings import Finding

_EXAMPLES = 5
_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}


def check(  # noqa: PLR0917 - typer calls it by keyword
    source: Source,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Batch size of the planned training: how often does a batch hold equal texts?")
    ] = 64,
    near_bits: Annotated[
        int, typer.Option(min=0, max=63, help="Images are near duplicates if at most this many of 64 bits differ.")
    ] = 8,
    labels: Labels = None,
    sets: DataSets = None,
    as_json: AsJson = False,
) -> None:
    """Read every image and text and report what may go wrong. The exit code is 1 if there are errors.

    Errors: split train or val is empty, classes without a training image, broken images, equal images in several
    splits. Everything else is a warning or a note.
    """
    manifest = open_manifest("data check", source, labels, sets)
    max_pixels = data_settings("data check", source, labels, sets).max_pixels

    from marnet.data.tools.audit.check import check_manifest

    found = check_manifest(manifest, batch_size=batch_size, near_bits=near_bits, max_pixels=max_pixels)
    if as_json:
        counts = {severity: sum(each.severity == severity for each in found.findings) for severity in _COLOURS}
        print_json({**as_json_value(found), "counts": counts})
    else:
        _print_check(found)
    if found.errors:
        raise typer.Exit(1)


def _print_check(found: "CheckResult") -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console(soft_wrap=True)
    for finding in found.findings:
        colour = _COLOURS[finding.severity]
        message = escape(printable(translate(finding.message, "data check")))
        console.print(f"[{colour}]{finding.severity}[/{colour}] {finding.code}: {message}", highlight=False)
        for line in _example_lines(finding):
            console.print(f"    {escape(on_one_line(line))}", highlight=False)
    counts = ", ".join(
        f"{count} {severity}{'' if count == 1 else 's'}"
        for severity in _COLOURS
        for count in [sum(each.severity == severity for each in found.findings)]
    )
    console.print(escape(on_one_line(f"{found.source}: {found.images} images read; {counts}.")), highlight=False)


def _example_lines(finding: "Finding") -> list[str]:
    """Return the first examples, one per line; none where the finding's own sentence says it all."""
    if finding.code in ("false-negatives", "class-imbalance"):
        return []
    lines = [_example_line(example) for example in finding.examples[:_EXAMPLES]]
    more = len(finding.examples) - _EXAMPLES
    return [*lines, f"... and {more} more; --json lists them"] if more > 0 else lines


def _example_line(example: dict[str, Any]) -> str:
    if "rows" in example and isinstance(example["rows"], list):
        rows = "  =  ".join(f"{row['image']} ({row['split']}, {row['label']})" for row in example["rows"])
        return f"{example['bits']} bits: {rows}" if "bits" in example else rows
    return ", ".join(f"{name} {_short(value)}" for name, value in example.items())


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 160 else text[:157] + "..."
