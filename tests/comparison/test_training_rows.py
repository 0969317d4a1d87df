"""Budgets and placebos change training rows alone, in the way that they say."""

from collections import Counter, defaultdict

import pytest

from marnet.comparison.training_rows import derangement, keep_labels, keep_texts, repeat_one_text, shuffle_texts
from marnet.data.manifest import Manifest, Record
from marnet.errors import DataError


def make(classes: int = 4, train: int = 20, *, blank_every: int = 5) -> Manifest:
    """Row i of class c has the text "c-i"; every fifth has none."""
    records = []
    for c in range(classes):
        for split, count in (("train", train), ("val", 6), ("test", 3)):
            for i in range(count):
                text = "" if blank_every and i % blank_every == 0 else f"{c}-{split}-{i}"
                records.append(Record(f"/data/{c}/{split}-{i}.png", text, f"class {c}", split))
    return Manifest(tuple(records), tuple(f"class {c}" for c in range(classes)), "made up")


def train(manifest: Manifest) -> list[Record]:
    return [record for record in manifest.records if record.split == "train"]


def others(manifest: Manifest) -> list[Record]:
    return [record for record in manifest.records if record.split != "train"]


@pytest.mark.parametrize(
    "change",
    [lambda m, s: keep_labels(m, 0.3, s), lambda m, s: keep_texts(m, 0.3, s), shuffle_texts, repeat_one_text],
)
def test_only_training_rows_are_touched_and_the_seed_decides(change) -> None:  # type: ignore[no-untyped-def]
    manifest = make()
    changed = change(manifest, 0)
    assert others(changed) == others(manifest)
    assert changed.classes == manifest.classes
    assert train(changed) != train(manifest)
    assert change(manifest, 0) == changed
    assert change(manifest, 1) != changed


def test_the_label_budget_is_kept_class_by_class_and_nested() -> None:
    manifest = make()
    quarter, half = (train(keep_labels(manifest, share, 3)) for share in (0.25, 0.5))
    assert Counter(row.label for row in quarter) == dict.fromkeys(manifest.classes, 5)
    assert Counter(row.label for row in half) == dict.fromkeys(manifest.classes, 10)
    assert set(quarter) < set(half) < set(train(manifest))
    assert keep_labels(manifest, 1.0, 3) == manifest


def test_no_class_is_left_without_a_label() -> None:
    assert Counter(row.label for row in train(keep_labels(make(), 0.001, 0))) == dict.fromkeys(make().classes, 1)


def test_the_text_budget_blanks_texts_and_drops_no_row() -> None:
    manifest = make()  # 80 training rows, of which 64 have a text
    quarter, half = (train(keep_texts(manifest, share, 3)) for share in (0.25, 0.5))
    assert len(quarter) == len(half) == 80
    assert sum(bool(row.text) for row in quarter) == 16
    assert sum(bool(row.text) for row in half) == 32
    for new, old in zip(quarter, train(manifest), strict=True):
        assert new == old or new == old._replace(text="")
    assert {row for row in quarter if row.text} < {row for row in half if row.text}
    assert sum(bool(row.text) for row in train(keep_texts(manifest, 0.001, 3))) == 1


def test_shuffled_texts_come_from_one_other_class() -> None:
    manifest = make(classes=5, train=60)
    shuffled = shuffle_texts(manifest, 0)
    givers = defaultdict(set)
    own = {record.text: record.label for record in train(manifest) if record.text}
    for new, old in zip(train(shuffled), train(manifest), strict=True):
        assert new._replace(text="") == old._replace(text="")
        assert bool(new.text) == bool(old.text)  # blank texts stay blank
        if new.text:
            givers[old.label].add(own[new.text])
    assert all(len(found) == 1 for found in givers.values())
    pairs = {label: next(iter(found)) for label, found in givers.items()}
    assert set(pairs.values()) == set(manifest.classes)
    assert all(label != giver for label, giver in pairs.items())
    # Rows of one class get many different ones of the giver's 48 texts, at random and not row by row.
    texts = [row.text for row in train(shuffled) if row.label == "class 0" and row.text]
    assert 20 < len(set(texts)) < 48


