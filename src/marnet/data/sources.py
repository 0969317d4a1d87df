"""From the name of a data source to its manifest."""

import logging
from collections.abc import Callable
from pathlib import Path

from marnet.config import DataConfig, cache_directory
from marnet.data.grocery_store import read_grocery_store
from marnet.data.manifest import Manifest, read_manifest
from marnet.errors import DataError, suggest

_logger = logging.getLogger("marnet")


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
    val_share: float = 0.15,
    test_share: float = 0.15,
    split_seed: int = 0,
    cache: Path | None = None,
) -> Manifest:
    """Load a manifest file or a named source.

    Args:
        source: `FILE`, `grocery-store:PATH`, `synthetic` or `synthetic:key=value,...`.
        image: see `read_manifest` for this and the other options of a manifest file.
        text: name of the column of texts.
        label: name of the column of class names.
        split: name of the column of splits.
        val_share: share of val in a split made here.
        test_share: share of test in a split made here.
        split_seed: seed of a split made here.
        cache: where drawn images are kept; None is the user's cache folder.

    Raises:
        DataError: the source is unknown, or what it names cannot be used.
    """
    name, _, argument = source.partition(":")
    if name in _SOURCES:
        return _SOURCES[name](argument, cache or cache_directory())
    if not Path(source).is_file() and Path(source).suffix.lower() not in (".csv", ".jsonl", ".parquet"):
        raise _unknown_source(source, name)
    return read_manifest(
        source,
        image=image,
        text=text,
        label=label,
        split=split,
        val_share=val_share,
        test_share=test_share,
        split_seed=split_seed,
    )


def _unknown_source(source: str, name: str) -> DataError:
    found = "is a folder" if Path(source).is_dir() else "is neither a file nor a known source"
    return DataError(
        f"Data source {source!r} {found}.{suggest(name, _SOURCES)} Needed FILE (.csv, .jsonl, .parquet), "
        f"grocery-store:PATH, synthetic or synthetic:key=value,..."
    )


def _grocery_store(argument: str, cache: Path) -> Manifest:
    if not argument:
        raise DataError("Data source 'grocery-store' names no folder; needed grocery-store:PATH.")
    return read_grocery_store(Path(argument).expanduser())


def _synthetic(argument: str, cache: Path) -> Manifest:
    from marnet.data.synthetic import parse_options, synthetic_manifest

    return synthetic_manifest(parse_options(argument), cache)


_SOURCES: dict[str, Callable[[str, Path], Manifest]] = {"grocery-store": _grocery_store, "synthetic": _synthetic}
