"""Training with rows that have no label: they are labelled where that helps, else left out, and told either way."""

import csv
import html
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import marnet
from marnet.errors import DataError, RunDirectoryError
from marnet.inference import Predictor
from marnet.reports.run_report import write_run_report
from marnet.runs.layout import CLASS_MEANS, METRICS, UNLABELLED, WEIGHTS
from marnet.training import unlabelled as settling
from marnet.training.teacher import Outcome, Taught

SETTINGS = {
    "data.image_size": 32,
    "training.epochs": 2,
    "training.batch_size": 16,
    "training.devices": "cpu",
    "training.calibrate": False,
}
CLASSES = ("apple", "eel", "lime")
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def rows(manifest_file: Path) -> list[dict[str, str]]:
    with manifest_file.open(newline="", encoding="utf-8") as file:
        return [{**row, "image": str(manifest_file.parent / row["image"])} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def few(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Every other training row has lost its label; its text names the class."""
    train = [{**row, "text": f"a {row['label']}"} for row in rows if row["split"] == "train"]
    lost = [{**row, "label": ""} if number % 2 else row for number, row in enumerate(train)]
    return [*lost, *(row for row in rows if row["split"] != "train")]


@pytest.fixture(scope="module")
def labelled(few: list[dict[str, str]]) -> list[dict[str, str]]:
    return [row for row in few if row["label"]]


def train(data: Any, out: Path, method: str = "marnet", **settings: Any) -> dict[str, Any]:
    named = {name.replace("__", "."): value for name, value in settings.items()}
    resume = named.pop("resume", False)
    marnet.train(
        data, out=out, method=method, backbone="timm:test_resnet", settings={**SETTINGS, **named}, resume=resume
    )
    return dict(json.loads((out / METRICS).read_text(encoding="utf-8"))["data"])


@pytest.fixture
def helpful(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real teacher, whose labels are used: linear models tell these few plain pictures without any help."""
    real = settling.teach

    def teach(*given: Any, **more: Any) -> Taught | None:
        taught = real(*given, **more)
        return taught and taught._replace(outcome=taught.outcome._replace(used=True))

    monkeypatch.setattr(settling, "teach", teach)


def answering(used: bool) -> Callable[..., Taught]:
    """Return a teacher that knows nothing, and the measurement that its labels are used or not."""

    def teach(image: Any, text: Any, with_text: Any, labels: Any, classes: int, **more: Any) -> Taught:
        count = len(image) - len(labels)
        outcome = Outcome(used, len(labels), count, 0, 1.0, 1.0, 0.9, 0.5, 0.7 if used else 0.4, 0.01)
        return Taught(np.full((count, classes), 1 / classes, np.float32), outcome)

    return teach


@pytest.mark.usefixtures("helpful")
def test_labels_are_used_where_they_help(few: list[dict[str, str]], tmp_path: Path, caplog: Any) -> None:
    with caplog.at_level("INFO", "marnet"):
        told = train(few, tmp_path / "run")
    rows = told["unlabelled"]
    assert (told["train"], rows["rows"], rows["used"]) == (21, 21, 21)
    assert rows["measured"]["used"] is True
    assert rows["measured"]["teacher"] == 1.0  # the text names the class
    assert rows["measured"]["with_unlabelled"] == rows["measured"]["without"] == 1.0
    assert rows["reason"] in caplog.text
    assert caplog.text.count("Training learns from 21 rows without a label") == 1
    found = load_file(tmp_path / "run" / UNLABELLED)["labels"]
    truth = [CLASSES.index(row["text"][2:]) for row in few if not row["label"]]
    assert found.argmax(1).tolist() == truth
    run = marnet.load(tmp_path / "run", device="cpu")
    assert run.manifest().splits() == {"train": 21, "val": 18, "unlabelled": 21}
    assert run.classes == CLASSES


@pytest.mark.parametrize(
    ("method", "settings", "reason"),
    [
        ("image-only", {}, "method 'image-only' learns from no text"),
        ("marnet", {"training__unlabelled": "never"}, "`training.unlabelled` is never"),
        ("marnet", {}, "because a teacher's labels do not help"),
    ],
)
def test_a_run_that_leaves_them_out_is_the_run_on_labelled_rows(
    few: list[dict[str, str]],
    labelled: list[dict[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    settings: dict[str, str],
    reason: str,
) -> None:
    monkeypatch.setattr(settling, "teach", answering(used=False))
    told = train(few, tmp_path / "few", method, **settings)
    assert told["unlabelled"]["used"] == 0
    assert reason in told["unlabelled"]["reason"]
    alone = train(labelled, tmp_path / "alone", method)
    assert "unlabelled" not in alone
    assert (told["train"], told["train_without_text"]) == (alone["train"], alone["train_without_text"])
    one, two = load_file(tmp_path / "few" / WEIGHTS), load_file(tmp_path / "alone" / WEIGHTS)
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.usefixtures("helpful")
@pytest.mark.parametrize("method", [name for name in marnet.list_methods() if name not in ("image-only", "marnet")])
def test_every_method_with_text_learns_from_them(few: list[dict[str, str]], tmp_path: Path, method: str) -> None:
    assert train(few, tmp_path / "run", method)["unlabelled"]["used"] == 21


@pytest.mark.usefixtures("helpful")
def test_the_means_of_the_classes_are_those_of_labelled_rows(few: list[dict[str, str]], tmp_path: Path) -> None:
    apples = [row for row in few if row["split"] == "train" and row["label"] == "apple"]
    fewer = [{**row, "label": ""} if row in apples[2:] else row for row in few]
    wanted = {"training__class_means": "always", "training__calibrate": True}
    assert train(fewer, tmp_path / "run", **wanted)["unlabelled"]["used"] == 21 + len(apples) - 2
    train([row for row in fewer if row["label"]], tmp_path / "alone", **wanted)
    means, alone = (load_file(tmp_path / name / CLASS_MEANS) for name in ("run", "alone"))
    assert torch.equal(means["rare"], alone["rare"])  # from the number of labelled rows of each class


@pytest.mark.usefixtures("helpful")
@pytest.mark.parametrize("balance", ["weights", "sampler", "logit-adjust"])
def test_rare_classes_can_be_balanced(few: list[dict[str, str]], tmp_path: Path, balance: str) -> None:
    assert train(few, tmp_path / "run", training__balance=balance)["unlabelled"]["used"] == 21


@pytest.mark.usefixtures("helpful")
def test_streamed_images_and_text_that_learns(few: list[dict[str, str]], tmp_path: Path) -> None:
    told = train(few, tmp_path / "run", data__stream=True, text__name="words", text__trainable=True)
    assert told["unlabelled"]["used"] == 21


@pytest.mark.usefixtures("helpful")
def test_a_resumed_run_keeps_the_labels_it_began_with(
    few: list[dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The backbone has learned since, so that a second teacher would be another one."""
    train(few, tmp_path / "run", training__epochs=4)
    before = (tmp_path / "run" / UNLABELLED).read_bytes()

    def never(*given: Any, **more: Any) -> Taught:
        raise AssertionError("asked again")

    monkeypatch.setattr(settling, "teach", never)
    told = train(None, tmp_path / "run", training__epochs=5, resume=True)
    assert told["unlabelled"]["used"] == 21
    assert (tmp_path / "run" / UNLABELLED).read_bytes() == before
    (tmp_path / "run" / UNLABELLED).write_bytes(before[:50])
    with pytest.raises(RunDirectoryError, match="is damaged"):
        train(None, tmp_path / "run", training__epochs=6, resume=True)


def test_several_classes_leave_them_out_and_say_so(rows: list[dict[str, str]], tmp_path: Path) -> None:
    train_rows = [row for row in rows if row["split"] == "train"]
    some = [{**row, "split": "unlabelled"} if number % 2 else row for number, row in enumerate(train_rows)]
    told = train([*some, *(row for row in rows if row["split"] != "train")], tmp_path / "run", data__labels="multi")
    assert told["unlabelled"]["rows"] == 21
    assert told["unlabelled"]["used"] == 0
    assert "where images have several classes" in told["unlabelled"]["reason"]


def test_one_row_per_class_is_too_few_to_tell(few: list[dict[str, str]], tmp_path: Path) -> None:
    seen: set[str] = set()
    single = []
    for row in few:
        known = row["split"] == "train" and row["label"] in seen
        single.append({**row, "label": ""} if known else row)
        seen |= {row["label"]} if row["split"] == "train" else set()
    told = train(single, tmp_path / "run")
    assert told["unlabelled"]["used"] == 0
    assert "no class has two labelled rows" in told["unlabelled"]["reason"]
    assert not (tmp_path / "run" / UNLABELLED).exists()
    page = write_run_report([tmp_path / "run"], tmp_path / "report.html")
    assert told["unlabelled"]["reason"] in html.unescape(page.read_text(encoding="utf-8"))


def test_nothing_is_scored_on_them(few: list[dict[str, str]], tmp_path: Path, call: Call) -> None:
    table = tmp_path / "few.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, few[0])
        writer.writeheader()
        writer.writerows(few)
    code, _, err = call(
        "embed", table, "--backbone", "timm:test_resnet", "--image-size", "32", "--out", tmp_path / "features"
    )
    assert code == 0, err
    told = train(None, tmp_path / "run", data__features=str(tmp_path / "features"), data__image_size=None)
    assert told["unlabelled"]["rows"] == 21
    for more in ((), ("--features", tmp_path / "features")):
        code, _, err = call("evaluate", tmp_path / "run", *more, "--split", "unlabelled")
        assert code == 1
        assert "names no class in any of the 21 rows of split 'unlabelled', so there is nothing to score" in err
    run = Predictor(tmp_path / "run", device="cpu")
    with pytest.raises(DataError, match="nothing to score"):
        run.evaluate(split="unlabelled")
    found = marnet.next_to_label(run, table, budget=3)
    assert found.candidates == 21
    code, out, err = call("data", "info", table, "--json")
    assert code == 0, err
    assert json.loads(out)["splits"]["unlabelled"]["images"] == 21
    code, _, err = call("train", "--data", table, "--set", "data.unlabelled=refuse", "--out", tmp_path / "none")
    assert code == 1
    assert "blank 'label'" in err
