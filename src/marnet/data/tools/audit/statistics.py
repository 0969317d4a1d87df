"""What a data source holds: splits, classes, texts, image sizes; and how often an identity mask would be wrong."""

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from marnet.choices import LabelForm
from marnet.data.formats import open_picture
from marnet.data.groups import split_warnings
from marnet.data.image_bytes import open_bytes
from marnet.data.images import without_pillow_limit
from marnet.data.labels import label_names
from marnet.data.manifest import Manifest, Record
from marnet.errors import DataError

_ORIENTATION = 0x0112  # the EXIF tag; 5 to 8 lie on their side
_HEADER_THREADS = 8  # reading headers waits for the disk, not for the processor


class Spread(NamedTuple):
    """The smallest, the middle and the largest of some numbers."""

    min: float
    median: float
    max: float


class TextStatistics(NamedTuple):
    """The texts of some rows; words are separated by white space."""

    words: Spread | None  # of the rows that have a text; None where none has
    unique: int  # different texts, blank ones not counted
    blank: int  # rows without a text
    own_share: float  # of all rows: those whose text no other of these rows has


class SplitStatistics(NamedTuple):
    """Some rows of a manifest."""

    images: int
    classes: int  # with at least one image here
    images_per_class: Spread  # over these classes
    classes_per_image: Spread
    without_class: int  # images
    texts: TextStatistics


class SizeStatistics(NamedTuple):
    """Image sizes in pixels, upright, as the files' headers tell."""

    width: Spread
    height: Spread
    short_side: Spread
    unreadable: int  # files whose header cannot be read


class SourceStatistics(NamedTuple):
    """The numbers that 'marnet data info' prints."""

    source: str
    label_form: LabelForm
    classes: int
    splits: dict[str, SplitStatistics]
    total: SplitStatistics
    sizes: SizeStatistics | None  # None if no header can be read
    notes: tuple[str, ...]
    warnings: tuple[str, ...] = ()  # groups and texts in more than one split


class FalseNegatives(NamedTuple):
    """The errors of an identity mask in a batch: pairs of different rows whose texts are equal."""

    batch_size: int
    pair_share: float  # of the pairs of different rows with text: expected share with equal texts
    per_row: float  # expected number of other rows of the batch with the same text, for a row with text
    rows_share: float  # of the rows with text: expected share with at least one such other row


def describe(manifest: Manifest) -> SourceStatistics:
    """Count what a manifest holds; of the images only the headers are read.

    Raises:
        DataError: the manifest has no rows.
    """
    if not manifest.records:
        raise DataError(f"{manifest.source} has no rows. It must have one per image.")
    splits = {name: describe_rows(manifest.split(name), manifest.label_form) for name in manifest.splits()}
    return SourceStatistics(
        manifest.source,
        manifest.label_form,
        len(manifest.classes),
        splits,
        describe_rows(manifest.records, manifest.label_form),
        image_sizes({record.image for record in manifest.records}),
        manifest.notes,
        tuple(split_warnings(manifest)),
    )


def describe_rows(records: Sequence[Record], form: LabelForm = "single") -> SplitStatistics:
    """Count images, classes and texts of one or more rows."""
    names = [label_names(record.label, form) for record in records]
    per_class = Counter(name for own in names for name in own)
    return SplitStatistics(
        len(records),
        len(per_class),
        spread(per_class.values() or [0]),
        spread(map(len, names)),
        sum(not own for own in names),
        describe_texts([record.text for record in records]),
    )


def describe_texts(texts: Sequence[str]) -> TextStatistics:
    """Count words and repetitions of texts, "" for none."""
    counts = Counter(text for text in texts if text.strip())
    words = [len(text.split()) for text in counts.elements()]
    own = sum(count == 1 for count in counts.values())
    return TextStatistics(
        spread(words) if words else None, len(counts), len(texts) - len(words), own / len(texts) if texts else 0.0
    )


def image_sizes(paths: Iterable[str]) -> SizeStatistics | None:
    """Sizes of image files by their headers, side by side in threads; None if none can be read."""
    with ThreadPoolExecutor(_HEADER_THREADS) as pool:
        found = list(pool.map(_header_size, paths))
    sizes = [size for size in found if size is not None]
    if not sizes:
        return None
    widths, heights = zip(*sizes, strict=True)
    return SizeStatistics(spread(widths), spread(heights), spread(map(min, sizes)), len(found) - len(sizes))


def spread(numbers: Iterable[float]) -> Spread:
    """Return the extremes and the median of at least one number."""
    ordered = sorted(numbers)
    return Spread(ordered[0], statistics.median(ordered), ordered[-1])


def false_negatives(texts: Sequence[str], batch_size: int) -> FalseNegatives | None:
    """Return the errors that the identity mask of CLIP would make on batches of these texts; None without texts (ours).

    Exact expectations over batches of B of all N rows drawn without replacement. Blank texts take seats in the batch
    but are matched to nothing. A row whose text stands in n rows meets another one of them in its batch with
    probability 1 - C(N - n, B - 1) / C(N - 1, B - 1).

    Args:
        texts: of the N training rows.
        batch_size: B, cut to N.

    Raises:
        ValueError: the batch size is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"`batch_size` is {batch_size}, but it must be 1 or more.")
    total, batch = len(texts), min(batch_size, len(texts))
    sharing = Counter(Counter(text for text in texts if text.strip()).values())  # rows with a text -> such texts
    rows = sum(count * times for count, times in sharing.items())
    if rows == 0:
        return None
    partners = sum((count - 1) * count * times for count, times in sharing.items()) / rows  # mean over rows
    others = np.arange(batch - 1)  # the seats beside the row, filled one after another
    met = 0.0
    for count, times in sharing.items():
        alone = np.prod(np.clip(total - count - others, 0, None) / (total - 1 - others))
        met += count * times * (1.0 - float(alone))
    return FalseNegatives(
        batch,
        partners / (rows - 1) if rows > 1 else 0.0,
        partners * (batch - 1) / (total - 1) if total > 1 else 0.0,
        met / rows,
    )


def _header_size(path: str) -> tuple[int, int] | None:
    try:
        with open_bytes(path) as file, without_pillow_limit(), open_picture(file) as picture:
            width, height = picture.size
            lying = picture.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
    except Exception:  # damaged bytes make Pillow raise almost anything; 'marnet data check' names them
        return None
    return (height, width) if lying else (width, height)
