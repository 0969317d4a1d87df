"""One contract over every method and fusion, and what plugging in somebody's own backbone means."""

import inspect
import re
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from marnet.building import build_model, wrap
from marnet.config import Config, make_config
from marnet.errors import ConfigError, EncoderError
from marnet.losses import DEFAULT_WEIGHTS, LossTerms, Objective
from marnet.methods import BuiltPart, list_methods
from marnet.methods.parts.alignment import Alignment
from marnet.model import MARNet
from marnet.modules.alignment import EmbeddingMatchingAlignment
from marnet.modules.fusion import FUSIONS
from marnet.modules.fusion.weighted import Weighted
from marnet.outputs import MARNetOutput

CLASSES = 4
TEXTS = [
    "red, round apple",
    "",
    "long blue eel",
    "green lime",
    "red, round apple",
    "  ",
    "green, sour lime",
    "blue eel",
]
LABELS = torch.tensor([0, 1, 2, 1, 0, 3, 1, 2])
ROWS = [i for i, text in enumerate(TEXTS) if text.strip()]
VARIANTS = [
    ("image-only", "averaged", False),
    *[(method, fusion, False) for method in ("match", "reconstruct", "marnet") for fusion in FUSIONS],
    *[(method, "averaged", True) for method in ("match", "reconstruct", "marnet")],
]
every_variant = pytest.mark.parametrize(("method", "fusion", "trainable"), VARIANTS)


