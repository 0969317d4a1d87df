"""The source `synthetic`: drawn dishes whose text names what is in them, for trying things without any download.

Every image is drawn from a recipe. Its class is the combination of key ingredients; its text names all ingredients,
also those that are hard to see, and never the class. All of it is ours.
"""

import csv
import dataclasses
import hashlib
import json
import logging
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import Progress

from marnet.data.manifest import Manifest, read_manifest
from marnet.data.synthetic.nuisances import clutter_table, expose, light, occlude, photograph, to_bytes
from marnet.data.synthetic.recipes import MAX_CLASSES, Recipe, describe, dish_classes, draw_recipe
from marnet.data.synthetic.serving import lay_table, serve
from marnet.errors import DataError, suggest

VERSION = 1  # of the pictures and texts: raise it when the same options give other ones
_OVERSAMPLING = 2
_logger = logging.getLogger("marnet")


@dataclass(frozen=True, kw_only=True)
class SyntheticOptions:
    """The options of `synthetic:key=value,...`.

    The dials `viewpoint`, `lighting`, `clutter` and `noise` run from 0 (off) over 1 (what training uses) to 4, and
    change nothing but the nuisance: with one seed, image i of a class and split has the same recipe and the same text
    at every setting of the dials, at every size, and for every number of images and classes. So
    `images=0,val_images=0,viewpoint=3` draws only the test dishes again, seen from harder angles.

    Raises:
        DataError: a value is out of range.
    """

    classes: int = 24
    images: int = 30  # training images of each class
    val_images: int = 10  # of each class
    test_images: int = 10  # of each class
    size: int = 96  # side of the square images, in pixels
    seed: int = 0
    viewpoint: float = 1.0
    lighting: float = 1.0
    clutter: float = 1.0
    noise: float = 1.0

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                kind = "a number" if name in _DIALS else "a whole number"
                raise DataError(f"synthetic: {name}={value}, but it must be {kind} from {low} to {high}.")
        if self.images + self.val_images + self.test_images == 0:
            raise DataError(
                "synthetic: images, val_images and test_images are all 0. There must be at least one image per class."
            )

    def counts(self) -> dict[str, int]:
        """Return the images of each class by split."""
        return {"train": self.images, "val": self.val_images, "test": self.test_images}


_DIALS = ("viewpoint", "lighting", "clutter", "noise")
_RANGES: dict[str, tuple[int, int]] = {
    "classes": (2, MAX_CLASSES),
    "images": (0, 100_000),
    "val_images": (0, 100_000),
    "test_images": (0, 100_000),
    "size": (16, 512),
    "seed": (0, 2**63 - 1),
    **dict.fromkeys(_DIALS, (0, 4)),
}


class Sample(NamedTuple):
    """One drawn dish."""

    image: Image.Image  # RGB, `size` x `size`
    text: str
    recipe: Recipe


def parse_options(text: str) -> SyntheticOptions:
    """Read `"classes=12,seed=1"`; the empty text gives the defaults.

    Raises:
        DataError: a key is unknown or given twice, or a value is not a number or out of range.
    """
    values: dict[str, int | float] = {}
    for part in (part.strip() for part in text.split(",")):
        if not part:
            continue
        key, separator, value = (piece.strip() for piece in part.partition("="))
        if not separator:
            raise DataError(f"synthetic: {part!r} is not of the form key=value, such as classes=12.")
        if key not in _RANGES:
            raise DataError(f"synthetic: unknown key {key!r}.{suggest(key, _RANGES)} Known keys: {', '.join(_RANGES)}.")
        if key in values:
            raise DataError(f"synthetic: {key} is given twice; keep one of them.")
        values[key] = _number(key, value)
    return SyntheticOptions(**values)  # type: ignore[arg-type]  # _number gives each key its type


