"""The vectors of texts on disk."""

import logging
from pathlib import Path

import numpy as np
import pytest

from marnet.encoders.text_cache import EmbeddingCache


def vectors(*texts: str, seed: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {text: generator.normal(size=4).astype(np.float32) for text in texts}


def test_what_is_kept_is_read_by_another_run(tmp_path: Path) -> None:
    first, second = vectors("a", "b, ü"), vectors("c", seed=1)
    EmbeddingCache(tmp_path, "encoder").append(first)
    EmbeddingCache(tmp_path, "encoder").append(second)
    found = EmbeddingCache(tmp_path, "encoder").read(["c", "nothing", "b, ü", "c"])
    assert list(found) == ["c", "b, ü"]
    assert (found["c"] == second["c"]).all()
    assert (found["b, ü"] == first["b, ü"]).all()
    assert [path.suffix for path in (tmp_path / "texts").iterdir()] == [".safetensors"]


def test_encoders_do_not_share(tmp_path: Path) -> None:
    EmbeddingCache(tmp_path, "one").append(vectors("a"))
    assert EmbeddingCache(tmp_path, "other").read(["a"]) == {}


def test_the_texts_themselves_are_not_in_the_file(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, "encoder")
    cache.append(vectors("a secret recipe"))
    assert b"secret" not in cache.file.read_bytes()


def test_a_damaged_file_counts_as_empty_and_is_replaced(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, "encoder")
    cache.append(vectors("a"))
    cache.file.write_bytes(cache.file.read_bytes()[:20])
    assert cache.read(["a"]) == {}
    cache.append(vectors("b"))
    assert list(cache.read(["a", "b"])) == ["b"]


def test_where_nothing_can_be_written_work_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "texts").write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING, "marnet"):
        EmbeddingCache(tmp_path, "encoder").append(vectors("a"))
    assert "The text vectors cannot be kept in" in caplog.text
