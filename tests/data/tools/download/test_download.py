"""`marnet data download`, from a local server under the data sets' own names."""

import hashlib
import http.server
import re
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from PIL import Image
from torchvision.datasets import Food101
from typer.testing import CliRunner

from marnet.cli.data import data_app
from marnet.data.sources import load_source
from marnet.data.tools.download import DATA_SETS, Archive, DataSet, download
from marnet.errors import DataError


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address and the folder of a local server."""
    folder = tmp_path / "served"
    folder.mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", folder
        running.shutdown()
        thread.join()


def food_101(file: Path) -> Archive:
    """A miniature of Food-101 as a zip file, and where it is to go."""
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("food-101/meta/classes.txt", "apple_pie\nramen\n")
        for name in ("apple_pie/1", "apple_pie/2", "ramen/3"):
            with archive.open(f"food-101/images/{name}.jpg", "w") as stream:
                Image.new("RGB", (8, 8)).save(stream, "jpeg")
    checksum = f"md5:{hashlib.md5(file.read_bytes()).hexdigest()}"
    return Archive("", "food-101.zip", checksum, "food-101", ("images", "meta"))


def annotations(file: Path) -> Archive:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("Ingredients101/Annotations/classes.txt", "apple_pie\nramen\n")
        archive.writestr("Ingredients101/Annotations/ingredients_simplified.txt", "apple,flour\nnoodle\n")
        archive.writestr("Ingredients101/Annotations/train_images.txt", "apple_pie/1\nramen/3\n")
        archive.writestr("Ingredients101/Annotations/val_images.txt", "apple_pie/2\n")
    return DATA_SETS["ingredient-101"].archives[0]


def test_ingredient_101_comes_from_two_archives_and_can_be_read(served: tuple[str, Path], tmp_path: Path) -> None:
    url, folder = served
    pictures = food_101(folder / "food-101.zip")._replace(url=f"{url}/food-101.zip")
    texts = annotations(folder / "texts.zip")
    data_sets = {"ingredient-101": DataSet((texts, pictures), "https://page", "ingredient-101:{folder}")}
    out = tmp_path / "my, data"
    found = download("ingredient-101", out, url=f"{url}/texts.zip", data_sets=data_sets)
    assert found.source == f"ingredient-101:{out}"
    assert found.notes == (
        f"{url}/texts.zip was fetched and unpacked to {out}/Annotations.",
        "No checksum of ingredients101.zip is published: it was checked by the files it holds, not byte by byte.",
        f"{url}/food-101.zip was fetched and unpacked to {out}/food-101.",
    )
    assert sorted(file.name for file in out.iterdir()) == ["Annotations", "food-101"]
    manifest = load_source(found.source)
    assert manifest.splits() == {"train": 2, "val": 1}
    assert manifest.records[0].text == "apple, flour"
    assert all(Path(record.image).is_file() for record in manifest.records)
    again = download("ingredient-101", out, data_sets=data_sets)
    assert again.notes == (f"{out}/Annotations is there already.", f"{out}/food-101 is there already.")


def test_grocery_store_is_known_by_its_files(served: tuple[str, Path], tmp_path: Path) -> None:
    url, folder = served
    with zipfile.ZipFile(folder / "master.zip", "w") as archive:
        columns = "Class Name (str),Class ID (int),Product Description Path (str)"
        archive.writestr("GroceryStoreDataset-master/dataset/classes.csv", f"{columns}\nLime,0,/l.txt\n")
        archive.writestr("GroceryStoreDataset-master/dataset/train.txt", "train/l.jpg, 0, 0\n")
    found = download("grocery-store", tmp_path / "out", url=f"{url}/master.zip")
    assert load_source(found.source).splits() == {"train": 1}
    assert "checked by the files it holds, not byte by byte" in found.notes[1]


def test_the_command_prints_the_source_on_stdout(served: tuple[str, Path], tmp_path: Path) -> None:
    url, folder = served
    with zipfile.ZipFile(folder / "master.zip", "w") as archive:
        archive.writestr("dataset/classes.csv", "")
        archive.writestr("dataset/train.txt", "")
    done = CliRunner().invoke(
        data_app, ["download", "grocery-store", str(tmp_path / "x"), "--url", f"{url}/master.zip"]
    )
    assert done.exit_code == 0
    assert done.stdout == f"Use: --data grocery-store:{tmp_path}/x/GroceryStoreDataset\n"
    assert f"{url}/master.zip was fetched and unpacked to {tmp_path}/x/GroceryStoreDataset." in done.stderr


def test_an_archive_put_there_by_hand_needs_no_network(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    archive = food_101(out / "food-101.zip")._replace(url="https://nowhere.invalid/food-101.zip")
    data_sets = {"food-101": DataSet((archive,), "https://page", "imagefolder:{folder}/food-101/images")}
    found = download("food-101", out, data_sets=data_sets)
    assert found.notes == (f"{out}/food-101.zip was there: unpacked it to {out}/food-101.",)
    assert (out / "food-101.zip").is_file()
    assert load_source(found.source).classes == ("apple_pie", "ramen")


def test_an_archive_put_there_by_hand_must_be_whole(tmp_path: Path) -> None:
    archive = food_101(tmp_path / "food-101.zip")
    (tmp_path / "food-101.zip").write_bytes((tmp_path / "food-101.zip").read_bytes()[:-9])
    data_sets = {"food-101": DataSet((archive,), "https://page", "")}
    sentence = (
        f"food-101.zip has another checksum than the published one, {archive.checksum}: it is cut short or another"
    )
    with pytest.raises(DataError, match=re.escape(sentence)):
        download("food-101", tmp_path, data_sets=data_sets)


def test_a_missing_file_names_page_and_place(served: tuple[str, Path], tmp_path: Path) -> None:
    url, _ = served
    sentence = (
        f"{url}/gone.zip cannot be fetched: the server answered 404 File not found. By hand: get the file from "
        f"https://github.com/marcusklasson/GroceryStoreDataset and put it at {tmp_path}/GroceryStoreDataset.zip, "
        f"or unpack "
        f"it to {tmp_path}/GroceryStoreDataset, and run the command again."
    )
    with pytest.raises(DataError, match=re.escape(sentence)):
        download("grocery-store", tmp_path, url=f"{url}/gone.zip")


def test_a_wrong_checksum_leaves_nothing(served: tuple[str, Path], tmp_path: Path) -> None:
    url, folder = served
    food_101(folder / "food-101.zip")
    with pytest.raises(DataError, match=r"instead of md5:85eeb15f3717b99a5da872d97d918f87. It was removed."):
        download("food-101", tmp_path / "out", url=f"{url}/food-101.zip")
    assert list((tmp_path / "out").iterdir()) == []


def test_ingredient_101_says_that_no_address_of_its_annotations_is_known(tmp_path: Path) -> None:
    sentence = (
        f"ingredients101.zip has no address that is known to last: http://www.ub.edu/cvub/ingredients101/ links to it. "
        f"Give that link as `url`. By hand: get the file from http://www.ub.edu/cvub/ingredients101/ and put it at "
        f"{tmp_path}/ingredients101.zip, or unpack it to {tmp_path}/Annotations, and run the command again."
    )
    with pytest.raises(DataError, match=re.escape(sentence)):
        download("ingredient-101", tmp_path)


def test_a_folder_with_another_content_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "food-101").mkdir()
    with pytest.raises(
        DataError, match=r"food-101 exists but does not hold images, meta. Move it away, so that a whole"
    ):
        download("food-101", tmp_path)


def test_unknown_names_and_addresses_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"No data set 'fod-101' can be fetched. Did you mean 'food-101'.* Expected food-101"
    ):
        download("fod-101", tmp_path)
    with pytest.raises(DataError, match=r"The address 'file:///etc/passwd' does not begin with https://"):
        download("food-101", tmp_path, url="file:///etc/passwd")


def test_food_101_is_what_torchvision_fetches() -> None:
    archive = DATA_SETS["food-101"].archives[0]
    assert archive.url == Food101._URL
    assert archive.checksum == f"md5:{Food101._MD5}"
