"""Retrieval by a CLIP model: the numbers that transformers gives by itself, what is cut off, and what is refused."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import marnet
from marnet.encoders.hf_clip import load_image_text_model
from marnet.errors import EncoderError, ImageError
from marnet.evaluation.retrieval import evaluate_retrieval
from marnet.semantic.space import UnifiedSpace, open_space

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")
Call = Callable[..., tuple[int, str, str]]
WORDS = ["[PAD]", "[UNK]", "[BOS]", "[EOS]", "red", "green", "blue", "round", "long", ","]


@pytest.fixture(scope="module")
def space(trained_run: Path) -> UnifiedSpace:
    return open_space(trained_run, device="cpu")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small CLIP at random that reads eight tokens, as `save_pretrained` leaves it."""
    folder = tmp_path_factory.mktemp("clip")
    rules = tokenizers.Tokenizer(tokenizers.models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    rules.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    ends = [("[BOS]", 2), ("[EOS]", 3)]
    rules.post_processor = tokenizers.processors.TemplateProcessing("[BOS] $A [EOS]", special_tokens=ends)
    special = {f"{kind}_token": f"[{kind.upper()}]" for kind in ("pad", "unk", "bos", "eos")}
    transformers.PreTrainedTokenizerFast(tokenizer_object=rules, model_max_length=8, **special).save_pretrained(folder)
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    texts = {"vocab_size": len(WORDS), "max_position_embeddings": 8, "bos_token_id": 2, "eos_token_id": 3}
    config = transformers.CLIPConfig(
        text_config={**size, **texts, "pad_token_id": 0, "initializer_factor": 10.0},
        vision_config={**size, "image_size": 32, "patch_size": 8, "initializer_factor": 10.0},
        projection_dim=16,
    )
    torch.manual_seed(0)
    transformers.utils.logging.disable_progress_bar()
    transformers.CLIPModel(config).save_pretrained(folder)
    side = {"height": 32, "width": 32}
    transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=side).save_pretrained(folder)
    return folder


@torch.inference_mode()
def similarities(folder: Path, images: Sequence[str], texts: Sequence[str]) -> np.ndarray:
    """Return cosines `(images, texts)` by the towers of transformers themselves, one image and one text at a time."""
    model: Any = transformers.CLIPModel.from_pretrained(folder).eval()
    processor = transformers.CLIPImageProcessor.from_pretrained(folder)
    number = {word: position for position, word in enumerate(WORDS)}
    seen, said = [], []
    for image in images:
        pixels = processor(Image.open(image).convert("RGB"), return_tensors="pt")["pixel_values"]
        seen.append(model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)[0].numpy())
    for text in texts:
        words = [number.get(word, 1) for word in text.replace(",", " ,").split()][:6]
        tokens = torch.tensor([[2, *words, 3]])
        said.append(model.text_projection(model.text_model(input_ids=tokens).pooler_output)[0].numpy())
    one, other = np.stack(seen), np.stack(said)
    return np.asarray((one @ other.T) / np.linalg.norm(one, axis=1)[:, None] / np.linalg.norm(other, axis=1))


