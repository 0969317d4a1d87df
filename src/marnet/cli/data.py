"""`marnet data ...`: look at a data source, check it, convert it. As in `cli.py`, each command calls one function."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from marnet.errors import ConfigError

if TYPE_CHECKING:
    from marnet.data.manifest import Manifest
    from marnet.data.tools.audit.check import CheckResult
    from marnet.data.tools.audit.findings import Finding
    from marnet.data.tools.audit.statistics import SourceStatistics, SplitStatistics, Spread

data_app = typer.Typer(help="Look at a data source, check it, convert it.", no_args_is_help=True)

Source = Annotated[
    str,
    typer.Argument(
        help="FILE (CSV, JSONL, Parquet), FOLDER, shards:PATH or any other source of 'marnet train --data'.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else.")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", help="A setting of the data, such as data.columns.label=dish; may be repeated."),
]
Labels = Annotated[str | None, typer.Option(help="single (the default), or multi: a label is a comma list of classes.")]
_EXAMPLES = 5
_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}


@data_app.command()
def info(source: Source, labels: Labels = None, sets: Sets = None, as_json: AsJson = False) -> None:
    """Print splits, classes, texts and image sizes; of the images only the headers are read."""
    manifest = _open(source, labels, sets)

    from marnet.data.tools.audit.statistics import describe

    found = describe(manifest)
    if as_json:
        typer.echo(json.dumps(_plain(found), indent=2, ensure_ascii=False))
    else:
        _print_info(found)


@data_app.command()
def check(  # noqa: PLR0917 - typer calls it by keyword
    source: Source,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Of the training: how often does a batch hold equal texts?")
    ] = 64,
    near_bits: Annotated[
        int, typer.Option(min=0, max=63, help="Near duplicates differ in at most so many of 64 bits.")
    ] = 8,
    labels: Labels = None,
    sets: Sets = None,
    as_json: AsJson = False,
) -> None:
    """Read every image and text and say what may go wrong; exit with code 1 if there are errors.

    Errors: split train or val is empty, classes without a training image, broken images, equal images in several
    splits. All else is a warning or a note.
    """
    manifest = _open(source, labels, sets)
    max_pixels = _data_config(source, labels, sets).max_pixels

    from marnet.data.tools.audit.check import check_manifest

    found = check_manifest(manifest, batch_size=batch_size, near_bits=near_bits, max_pixels=max_pixels)
    if as_json:
        counts = {severity: sum(each.severity == severity for each in found.findings) for severity in _COLOURS}
        typer.echo(json.dumps({**_plain(found), "counts": counts}, indent=2, ensure_ascii=False))
    else:
        _print_check(found)
    if found.errors:
        raise typer.Exit(1)


@data_app.command()
def convert(  # noqa: PLR0917 - typer calls it by keyword
    source: Source,
    out: Annotated[
        Path, typer.Argument(help="FILE.csv, .jsonl or .parquet; with --shards a folder.", show_default=False)
    ],
    shards: Annotated[bool, typer.Option("--shards", help="Write WebDataset shards (tar files).")] = False,
    copy_images: Annotated[
        bool, typer.Option("--copy-images", help="Copy the images beside FILE instead of naming them where they are.")
    ] = False,
    images_per_shard: Annotated[int, typer.Option(min=1, help="Images of a shard, at most.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the order of the images in the shards.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what an earlier conversion left in OUT.")
    ] = False,
    labels: Labels = None,
    sets: Sets = None,
) -> None:
    """Write a source as a manifest file or as WebDataset shards; a stopped conversion goes on where it was."""
    if shards and copy_images:
        raise ConfigError("--shards and --copy-images were given; shards hold their images anyway. Leave one out.")
    manifest = _open(source, labels, sets)
    if shards:
        from marnet.data.shards.writing import write_shards

        index = write_shards(
            manifest,
            out,
            images_per_shard=images_per_shard,
            seed=seed,
            overwrite=overwrite,
            max_pixels=_data_config(source, labels, sets).max_pixels,
        )
        size = sum(shard.size for shard in index.shards) / 1e6
        typer.echo(
            f"Wrote {len(index.shards)} shards, {len(manifest.records)} images, {size:,.1f} MB. Use: shards:{out}"
        )
    else:
        from marnet.data.tools.convert import convert_manifest

        convert_manifest(manifest, out, copy_images=copy_images, overwrite=overwrite)
        typer.echo(f"Wrote {out}, {len(manifest.records)} rows.")


@data_app.command()
def download(
    name: Annotated[str, typer.Argument(help="food-101, grocery-store or ingredient-101", show_default=False)],
    folder: Annotated[Path, typer.Argument(help="Where to unpack it.", show_default=False)],
    url: Annotated[
        str | None,
        typer.Option(help="Another address of the archive, such as a mirror's; of ingredient-101's annotations."),
    ] = None,
) -> None:
    """Fetch a published data set, check it and unpack it; goes on where it broke off."""
    from marnet.data.tools.download import download as get

    found = get(name, folder, url=url)
    for note in found.notes:
        typer.echo(note, err=True)
    typer.echo(f"Use: --data {found.source}")


@data_app.command()
def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove them; they are decoded again when needed.")] = False,
) -> None:
    """List the decoded images that training keeps on disk, or remove them.

    Those that no training opened for 30 days are removed when the next ones are written.
    """
    from marnet.cache import cache_directory
    from marnet.data.decoded import clear_cache, list_cache

    folder = cache_directory()
    found = list_cache(folder)
    for each in () if clear else found:
        typer.echo(f"{each.size / 1e6:10,.1f} MB  opened {each.days:5.1f} days ago  {each.file.name}")
    if clear:
        clear_cache(folder)
    sets = "1 set" if len(found) == 1 else f"{len(found)} sets"
    total = f"{sets} of decoded images, {sum(each.size for each in found) / 1e6:,.1f} MB"
    typer.echo(f"{'Removed ' if clear else ''}{total}, in {folder / 'images'}.")


def _data_config(source: str, labels: str | None, sets: list[str] | None) -> Any:
    from marnet.config import make_config

    values = {"source": source} if labels is None else {"source": source, "labels": labels}
    return make_config({"data": values}, sets=sets or []).data


def _open(source: str, labels: str | None, sets: list[str] | None) -> "Manifest":
    from marnet.data.sources import open_data

    return open_data(source, _data_config(source, labels, sets))


def _plain(value: Any) -> Any:
    """NamedTuples as dicts, tuples as lists, down to the leaves."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def _print_info(found: "SourceStatistics") -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(f"{found.source}: {found.total.images} images, {found.classes} classes"))
    table.add_column("")
    for name in (*found.splits, "all"):
        table.add_column(name, justify="right")
    several = found.label_form == "multi"
    columns = [_info_column(each, several=several) for each in (*found.splits.values(), found.total)]
    for name in columns[0]:
        table.add_row(name, *(column[name] for column in columns))
    console = Console()
    console.print(table)
    if found.sizes is not None:
        sizes = found.sizes
        typer.echo(
            f"Pixels (min / median / max): width {_spread(sizes.width)}, height {_spread(sizes.height)}, short side "
            f"{_spread(sizes.short_side)}"
        )
    if found.sizes is None or found.sizes.unreadable:
        count = found.total.images if found.sizes is None else found.sizes.unreadable
        typer.echo(f"Unreadable headers: {count}; 'marnet data check' lists them.")


