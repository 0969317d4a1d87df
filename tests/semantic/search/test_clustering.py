"""An index of very many images: clusters are found when it is written, kept in its file, and used from there."""

import logging
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from marnet.errors import RunDirectoryError
from marnet.runs.tensor_files import load_tensors, read_header, save_tensors
from marnet.semantic.search.collection import Collection
from marnet.semantic.search.index import SearchIndex
from marnet.semantic.search.index_file import read_index
from marnet.semantic.space import UnifiedSpace, open_space

IMAGES = 400


@pytest.fixture(scope="module")
def space(trained_run: Path) -> UnifiedSpace:
    return open_space(trained_run, device="cpu")


@pytest.fixture
def index(space: UnifiedSpace, monkeypatch: pytest.MonkeyPatch) -> SearchIndex:
    """An index with more images, and more texts, than are searched exactly; every ninth text says nothing."""
    monkeypatch.setattr("marnet.semantic.search.clustering.EXACT_UP_TO", 100)
    random = np.random.default_rng(0)
    vectors = random.standard_normal((2, IMAGES, space.width)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    vectors[1, ::9] = 0
    names = tuple(f"/none/{number}.jpg" for number in range(IMAGES))
    texts = tuple((f"text {number}",) for number in range(IMAGES))
    return SearchIndex(space, Collection(names, texts, "photos"), vectors[0], vectors[1])


def without_faiss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)  # importing it fails


def test_clusters_are_kept_in_the_file(
    index: SearchIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("faiss")
    assert index.clusters == {}
    vectors, text_vectors = index.vectors, index.text_vectors
    with caplog.at_level(logging.INFO):
        path = index.save(tmp_path / "x.index")
    assert "Finding clusters of 400 images and 400 texts" in caplog.text
    assert {name: each.centroids.shape[0] for name, each in index.clusters.items()} == {"images": 80, "texts": 80}
    written = path.read_bytes()
    caplog.clear()
    index.save(path)  # the clusters are not sought again
    assert path.read_bytes() == written
    without_faiss(monkeypatch)
    again = SearchIndex.load(path, index.space)
    assert caplog.text == ""
    for name, each in again.clusters.items():
        for part, array in each._asdict().items():
            assert np.array_equal(array, getattr(index.clusters[name], part))
    assert np.array_equal(again.vectors, vectors)
    assert np.array_equal(again.text_vectors, text_vectors)
    for row in (0, 1, 399):
        found = again.nearest_to(index.vectors[row], top=2)
        assert found == index.nearest_to(index.vectors[row], top=2)
        assert found.images[0].image == f"/none/{row}.jpg"
        assert found.images[0].texts == (f"text {row}",)
    assert again.nearest_to(index.text_vectors[1], top=1).texts[0].text == "text 1"
    everything = again.nearest_to(index.text_vectors[1], top=IMAGES)
    assert len(everything.images) == IMAGES
    assert not {f"text {row}" for row in range(0, IMAGES, 9)} & {hit.text for hit in everything.texts}


def test_fewer_are_searched_exactly(
    index: SearchIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("marnet.semantic.search.clustering.EXACT_UP_TO", IMAGES)
    with caplog.at_level(logging.INFO):
        path = index.save(tmp_path / "x.index")
        assert SearchIndex.load(path, index.space).clusters == {}
    assert caplog.text == ""


def test_without_faiss_the_search_stays_exact_and_says_so_once(
    index: SearchIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("faiss")
    with monkeypatch.context() as patch:
        without_faiss(patch)
        path = index.save(tmp_path / "x.index")
        assert caplog.messages == [
            "A query is compared with each of 400 images and 400 texts. The extra faiss makes this faster: "
            "pip install 'marnet[faiss]'"
        ]
        assert index.clusters == {}
    caplog.clear()
    again = SearchIndex.load(path, index.space)
    (message,) = caplog.messages
    assert message.startswith(f"{path} was written without faiss, so that a query is compared with each of 400 images")
    assert again.nearest_to(index.vectors[7]) == index.nearest_to(index.vectors[7])
    again.save(path)  # as the message says
    caplog.clear()
    assert set(SearchIndex.load(path, index.space).clusters) == {"images", "texts"}
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("images.rows", torch.zeros(IMAGES, dtype=torch.int64), r"its clusters \(80, .*do not fit"),
        ("images.rows", torch.arange(IMAGES) + 1, "do not fit its vectors"),
        ("images.rows", torch.arange(IMAGES) - 1, "do not fit its vectors"),
        ("images.rows", torch.arange(IMAGES - 1), "do not fit its vectors"),
        ("images.rows", torch.arange(IMAGES, dtype=torch.int32), "does not hold the tensors of an index"),
        ("images.sizes", torch.full((80,), IMAGES), "do not fit its vectors"),
        ("images.sizes", torch.full((80,), -1), "do not fit its vectors"),
        ("images.sizes", torch.ones(79, dtype=torch.int64), "do not fit its vectors"),
        ("texts.centroids", torch.zeros(0, 1), "do not fit its vectors"),
        ("texts.centroids", torch.zeros(80, 1), "do not fit its vectors"),
        ("texts.centroids", None, "does not hold the tensors of an index"),
        ("texts.centroids", torch.tensor(torch.nan), "do not fit its vectors"),
    ],
)
def test_damaged_clusters_are_refused(
    name: str, value: torch.Tensor | None, message: str, index: SearchIndex, tmp_path: Path
) -> None:
    pytest.importorskip("faiss")
    path = index.save(tmp_path / "x.index")
    tensors = load_tensors(path)
    if value is None:
        del tensors[name]
    else:
        tensors[name] = torch.full_like(tensors[name], value.item()) if value.ndim == 0 else value
    save_tensors(path, tensors, read_header(path).metadata)
    with pytest.raises(RunDirectoryError, match=message):
        read_index(path)


def test_an_index_of_faiss_itself_is_no_index_of_a_search(index: SearchIndex, tmp_path: Path) -> None:
    faiss = pytest.importorskip("faiss")
    foreign = faiss.IndexFlatIP(4)
    foreign.add(np.eye(4, dtype=np.float32))
    path = tmp_path / "faiss.index"
    faiss.write_index(foreign, str(path))
    before = path.read_bytes()
    for call in (index.save, read_index):
        with pytest.raises(RunDirectoryError, match=r"not a whole safetensors file\. Name a file written by"):
            call(path)
    assert path.read_bytes() == before