def test_a_class_with_one_text_gets_one_text() -> None:
    records = tuple(Record(f"/{c}-{i}.png", f"all about {c}", c, "train") for c in "abc" for i in range(4))
    shuffled = shuffle_texts(Manifest(records, tuple("abc"), "made up"), 7)
    by_class = defaultdict(set)
    for row in shuffled.records:
        by_class[row.label].add(row.text)
    assert all(len(texts) == 1 for texts in by_class.values())
    assert all(texts != {f"all about {label}"} for label, texts in by_class.items())


def test_classes_without_texts_take_no_part() -> None:
    rows = [Record("/a.png", "of a", "a", "train"), Record("/b.png", "of b", "b", "train")]
    silent = Record("/c.png", "", "c", "train")
    shuffled = shuffle_texts(Manifest((*rows, silent), ("a", "b", "c"), "made up"), 0)
    assert [row.text for row in shuffled.records] == ["of b", "of a", ""]
    with pytest.raises(DataError, match="made up has training texts in 1 of its classes, but shuffling"):
        shuffle_texts(Manifest((rows[0], silent), ("a", "c"), "made up"), 0)


@pytest.mark.parametrize("count", [2, 3, 5, 81])
def test_a_derangement_leaves_nothing_in_its_place(count: int) -> None:
    names = [str(number) for number in range(count)]
    for seed in range(20):
        found = derangement(names, seed)
        assert list(found) == names
        assert sorted(found.values()) == sorted(names)
        assert all(a != b for a, b in found.items())


def test_derangements_are_drawn_evenly() -> None:
    """Of three names there are two derangements, of four there are nine."""
    for names, possible in (("abc", 2), ("abcd", 9)):
        counts = Counter("".join(derangement(names, seed).values()) for seed in range(1800))
        assert len(counts) == possible
        assert max(counts.values()) < 1.35 * 1800 / possible


def test_a_constant_text_is_one_of_the_training_texts_and_blank_ones_stay_blank() -> None:
    manifest = make()
    before, after = train(manifest), train(repeat_one_text(manifest, 0))
    (text,) = {row.text for row in after if row.text}
    assert text in {row.text for row in before}
    assert [row._replace(text=text) if row.text else row for row in before] == after


def test_rows_without_any_text_have_none_to_repeat() -> None:
    manifest = make(blank_every=1)
    assert repeat_one_text(manifest, 0) == manifest


class TestKeptWithoutTheirLabels:
    def test_the_rest_of_the_training_rows_loses_its_labels_alone(self) -> None:
        manifest = make()
        dropped, kept = keep_labels(manifest, 0.3, 0), keep_labels(manifest, 0.3, 0, keep_unlabelled=True)
        assert kept.splits() == {**dropped.splits(), "unlabelled": 4 * 14}
        assert [record for record in kept.records if record.split != "unlabelled"] == list(dropped.records)
        assert {record.label for record in kept.split("unlabelled")} == {""}
        was = {record.image: record for record in manifest.records}
        assert all(record.text == was[record.image].text for record in kept.records)
        assert [record.image for record in kept.records] == [record.image for record in manifest.records]

    def test_shuffling_permutes_the_texts_of_all_training_rows_and_tells_no_class(self) -> None:
        """Else a class would keep the texts of one other class, by which a teacher could tell it."""
        kept = keep_labels(make(blank_every=0), 0.3, 0, keep_unlabelled=True)
        shuffled = shuffle_texts(kept, 0)
        seen = [record for record in shuffled.records if record.split in ("train", "unlabelled")]
        before = [record for record in kept.records if record.split in ("train", "unlabelled")]
        assert Counter(record.text for record in seen) == Counter(record.text for record in before)
        assert [record._replace(text="") for record in seen] == [record._replace(text="") for record in before]
        assert [record for record in shuffled.records if record not in seen] == [
            record for record in kept.records if record not in before
        ]
        own = Counter((record.image.split("/")[2], record.text.split("-")[0]) for record in seen)
        assert len(own) == 16  # every class has texts of every class
        assert shuffle_texts(kept, 0) == shuffled != shuffle_texts(kept, 1)

    def test_budgets_and_placebos_of_texts_count_them(self) -> None:
        kept = keep_labels(make(blank_every=0), 0.3, 0, keep_unlabelled=True)
        texts = [record.text for record in keep_texts(kept, 0.25, 0).records if record.split in ("train", "unlabelled")]
        assert sum(map(bool, texts)) == 20
        assert len({record.text for record in repeat_one_text(kept, 0).split("unlabelled")}) == 1