def _info_column(rows: "SplitStatistics", *, several: bool) -> dict[str, str]:
    labels = {
        "classes per image (min / median / max)": _spread(rows.classes_per_image),
        "images without a class": str(rows.without_class),
    }
    return {
        "images": str(rows.images),
        "classes": str(rows.classes),
        "images per class (min / median / max)": _spread(rows.images_per_class),
        **(labels if several else {}),
        "unique texts": str(rows.texts.unique),
        "blank texts": str(rows.texts.blank),
        "words per text (min / median / max)": _spread(rows.texts.words) if rows.texts.words else "-",
        "images with a text of their own": f"{100 * rows.texts.own_share:.1f} %",
    }


def _spread(values: "Spread") -> str:
    return " / ".join(f"{value:g}" for value in values)


def _print_check(found: "CheckResult") -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console(soft_wrap=True)
    for finding in found.findings:
        colour = _COLOURS[finding.severity]
        console.print(
            f"[{colour}]{finding.severity}[/{colour}] {finding.code}: {escape(finding.message)}", highlight=False
        )
        for line in _example_lines(finding):
            console.print(f"    {escape(line)}", highlight=False)
    counts = ", ".join(
        f"{count} {severity}{'' if count == 1 else 's'}"
        for severity in _COLOURS
        for count in [sum(each.severity == severity for each in found.findings)]
    )
    console.print(escape(f"{found.source}: {found.images} images read; {counts}."), highlight=False)


def _example_lines(finding: "Finding") -> list[str]:
    """The first examples, one a line; the table of numbers behind a single-example note says nothing more."""
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
