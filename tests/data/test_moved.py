"""Images that a run knows by old paths: said with a way out, and found again for resuming."""

from pathlib import Path

import pytest

from marnet.data.manifest import Manifest, Record
from marnet.data.moved import moved_rows, refuse_missing_images
from marnet.errors import DataError


def rows(folder: Path, count: int = 8) -> tuple[Record, ...]:
    return tuple(
        Record(str(folder / f"{number}.png"), f"text {number}", "ab"[number % 2], "train") for number in range(count)
    )


def test_missing_images_are_counted_and_five_are_named(tmp_path: Path) -> None:
    records = rows(tmp_path)
    (tmp_path / "0.png").touch()
    with pytest.raises(DataError) as error:
        refuse_missing_images(records, "The run R, split 'val'", skip=False)
    said = str(error.value)
    assert said.startswith("The run R, split 'val', has 8 images, of which 7 do not exist any more:\n  ")
    assert [f"{number}.png" in said for number in range(8)] == [False, *[True] * 5, False, False]
    assert "... and 2 more" in said
    assert error.value.settings == ("data",)


def test_skipped_images_may_be_missing_but_not_all(tmp_path: Path) -> None:
    records = rows(tmp_path)
    with pytest.raises(DataError, match="of which 8 do not exist"):
        refuse_missing_images(records, "The run R", skip=True)
    (tmp_path / "0.png").touch()
    refuse_missing_images(records, "The run R", skip=True)
    refuse_missing_images(records[:1], "The run R", skip=False)


def test_rows_are_found_at_the_new_place(tmp_path: Path) -> None:
    old = Manifest(rows(tmp_path / "a"), ("b", "a"), source="old")
    new = Manifest(rows(tmp_path / "b"), ("a", "b"), source="new")
    found = moved_rows(old, new)
    assert found.records == new.records
    assert found.classes == ("b", "a")  # their order numbers what the run has learned


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"text": "another"}, "; row 3 is the first that differs"),
        ({"label": "b"}, "; row 3 is the first that differs"),
        ({"split": "val"}, "; row 3 is the first that differs"),
        ({"image": "/b/x.png"}, "; row 3 is the first that differs"),
        (None, r"new has 7 rows that are not the 8 rows of the run\. A run is resumed"),
    ],
)
def test_other_rows_are_refused(change: dict[str, str] | None, said: str, tmp_path: Path) -> None:
    records = rows(tmp_path / "b")
    changed = records[:-1] if change is None else (*records[:2], records[2]._replace(**change), *records[3:])
    with pytest.raises(DataError, match=said):
        moved_rows(
            Manifest(rows(tmp_path / "a"), ("a", "b"), source="old"), Manifest(changed, ("a", "b"), source="new")
        )