def draw_sample(options: SyntheticOptions, label: str, keys: frozenset[str], split: str, index: int) -> Sample:
    """Return image `index` of class `label`, whose key ingredients are `keys`, in `split`."""

    def stream(name: str) -> Random:
        # One stream for each matter: turning one dial cannot shift the choices of another, nor of the recipe.
        return Random(f"{options.seed} {split} {label} {index} {name}")

    recipe = draw_recipe(keys, stream("recipe"))
    side = _OVERSAMPLING * options.size
    layout = stream("layout")
    canvas = lay_table(layout, side)
    clutter_table(canvas, options.clutter, stream("clutter"), side)
    serve(canvas, recipe, layout, side)
    occlude(canvas, options.clutter, stream("occluders"), side)
    picture = photograph(canvas, options.viewpoint, stream("viewpoint"), side).reduce(_OVERSAMPLING)
    pixels = np.asarray(picture, dtype=np.float32) / 255
    pixels = light(pixels, options.lighting, stream("lighting"))
    pixels = expose(pixels, options.noise, stream("noise"))
    return Sample(Image.fromarray(to_bytes(pixels)), describe(recipe, stream("text")), recipe)


def generate(options: SyntheticOptions, directory: Path) -> Path:
    """Draw the data set into `directory`, which may exist; return the path of its `manifest.csv`.

    The same options give the same bytes.
    """
    console = Console(stderr=True)
    total = options.classes * sum(options.counts().values())
    manifest = directory / "manifest.csv"
    directory.mkdir(parents=True, exist_ok=True)
    with (
        manifest.open("w", newline="", encoding="utf-8") as file,
        Progress(console=console, transient=True, disable=not console.is_terminal) as progress,
    ):
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("image", "text", "label", "split"))
        for row in progress.track(_write_images(options, directory), total=total, description="Drawing dishes"):
            rows.writerow(row)
    return manifest


def synthetic_manifest(options: SyntheticOptions, cache: Path) -> Manifest:
    """Return the data set of `options`, drawn into a folder below `cache` the first time and reused afterwards.

    Raises:
        DataError: the folder cannot be written.
    """
    key = json.dumps({"version": VERSION, **_typed(options)}, sort_keys=True)
    directory = cache / "synthetic" / hashlib.sha256(key.encode()).hexdigest()[:16]
    if not (directory / "manifest.csv").is_file():
        try:
            _generate_whole(options, directory)
        except OSError as error:
            raise DataError(
                f"synthetic: the images cannot be written to {directory}: {error}. Free some space, or point the "
                f"environment variable MARNET_CACHE to a folder that can be written."
            ) from None
    return dataclasses.replace(read_manifest(directory / "manifest.csv"), source=_source(options))


def _generate_whole(options: SyntheticOptions, directory: Path) -> None:
    """Draw into a temporary folder and rename it, so that `directory` is complete or absent."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".drawing-") as temporary:
        drawn = Path(temporary) / "dishes"
        generate(options, drawn)
        try:
            drawn.rename(directory)
        except OSError:
            if not (directory / "manifest.csv").is_file():  # another process was not the one to finish first
                raise
    _logger.info("Drew %s into %s.", _source(options), directory)


def _write_images(options: SyntheticOptions, directory: Path) -> Iterator[tuple[str, str, str, str]]:
    """Write the images one by one and yield each one's row of the manifest."""
    for split, count in options.counts().items():
        for label, keys in dish_classes(options.classes, options.seed).items():
            folder = directory / split / label
            if count:
                folder.mkdir(parents=True, exist_ok=True)
            for index in range(count):
                sample = draw_sample(options, label, keys, split, index)
                path = folder / f"{index:03d}.jpg"
                sample.image.save(path, quality=95, subsampling=0)
                yield path.relative_to(directory).as_posix(), sample.text, label, split


def _number(key: str, text: str) -> int | float:
    try:
        number = float(text) if key in _DIALS else int(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        kind = "a number, such as 1.5" if key in _DIALS else "a whole number, such as 10"
        raise DataError(f"synthetic: {key}={text!r} is not {kind}.") from None
    return number


def _typed(options: SyntheticOptions) -> dict[str, int | float]:
    """Return the values with dials as floats, so that 1 and 1.0 share one folder."""
    values = dataclasses.asdict(options)
    return {name: float(value) if name in _DIALS else int(value) for name, value in values.items()}


def _source(options: SyntheticOptions) -> str:
    """Return the shortest source that gives these options."""
    defaults = _typed(SyntheticOptions())
    changed = [
        f"{name}={value:g}" if name in _DIALS else f"{name}={value}"
        for name, value in _typed(options).items()
        if value != defaults[name]
    ]
    return "synthetic" + (":" + ",".join(changed) if changed else "")
