"""A seeded sample of benchmarks/fuzz.py: no traceback, hang or harm by damaged settings, tables, runs and images."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="inputs run in forked children")


@pytest.fixture(scope="module")
def fuzz() -> Iterator[ModuleType]:
    sys.path.insert(0, str(BENCHMARKS))
    import fuzz  # a script beside the package

    yield fuzz
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fuzzer sets variables and the folder of temporary files; they end with the test."""
    import tempfile

    for name in ("TMPDIR", "MARNET_CACHE", "HF_HUB_OFFLINE", "MPLBACKEND"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.setattr(tempfile, "tempdir", tempfile.gettempdir())


def test_a_sample_of_inputs_does_no_harm(fuzz: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counts, memory = fuzz.fuzz(12, seed=4, folder=tmp_path)
    faults = {name: count for name, count in counts.items() if name.startswith("FAULT")}
    assert not faults, capsys.readouterr().out
    assert 2**27 < memory < 2**31
    assert sum(counts.values()) == 12
    refused = sum(count for name, count in counts.items() if name.endswith("exit code 1"))
    assert 3 <= refused < 12  # most inputs are wrong, but not all


@pytest.mark.parametrize(
    ("code", "faults"),
    [
        ("pass", []),
        ("raise SystemExit(1)", []),
        ("raise SystemExit(3)", ["exit code"]),
        ("raise ZeroDivisionError", ["traceback"]),
        ("print('it failed in a way that it does not foresee')", ["unforeseen"]),
        ("import os; os.kill(os.getpid(), 9)", ["exit code"]),
        ("open('inside', 'w').close()", []),
        ("open('/tmp/../tmp/outside-of-all', 'w').close()", ["write to /tmp/../tmp/outside-of-all"]),
        ("import os; os.mkdir('/nowhere/at/all')", ["traceback", "os.mkdir /nowhere/at/all"]),
        ("import os; os.symlink('/dev/zero', 'a'); os.rename('a', 'b'); os.remove('b')", []),
        ("import evil_nets", ["traceback", "import of evil_nets"]),
        ("import socket; socket.socket().bind(('127.0.0.1', 0))", ["socket.bind (('127.0.0.1', 0),)"]),
        ("import subprocess; subprocess.run(['true'])", ["subprocess.Popen (['true'],)"]),
        ("import time; time.sleep(60)", ["hang"]),
        ("bytearray(2200 * 2**20)", ["memory"]),
    ],
)
def test_every_kind_of_fault_is_noticed(
    code: str, faults: list[str], fuzz: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import marnet.cli.app

    monkeypatch.setattr(marnet.cli.app, "main", lambda: exec(code, {}))
    monkeypatch.setattr(fuzz, "WALL_SECONDS", 3 if "sleep" in code else 120)
    assert fuzz.run_command([], tmp_path, []).faults == faults
    Path("/tmp/outside-of-all").unlink(missing_ok=True)