class SmallBackbone(nn.Module):
    """Somebody's own image model, D_v = 6, with batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 6, 3, 2), nn.BatchNorm2d(6), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


def score(
    model: MARNet,
    outputs: MARNetOutput,
    labels: Tensor,
    *,
    weights: dict[str, float] | None = None,
    label_smoothing: float = 0.1,
) -> LossTerms:
    """The loss with the weights that the model was built with, or those that are given."""
    weights = {**model.objective.weights, **(weights or {})}
    objective = Objective(list(model.parts.values()), weights=weights, label_smoothing=label_smoothing)
    return objective(outputs, labels)


def images(rows: int = len(TEXTS), *, seed: int = 0) -> Tensor:
    return torch.randn(rows, 3, 12, 12, generator=torch.Generator().manual_seed(seed))


def build(method: str, fusion: str = "averaged", trainable: bool = False, *, seed: int = 0, **sections: Any) -> MARNet:
    torch.manual_seed(seed)
    values = {
        "method": method,
        "data": {"image_size": 12},
        "fusion": {"kind": fusion},
        "text": {"trainable": trainable, "dimensions": 5},
        "alignment": {"width": 7},
        "reconstruction": {"width": 16, "timesteps": 50, "condition_dropout": 0.5},
    }
    for name, section in sections.items():
        values[name] = {**values.get(name, {}), **section}
    return build_model(make_config(values), num_classes=CLASSES, texts=TEXTS, backbone=SmallBackbone())


def perturbed(model: MARNet) -> MARNet:
    """Away from the zeros that parts of it start from, as if it had been trained."""
    torch.manual_seed(99)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


@every_variant
def test_shapes(method: str, fusion: str, trainable: bool) -> None:
    model = build(method, fusion, trainable)
    aligned, reconstructed = method in {"match", "marnet"}, method in {"reconstruct", "marnet"}
    found = model.training_outputs(images(), TEXTS)
    names = ["visual"] + ["alignment"] * aligned + ["reconstruction"] * reconstructed
    prediction = found.prediction
    assert prediction.logits.shape == (8, CLASSES)
    assert list(prediction.branch_logits) == names
    assert all(logits.shape == (8, CLASSES) for logits in prediction.branch_logits.values())
    assert prediction.x_v.shape == (8, 6)
    assert (None if prediction.x_ema is None else prediction.x_ema.shape) == ((8, 7) if aligned else None)
    assert (None if prediction.x_cdr is None else prediction.x_cdr.shape) == ((8, 5) if reconstructed else None)
    assert found.text_rows.tolist() == ROWS
    assert (None if found.x_s is None else found.x_s.shape) == ((6, 5) if method != "image-only" else None)
    assert set(found.learned) == {
        name
        for name, there in {"alignment": aligned, "reconstruction": reconstructed, "text_head": trainable}.items()
        if there
    }
    if aligned:
        assert found.learned["alignment"].z_v.shape == found.learned["alignment"].z_s.shape == (6, 7)
    if reconstructed:
        assert (
            found.learned["reconstruction"].prediction.shape == found.learned["reconstruction"].target.shape == (6, 5)
        )
    if trainable:
        assert found.learned["text_head"].shape == (6, CLASSES)


@every_variant
def test_gradient_reaches_every_parameter(method: str, fusion: str, trainable: bool) -> None:
    model = perturbed(build(method, fusion, trainable)).train()
    score(model, model.training_outputs(images(), TEXTS), LABELS).total.backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or p.grad.abs().sum() == 0]
    assert without == []


@pytest.mark.parametrize("term", [name for name in DEFAULT_WEIGHTS if name != "words"])  # marnet predicts none
@pytest.mark.parametrize("guide", ["linear", "features"])
def test_each_objective_teaches_the_parts_that_it_should(term: str, guide: str) -> None:
    """The text's own term does not reach the backbone, nor does denoising where a guess guides: the guess's term does.

    Reconstruction never reaches the text encoder.
    """
    model = perturbed(build("marnet", "gated-logits", trainable=True, reconstruction={"guide": guide})).train()
    weights = {name: float(name == term) for name in DEFAULT_WEIGHTS}
    outputs = model.training_outputs(images(), TEXTS)
    loss = score(model, outputs, LABELS, weights=weights)
    if (term, guide) == ("linear_head", "features"):
        assert loss.terms == {}
        return
    loss.total.backward()

    def taught(part: nn.Module) -> bool:
        return any(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())

    denoising = term == "reconstruction"
    assert taught(model.backbone) is (term != "text" and not (denoising and guide == "linear"))
    assert taught(model.text) is (term in {"matching", "text"})
    assert taught(model.branches["reconstruction"]) is (
        term in {"classification", "linear_head", "reconstruction", "semantic"}
    )
    assert taught(model.branches["reconstruction"].denoiser) is (
        denoising or (guide == "features" and term in {"classification", "semantic"})
    )
    if guide == "linear":
        assert taught(model.branches["reconstruction"].guide) is (term in {"classification", "linear_head", "semantic"})
    assert taught(model.fusion) is (term == "classification")


@every_variant
def test_state_dict_round_trip(method: str, fusion: str, trainable: bool) -> None:
    model = perturbed(build(method, fusion, trainable)).train()
    model(images())  # moves the statistics of batch norm
    twin = build(method, fusion, trainable, seed=7).eval()
    model.eval()
    assert not torch.allclose(twin(images()), model(images()))
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin(images()), model(images()))
    ours, theirs = (m.training_outputs(images(), TEXTS, **draws(m)) for m in (model, twin))
    torch.testing.assert_close(score(twin, theirs, LABELS).total, score(model, ours, LABELS).total, rtol=0, atol=0)


def draws(model: MARNet) -> dict[str, Tensor]:
    """What fixes CDR's training task in evaluation mode."""
    if "reconstruction" not in model.branches:
        return {}
    noise = torch.randn(6, 5, generator=torch.Generator().manual_seed(4))
    return {"diffusion_times": torch.tensor([0, 10, 20, 30, 40, 49]), "diffusion_noise": noise}


@every_variant
def test_prediction_is_a_function_of_the_image(method: str, fusion: str, trainable: bool) -> None:
    model = perturbed(build(method, fusion, trainable)).eval()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = model(images())
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(model(images()), first)
    outputs = model.prediction_outputs(images())
    assert torch.equal(outputs.logits, first)
    assert torch.equal(model.training_outputs(images(), TEXTS).prediction.logits, first)


