"""`pytest -m fast` leaves out only tests that exist, and leaves none of the package's folders without a fast test."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent


def _not_fast() -> list[str]:
    tree = ast.parse((TESTS / "conftest.py").read_text(encoding="utf-8"))
    (value,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "NOT_FAST"
    )
    found: list[str] = list(ast.literal_eval(value))
    return found


def _tests(file: Path) -> list[str]:
    return re.findall(r"^def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)


def test_every_entry_names_a_test_that_exists() -> None:
    entries = _not_fast()
    assert entries == sorted(entries)
    for entry in entries:
        file, _, test = entry.partition("::")
        assert (TESTS / file).is_file(), f"{entry}: no such file"
        assert not test or test in _tests(TESTS / file), f"{entry}: no such test"


def test_every_folder_has_a_fast_test() -> None:
    left_out = set(_not_fast())
    fast = {
        file.parent.relative_to(TESTS)
        for file in TESTS.rglob("test_*.py")
        for name in (file.relative_to(TESTS).as_posix(),)
        if name not in left_out and any(f"{name}::{test}" not in left_out for test in _tests(file))
    }
    rooms = {file.parent.relative_to(TESTS) for file in TESTS.rglob("test_*.py")} - {Path("docs"), Path("data/shards")}
    assert rooms - fast == set()
