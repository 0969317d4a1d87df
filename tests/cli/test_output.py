"""What reaches the terminal: no control characters of somebody else's texts; JSON that is read back exactly."""

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from marnet.cli.output import on_one_line, print_json, printable
from marnet.data.manifest import read_manifest

Call = Callable[..., tuple[int, str, str]]
CLI = Path(__file__).parents[2] / "src" / "marnet" / "cli"
NASTY = "eel\x1b]0;owned\x07\x9b2J\u202e\u2028."
ESCAPED = r"eel\x1b]0;owned\x07\x9b2J\u202e\u2028."


def test_control_characters_are_escaped_and_text_is_not() -> None:
    assert printable(NASTY) == ESCAPED
    assert printable("one\ntwo\tthree \r\x00\udc80") == "one\ntwo\tthree " + r"\r\x00\udc80"
    assert on_one_line("apple\n  99.9 %  lime\t") == r"apple\n  99.9 %  lime\t"
    text = "crème 食べ物 👩\u200d🍳 \u0645\u06cc\u200c\u062e [bold]"  # joiners are text
    assert printable(text) == on_one_line(text) == text


def test_json_is_exact_and_safe(capsys: pytest.CaptureFixture[str]) -> None:
    content = {"label": f"{NASTY}\x7f\udcff", "word": "食"}
    print_json(content)
    printed = capsys.readouterr().out
    assert json.loads(printed) == content
    assert "食" in printed
    assert not set("\x1b\x07\x9b\u202e\x7f\udcff") & set(printed)


def test_one_file_prints() -> None:
    for file in set(CLI.rglob("*.py")) - {CLI / "output.py"}:
        source = file.read_text(encoding="utf-8")
        assert re.search(r"typer\.echo|(?<![\w.])print\(", source) is None, file


@pytest.fixture(scope="module")
def renamed_run(trained_run: Path, manifest_file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run and a table in which a class, a text and a file have control characters in their names."""
    folder = tmp_path_factory.mktemp("nasty")
    run = shutil.copytree(trained_run, folder / "run")
    classes = json.loads((run / "classes.json").read_text(encoding="utf-8"))
    (run / "classes.json").write_text(json.dumps([NASTY if each == "eel" else each for each in classes]))
    table = folder / "rows.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "text", "label", "split"])
        for number, record in enumerate(read_manifest(manifest_file).records):
            image = folder / f"{number}\x1b[31m.png"
            shutil.copyfile(record.image, image)
            label = NASTY if record.label == "eel" else record.label
            rows.writerow([str(image), "red\x1b[2J", label, record.split])
    return run, table


@pytest.mark.parametrize("as_json", [(), ("--json",)])
def test_no_command_prints_control_characters(
    renamed_run: tuple[Path, Path], as_json: tuple[str, ...], tmp_path: Path, call: Call
) -> None:
    run, table = renamed_run
    picture = next(table.parent.glob("0*.png"))
    broken = tmp_path / "broken\x1b[1m.png"
    broken.write_bytes(b"no picture")
    said = [
        call("predict", run, picture, broken, *as_json),
        call("predict", run, picture, "--top", "3", *as_json),
        call("evaluate", run, "--data", table, *as_json),
        call("evaluate", run, "--data", table, "--split", "no\x1b[0m", *as_json),
        call("search", run, "--data", table, "--image", picture, *as_json),
        call("data", "info", table, *as_json),
        call("data", "check", table, *as_json),
        call("data", "info", tmp_path / "not\x1b[0mthere.csv", *as_json),
        call("explain", run, picture, "--with", "red", *as_json),
    ]
    for _, out, err in said:
        assert not set("\x1b\x07\x9b\u202e\u2028") & set(out + err)
    assert [code for code, _, _ in said] == [1, 0, 0, 1, 0, 0, said[6][0], 1, 0]
    if as_json:
        labels = {row["label"] for row in json.loads(said[1][1])[0]["predictions"]}
        assert labels == {NASTY, "apple", "lime"}
    else:
        assert ESCAPED in said[1][1]
        assert r"broken\x1b[1m.png" in said[0][2]
