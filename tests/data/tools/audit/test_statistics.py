"""What `marnet data info` counts, and the expected false negatives of an identity mask."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from marnet.data.manifest import Manifest, Record
from marnet.data.tools.audit.statistics import (
    Spread,
    describe,
    describe_rows,
    describe_texts,
    false_negatives,
    image_sizes,
)
from marnet.errors import DataError


def test_describe(tmp_path: Path) -> None:
    for number, size in enumerate([(10, 20), (30, 20), (50, 40)]):
        Image.new("RGB", size, "red").save(tmp_path / f"{number}.png")
    (tmp_path / "3.png").write_bytes(b"no image")
    rows = [
        ("red round", "apple", "train"),
        ("red round", "apple", "train"),
        ("green", "lime", "train"),
        (" ", "apple", "val"),
    ]
    records = tuple(Record(str(tmp_path / f"{number}.png"), *row) for number, row in enumerate(rows))
    found = describe(Manifest(records, ("apple", "lime"), "rows.csv", ("a note",)))

    assert list(found.splits) == ["train", "val"]
    train, val = found.splits.values()
    assert (train.images, train.classes, train.images_per_class) == (3, 2, Spread(1, 1.5, 2))
    assert (train.texts.words, train.texts.unique, train.texts.blank) == (Spread(1, 2, 2), 2, 0)
    assert train.texts.own_share == pytest.approx(1 / 3)
    assert (val.texts.words, val.texts.unique, val.texts.blank, val.texts.own_share) == (None, 0, 1, 0.0)
    assert (found.total.images, found.total.texts.blank, found.total.texts.own_share) == (4, 1, 0.25)
    assert found.sizes is not None
    assert (found.sizes.width, found.sizes.height) == (Spread(10, 30, 50), Spread(20, 20, 40))
    assert (found.sizes.short_side, found.sizes.unreadable) == (Spread(10, 20, 40), 1)
    assert found.notes == ("a note",)


def test_an_empty_manifest_is_refused() -> None:
    with pytest.raises(DataError, match=r"nothing\.csv has no rows\. It must have one per image\."):
        describe(Manifest((), (), "nothing.csv"))


def test_a_turned_image_is_measured_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 10)).save(tmp_path / "turned.jpg", exif=exif)
    found = image_sizes([str(tmp_path / "turned.jpg")])
    assert found is not None
    assert (found.width.max, found.height.max) == (10, 40)


def test_no_readable_header() -> None:
    assert image_sizes(["/missing.jpg"]) is None


def test_texts_of_no_rows() -> None:
    assert describe_texts([]) == (None, 0, 0, 0.0)


def test_false_negatives_by_hand() -> None:
    """Texts a, a, b: of the three pairs one is equal; in a batch of two, a meets a with probability 1/2."""
    found = false_negatives(["a", "a", "b"], 2)
    assert found is not None
    assert found.batch_size == 2
    assert found.pair_share == pytest.approx(1 / 3)
    assert found.per_row == pytest.approx((0.5 + 0.5 + 0) / 3)
    assert found.rows_share == pytest.approx((0.5 + 0.5 + 0) / 3)


@pytest.mark.parametrize("batch_size", [2, 7, 30, 64])
@pytest.mark.parametrize("blank", [0, 15])
def test_false_negatives_against_simulation(batch_size: int, blank: int) -> None:
    texts = [f"text {number}" for number, count in enumerate([1, 1, 1, 2, 5, 9, 14]) for _ in range(count)] + [
        ""
    ] * blank
    codes = np.unique(texts, return_inverse=True)[1]
    filled = np.array([bool(text) for text in texts])
    found = false_negatives(texts, batch_size)
    assert found is not None
    size = min(batch_size, len(texts))
    assert found.batch_size == size

    generator = np.random.default_rng(0)
    rows = pairs = equal = hit = 0
    for _ in range(6000):
        chosen = generator.choice(len(texts), size, replace=False)
        chosen = chosen[filled[chosen]]
        same = codes[chosen][:, None] == codes[chosen][None]
        others = same.sum(1) - 1
        rows += len(chosen)
        pairs += len(chosen) * (len(chosen) - 1)
        equal += int(others.sum())
        hit += int((others > 0).sum())
    assert found.pair_share == pytest.approx(equal / pairs, rel=0.06)
    assert found.per_row == pytest.approx(equal / rows, rel=0.06)
    assert found.rows_share == pytest.approx(hit / rows, rel=0.06)


def test_false_negatives_at_the_edges() -> None:
    assert false_negatives(["", " "], 4) is None
    assert false_negatives([], 4) is None
    assert false_negatives(["a"], 4) == (1, 0.0, 0.0, 0.0)
    assert false_negatives(["a", "a"], 1) == (1, 1.0, 0.0, 0.0)
    assert false_negatives(["a", "b", "c"], 64) == (3, 0.0, 0.0, 0.0)
    assert false_negatives(["a"] * 10, 64) == (10, 1.0, 9.0, 1.0)
    with pytest.raises(ValueError, match=r"`batch_size` is 0, but it must be 1 or more\."):
        false_negatives(["a"], 0)


def test_several_classes_an_image_are_counted_each() -> None:
    labels = ["apple, lime", "apple", "", "apple"]
    rows = [Record(f"/{number}.png", "", label, "train") for number, label in enumerate(labels)]
    found = describe_rows(rows, "multi")
    assert (found.images, found.classes, found.images_per_class) == (4, 2, Spread(1, 2, 3))
    assert (found.classes_per_image, found.without_class) == (Spread(0, 1, 2), 1)
    assert describe_rows(rows[2:3], "multi").images_per_class == Spread(0, 0, 0)
