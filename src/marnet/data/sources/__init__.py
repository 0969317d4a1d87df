"""From a data source to its manifest: `open_data` takes them all, named or in memory."""

import dataclasses
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from marnet.cache import cache_directory
from marnet.config import DataConfig
from marnet.data.groups import split_warnings
from marnet.data.manifest import Manifest, read_manifest_file
from marnet.data.options import GROUP, ColumnNames, ReadOptions, read_options
from marnet.data.sources.grocery_store import read_grocery_store
from marnet.data.sources.hf_dataset import read_hf_dataset
from marnet.data.sources.hints import hint_at_path, home_of, refuse_address
from marnet.data.sources.image_folder import read_image_folder
from marnet.data.sources.in_memory import read_in_memory
from marnet.data.sources.ingredient_101 import read_ingredient_101
from marnet.data.sources.listings import parse_location
from marnet.data.sources.vireo_food172 import read_vireo_food172
from marnet.errors import ConfigError, DataError, suggest

_logger = logging.getLogger("marnet")


def open_data(data: Any, config: DataConfig, *, cache: Path | None = None) -> Manifest:
    """Return the rows of a data source, and log how it was read and what makes its splits doubtful.

    Args:
        data: a path or a source such as "synthetic" (see `load_source`); a table of pandas, polars or pyarrow, or any
            object with the Arrow interface; a `datasets.Dataset` or `DatasetDict`; a list of rows, each a `Record`, a
            tuple `(image, text, label[, split])` or a dictionary; or a `Manifest`, which is returned as it is.
        config: names of columns, form of labels and shares of splits. Its `source` is not read.
        cache: where images are kept that are not files yet; None is the user's cache folder.

    Raises:
        ConfigError: no source was named.
        DataError: the source is unknown, or a column, a row or an image of it cannot be used.
    """
    if isinstance(data, Manifest):
        return data
    manifest = read_data(data, read_options(config), cache=cache)
    log_notes(manifest)
    if config.columns.group != GROUP and not any(record.group for record in manifest.records):
        _logger.warning(
            "%s has no groups, although `data.columns.group` is %r: each image stands alone.",
            manifest.source,
            config.columns.group,
        )
    for warning in split_warnings(manifest):
        _logger.warning("%s", warning)
    return manifest


def log_notes(manifest: Manifest) -> None:
    """Log how a source was read."""
    for note in manifest.notes:
        _logger.info("Note: %s", note)


def read_data(data: Any, options: ReadOptions, *, cache: Path | None = None) -> Manifest:
    """Return the rows of a data source as `open_data` does, without logging anything.

    Raises:
        ConfigError: no source was named.
        DataError: the source is unknown, or a column, a row or an image of it cannot be used.
    """
    if isinstance(data, str) and not data:
        raise ConfigError(
            "No data was named. Name a source with `data.source=SOURCE`: a manifest file with the columns image, text, "
            "label and split, a folder of images, grocery-store:PATH, synthetic, or another source of docs/data.md."
        )
    if isinstance(data, str | os.PathLike):
        return load_source(os.fspath(data), options, cache=cache)
    return read_in_memory(data, options, cache=cache or cache_directory())


