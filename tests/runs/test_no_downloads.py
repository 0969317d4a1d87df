"""A run decides no address that is contacted: what it names is downloaded only if the caller allows it."""

import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import marnet
from marnet.encoders import hf_text
from marnet.encoders.downloads import downloads_refused, no_downloads
from marnet.errors import EncoderError, MarnetError, RunDirectoryError
from marnet.reports.run_report import write_run_report

pytest.importorskip("transformers")

_contacts: list[str] | None = None  # None: nobody listens


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _contacts is not None and event in ("socket.connect", "socket.getaddrinfo"):
        _contacts.append(event)
        raise ConnectionError("no test reaches a network")


sys.addaudithook(_hook)  # for good: Python has no way to remove one


@pytest.fixture
def contacts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The attempts to reach a network, none of which succeeds."""
    global _contacts  # noqa: PLW0603 - the hook outlives the test
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    _contacts = []
    yield _contacts
    _contacts = None


@pytest.fixture
def run(trained_run: Path, tmp_path: Path) -> Path:
    """A copy of a run that a test may change."""
    return Path(shutil.copytree(trained_run, tmp_path / "run"))


def set_line(run: Path, section: str, key: str, value: str) -> None:
    text = (run / "config.yaml").read_text()
    text, count = re.subn(rf"(?m)(^{section}:\n(?:  .*\n)*?  {key}: ).*$", rf"\g<1>{value}", text, count=1)
    assert count == 1
    (run / "config.yaml").write_text(text)


def resume(run: Path, *, allow_code: bool = False) -> object:
    return marnet.train(out=run, resume=True, settings={"training.epochs": 3}, allow_code=allow_code)


def frozen(run: Path, name: str = "evil/repository") -> None:
    settings = {"kind": "hf", "name": name, "pooling": "mean", "max_length": 16, "trainable": False}
    (run / "text.json").write_text(json.dumps(settings))
    set_line(run, "text", "name", f"hf:{name}")


@pytest.mark.parametrize(
    "use",
    [
        lambda run: marnet.load(run).predict_proba([]),
        marnet.evaluate,
        lambda run: write_run_report([run], run / "report.html"),
    ],
    ids=["load", "evaluate", "report"],
)
def test_prediction_needs_no_text_model(use: Callable[[Path], object], run: Path, contacts: list[str]) -> None:
    frozen(run)
    use(run)
    assert not contacts


@pytest.mark.parametrize(
    "use", [pytest.param(marnet.load_model, marks=pytest.mark.slow), resume], ids=["load_model", "resume"]
)
def test_a_text_model_is_not_downloaded(use: Callable[..., object], run: Path, contacts: list[str]) -> None:
    frozen(run)
    with pytest.raises(EncoderError, match=r"hf:evil/repository is neither .*downloads nothing.*`allow_code=True`"):
        use(run)
    assert not contacts
    with pytest.raises(EncoderError, match="could not be downloaded"):
        use(run, allow_code=True)
    assert contacts


@pytest.mark.parametrize(
    ("section", "name"), [("text", "random:hf:evil/repository"), ("backbone", "hf:evil/repository")]
)
def test_nothing_is_downloaded_to_resume(section: str, name: str, run: Path, contacts: list[str]) -> None:
    set_line(run, section, "name", name)
    with pytest.raises(MarnetError, match="hf:evil/repository is neither a folder nor in the local cache"):
        resume(run)
    assert not contacts


def test_published_weights_are_not_loaded_again_to_resume(run: Path, contacts: list[str]) -> None:
    set_line(run, "backbone", "pretrained", "true")
    resume(run)
    assert not contacts


def test_a_backbone_is_not_downloaded_even_if_code_is_allowed(run: Path, contacts: list[str]) -> None:
    set_line(run, "backbone", "name", "hf:evil/repository")
    with pytest.raises(RunDirectoryError, match="has no folder 'backbone'"):
        marnet.load(run, allow_code=True)
    assert not contacts


def test_a_model_within_a_backbone_is_not_downloaded(run: Path, contacts: list[str]) -> None:
    (run / "backbone").mkdir()
    config = {"model_type": "timm_backbone", "backbone": "resnet18", "use_pretrained_backbone": True}
    (run / "backbone" / "config.json").write_text(json.dumps(config))
    set_line(run, "backbone", "name", "hf:strange/model")
    with pytest.raises(MarnetError):  # its weights are those of another network
        marnet.load(run)
    assert not contacts


def test_code_in_the_folder_of_a_model_is_not_run(run: Path) -> None:
    (run / "backbone").mkdir()
    config = {"model_type": "strange", "auto_map": {"AutoConfig": "strange_config.Config"}}
    (run / "backbone" / "config.json").write_text(json.dumps(config))
    (run / "backbone" / "strange_config.py").write_text("raise SystemExit('executed')\n")
    set_line(run, "backbone", "name", "hf:strange/model")
    with pytest.raises(EncoderError, match="cannot be loaded by transformers"):
        marnet.load(run)


def test_a_frozen_model_that_is_loaded_later_stays_local(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, contacts: list[str]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_size": 32}))
    with no_downloads():
        encoder = hf_text.FrozenHFText(str(tmp_path))
    found = []

    def load(*_: object, **__: object) -> None:
        found.append(downloads_refused())
        raise EncoderError("enough")

    monkeypatch.setattr(hf_text, "load_hf_text", load)
    with pytest.raises(EncoderError, match="enough"):
        encoder(["red"])
    assert (found, downloads_refused(), contacts) == ([True], False, [])
