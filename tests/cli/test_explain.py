"""`marnet explain`: what it prints, its JSON and its page, and mistakes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import marnet
from marnet.semantic.reading.explain import Explainer

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def image(salad_run: Path) -> Path:
    rows = marnet.load(salad_run, device="cpu").manifest().split("val")
    return Path(next(row.image for row in rows if row.text == "salad of basil and tomato"))


def test_an_image_in_words(call: Call, salad_run: Path, image: Path) -> None:
    code, out, err = call("explain", salad_run, image, "--without", "basil", "--with", "blueberry", "--top", "2")
    assert (code, err) == (0, "")
    assert out.startswith(f"{image}\n")
    (asked,) = [line for line in out.splitlines() if line.startswith("The image asks for: ")]
    assert {"basil", "tomato"} & set(asked.partition(": ")[2].split(", "))
    assert "Nearest training texts" in out
    assert "salad of basil and tomato" in out
    assert 'Without "basil", with "blueberry"' in out
    assert " is seen: " in out


def test_the_json_is_what_python_gives(call: Call, salad_run: Path, image: Path) -> None:
    code, out, _ = call("explain", salad_run, image, image, "--without", "basil", "--json")
    assert code == 0
    found = json.loads(out)
    assert len(found) == 2
    expected = Explainer(marnet.Predictor(salad_run, device="cpu", with_text=True)).explain(image, without="basil")
    assert found[0] == found[1]
    assert found[0]["image"] == str(image)
    assert found[0]["classes"] == [each._asdict() for each in expected.classes]
    assert found[0]["words"] == [each._asdict() for each in expected.words]
    assert found[0]["near_texts"][0]["classes"] == list(expected.near_texts[0].classes)
    assert found[0]["change"]["removed"] == ["basil"]
    where = found[0]["where"]
    assert 0 <= min(map(min, where["values"])) <= max(map(max, where["values"])) <= 1
    assert len(where["values"]) == len(where["values"][0])


def test_a_class_in_words_and_as_json(call: Call, salad_run: Path) -> None:
    code, out, err = call("explain", salad_run, "--class", "tomato")
    assert (code, err) == (0, "")
    assert "tomato asks for: tomato" in out
    assert "tomato rather than " in out
    code, out, _ = call("explain", salad_run, "--class", "tomato", "--json")
    found: dict[str, Any] = json.loads(out)
    assert code == 0
    assert found["label"] == "tomato"
    assert found["more"][0]["word"] == "tomato"
    assert f"{found['neighbours'][0]['label']}" in ("basil", "blueberry")


def test_the_pages(call: Call, salad_run: Path, image: Path, tmp_path: Path, look: Callable[..., Any]) -> None:
    page = tmp_path / "new" / "page.html"
    code, out, _ = call("explain", salad_run, image, "--with", "blueberry", "--html", page)
    assert (code, out.splitlines()[-1]) == (0, f"Page: {page}")
    content = page.read_text()
    assert content.count('src="data:image/jpeg;base64,') == 2
    assert image.name in content
    assert "Words that the image asks for" in content
    classes = tmp_path / "class.html"
    code, out, err = call("explain", salad_run, "--class", "tomato", "--html", classes, "--json")
    assert (code, err) == (0, f"Page: {classes}\n")
    assert json.loads(out)["label"] == "tomato"
    for each in (page, classes):
        for width in (375, 1280):
            found = look(each, width)
            assert found.widths[0] <= found.widths[1], found.too_wide


def test_a_class_that_was_added_has_no_share_in_the_branches(
    call: Call, trained_run: Path, manifest_file: Path, tmp_path: Path
) -> None:
    image = manifest_file.parent / "eel-0.png"
    run = marnet.add_classes(trained_run, [marnet.NewClass("snake", "green, long", [image])], tmp_path / "run")
    page = tmp_path / "page.html"
    code, out, err = call("explain", run, image, "--without", "long", "--html", page)
    assert (code, err) == (0, "")
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if "│ snake" in line]
    assert [row[2:] for row in rows[:1]] == [["-", "-"]]
    assert page.exists()


def test_a_page_replaces_only_pages(call: Call, salad_run: Path, image: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.html"
    mine.write_text("notes")
    code, _, err = call("explain", salad_run, image, "--html", mine)
    assert code == 1
    assert "is not a report of marnet. Nothing was changed. Choose another --html." in err
    assert mine.read_text() == "notes"


def test_an_image_that_cannot_be_read_does_not_stop_the_others(
    call: Call, salad_run: Path, image: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.png").write_text("no image")
    code, out, err = call("explain", salad_run, tmp_path / "broken.png", image)
    assert code == 1
    assert "broken.png is not an image" in err
    assert out.startswith(f"{image}\n")


def test_without_the_package_for_maps_the_rest_is_told(
    call: Call, salad_run: Path, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    page = tmp_path / "page.html"
    code, out, err = call("explain", salad_run, image, image, "--html", page)
    assert code == 0
    assert err.count("pip install 'marnet[explain]'") == 1
    assert "The image asks for: " in out
    assert " is seen: " not in out
    assert page.read_text().count('src="data:image/jpeg;base64,') == 2  # a picture each, and no map
    assert "marnet[explain]" in page.read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "Found neither images nor --class."),
        (("IMAGE", "--class", "basil"), "Found both images and --class."),
        (("--class", "basil", "--with", "egg"), "--without and --with change what an image says."),
        (("--class", "basill"), "has no class 'basill'. Name one of its 3 classes as --class. Did you mean 'basil'?"),
        (("IMAGE", "--without", "qwxyz"), "The text 'qwxyz' says nothing to the text encoder"),
    ],
)
def test_mistakes(call: Call, salad_run: Path, image: Path, words: tuple[str, ...], message: str) -> None:
    code, out, err = call("explain", salad_run, *(str(image) if word == "IMAGE" else word for word in words))
    assert (code, out) == (1, "")
    assert message in err
    assert "Traceback" not in err


def test_a_run_without_a_common_space_is_refused(call: Call, manifest_file: Path, tmp_path: Path) -> None:
    plain = marnet.train(
        manifest_file,
        out=tmp_path / "run",
        method="image-only",
        backbone="timm:test_resnet",
        settings={"data.image_size": 32, "training": {"epochs": 1, "devices": "cpu"}},
    )
    code, out, err = call("explain", plain.path, "a.jpg")
    assert (code, out) == (1, "")
    assert "marnet, match, reconstruct and regress have one" in err
