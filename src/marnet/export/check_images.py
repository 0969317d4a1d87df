"""The images on which an exported file is compared with its run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from marnet.errors import ImageError, MarnetError
from marnet.inference import Predictor
from marnet.semantic.classes.table import find_images

_COARSE = 8  # pixels of a drawn image before it is enlarged


class CheckImages(NamedTuple):
    """Images, and where they come from."""

    images: Sequence[Any]  # N of them, in forms that a predictor takes
    pixels: np.ndarray  # (N, 3, S, S) uint8, as the run sees them
    origin: str  # to follow the number of images


def find_check_images(predictor: Predictor, folder: Path | None, data: Any, *, count: int) -> CheckImages:
    """Return up to `count` images: those of a folder, else the run's rows of val, else drawn ones.

    Args:
        predictor: of the run.
        folder: a folder of images, or None.
        data: the rows of the run at a new place, or None.
        count: how many images at most; they are spread evenly over all there are.

    Raises:
        DataError: `folder` holds no images, `data` cannot be read, or an image of `folder` cannot be.
    """
    if folder is not None:
        return _prepared(predictor, _spread(find_images(folder), count), f"in {folder}")
    found = split_images(predictor, data, "val", count=count)
    if found is not None:
        return found
    drawn = [_draw(seed) for seed in range(count)]
    return _prepared(predictor, drawn, "drawn at random, since none of the run's split val can be read")


def split_images(predictor: Predictor, data: Any, split: str, *, count: int) -> CheckImages | None:
    """Return up to `count` images of a split that can be read; None if there are none.

    Raises:
        DataError: `data` cannot be read.
    """
    try:
        rows = predictor.rows(data, split).split(split)
    except MarnetError:
        if data is not None:
            raise
        return None  # a run whose rows are lost
    names, pixels = [], []
    for record in _spread(rows, count):
        try:
            pixels.append(predictor.transform.pixels(record.image).numpy())
            names.append(record.image)
        except ImageError:
            continue
    return CheckImages(names, np.stack(pixels), f"of split {split}") if names else None


def _prepared(predictor: Predictor, images: Sequence[Any], origin: str) -> CheckImages:
    return CheckImages(images, np.stack([predictor.transform.pixels(image).numpy() for image in images]), origin)


def _spread(items: Sequence[Any], count: int) -> list[Any]:
    """Return `count` of the items at equal distances, all of them if they are fewer."""
    places = np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)
    return [items[place] for place in places]


def _draw(seed: int) -> Image.Image:
    """Return an image of soft patches of colour with grain, as photos have."""
    generator = np.random.default_rng(seed)
    patches = Image.fromarray(generator.integers(0, 256, (_COARSE, _COARSE, 3), dtype=np.uint8))
    soft = np.asarray(patches.resize((320, 320), Image.Resampling.BICUBIC), np.float64)
    return Image.fromarray((soft + generator.normal(0, 12, soft.shape)).clip(0, 255).astype(np.uint8))