def ranks_of(similar: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Return the rank of the best relevant candidate of each query, by counting; none of them ties here."""
    best = [row[wanted].max() for row, wanted in zip(similar, relevant, strict=True)]
    return np.array([1 + (row > each + 1e-5).sum() for row, each in zip(similar, best, strict=True)])


def test_the_numbers_are_those_of_transformers(space: UnifiedSpace, clip: Path) -> None:
    found = evaluate_retrieval(space, clip=f"hf:{clip}")
    rows = [row for row in space.predictor.manifest().split("val") if row.text]
    images, texts = [row.image for row in rows], list(dict.fromkeys(row.text for row in rows))
    similar = similarities(clip, images, texts)
    relevant = np.array([[row.text == text for text in texts] for row in rows])
    assert found.clip is not None
    assert (found.clip.model, found.clip.most_tokens, found.clip.truncated_texts) == (f"hf:{clip}", 8, 0)
    for metrics, ranks in (
        (found.clip.image_to_text, ranks_of(similar, relevant)),
        (found.clip.text_to_image, ranks_of(similar.T, relevant.T)),
    ):
        assert (metrics.queries, metrics.candidates) in {(15, 3), (3, 15)}
        assert metrics.recall_at_1 == pytest.approx((ranks <= 1).mean())
        assert metrics.recall_at_5 == pytest.approx((ranks <= 5).mean())
        assert metrics.mean_rank == pytest.approx(ranks.mean())
        assert metrics.median_rank == pytest.approx(np.median(ranks))
    assert found._replace(clip=None) == evaluate_retrieval(space)


def test_the_vectors_are_those_of_transformers(clip: Path, tmp_path: Path) -> None:
    """Texts of different lengths, padded and cut off, and images that are larger than the input and not square."""
    texts = ["red", "blue, long", "green round green round green round green", "zebra"]
    images = [str(tmp_path / f"{number}.png") for number in range(3)]
    for number, image in enumerate(images):
        pixels = np.random.default_rng(number).integers(256, size=(8, 10 + number, 3)).astype(np.uint8)
        Image.fromarray(pixels).resize((90, 40 + 10 * number)).save(image)
    model = load_image_text_model(f"hf:{clip}", setting="clip")
    seen, said = model.images([Image.open(image).convert("RGB") for image in images]), model.texts(texts)
    assert seen.norm(dim=1).tolist() == pytest.approx([1] * 3, abs=1e-5)
    expected = similarities(clip, images, texts)
    assert np.ptp(expected) > 0.1
    assert (seen @ said.T).numpy() == pytest.approx(expected, abs=1e-5)


def test_long_texts_are_cut_off_and_counted(space: UnifiedSpace, clip: Path) -> None:
    own = space.predictor.manifest().split("val")
    long = "red round red round red round"  # six words with the two ends are all that is read
    rows = [(row.image, text, row.label, "val") for row in own for text in (long, f"{long} blue", f"{long} green long")]
    found = evaluate_retrieval(space, rows, clip=f"hf:{clip}").clip
    assert found is not None
    assert found.truncated_texts == 2
    model = load_image_text_model(f"hf:{clip}", setting="clip")
    assert torch.equal(*model.texts([f"{long} blue", f"{long} green long"]))


def test_from_the_command_line(trained_run: Path, clip: Path, call: Call) -> None:
    code, out, err = call("evaluate", trained_run, "--retrieval", "--clip", f"hf:{clip}", "--json")
    assert code == 0, err
    content = json.loads(out)["retrieval"]["clip"]
    found = evaluate_retrieval(trained_run, clip=f"hf:{clip}", device="cpu").clip
    assert found is not None
    assert content == {
        **found._asdict(),
        "image_to_text": found.image_to_text._asdict(),
        "text_to_image": found.text_to_image._asdict(),
    }
    code, out, err = call("evaluate", trained_run, "--retrieval", "--clip", f"hf:{clip}")
    assert code == 0, err
    lines = [line for line in out.splitlines() if "  by CLIP" in line]
    ranks = (found.image_to_text.mean_rank, found.text_to_image.mean_rank)
    assert [f"{rank:.1f}" in line for rank, line in zip(ranks, lines, strict=True)] == [True, True]
    assert f"By CLIP: the cosines of hf:{clip} for the same images and texts." in out


def test_with_stored_features_the_images_are_opened(manifest_file: Path, clip: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(manifest_file.parent, tmp_path / "rows")
    source = str(copy / manifest_file.name)
    settings = {"data": {"source": source, "image_size": 32}, "backbone": {"name": "timm:test_resnet"}}
    features = marnet.training.embed(marnet.make_config(settings), tmp_path / "features")
    small = {"data": {"features": str(features)}, "training": {"epochs": 1, "devices": "cpu"}}
    run = marnet.fit(marnet.make_config(small), tmp_path / "run").path
    by_features = evaluate_retrieval(run, features=features, clip=f"hf:{clip}", device="cpu").clip
    assert by_features is not None
    assert by_features == evaluate_retrieval(run, clip=f"hf:{clip}", device="cpu").clip
    shutil.rmtree(copy)
    assert evaluate_retrieval(run, features=features, device="cpu").clip is None
    with pytest.raises(ImageError, match="does not exist"):
        evaluate_retrieval(run, features=features, clip=f"hf:{clip}", device="cpu")


def test_what_is_no_clip_is_refused(trained_run: Path, clip: Path, tmp_path: Path, call: Call) -> None:
    bert = transformers.BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=9)
    transformers.BertModel(bert).save_pretrained(tmp_path / "bert")
    one_tower = transformers.CLIPModel.from_pretrained(clip).config.vision_config
    transformers.CLIPVisionModel(one_tower).save_pretrained(tmp_path / "vision")
    (tmp_path / "empty").mkdir()
    for folder, kind in ((tmp_path / "bert", "bert"), (tmp_path / "vision", "clip_vision_model")):
        with pytest.raises(EncoderError, match=rf"of the type '{kind}', which does not embed images and texts"):
            load_image_text_model(f"hf:{folder}", setting="clip")
    without_words = tmp_path / "wordless"
    transformers.CLIPModel.from_pretrained(clip).save_pretrained(without_words)
    with pytest.raises(EncoderError, match="cannot be loaded by transformers' AutoImageProcessor"):
        load_image_text_model(f"hf:{without_words}", setting="clip")
    (without_words / "preprocessor_config.json").write_bytes((clip / "preprocessor_config.json").read_bytes())
    with pytest.raises(EncoderError, match=r"knows no words|AutoTokenizer"):
        load_image_text_model(f"hf:{without_words}", setting="clip")
    for arguments, message in (
        (("--retrieval", "--clip", clip), "Expected hf: with a repository or a folder, such as --clip hf:FOLDER"),
        (("--retrieval", "--clip", f"hf:{tmp_path / 'empty'}"), "holds no config.json"),
        (("--retrieval", "--clip", f"hf:{tmp_path / 'none'}"), "was not found: there is no folder"),
        (("--retrieval", "--clip", f"hf:{tmp_path / 'bert'}"), "Name a CLIP or SigLIP model as --clip."),
        (("--clip", f"hf:{clip}"), "Add --retrieval, or leave --clip out."),
    ):
        code, out, err = call("evaluate", trained_run, *arguments)
        assert (code, out) == (1, ""), arguments
        assert message in err
        assert "Traceback" not in err