@every_variant
def test_the_order_of_a_batch_does_not_matter(method: str, fusion: str, trainable: bool) -> None:
    model = perturbed(build(method, fusion, trainable)).eval()
    order = torch.tensor([5, 2, 7, 0, 1, 6, 3, 4])
    x, noise = images(), torch.randn(8, 5, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(model(x[order]), model(x)[order], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model(x[order], noise[order]), model(x, noise)[order], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model(x[:3]), model(x)[:3], rtol=1e-4, atol=1e-5)


@every_variant
def test_prediction_cannot_see_text(method: str, fusion: str, trainable: bool) -> None:
    model = perturbed(build(method, fusion, trainable)).eval()
    before = model(images())
    swapped = model.training_outputs(images(), TEXTS[::-1]).prediction.logits
    assert torch.equal(swapped, before)
    model.training_only = None
    assert torch.equal(model(images()), before)
    assert list(inspect.signature(model.forward).parameters) == ["images", "noise"]
    assert list(inspect.signature(model.prediction_outputs).parameters) == ["images", "noise"]


@every_variant
def test_a_model_built_without_texts_predicts_the_same(method: str, fusion: str, trainable: bool) -> None:
    """What a run directory needs: the weights, the width of the semantics, and no text encoder."""
    model = perturbed(build(method, fusion, trainable)).eval()
    config = make_config(
        {
            "method": method,
            "data": {"image_size": 12},
            "fusion": {"kind": fusion},
            "text": {"trainable": trainable, "dimensions": 5},
            "alignment": {"width": 7},
            "reconstruction": {"width": 16, "timesteps": 50},
        }
    )
    bare = build_model(config, num_classes=CLASSES, backbone=SmallBackbone(), text_width=5).eval()
    assert bare.text is None
    missing, unexpected = bare.load_state_dict(model.state_dict(), strict=False)
    assert missing == []
    assert all(name.startswith("training_only.text.") for name in unexpected)
    assert torch.equal(bare(images()), model(images()))


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("method", list_methods())
def test_noise_replaces_the_stored_start(method: str, fusion: str) -> None:
    model = perturbed(build(method, fusion)).eval()
    x = images()
    first, second = (torch.randn(8, 5, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    if method not in {"reconstruct", "marnet"}:
        assert torch.equal(model(x, first), model(x))
        return
    assert torch.equal(model(x, first), model(x, first))
    if isinstance(model.fusion, Weighted):
        assert torch.equal(model(x, first), model(x))  # until its weights are fitted, the head on x_v predicts alone
        model.fusion.weights.fill_(0.5)
    assert not torch.allclose(model(x, first), model(x, second))
    assert torch.equal(model(x, torch.zeros(8, 5)), model(x))
    assert not torch.equal(model.prediction_outputs(x, first).x_cdr, model.prediction_outputs(x, second).x_cdr)
    sentence = "noise has the shape (8, 4), but it must be (8, 5) for 8 images."
    with pytest.raises(ValueError, match=re.escape(sentence)):
        model(x, torch.zeros(8, 4))


def test_one_seed_gives_every_method_the_same_backbone() -> None:
    def initial(method: str, seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        config = make_config({"method": method, "backbone": {"name": "timm:test_resnet"}, "data": {"image_size": 32}})
        return build_model(config, num_classes=CLASSES, texts=TEXTS).backbone.state_dict()

    reference = initial("image-only", 3)
    for method in list_methods():
        assert all(torch.equal(value, reference[name]) for name, value in initial(method, 3).items())
    other = initial("marnet", 4)
    assert any(not torch.equal(value, reference[name]) for name, value in other.items())


def test_rows_without_text_take_no_part_in_what_needs_text() -> None:
    """Blank rows are not matched, least of all to one another, and do not change the text terms of the others."""
    model = perturbed(build("marnet")).eval()
    x = images()
    whole = score(model, model.training_outputs(x, TEXTS, **draws(model)), LABELS).terms
    texts = [TEXTS[i] for i in ROWS]
    alone = score(model, model.training_outputs(x[ROWS], texts, **draws(model)), LABELS[ROWS]).terms
    for name in ("matching", "reconstruction", "linear_head"):
        torch.testing.assert_close(whole[name], alone[name])
    assert not torch.allclose(whole["classification"], alone["classification"])


@pytest.mark.parametrize("trainable", [False, True])
@pytest.mark.parametrize("method", ["match", "reconstruct", "marnet"])
def test_a_batch_without_any_text_still_trains(method: str, trainable: bool) -> None:
    model = perturbed(build(method, trainable=trainable)).train()
    blank = [""] * 8
    loss = score(model, model.training_outputs(images(), blank), LABELS)
    for name in {"matching", "reconstruction", "linear_head", "text"} & set(loss.terms):
        assert float(loss.terms[name].detach()) == 0.0
    loss.total.backward()
    assert torch.isfinite(loss.total)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name  # or distributed training would wait for it for ever
        assert torch.isfinite(parameter.grad).all(), name


def test_the_semantics_are_centred_over_the_training_texts() -> None:
    for dimensions in (3, None):
        model = build("reconstruct", semantics={"dimensions": dimensions})
        space, x_s = model.semantics, model.text([TEXTS[i] for i in ROWS])  # repeats count, blanks do not
        width = dimensions or 5
        torch.testing.assert_close(space(x_s).mean(0), torch.zeros(width), atol=1e-5, rtol=0)
        assert space.centre.abs().sum() > 0
        if dimensions is not None:
            torch.testing.assert_close(space.mean, x_s.mean(0))
            assert model.prediction_outputs(images()).x_cdr.shape == (8, 3)


def test_each_method_has_its_own_branches_and_parts() -> None:
    assert set(build("reconstruct").heads) == {"visual", "reconstruction"}
    assert set(build("match").training_only.parts) == {"alignment"}
    assert set(build("match", trainable=True).training_only.parts) == {"alignment", "text_head"}
    bare = build("image-only")
    assert bare.text is None
    assert bare.fusion is None
    assert set(bare.heads) == {"visual"}


def test_options_reach_the_modules() -> None:
    model = build(
        "marnet",
        alignment={"temperature": 0.2},
        reconstruction={
            "prediction": "v", "sampler": "ddpm", "steps": 3, "guidance_scale": 2.0, "schedule": "linear",
            "guide": "features", "condition_noise": 0.25,
        },
        semantics={"dimensions": 2},
    )  # fmt: skip
    assert float(model.training_part("alignment").scale().detach()) == pytest.approx(5.0)
    module = model.branches["reconstruction"]
    assert (module.prediction, module.sampler, module.steps, module.guidance_scale) == ("v", "ddpm", 3, 2.0)
    assert (module.width, module.guide.is_linear, module.guide.noise) == (2, False, 0.25)
    assert float(module.alpha_bar[0]) == pytest.approx(1 - 1e-4 * 1000 / 50)


def test_double_precision() -> None:
    model = perturbed(build("marnet")).double().train()
    loss = score(model, model.training_outputs(images().double(), TEXTS), LABELS)
    loss.total.backward()
    assert loss.total.dtype == torch.float64


@pytest.mark.parametrize("method", list_methods())
def test_wrapping_an_own_module(method: str) -> None:
    backbone = SmallBackbone()
    model = wrap(backbone, texts=TEXTS, num_classes=CLASSES, image_size=12, method=method)
    assert model.backbone is backbone
    assert backbone.training
    assert model(images()).shape == (8, CLASSES)
    loss = score(model, model.training_outputs(images(), TEXTS), LABELS)
    loss.total.backward()
    assert torch.isfinite(loss.total)


@pytest.mark.parametrize("method", ["marnet", "regress"])
def test_labels_tell_the_semantics_what_goes_with_the_classes(method: str) -> None:
    """Of two words that every text holds one of, the first pair goes with the class and the second does not."""
    texts = [f"{('plum', 'pear')[i // 8]} {('fresh', 'cold')[i % 2]}" for i in range(16)]
    labels = [i // 8 for i in range(16)]
    config = make_config({"method": method, "data": {"image_size": 12}})
    blind = make_config({"method": method, "data": {"image_size": 12}, "semantics": {"canonical": False}})

    def spread(config: Config, labels: list[int] | Tensor | None) -> Tensor:
        """How far the semantics of the texts differ within the classes and between them."""
        made = build_model(config, num_classes=2, texts=texts, labels=labels, backbone=SmallBackbone())
        assert made.text is not None
        assert made.semantics is not None
        x_0 = made.semantics(made.text(texts))
        return torch.stack([(x_0[0] - x_0[1]).norm(), (x_0[0] - x_0[8]).norm()])

    within, between = spread(config, labels)
    assert within < 0.01 * between
    torch.testing.assert_close(spread(config, functional.one_hot(torch.tensor(labels))), torch.stack([within, between]))
    for told in (spread(config, None), spread(blind, labels)):
        assert told[0] > 0.5 * told[1]


@pytest.mark.parametrize("method", ["match", "marnet"])
@pytest.mark.parametrize("trainable", [False, True])
def test_alignment_reads_the_semantics_unless_the_text_encoder_learns(method: str, trainable: bool) -> None:
    model = build(method, trainable=trainable).eval()
    assert (model.semantics is None) == (trainable and method == "match")  # there nothing else reads them
    outputs = model.training_outputs(images(), TEXTS)
    assert outputs.x_s is not None
    read = outputs.x_s if trainable or model.semantics is None else model.semantics(outputs.x_s)
    torch.testing.assert_close(outputs.learned["alignment"].z_s, model.training_part("alignment")(read))
    if "reconstruction" in outputs.learned:
        assert torch.equal(outputs.learned["reconstruction"].x0, model.semantics(outputs.x_s))
    outputs.learned["alignment"].z_s[:, 0].sum().backward()
    learns = [parameter.grad is not None for parameter in model.text.parameters()]
    assert any(learns) == trainable


def test_blank_texts_and_their_labels_are_left_out_of_the_semantics() -> None:
    config = make_config({"data": {"image_size": 12}})
    texts = ["plum fresh", "", "plum cold", "pear fresh", " ", "pear cold"]

    def space(texts: list[str], labels: list[int]) -> dict[str, Tensor]:
        made = build_model(config, num_classes=2, texts=texts, labels=labels, backbone=SmallBackbone())
        assert made.semantics is not None
        return made.semantics.state_dict()

    found, expected = space(texts, [0, 1, 0, 1, 0, 1]), space([texts[i] for i in (0, 2, 3, 5)], [0, 0, 1, 1])
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)


def test_wrapping_a_classifier_of_torchvision() -> None:
    backbone = torchvision.models.resnet18()
    backbone.fc = nn.Identity()
    model = wrap(backbone, texts=TEXTS, num_classes=CLASSES, image_size=64)
    assert model.heads["visual"].in_features == 512
    assert model(torch.zeros(2, 3, 64, 64)).shape == (2, CLASSES)


def test_training_lowers_the_loss() -> None:
    model = build("marnet").train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        loss = score(model, model.training_outputs(images(), TEXTS), LABELS, label_smoothing=0.0).total
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


class FeatureMap(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images)


def test_backbones_that_do_not_fit_are_refused() -> None:
    with pytest.raises(EncoderError) as refused:
        wrap(FeatureMap(), texts=TEXTS, num_classes=CLASSES, image_size=12)
    assert str(refused.value) == (
        "The backbone FeatureMap returned (2, 6, 10, 10) for an image batch of shape (2, 3, 12, 12). "
        "Expected pooled features (2, D). Remove its head or pool its feature map."
    )
    with pytest.raises(EncoderError, match=r"The backbone Linear failed on an image batch of shape \(2, 3, 12, 12\): "):
        wrap(nn.Linear(7, 3), texts=TEXTS, num_classes=CLASSES, image_size=12)


def test_what_cannot_be_built_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"`method`: found 'marnett', which is not a method.* Did you mean 'marnet'"):
        wrap(SmallBackbone(), texts=TEXTS, num_classes=CLASSES, image_size=12, method="marnett")
    sentence = "Method 'marnet' learns from text, but there are no training texts. Pass texts."
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        wrap(SmallBackbone(), texts=[], num_classes=CLASSES, image_size=12)
    with pytest.raises(ValueError, match=r"3 labels came with 8 texts\. Give one label per text"):
        wrap(SmallBackbone(), texts=TEXTS, labels=[0, 1, 2], num_classes=CLASSES, image_size=12)
    with pytest.raises(EncoderError, match="found nothing to learn in 0 different training texts"):
        wrap(SmallBackbone(), texts=["", " "], num_classes=CLASSES, image_size=12)
    with pytest.raises(ValueError, match=r"The branches visual, alignment have no fusion\."):
        MARNet(
            SmallBackbone(),
            CLASSES,
            visual_width=6,
            parts=[BuiltPart(Alignment(), branch=EmbeddingMatchingAlignment(6, width=5))],
        )


def test_texts_must_come_one_an_image() -> None:
    sentence = "8 images came with 7 texts. Give one text per image; '' stands for none."
    with pytest.raises(ValueError, match=re.escape(sentence)):
        build("marnet").training_outputs(images(), TEXTS[:-1])
