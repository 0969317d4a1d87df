"""From the name of a data source to its manifest."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from marnet.cache import cache_directory
from marnet.choices import LabelForm
from marnet.config import DataConfig
from marnet.data.manifest import Manifest, read_manifest
from marnet.data.sources.grocery_store import read_grocery_store
from marnet.data.sources.hf_dataset import HFColumns, read_hf_dataset
from marnet.data.sources.image_folder import Columns, read_image_folder
from marnet.data.sources.ingredient_101 import read_ingredient_101
from marnet.data.sources.listings import parse_location
from marnet.data.sources.vireo_food172 import read_vireo_food172
from marnet.errors import DataError, suggest

_logger = logging.getLogger("marnet")


class _Options(NamedTuple):
    """The options of `load_source`, for the sources that heed them."""

    image: str
    text: str
    label: str
    split: str
    labels: LabelForm
    val_share: float
    test_share: float
    split_seed: int
    cache: Path


def open_source(config: DataConfig) -> Manifest:
    """Load the source that a configuration names and log its notes.

    Raises:
        DataError: see `load_source`.
    """
    columns = config.columns
    manifest = load_source(
        config.source,
        image=columns.image,
        text=columns.text,
        label=columns.label,
        split=columns.split,
        labels=config.labels,
        val_share=config.val_share,
        test_share=config.test_share,
        split_seed=config.split_seed,
    )
    for note in manifest.notes:
        _logger.info("Note: %s", note)
    return manifest


def load_source(
    source: str,
    *,
    image: str = "image",
    text: str = "text",
    label: str = "label",
    split: str = "split",
    labels: LabelForm = "single",
    val_share: float = 0.15,
    test_share: float = 0.15,
    split_seed: int = 0,
    cache: Path | None = None,
) -> Manifest:
    """Load a manifest file, a folder of images or a named source (docs/data.md).

    Args:
        source: `FILE`, `FOLDER` or `NAME:PATH`, see `SOURCES`.
        image: name of the column of images; "image" is "file_name" in the metadata of an image folder.
        text: name of the column of texts; like all columns, for files, image folders and Hugging Face datasets.
        label: name of the column of class names.
        split: name of the column of splits.
        labels: "multi" where a label is a comma list of classes; shards know it themselves.
        val_share: share of val in a split made here.
        test_share: share of test in a split made here.
        split_seed: seed of a split made here.
        cache: where drawn and exported images are kept; None is the user's cache folder.

    Raises:
        DataError: the source is unknown, or what it names cannot be used.
    """
    options = _Options(image, text, label, split, labels, val_share, test_share, split_seed, cache or cache_directory())
    name, _, argument = source.partition(":")
    if name in READERS:
        if labels == "multi" and name not in _WITH_LABEL_COLUMN:
            raise DataError(
                f"{source} gives each image one class; found --labels multi beside it, which needs a column of lists "
                f"of classes. Leave it out."
            )
        return READERS[name](argument, options)
    path = Path(source).expanduser()
    if path.is_dir():
        return _image_folder(source, options)
    if not path.is_file() and path.suffix.lower() not in (".csv", ".jsonl", ".parquet"):
        raise DataError(
            f"Data source {source!r} is neither a file nor a folder nor a known source.{suggest(name, READERS)} "
            f"Needed {', '.join(SOURCES[:-1])} or {SOURCES[-1]}"
        )
    return read_manifest(
        path,
        image=image,
        text=text,
        label=label,
        split=split,
        labels=labels,
        val_share=val_share,
        test_share=test_share,
        split_seed=split_seed,
    )


def _grocery_store(argument: str, options: _Options) -> Manifest:
    return read_grocery_store(Path(parse_location("grocery-store", argument).path).expanduser())


def _hf_dataset(argument: str, options: _Options) -> Manifest:
    location = parse_location("hf-dataset", argument, ("image", "text", "label", "split", "config"))
    defaults = Columns(image="image")
    # A key of the source wins over the configuration; what neither names is chosen by name and type.
    given = {role: name for role, name in options._asdict().items() if name != getattr(defaults, role, name)}
    given |= location.options
    return read_hf_dataset(
        location.path,
        cache=options.cache,
        columns=HFColumns(given.get("image"), given.get("text"), given.get("label"), given.get("split")),
        config=location.options.get("config"),
        labels=options.labels,
        val_share=options.val_share,
        test_share=options.test_share,
        split_seed=options.split_seed,
    )


def _image_folder(argument: str, options: _Options) -> Manifest:
    image = Columns().image if options.image == "image" else options.image
    return read_image_folder(
        Path(parse_location("imagefolder", argument).path).expanduser(),
        columns=Columns(image, options.text, options.label, options.split),
        labels=options.labels,
        val_share=options.val_share,
        test_share=options.test_share,
        split_seed=options.split_seed,
    )


def _ingredient_101(argument: str, options: _Options) -> Manifest:
    location = parse_location("ingredient-101", argument, ("ingredients", "images"))
    images = location.options.get("images")
    return read_ingredient_101(
        Path(location.path).expanduser(),
        ingredients=location.options.get("ingredients", "simplified"),
        images=Path(images).expanduser() if images else None,
    )


def _shards(argument: str, options: _Options) -> Manifest:
    from marnet.data.shards import read_shards

    manifest = read_shards(Path(parse_location("shards", argument).path).expanduser(), options.cache)
    if options.labels == "multi" != manifest.labels:
        raise DataError(
            f"{manifest.source} was written with one class an image; found --labels multi beside it. Leave it out, or "
            f"write the shards again from their source with --labels multi."
        )
    return manifest


def _synthetic(argument: str, options: _Options) -> Manifest:
    from marnet.data.synthetic.source import parse_options, synthetic_manifest

    return synthetic_manifest(parse_options(argument), options.cache)


def _vireo_food172(argument: str, options: _Options) -> Manifest:
    return read_vireo_food172(Path(parse_location("vireo-food172", argument).path).expanduser())


READERS: dict[str, Callable[[str, _Options], Manifest]] = {
    "grocery-store": _grocery_store,
    "hf-dataset": _hf_dataset,
    "imagefolder": _image_folder,
    "ingredient-101": _ingredient_101,
    "shards": _shards,
    "synthetic": _synthetic,
    "vireo-food172": _vireo_food172,
}
_WITH_LABEL_COLUMN = ("hf-dataset", "imagefolder", "shards")
# What a user may write, for messages and help.
SOURCES = (
    "FILE (.csv, .jsonl, .parquet)",
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