def load_source(source: str, options: ReadOptions | None = None, *, cache: Path | None = None) -> Manifest:
    """Load a manifest file, a folder of images or a named source (docs/data.md).

    Args:
        source: `FILE`, `FOLDER` or `NAME:PATH`, see `SOURCES`.
        options: columns, form of labels and shares of splits; None takes the defaults. Columns are those of files,
            image folders and Hugging Face datasets.
        cache: where drawn and exported images are kept; None is the user's cache folder.

    Raises:
        DataError: the source is unknown, or what it names cannot be used.
    """
    options = options or ReadOptions()
    cache = cache or cache_directory()
    name, _, argument = source.partition(":")
    if name in READERS:
        if options.label_form == "multi" and name not in _WITH_LABEL_COLUMN:
            raise DataError(
                f"{source} gives each image one class, but `data.labels=multi` is set, which needs a column of lists "
                f"of classes. Leave it out."
            )
        return READERS[name](argument, options, cache)
    refuse_address(source)
    path = home_of(source)
    if path.is_dir():
        return _image_folder(source, options, cache)
    if not path.is_file() and path.suffix.lower() not in (".csv", ".tsv", ".jsonl", ".parquet"):
        raise DataError(
            f"Data source {source!r} is neither a file nor a folder nor a known source."
            f"{suggest(name, READERS, cutoff=0.8) or hint_at_path(path) or suggest(name, READERS)} "
            f"Expected {', '.join(SOURCES[:-1])} or {SOURCES[-1]}"
        )
    return read_manifest_file(path, options)


def _grocery_store(argument: str, options: ReadOptions, cache: Path) -> Manifest:
    return read_grocery_store(Path(parse_location("grocery-store", argument).path).expanduser())


def _hf_dataset(argument: str, options: ReadOptions, cache: Path) -> Manifest:
    location = parse_location("hf-dataset", argument, (*ColumnNames._fields, "config"))
    # A key of the source wins over the configuration.
    named = {role: name for role, name in location.options.items() if role in ColumnNames._fields}
    options = dataclasses.replace(options, columns=options.columns._replace(**named))
    return read_hf_dataset(location.path, options, cache=cache, config=location.options.get("config"))


def _image_folder(argument: str, options: ReadOptions, cache: Path) -> Manifest:
    return read_image_folder(Path(parse_location("imagefolder", argument).path).expanduser(), options)


def _ingredient_101(argument: str, options: ReadOptions, cache: Path) -> Manifest:
    location = parse_location("ingredient-101", argument, ("ingredients", "images"))
    images = location.options.get("images")
    return read_ingredient_101(
        Path(location.path).expanduser(),
        ingredients=location.options.get("ingredients", "simplified"),
        images=Path(images).expanduser() if images else None,
    )


def _shards(argument: str, options: ReadOptions, cache: Path) -> Manifest:
    from marnet.data.shards import read_shards

    manifest = read_shards(Path(parse_location("shards", argument).path).expanduser(), cache)
    # The other way round the shards are right: they know that their labels are lists.
    if options.label_form == "multi" and manifest.label_form == "single":
        raise DataError(
            f"{manifest.source} was written with one class per image, but `data.labels=multi` is set. Leave it out, "
            f"or write the shards again from their source with `data.labels=multi`."
        )
    return manifest


def _synthetic(argument: str, options: ReadOptions, cache: Path) -> Manifest:
    from marnet.data.synthetic.source import parse_options, synthetic_manifest

    return synthetic_manifest(parse_options(argument), cache)


def _vireo_food172(argument: str, options: ReadOptions, cache: Path) -> Manifest:
    return read_vireo_food172(Path(parse_location("vireo-food172", argument).path).expanduser())


READERS: dict[str, Callable[[str, ReadOptions, Path], Manifest]] = {
    "grocery-store": _grocery_store,
    "hf-dataset": _hf_dataset,
    "imagefolder": _image_folder,
    "ingredient-101": _ingredient_101,
    "shards": _shards,
    "synthetic": _synthetic,
    "vireo-food172": _vireo_food172,
}
_WITH_LABEL_COLUMN = ("hf-dataset", "imagefolder", "shards")
# The forms of a source, for messages and help.
SOURCES = (
    "FILE (.csv, .tsv, .jsonl, .parquet)",
    "FOLDER",
    "imagefolder:PATH",
    "hf-dataset:PATH_OR_NAME",
    "grocery-store:PATH",
    "ingredient-101:PATH",
    "vireo-food172:PATH",
    "shards:PATH",
    "synthetic",
    "synthetic:key=value,...",
)
