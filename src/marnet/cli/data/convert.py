"""`marnet data convert`."""

from pathlib import Path
from typing import Annotated

import typer

from marnet.cli.data.opening import data_settings, open_manifest
from marnet.cli.options import DataSets, Labels, Source
from marnet.cli.output import say
from marnet.errors import ConfigError


def convert(  # noqa: PLR0917 - typer calls it by keyword
    source: Source,
    out: Annotated[
        Path,
        typer.Argument(
            help="The file to write (.csv, .jsonl or .parquet), or a folder if --shards is given.", show_default=False
        ),
    ],
    shards: Annotated[bool, typer.Option("--shards", help="Write WebDataset shards (tar files).")] = False,
    copy_images: Annotated[
        bool, typer.Option("--copy-images", help="Copy the images next to the file instead of pointing to them.")
    ] = False,
    images_per_shard: Annotated[int, typer.Option(min=1, help="Maximum number of images per shard.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed for shuffling images into shards.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what an earlier conversion left in OUT.")
    ] = False,
    labels: Labels = None,
    sets: DataSets = None,
) -> None:
    """Write a source as a manifest file or as WebDataset shards. Run it again to go on after an interruption."""
    if shards and copy_images:
        raise ConfigError(
            "--shards and --copy-images exclude each other: shards always hold their images. Leave one out."
        )
    manifest = open_manifest("data convert", source, labels, sets)
    if shards:
        from marnet.data.shards.writing import write_shards

        index = write_shards(
            manifest,
            out,
            images_per_shard=images_per_shard,
            seed=seed,
            overwrite=overwrite,
            max_pixels=data_settings("data convert", source, labels, sets).max_pixels,
        )
        size = sum(shard.size for shard in index.shards) / 1e6
        say(f"Wrote {len(index.shards)} shards, {len(manifest.records)} images, {size:,.1f} MB. Use: shards:{out}")
    else:
        from marnet.data.tools.convert import convert_manifest

        convert_manifest(manifest, out, copy_images=copy_images, overwrite=overwrite)
        say(f"Wrote {out}, {len(manifest.records)} rows.")
