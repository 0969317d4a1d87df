"""A data source that cannot be found: what it seems to be, and what may be meant."""

from pathlib import Path

import pytest

from marnet.data.sources import load_source
from marnet.errors import DataError


def refusal(source: str) -> str:
    with pytest.raises(DataError) as error:
        load_source(source)
    return str(error.value)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "products.csv").write_text("image,label\n")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("source", ["s3://bucket/rows.csv", "https://example.org/a.csv", "gs://b", "hf://d/x"])
def test_an_address_is_named_as_one(source: str) -> None:
    said = refusal(source)
    assert said.startswith(
        f"Data source {source!r} is an address ({source.split(':', maxsplit=1)[0]}://), but marnet does not read"
    )
    assert "hf-dataset:NAME" in said


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("data/products", " Did you mean 'data/products.csv'? Expected"),
        ("data\\products.csv", "does not exist"),
        ("data\\products", " Folders are separated by / here, not by backslashes. Expected"),
        ("data\\", " Did you mean 'data'? Backslashes separate no folders here. Expected"),
        ("data/prodcts", " Did you mean 'products.csv'? Expected"),
        ("imagefoldr", " Did you mean 'imagefolder'? Expected"),
        ("x" * 300, "cannot be used: File name too long. Check the path."),
        ("~nobody-of-that-name/a", "begins with the home folder of a user that does not exist here"),
        ("a\0b.csv", "holds a null character"),
    ],
)
def test_a_path_is_hinted_at(source: str, hint: str) -> None:
    assert hint in refusal(source)
