"""The file of an index: equal when read back, whatever the names hold, and refused when it is damaged."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from marnet.errors import RunDirectoryError
from marnet.runs.tensor_files import save_tensors
from marnet.semantic.search.index_file import StoredIndex, read_index, write_index

NAMES = ("/a/ä\ud800\n.jpg", "/b/'\"\\.jpg", "shard.tar!1+2!c.jpg")


def stored() -> StoredIndex:
    random = np.random.default_rng(0)
    return StoredIndex(
        run="0123",
        branch="alignment",
        source="photos \udcff",
        features="",
        images=NAMES,
        texts=(("red\u2028", "green"), (), ("red\u2028",)),
        unreadable=("/d.jpg",),
        vectors=random.random((3, 4), np.float32),
        text_vectors=random.random((2, 4), np.float32),
        stamps=np.arange(8).reshape(4, 2),
    )


def test_read_back_equal_and_written_equal(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "below" / "x.index"
    write_index(stored(), file)
    found = read_index(file)
    for name, value in stored()._asdict().items():
        own = getattr(found, name)
        assert np.array_equal(own, value) if isinstance(value, np.ndarray) else own == value, name
    write_index(stored(), tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == file.read_bytes()


TENSORS: dict[str, Any] = {
    "images": torch.zeros(1, 2),
    "texts": torch.zeros(0, 2),
    "stamps": torch.zeros(1, 2, dtype=torch.int64),
    "names": torch.tensor(
        list(json.dumps({"images": ["a"], "texts": [[]], "unreadable": []}).encode()), dtype=torch.uint8
    ),
}
METADATA = {"format": "marnet-index", "version": "1", "run": "0", "branch": "b", "source": '""', "features": '""'}


@pytest.mark.parametrize(
    ("tensors", "metadata", "message"),
    [
        ({"images": torch.zeros(2, 2)}, {}, "its 1 names do not fit its vectors"),
        ({"images": torch.full((1, 2), torch.nan)}, {}, "a vector is not finite"),
        ({"images": torch.zeros(1, 2, dtype=torch.float64)}, {}, "does not hold the tensors"),
        ({"stamps": torch.zeros(2, 2, dtype=torch.int64)}, {}, "do not fit"),
        ({"names": torch.zeros(3, dtype=torch.uint8)}, {}, "its names cannot be read"),
        ({"more": torch.zeros(1)}, {}, "does not hold the tensors"),
        ({}, {"source": "{"}, "its names cannot be read"),
        ({}, {"source": "1"}, "'1' is no text"),
        ({}, {"version": "2"}, "has version '2' .*Update marnet"),
        ({}, {"format": "pt"}, "is no index of a search"),
    ],
)
def test_damaged_files_are_refused(
    tensors: dict[str, Any], metadata: dict[str, str], message: str, tmp_path: Path
) -> None:
    save_tensors(tmp_path / "whole", TENSORS, METADATA)
    assert read_index(tmp_path / "whole").images == ("a",)
    save_tensors(tmp_path / "x", TENSORS | tensors, METADATA | metadata)
    with pytest.raises(RunDirectoryError, match=message):
        read_index(tmp_path / "x")


def test_a_missing_or_short_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="not a regular file"):
        read_index(tmp_path / "none")
    write_index(stored(), tmp_path / "x")
    (tmp_path / "x").write_bytes((tmp_path / "x").read_bytes()[:-4])
    with pytest.raises(RunDirectoryError, match="do not fill"):
        read_index(tmp_path / "x")


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirectoryError, match=r"cannot be made.*another `index`"):
        write_index(stored(), tmp_path / "file" / "x")
