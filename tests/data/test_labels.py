"""What a label names, by form."""

import re

import numpy as np
import pytest

from marnet.data.labels import (
    canonical_label,
    comma_notes,
    label_names,
    list_classes,
    multi_hot,
    number_classes,
    numbered_classes,
)
from marnet.errors import DataError


@pytest.mark.parametrize(
    ("label", "names"),
    [
        ("tomato, basil", ("tomato", "basil")),
        ("tomato,basil ,", ("tomato", "basil")),
        ("olive oil", ("olive oil",)),
        ("", ()),
        (" , ", ()),
    ],
)
def test_the_names_of_a_list(label: str, names: tuple[str, ...]) -> None:
    assert label_names(label, "multi") == names
    assert label_names(label, "single") == ((label,) if label else ())


def test_equal_sets_are_equal_labels() -> None:
    assert canonical_label("dish 10,dish 2, dish 10", "multi") == canonical_label("dish 2, dish 10", "multi")
    assert canonical_label("dish 10,dish 2", "multi") == "dish 2, dish 10"
    assert canonical_label("dish 10,dish 2", "single") == "dish 10,dish 2"


def test_classes_of_a_list_are_its_parts() -> None:
    labels = ["b, a 10", "", "a 2, b"]
    assert list_classes(labels, "multi") == ("a 2", "a 10", "b")
    assert list_classes(labels, "single") == ("a 2, b", "b, a 10")


def test_multi_hot_worked_by_hand() -> None:
    found = multi_hot(["b, a", "", "c", "b"], ("a", "b", "c"))
    assert found.dtype == np.float32
    assert found.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1], [0, 1, 0]]


def test_unknown_names_are_counted() -> None:
    sentence = "Some labels are not among the 2 classes: 'x' (2 rows). Expected labels such as 'a', 'b'."
    for refuse in (lambda: multi_hot(["a, x", "x"], ("a", "b")), lambda: number_classes(["x", "x"], ("a", "b"))):
        with pytest.raises(DataError, match=re.escape(sentence)):
            refuse()


def test_numbers_of_lists() -> None:
    assert numbered_classes(["b, a", "", "c, b"], ["2, 0", "", "10,2"], "multi") == ("a", "b", "c")


@pytest.mark.parametrize(
    ("labels", "numbers"),
    [
        (["a, b"], ["0"]),  # too few
        (["a", "a, b"], ["0", "1, 2"]),  # a has two
        (["a", "b"], ["0", "0"]),  # one for two
        (["a"], ["first"]),
    ],
)
def test_numbers_that_number_nothing(labels: list[str], numbers: list[str]) -> None:
    assert numbered_classes(labels, numbers, "multi") is None


def test_many_commas_are_worth_a_note() -> None:
    labels = ["soup"] * 9 + ["tomato, basil"]
    (note,) = comma_notes("rows.csv", labels, "single")
    assert note == (
        "rows.csv: 1 of 10 labels hold a comma, such as 'tomato, basil', and each counts as one class. If they list "
        "several classes, set `data.labels=multi`."
    )
    assert comma_notes("rows.csv", labels, "multi") == []
    assert comma_notes("rows.csv", [*labels, "soup"], "single") == []  # fewer than one in ten
    assert comma_notes("rows.csv", ["soup,"] * 9, "single") == []  # nothing on one side
