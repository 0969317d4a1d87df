"""An index finds what lies nearest, reads back what it wrote, and says when it does not fit any more."""

import logging
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import marnet
from marnet.errors import ConfigError, DataError, RunDirectoryError
from marnet.runs.identity import run_digest
from marnet.semantic.search.index import SearchIndex
from marnet.semantic.space import UnifiedSpace, open_space


@pytest.fixture(scope="module")
def space(trained_run: Path) -> UnifiedSpace:
    return open_space(trained_run, device="cpu")


@pytest.fixture(scope="module")
def index(space: UnifiedSpace) -> SearchIndex:
    return SearchIndex.build(space, split="val")


@pytest.fixture
def photos(manifest_file: Path, tmp_path: Path) -> Path:
    """A folder of four photos, one of them in a folder below, and a file that is no image."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for name, at in (
        ("apple-0.png", "a.png"),
        ("lime-0.png", "b.png"),
        ("eel-0.png", "c.png"),
        ("eel-1.png", "more/d.png"),
    ):
        shutil.copy(manifest_file.parent / name, folder / at)
    (folder / "notes.txt").write_text("no image")
    return folder


def test_finds_the_nearest_images_and_texts(index: SearchIndex, space: UnifiedSpace) -> None:
    rows = space.predictor.manifest().split("val")
    assert index.collection.images == tuple(row.image for row in rows)
    assert set(index.texts) == {"red, round", "green, round", "blue, long"}
    cosines = (space.images([row.image for row in rows]) @ space.texts(["blue"]).T)[:, 0].numpy()
    found = index.search("blue", top=4)
    assert [hit.image for hit in found.images] == [rows[row].image for row in np.argsort(-cosines, kind="stable")[:4]]
    assert [hit.cosine for hit in found.images] == pytest.approx(-np.sort(-cosines)[:4], abs=1e-5)
    assert [hit.texts for hit in found.images] == [
        (row.text,) if row.text else () for hit in found.images for row in rows if row.image == hit.image
    ]
    text = space.texts(["blue"]) @ space.texts([hit.text for hit in found.texts]).T
    assert [hit.cosine for hit in found.texts] == pytest.approx(text[0].tolist(), abs=1e-5)
    assert found.texts[0].text == "blue, long"
    assert {hit.text: hit.images for hit in found.texts} == dict.fromkeys(index.texts, 5)


def test_an_image_finds_itself_first(index: SearchIndex) -> None:
    for image in index.collection.images[::5]:
        best = index.search(image=image, top=1).images[0]
        assert (best.image, best.cosine) == (image, pytest.approx(1, abs=1e-5))
    with pytest.raises(ValueError, match="1 or more"):
        index.search("blue", top=0)


def test_words_find_the_images_that_show_them(salad_run: Path) -> None:
    """The planted truth: an image holds a patch of the colour of each of its classes, which texts name."""
    index = SearchIndex.build(salad_run, device="cpu")
    rows = index.space.predictor.manifest().records
    labels = {row.image: row.label.split(", ") for row in rows}

    def share(name: str, images: Iterable[str]) -> float:
        return float(np.mean([name in labels[image] for image in images]))

    for name, other in (("basil", "tomato"), ("blueberry", "basil"), ("tomato", "blueberry")):
        assert share(name, labels) < 0.5
        assert share(name, (hit.image for hit in index.search(name, top=10).images)) > 0.8, name
        starts = [image for image, names in labels.items() if names == [other]][:4]
        alike = [hit.image for image in starts for hit in index.search(image=image, top=8).images]
        assert share(name, alike) < 0.3, name
        text, without = f"salad of {name}", f"salad of {other}"
        changed = [index.search(text, image=image, without=without, top=8).images for image in starts]
        assert share(name, (hit.image for images in changed for hit in images)) > 0.7, name


def test_several_texts_of_an_image_are_all_its_own(space: UnifiedSpace, manifest_file: Path) -> None:
    image = str(manifest_file.parent / "apple-0.png")
    rows = [(image, text, "unheard of", "train") for text in ("red", "round", "", "red", "qwxyz")]
    index = SearchIndex.build(space, data=rows)
    assert index.collection.images == (image,)
    assert index.collection.texts == (("red", "round", "qwxyz"),)
    assert len(index.vectors) == 1
    found = index.search("red")
    assert [hit.text for hit in found.texts] == ["red", "round"]  # what says nothing to the encoder is not found


def test_a_folder_of_photos(space: UnifiedSpace, photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    (photos / "broken.jpg").write_bytes(b"no jpeg")
    with caplog.at_level(logging.WARNING):
        index = SearchIndex.build(space, images=photos)
    assert [os.path.relpath(image, photos) for image in index.collection.images] == [
        "a.png", "b.png", "c.png", "more/d.png",
    ]  # fmt: skip
    assert [Path(image).name for image in index.unreadable] == ["broken.jpg"]
    assert "1 of 5 images cannot be read" in caplog.text
    expected = space.images(list(index.collection.images)).numpy()
    assert np.allclose(index.vectors, expected, atol=1e-5)
    assert index.search(image=photos / "c.png", top=1).texts == ()
    listed = SearchIndex.build(space, images=[photos / "c.png", photos / "a.png"])
    assert np.allclose(listed.vectors, expected[[2, 0]], atol=1e-5)


def test_stored_features_give_what_the_images_give(manifest_file: Path, tmp_path: Path) -> None:
    settings = {"data": {"source": str(manifest_file), "image_size": 32}, "backbone": {"name": "timm:test_resnet"}}
    features = marnet.training.embed(marnet.make_config(settings), tmp_path / "features")
    small = {"data": {"features": str(features)}, "training": {"epochs": 1, "devices": "cpu"}}
    run = marnet.fit(marnet.make_config(small), tmp_path / "run").path
    stored = SearchIndex.build(run, features=features, split="val", device="cpu")
    decoded = SearchIndex.build(run, split="val", device="cpu")
    assert stored.collection.images == decoded.collection.images
    assert np.allclose(stored.vectors, decoded.vectors, atol=1e-5)
    assert len(SearchIndex.build(run, features=features, device="cpu").vectors) == 60
    assert marnet.evaluate(run, features=features, device="cpu") == pytest.approx(marnet.evaluate(run, device="cpu"))


def test_features_of_another_backbone_are_refused(space: UnifiedSpace, manifest_file: Path, tmp_path: Path) -> None:
    settings = {"data": {"source": str(manifest_file), "image_size": 32}, "backbone": {"name": "timm:test_resnet"}}
    features = marnet.training.embed(marnet.make_config(settings), tmp_path / "features")
    with pytest.raises(ConfigError, match="not those of the backbone"):
        SearchIndex.build(space, features=features)
    with pytest.raises(ConfigError, match="not those of the backbone"):
        marnet.evaluate(space.predictor, features=features)
    with pytest.raises(ConfigError, match="Both `data` and `features`"):
        marnet.evaluate(space.predictor, "x.csv", features=features)


def test_what_cannot_be_searched_is_refused(space: UnifiedSpace, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`images` and `features` both name"):
        SearchIndex.build(space, images=photos, features="features")
    with pytest.raises(ConfigError, match="`split` is 'val', but images"):
        SearchIndex.build(space, images=photos, split="val")
    with pytest.raises(DataError, match="is no folder of images"):
        SearchIndex.build(space, images=tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no image"):
        SearchIndex.build(space, images=tmp_path / "empty")
    with pytest.raises(DataError, match="no image to search"):
        SearchIndex.build(space, images=[])
    with pytest.raises(DataError, match="no rows in split 'test'"):
        SearchIndex.build(space, split="test")
    (tmp_path / "empty" / "a.jpg").write_bytes(b"no jpeg")
    with pytest.raises(DataError, match=r"1 of 1 images cannot be read.*At least one"):
        SearchIndex.build(space, images=tmp_path / "empty")


def test_an_index_is_read_back_equal(index: SearchIndex, space: UnifiedSpace, tmp_path: Path) -> None:
    path = index.save(tmp_path / "below" / "rows.index")
    again = SearchIndex.load(path, space)
    assert again.collection == index.collection
    assert np.array_equal(again.vectors, index.vectors)
    assert np.array_equal(again.text_vectors, index.text_vectors)
    assert again.search("blue") == index.search("blue")
    assert index.save(path) == path


def test_open_builds_once(space: UnifiedSpace, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (photos / "broken.jpg").write_bytes(b"no jpeg")
    built = SearchIndex.open(tmp_path / "photos.index", space, images=photos)
    (photos / "a.png").replace(tmp_path / "away.png")
    (tmp_path / "away.png").replace(photos / "a.png")  # the same file
    caplog.clear()
    read = SearchIndex.open(tmp_path / "photos.index", space, images=photos)
    bare = SearchIndex.open(tmp_path / "photos.index", space)
    assert read.collection == bare.collection == built.collection
    assert read.unreadable == built.unreadable
    assert np.array_equal(read.vectors, built.vectors)
    assert caplog.text == ""


def test_an_index_of_other_weights_is_refused(index: SearchIndex, trained_run: Path, tmp_path: Path) -> None:
    path = index.save(tmp_path / "rows.index")
    shutil.copytree(trained_run, tmp_path / "copy")
    assert run_digest(tmp_path / "copy") == run_digest(trained_run)
    assert len(SearchIndex.load(path, tmp_path / "copy", device="cpu").vectors) == 18
    with pytest.raises(ConfigError, match=r"other weights .*another branch"):
        SearchIndex.load(path, UnifiedSpace(index.space.predictor, branch="alignment"))
    weights = tmp_path / "copy" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ConfigError, match=r"rows\.index was computed with other weights.*Name another `index`"):
        SearchIndex.load(path, tmp_path / "copy", device="cpu")


def test_what_changed_since_is_told(
    space: UnifiedSpace, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "photos.index"
    SearchIndex.open(path, space, images=photos)
    Image.new("RGB", (50, 50)).save(photos / "a.png")
    (photos / "b.png").unlink()
    Image.new("RGB", (40, 40)).save(photos / "new.png")
    caplog.clear()
    assert len(SearchIndex.load(path, space).vectors) == 4
    assert "1 image is other than before (" in caplog.text
    assert "a.png" in caplog.text
    assert "1 image is gone (" in caplog.text
    assert "not in it" not in caplog.text
    caplog.clear()
    SearchIndex.open(path, space, images=photos)
    message = caplog.records[0].message
    assert "1 image is not in it (" in message
    assert "new.png" in message
    assert f"1 image is in it but not in {photos} (" in message
    assert message.endswith("Delete it, and the next search writes it again.")
    (tmp_path / "other").mkdir()
    Image.new("RGB", (40, 40)).save(tmp_path / "other" / "a.png")
    with pytest.raises(ConfigError, match=r"holds 4 images of .*, and none of the 1 of .*other"):
        SearchIndex.open(path, space, images=tmp_path / "other")


def test_other_texts_are_told(
    space: UnifiedSpace, manifest_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image = str(manifest_file.parent / "apple-0.png")
    SearchIndex.open(tmp_path / "rows.index", space, data=[(image, "red", "apple", "train")])
    caplog.clear()
    SearchIndex.open(tmp_path / "rows.index", space, data=[(image, "green", "apple", "train")])
    assert "1 image is in it with other texts (" in caplog.text


def test_a_file_that_is_no_index_is_left_alone(index: SearchIndex, trained_run: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    for call in (index.save, lambda file: SearchIndex.open(file, index.space)):
        with pytest.raises(RunDirectoryError, match=r"not a whole safetensors file\. Name a file written by"):
            call(notes)
    assert notes.read_text() == "mine"
    weights = tmp_path / "model.safetensors"
    shutil.copy(trained_run / "model.safetensors", weights)
    before = weights.read_bytes()
    with pytest.raises(RunDirectoryError, match="is no index of a search"):
        index.save(weights)
    assert weights.read_bytes() == before


def test_a_run_without_such_a_space_is_refused(manifest_file: Path, tmp_path: Path) -> None:
    plain = marnet.train(
        manifest_file,
        out=tmp_path / "run",
        method="image-only",
        backbone="timm:test_resnet",
        settings={"data.image_size": 32, "training": {"epochs": 1, "devices": "cpu"}},
    )
    with pytest.raises(ConfigError, match=r"image-only.*no space that images and texts share"):
        SearchIndex.build(plain.path, device="cpu")
