"""Names of splits and the stratified split."""

import random
from collections import Counter

import pytest

from marnet.data.splits import normalise_split, split_by_classes, stratified_split
from marnet.errors import DataError


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train", "train"), ("Training", "train"), ("val", "val"), ("valid", "val"), ("validation", "val"),
        ("DEV", "val"), ("test", "test"), (" testing ", "test"), ("trian", None), ("", None),
    ],
)  # fmt: skip
def test_split_names(name: str, expected: str | None) -> None:
    assert normalise_split(name) == expected


def split(sizes: dict[str, int], **options: float) -> dict[str, Counter[str]]:
    rows = [(f"{label}/{number}.jpg", label) for label, size in sizes.items() for number in range(size)]
    settings = {"val_share": 0.15, "test_share": 0.15, "seed": 0, **options}
    found = stratified_split([row[0] for row in rows], [row[1] for row in rows], **settings)  # type: ignore[arg-type]
    counts: dict[str, Counter[str]] = {label: Counter() for label in sizes}
    for (_, label), name in zip(rows, found, strict=True):
        counts[label][name] += 1
    return counts


def test_every_class_is_split_by_the_shares() -> None:
    counts = split({"a": 100, "b": 20})
    assert counts["a"] == {"train": 70, "val": 15, "test": 15}
    assert counts["b"] == {"train": 14, "val": 3, "test": 3}


def test_small_classes_serve_train_then_val_then_test() -> None:
    counts = split({"a": 1, "b": 2, "c": 3, "d": 4})
    assert counts["a"] == {"train": 1}
    assert counts["b"] == {"train": 1, "val": 1}
    assert counts["c"] == {"train": 1, "val": 1, "test": 1}
    assert counts["d"] == {"train": 2, "val": 1, "test": 1}


def test_large_shares_leave_train_its_image() -> None:
    assert split({"a": 3}, val_share=0.5, test_share=0.45)["a"] == {"train": 1, "val": 1, "test": 1}
    assert split({"a": 3}, val_share=0.45, test_share=0.5)["a"] == {"train": 1, "val": 1, "test": 1}
    assert split({"a": 10}, val_share=0.0, test_share=0.9)["a"] == {"train": 1, "test": 9}
    assert split({"a": 10}, test_share=0.0)["a"] == {"train": 8, "val": 2}


def test_the_order_of_rows_does_not_matter_and_the_seed_does() -> None:
    rows = [(f"{number:03d}.jpg", "ab"[number % 2]) for number in range(60)]
    shuffled = random.Random(1).sample(rows, len(rows))

    def by_image(order: list[tuple[str, str]], seed: int) -> dict[str, str]:
        images, labels = zip(*order, strict=True)
        found = stratified_split(images, labels, val_share=0.2, test_share=0.2, seed=seed)
        return dict(zip(images, found, strict=True))

    assert by_image(rows, 0) == by_image(shuffled, 0)
    assert by_image(rows, 0) != by_image(rows, 1)
    more = [*rows, ("new.jpg", "c"), ("newer.jpg", "c")]
    assert by_image(rows, 0).items() <= by_image(more, 0).items()


def test_rows_of_one_image_stay_together() -> None:
    images = [f"{number}.jpg" for number in range(20)] * 2
    found = stratified_split(images, ["a"] * 40, val_share=0.3, test_share=0.3, seed=0)
    assert found[:20] == found[20:]


@pytest.mark.parametrize(("val", "test"), [(0.5, 0.5), (-0.1, 0.1), (0.1, -0.1)])
def test_impossible_shares_are_refused(val: float, test: float) -> None:
    with pytest.raises(
        DataError, match=f"`data.val_share` is {val} and `data.test_share` {test}, but they must be 0 or more"
    ):
        stratified_split(["a"], ["a"], val_share=val, test_share=test, seed=0)


def test_rows_of_one_class_are_split_as_ever() -> None:
    rows = [(f"{number}.jpg", "abc"[number % 3]) for number in range(50)]
    images, labels = zip(*rows, strict=True)
    settings = {"val_share": 0.2, "test_share": 0.1, "seed": 3}
    found = split_by_classes(images, [(label,) for label in labels], **settings)  # type: ignore[arg-type]
    assert found == stratified_split(images, labels, **settings)  # type: ignore[arg-type]


def test_rows_of_several_classes_are_split_by_the_rarest() -> None:
    """`rare` always comes with `common`: by chance alone, four of 200 rows would often miss val or test."""
    names = [("common", "rare") if number < 4 else ("common",) if number < 150 else () for number in range(200)]
    for seed in range(10):
        found = split_by_classes(list(map(str, range(200))), names, val_share=0.15, test_share=0.15, seed=seed)
        assert Counter(found[:4]) == {"train": 2, "val": 1, "test": 1}
        assert Counter(found[4:150]) == {"train": 102, "val": 22, "test": 22}
        assert Counter(found[150:]) == {"train": 34, "val": 8, "test": 8}


def test_every_class_keeps_a_training_image_whatever_it_comes_with() -> None:
    """The rows of `shared` count as their rarer companions, and chance may send all of them to val and test."""
    names = [(other, "shared") if number == 0 else (other,) for other in "abc" for number in range(3)]
    images = list(map(str, range(len(names))))
    gone = 0
    for seed in range(60):
        found = split_by_classes(images, names, val_share=0.3, test_share=0.3, seed=seed)
        by_group = stratified_split(images, [row[0] for row in names], val_share=0.3, test_share=0.3, seed=seed)
        gone += "train" not in (by_group[0], by_group[3], by_group[6])
        learned = {name for row, split in zip(names, found, strict=True) if split == "train" for name in row}
        assert learned == {"a", "b", "c", "shared"}
        assert sum(one != other for one, other in zip(found, by_group, strict=True)) <= 1
    assert gone > 5  # the case occurs
