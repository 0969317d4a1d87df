"""The vectors of texts on disk."""

import logging
import subprocess
import sys
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
    assert [path.suffix for path in (tmp_path / "texts").iterdir()] == [".sqlite"]


def test_encoders_do_not_share(tmp_path: Path) -> None:
    EmbeddingCache(tmp_path, "one").append(vectors("a"))
    assert EmbeddingCache(tmp_path, "other").read(["a"]) == {}


def test_the_texts_themselves_are_not_in_the_file(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, "encoder")
    cache.append(vectors("a secret recipe"))
    assert b"secret" not in cache.file.read_bytes()


@pytest.mark.parametrize("left", [20, 5000, -1])
def test_a_damaged_file_counts_as_empty_and_is_replaced(
    left: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = EmbeddingCache(tmp_path, "encoder")
    many = vectors(*map(str, range(500)))
    cache.append(many)
    whole = cache.file.read_bytes()
    # cut short, or overwritten from the second page on
    cache.file.write_bytes(whole[:left] if left > 0 else whole[:4096] + bytes(len(whole) - 4096))
    with caplog.at_level(logging.WARNING, "marnet"):
        assert cache.read(list(many)) == {}
        assert "is damaged (" in caplog.text
        caplog.clear()
        cache.append(vectors("b"))
    assert list(cache.read(["1", "b"])) == ["b"]
    assert not caplog.records


def test_a_damaged_file_does_not_keep_new_vectors_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = EmbeddingCache(tmp_path, "encoder")
    cache.file.parent.mkdir()
    cache.file.write_bytes(b"this was written by something else, and is no data base" * 100)
    with caplog.at_level(logging.WARNING, "marnet"):
        cache.append(vectors("a"))
    assert list(cache.read(["a"])) == ["a"]
    assert "is damaged (file is not a database); it is started again" in caplog.text


def test_an_empty_file_and_more_texts_than_a_query_takes(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, "encoder")
    cache.file.parent.mkdir()
    cache.file.touch()
    assert cache.read(["a"]) == {}
    many = vectors(*map(str, range(2500)))
    cache.append(many)
    found = cache.read(list(many))
    assert list(found) == list(many)
    assert all((found[text] == many[text]).all() for text in many)


_WRITER = """
import sys, numpy as np
from pathlib import Path
from marnet.encoders.text_cache import EmbeddingCache
cache = EmbeddingCache(Path(sys.argv[1]), "encoder")
print("ready", flush=True)
sys.stdin.readline()
for number in range(40):
    cache.append({f"{sys.argv[2]} {number} {i}": np.full(4, number + i / 10) for i in range(5)})
"""


def test_two_processes_that_write_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "other")
    ]
    for writer in writers:  # both have imported everything before either of them starts
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=60)
        assert writer.returncode == 0
    texts = {f"{name} {n} {i}": n + i / 10 for name in ("one", "other") for n in range(40) for i in range(5)}
    found = EmbeddingCache(tmp_path, "encoder").read(list(texts))
    assert {text: float(vector[0]) for text, vector in found.items()} == pytest.approx(texts)


def test_where_nothing_can_be_written_work_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "texts").write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING, "marnet"):
        EmbeddingCache(tmp_path, "encoder").append(vectors("a"))
    assert "The text vectors cannot be kept in" in caplog.text
