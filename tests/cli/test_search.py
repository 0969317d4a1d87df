"""`marnet search`: what is printed, the JSON, the page, the index, and mistakes."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from marnet.semantic.search.index import SearchIndex

Call = Callable[..., tuple[int, str, str]]


def test_a_text_finds_images(trained_run: Path, call: Call) -> None:
    code, out, err = call("search", trained_run, "blue,", "long", "--split", "val", "--top", "3")
    assert code == 0, err
    found = SearchIndex.build(trained_run, split="val", device="cpu").search("blue, long", top=3)
    lines = out.splitlines()
    assert lines[0] == "The 3 nearest of 18 images to the text 'blue, long':"
    shown = [line.split(maxsplit=1) for line in lines[1:] if re.match(r"  -?\s*\d", line)]
    assert shown == [[f"{hit.cosine:.3f}", hit.image] for hit in found.images]
    assert sum(line.startswith("          ") for line in lines) == sum(len(hit.texts) for hit in found.images)


def test_the_json_has_images_and_texts(trained_run: Path, manifest_file: Path, call: Call) -> None:
    image = manifest_file.parent / "eel-0.png"
    code, out, err = call("search", trained_run, "long", "--image", image, "--without", "red", "--top", "2", "--json")
    assert code == 0, err
    content = json.loads(out)
    assert content["query"] == {"text": "long", "image": str(image), "without": "red"}
    assert content["searched"]["images"] == 60
    assert content["searched"]["texts"] == 3
    assert content["searched"]["unreadable"] == []
    found = SearchIndex.build(trained_run, device="cpu").search("long", image=image, without="red", top=2)
    assert [each["image"] for each in content["images"]] == [hit.image for hit in found.images]
    assert content["texts"][0] == {**found.texts[0]._asdict(), "cosine": pytest.approx(found.texts[0].cosine)}
    assert [each["texts"] for each in content["images"]] == [list(hit.texts) for hit in found.images]


def test_an_image_finds_texts_and_a_page_shows_them(
    trained_run: Path, manifest_file: Path, tmp_path: Path, call: Call
) -> None:
    image, page = manifest_file.parent / "eel-0.png", tmp_path / "found.html"
    code, out, err = call("search", trained_run, "--image", image, "--html", page, "--top", "4")
    assert code == 0, err
    assert "The 3 nearest of 3 texts:" in out
    assert f"Page: {page}" in out
    html = page.read_text()
    assert html.count("<img") == 5  # the query and what it found
    assert "eel-0.png" in html
    assert call("search", trained_run, "--image", image, "--html", page)[0] == 0  # a page may be replaced
    (tmp_path / "mine.html").write_text("mine")
    code, _, err = call("search", trained_run, "red", "--html", tmp_path / "mine.html")
    assert code == 1
    assert "Nothing was changed. Choose another --html." in err


def test_a_folder_with_an_index(trained_run: Path, manifest_file: Path, tmp_path: Path, call: Call) -> None:
    index = tmp_path / "photos.index"
    arguments = ("search", trained_run, "--images", manifest_file.parent, "--index", index, "--top", "1")
    code, out, err = call(*arguments, "red")
    assert code == 0, err
    written = index.read_bytes()
    assert call(*arguments, "red")[1] == out
    code, out, _ = call("search", trained_run, "--index", index, "--image", manifest_file.parent / "eel-0.png")
    assert code == 0
    assert "These images have no texts." in out
    assert index.read_bytes() == written


def test_many_images_are_searched_by_clusters(
    trained_run: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("faiss")
    arguments = ("search", trained_run, "red", "--index", tmp_path / "rows.index", "--top", "1")
    exact = json.loads(call("search", trained_run, "red", "--top", "1", "--json")[1])
    assert exact["searched"]["exact"] is True
    monkeypatch.setattr("marnet.semantic.search.clustering.EXACT_UP_TO", 50)
    code, out, err = call(*arguments)
    assert code == 0, err
    assert "Finding clusters of 60 images, which takes minutes" in err
    assert out.splitlines()[0] == "The 1 nearest of 60 images, by clusters, to the text 'red':"
    code, out, err = call(*arguments, "--json")
    assert (code, err) == (0, "")
    content = json.loads(out)
    assert content["searched"]["exact"] is False
    assert content["images"][0]["image"] == exact["images"][0]["image"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "A search asks for a QUERY, an --image or both."),
        (("zebra",), "Use words of the training texts as QUERY."),
        (("red", "--without", "zebra"), "Use words of the training texts as --without."),
        (("red", "--images", "none"), "is no folder of images"),
        (("red", "--images", ".", "--split", "val"), "--split is 'val'"),
        (("red", "--images", ".", "--data", "x.csv"), "--images and --data both name what is searched"),
        (("red", "--features", "none"), "none has no features.safetensors"),
        (("--image", "none.jpg"), "Image none.jpg does not exist"),
        (("red", "--split", "test"), "no rows in split 'test'"),
    ],
)
def test_mistakes(arguments: tuple[str, ...], message: str, trained_run: Path, call: Call) -> None:
    code, out, err = call("search", trained_run, *arguments)
    assert (code, out) == (1, "")
    assert message in err
    assert "Traceback" not in err
