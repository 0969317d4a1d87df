"""`next_to_label`: the images of a folder or table that a run would learn most from, if they had a label or a text."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
import torch

from marnet.data.candidates import Candidate, Wanted, read_candidates
from marnet.data.options import read_options
from marnet.data.tables import write_table
from marnet.data.transforms import model_input
from marnet.errors import ConfigError, DataError, ImageError, MarnetError, suggest
from marnet.inference import Predictor
from marnet.outputs import VISUAL
from marnet.runs.code import AllowCode
from marnet.semantic.datasets.next_to_label import choose_spread, uncertainty

_BATCH = 64


class NextImage(NamedTuple):
    """An image to label or to describe, and why."""

    image: str  # its path
    text: str  # "" for none
    label: str  # "" for none
    likely: tuple[str, str]  # the two most probable classes
    probabilities: tuple[float, float]  # of these
    uncertainty: float  # 1 minus their difference
    stands_for: int  # candidates that are like it, itself included


class NextToLabel(NamedTuple):
    """The images to label or to describe first, the most useful at the beginning."""

    images: tuple[NextImage, ...]
    wanted: Wanted  # what they lack
    candidates: int  # images that lack it and can be read
    known: int  # images that were left out, because the rows of the run have it
    skipped: tuple[str, ...]  # a sentence for each image that cannot be read


def next_to_label(
    run: Path | str | Predictor,
    source: Path | str,
    *,
    wanted: str = "label",
    budget: int = 100,
    seed: int = 0,
    device: str = "auto",
    allow_code: AllowCode = False,
) -> NextToLabel:
    r"""Choose the images to label, or to describe, next.

    For a label these are images that the run is unsure about, spread over all that it is unsure about. For a text they
    are spread over all images alike: on real photos, those in doubt taught less of how texts go with images.

    Args:
        run: a run directory or a `Predictor`, of images with one class each.
        source: a folder of images, or a table (.csv, .jsonl or .parquet), of which the rows count that lack what is
            wanted. Images for which the rows of the run have it are left out.
        wanted: "label" or "text".
        budget: how many images to choose; of equal images one is enough, so that there can be fewer.
        seed: of the clusters.
        device: where to compute; a `Predictor` has its own.
        allow_code: import code that the run names (`module:PACKAGE.NAME`).

    Raises:
        ConfigError: `budget` is less than 1, `wanted` is unknown, or the run's images have several classes.
        DataError: no image of the source lacks what is wanted, or none of these can be read.

    Example:
        >>> import marnet
        >>> from pathlib import Path
        >>> _ = Path("new.csv").write_text("image\na.jpg\nb.jpg\n", encoding="utf-8")
        >>> found = marnet.next_to_label("runs/p", "new.csv", budget=1, device="cpu")
        >>> len(found.images), found.candidates
        (1, 2)
    """
    if budget < 1:
        raise ConfigError(f"`budget` is {budget}, but it must be 1 or more.")
    lacking = _check_wanted(wanted)
    predictor = run if isinstance(run, Predictor) else Predictor(run, device=device, allow_code=allow_code)
    if predictor.config.data.labels != "single":
        raise ConfigError(
            f"{predictor.run} has images with several classes, but images are chosen where each has one. Name a run "
            f"with one class per image."
        )
    listed = read_candidates(source, read_options(predictor.config.data), lacking)
    known = _known_images(predictor, lacking)
    new = [candidate for candidate in listed if candidate.image not in known]
    if not new:
        raise DataError(
            f"The rows of {predictor.run} have a {lacking} for all {len(listed)} images of {source}. Name others."
        )
    read = _outputs(predictor, new)
    unsure = uncertainty(read.probabilities)
    weights = unsure if lacking == "label" else np.ones(len(unsure))
    images = []
    for row, stands_for in choose_spread(read.features, weights, budget, seed=seed):
        first, second = np.argsort(-read.probabilities[row], kind="stable")[:2].tolist()
        image, text, label = read.candidates[row]
        shares = float(read.probabilities[row, first]), float(read.probabilities[row, second])
        likely = predictor.classes[first], predictor.classes[second]
        images.append(NextImage(image, text, label, likely, shares, float(unsure[row]), stands_for))
    return NextToLabel(tuple(images), lacking, len(read.candidates), len(listed) - len(new), tuple(read.skipped))


def write_next(images: Sequence[NextImage], path: Path) -> None:
    """Write the images as CSV, JSONL or Parquet, with labels or texts to fill in; marnet reads the filled file.

    Raises:
        DataError: the suffix is unknown, or the file cannot be written.
    """
    write_table(
        path,
        {
            "image": [each.image for each in images],
            "text": [each.text for each in images],
            "label": [each.label for each in images],
            "likely": [each.likely[0] for each in images],
            "or": [each.likely[1] for each in images],
            "uncertainty": [f"{each.uncertainty:.4f}" for each in images],
            "stands_for": [str(each.stands_for) for each in images],
        },
    )


class _Read(NamedTuple):
    candidates: list[Candidate]  # N that could be read
    features: np.ndarray  # (N, D_v)
    probabilities: np.ndarray  # (N, C)
    skipped: list[str]  # a sentence for each that could not


def _check_wanted(wanted: str) -> Wanted:
    known: tuple[Wanted, ...] = get_args(Wanted)
    for each in known:
        if each == wanted:
            return each
    raise ConfigError(f"`wanted` is {wanted!r}, but it must be {' or '.join(known)}.{suggest(wanted, known)}")


def _known_images(predictor: Predictor, wanted: Wanted) -> set[str]:
    try:
        return {record.image for record in predictor.manifest().records if getattr(record, wanted)}
    except MarnetError:  # a run whose rows are lost can still choose among others
        return set()


@torch.inference_mode()
def _outputs(predictor: Predictor, candidates: Sequence[Candidate]) -> _Read:
    kept: list[Candidate] = []
    skipped: list[str] = []
    features, probabilities = [], []
    for first in range(0, len(candidates), _BATCH):
        pixels = []
        for candidate in candidates[first : first + _BATCH]:
            try:
                pixels.append(predictor.transform.pixels(candidate.image))
                kept.append(candidate)
            except ImageError as error:
                skipped.append(str(error))
        if pixels:
            images = model_input(torch.stack(pixels).to(predictor.device), predictor.spec)
            outputs = predictor.model.prediction_outputs(images)
            features.append(outputs.features[VISUAL].float().cpu())
            probabilities.append(predictor.task.probabilities(outputs.logits).float().cpu())
    if not kept:
        raise DataError(f"None of the {len(candidates)} images can be read, such as this one: {skipped[0]}")
    return _Read(kept, torch.cat(features).numpy(), torch.cat(probabilities).numpy(), skipped)
