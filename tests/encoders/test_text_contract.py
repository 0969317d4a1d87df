"""One contract for every text encoder, those from outside the package included; files of older versions."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from marnet import fit, make_config
from marnet.encoders.text import (
    TEXT_ENCODERS,
    TextEncoder,
    TextOptions,
    build_text_encoder,
    check_text_encoder_name,
    list_text_encoders,
    restore_text_encoder,
)
from marnet.errors import EncoderError, RunDirectoryError
from marnet.runs.weights import load_run

TEXTS = ["red, round apple", "", "a long blue eel", "green lime", "red, round apple"]
FROZEN = ("bow", "tags", "words", "hf:small", "module:tiny_texts.Lengths", "module:tiny_texts.Letters", "random:bow")
LEARNING = tuple(name for name in FROZEN if not name.startswith("random:"))
every_encoder = pytest.mark.parametrize(
    ("name", "trainable"), [*((name, False) for name in FROZEN), *((name, True) for name in LEARNING)]
)


def place(name: str, request: pytest.FixtureRequest) -> str:
    """The name, with the folder of the model made here."""
    return f"hf:{request.getfixturevalue('small_bert')}" if name.startswith("hf:") else name


def test_every_family_is_under_the_contract() -> None:
    assert {name.partition(":")[0] for name in FROZEN} == TEXT_ENCODERS.keys()


@every_encoder
def test_contract(name: str, trainable: bool, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    name = place(name, request)
    check_text_encoder_name(name)
    torch.manual_seed(0)
    options = TextOptions(trainable=trainable, dimensions=4, cache=tmp_path / "cache")
    encoder = build_text_encoder(name, TEXTS, options)
    assert isinstance(encoder, TextEncoder)
    assert type(encoder.width) is int
    assert encoder.trainable is trainable

    learning = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    assert bool(learning) is trainable
    if trainable:
        (encoder(TEXTS) * torch.randn(len(TEXTS), encoder.width)).sum().backward()
        assert all(parameter.grad is not None for parameter in learning)
        with torch.no_grad():
            for parameter in learning:
                parameter.add_(0.02 * torch.randn_like(parameter))

    encoder.eval()
    with torch.no_grad():
        vectors = encoder(TEXTS)
        assert vectors.shape == (len(TEXTS), encoder.width)
        assert vectors.dtype == torch.float32
        assert torch.equal(vectors[0], vectors[4])
        assert not torch.equal(vectors[0], vectors[2])
        assert encoder([]).shape == (0, encoder.width)
        torch.testing.assert_close(encoder(TEXTS[::-1]), vectors.flip(0))
        assert torch.equal(copy.deepcopy(encoder)(TEXTS), vectors)

    encoder.save_files(tmp_path / "files")
    settings = json.loads(json.dumps(encoder.settings()))
    assert settings["kind"] == name.partition(":")[0]
    state = encoder.state_dict()
    back = restore_text_encoder(settings, state, tmp_path / "files", cache=tmp_path / "cache")
    assert type(back) is type(encoder)
    assert (back.width, back.trainable) == (encoder.width, trainable)
    back.load_state_dict(state)
    with torch.no_grad():
        assert torch.equal(back.eval()(TEXTS), vectors)


@pytest.mark.parametrize("trainable", [False, True])
def test_an_encoder_from_outside_learns_from_the_texts_trains_resumes_and_comes_back(
    trainable: bool, manifest_file: Path, tmp_path: Path
) -> None:
    text = {"name": "module:tiny_texts.Letters", "trainable": trainable}
    values: dict[str, Any] = {
        "data": {"source": str(manifest_file), "image_size": 32},
        "backbone": {"name": "timm:test_resnet"},
        "training": {"epochs": 1, "batch_size": 16, "devices": "cpu"},
        "text": text,
    }
    run = fit(make_config(values), tmp_path / "run").path
    encoder = load_run(run, with_text=True).model.text
    assert encoder.encoder.letters == sorted(set("red, round green, round blue, long"))
    assert encoder.encoder.weights.requires_grad is trainable
    assert bool((encoder.encoder.weights != 1).any()) is trainable
    fit(make_config(values), run, resume=True)
    assert load_run(run).model.text is None


def test_files_of_older_versions_still_restore(small_bert: Path, tmp_path: Path) -> None:
    """The settings as version 0.1 wrote them."""
    build_text_encoder(f"hf:{small_bert}", [], TextOptions(trainable=True)).save_files(tmp_path)
    hf = {"kind": "hf", "name": str(small_bert), "pooling": "cls", "max_length": 16}
    old: list[tuple[dict[str, Any], dict[str, torch.Tensor], int]] = [
        ({"kind": "tags", "vocabulary": ["green", "red"]}, {}, 2),
        ({"kind": "words", "vocabulary": ["green", "red", "round"]}, {}, 3),
        ({"kind": "bow", "vocabulary": ["green", "red"]}, {"idf": torch.ones(2), "components": torch.ones(2, 1)}, 1),
        ({"kind": "tags", "vocabulary": ["green", "red"]}, {"projection.2.weight": torch.zeros(5, 5)}, 5),
        ({"kind": "random", "width": 6}, {}, 6),
        ({"kind": "module", "path": "tiny_texts.Lengths", "trainable": False}, {}, 3),
        ({"kind": "module", "path": "tiny_texts.Lengths", "trainable": True}, {}, 3),
        ({**hf, "trainable": False}, {}, 32),
        ({**hf, "trainable": True}, {}, 32),
    ]
    assert {settings["kind"] for settings, _, _ in old} == TEXT_ENCODERS.keys()
    for settings, state, width in old:
        encoder = restore_text_encoder(settings, state, tmp_path, cache=None)
        assert encoder(["red"]).shape == (1, width)
    with pytest.raises(EncoderError, match=r"of the kind 'wrods', which this version .* Known kinds: bow, tags, words"):
        restore_text_encoder({"kind": "wrods", "vocabulary": ["a"]}, {}, tmp_path, cache=None)


def test_a_damaged_description_in_a_run_is_named(trained_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    (run / "text.json").write_text('{"kind": "bow"}')
    with pytest.raises(RunDirectoryError, match=r"text\.json is damaged; it does not say 'vocabulary'"):
        load_run(run, with_text=True)


def test_every_name_in_the_list_can_be_built() -> None:
    assert list_text_encoders() == ["bow", "tags", "words", "random:bow", "random:tags", "random:words"]
    assert list_text_encoders("*w*") == ["bow", "words", "random:bow", "random:words"]
    for name in list_text_encoders():
        assert build_text_encoder(name, TEXTS)(TEXTS).shape[0] == len(TEXTS)
