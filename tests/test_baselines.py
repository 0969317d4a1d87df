"""The baselines obey the contract of every method: two calls, no text at prediction, run directories that load."""

import inspect
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import marnet
from marnet.building import build_model
from marnet.config import make_config
from marnet.losses import DEFAULT_WEIGHTS, LossTerms, Objective
from marnet.methods import list_methods
from marnet.model import MARNet
from marnet.modules.regression import SemanticRegression, count_parameters
from marnet.outputs import MARNetOutput
from marnet.runs.weights import load_run

CLASSES = 5
TEXTS = ["red, round apple", "", "long blue eel", "green lime", "red, round apple", "  ", "green, sour lime", "eel"]
LABELS = torch.tensor([0, 1, 2, 1, 0, 3, 1, 4])
BASELINES = ("regress", "multitask", "late-fusion")
every_baseline = pytest.mark.parametrize("method", BASELINES)


class SmallBackbone(nn.Module):
    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 3, 2), nn.BatchNorm2d(width), nn.SiLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
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


def images(rows: int = 8, *, seed: int = 0) -> Tensor:
    return torch.randn(rows, 3, 12, 12, generator=torch.Generator().manual_seed(seed))


def build(
    method: str, *, texts: list[str] = TEXTS, seed: int = 0, text: str = "bow", width: int = 6, guide: str = "linear"
) -> MARNet:
    torch.manual_seed(seed)
    config = make_config(
        {
            "method": method,
            "data": {"image_size": 12},
            "text": {"dimensions": 4, "name": text},
            "reconstruction": {"width": 32, "guide": guide},
            "late_fusion": {"width": 16},
        }
    )
    return build_model(config, num_classes=CLASSES, texts=texts, backbone=SmallBackbone(width))


def perturbed(model: MARNet) -> MARNet:
    torch.manual_seed(99)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


@every_baseline
def test_prediction_cannot_see_text_and_is_a_function_of_the_image(method: str) -> None:
    model = perturbed(build(method)).eval()
    before = model(images())
    assert torch.equal(model(images(), torch.randn(8, 4)), before)
    for texts in (TEXTS, TEXTS[::-1]):
        assert torch.equal(model.training_outputs(images(), texts).prediction.logits, before)
    model.training_only = None
    assert torch.equal(model(images()), before)
    assert list(inspect.signature(model.forward).parameters) == ["images", "noise"]


@every_baseline
def test_gradient_reaches_every_parameter_and_text_matters_to_the_loss(method: str) -> None:
    model = perturbed(build(method)).train()
    torch.manual_seed(0)
    loss = score(model, model.training_outputs(images(), TEXTS), LABELS).total
    loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or p.grad.abs().sum() == 0] == []
    torch.manual_seed(0)
    swapped = score(model, model.training_outputs(images(), TEXTS[::-1]), LABELS).total
    assert not torch.isclose(swapped, loss)


@every_baseline
def test_a_batch_without_any_text_still_trains(method: str) -> None:
    model = perturbed(build(method)).train()
    loss = score(model, model.training_outputs(images(), [""] * 8), LABELS)
    loss.total.backward()
    assert torch.isfinite(loss.total)
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(
    ("method", "terms"),
    [
        ("regress", {"visual", "semantic", "reconstruction", "linear_head"}),
        ("multitask", {"classification", "words"}),
        ("late-fusion", {"classification", "visual", "text"}),
    ],
)
def test_the_terms_of_each_baseline(method: str, terms: set[str]) -> None:
    model = perturbed(build(method)).train()
    outputs = model.training_outputs(images(), TEXTS)
    assert set(score(model, outputs, LABELS).terms) == terms
    nothing = score(model, outputs, LABELS, weights=dict.fromkeys(DEFAULT_WEIGHTS, 0.0))
    assert (float(nothing.total), nothing.terms) == (0.0, {})


def test_late_fusion_is_judged_with_its_text_and_predicts_without() -> None:
    model = perturbed(build("late-fusion")).eval()
    outputs = model.training_outputs(images(), TEXTS)
    found = score(model, outputs, LABELS, label_smoothing=0.0).terms["classification"]
    expected = nn.functional.cross_entropy(outputs.logits, LABELS)
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(outputs.logits, outputs.prediction.logits)


def test_regress_is_reconstruct_with_another_module_of_the_same_size() -> None:
    rival, ours = build("regress"), build("reconstruct")
    assert isinstance(rival.branches["reconstruction"], SemanticRegression)
    difference = count_parameters(rival) - count_parameters(ours)
    assert abs(difference) < 0.01 * count_parameters(ours.branches["reconstruction"])
    assert type(rival.fusion) is type(ours.fusion)
    assert list(rival.heads) == list(ours.heads)
    assert type(rival.branches["reconstruction"].guide) is type(ours.branches["reconstruction"].guide)
    for name, value in ours.semantics.state_dict().items():
        assert torch.equal(rival.semantics.state_dict()[name], value)


@pytest.mark.parametrize("method", ["regress", "reconstruct"])
def test_without_a_guess_there_is_no_term_for_it(method: str) -> None:
    model = perturbed(build(method, guide="features")).train()
    assert "linear_head" not in score(model, model.training_outputs(images(), TEXTS), LABELS).terms


def test_multitask_predicts_words_or_tags() -> None:
    model = build("multitask")
    assert set(model.text.vocabulary) == {"apple", "blue", "eel", "green", "lime", "long", "red", "round", "sour"}
    assert model.training_outputs(images(), TEXTS).learned["words"].targets.sum(1).tolist() == [3, 3, 2, 3, 3, 1]
    model = build("multitask", text="tags")
    assert set(model.text.vocabulary) == {
        "red", "round apple", "long blue eel", "green lime", "green", "sour lime", "eel",
    }  # fmt: skip
    assert model.training_outputs(images(), TEXTS).learned["words"].targets.sum(1).tolist() == [2, 1, 1, 2, 2, 1]


def test_the_words_of_a_placebo_are_as_many_and_random() -> None:
    real, placebo = (build("multitask", text=name).training_outputs(images(), TEXTS) for name in ("bow", "random:bow"))
    assert placebo.learned["words"].targets.shape == real.learned["words"].targets.shape
    assert not torch.equal(placebo.learned["words"].targets, real.learned["words"].targets)


@pytest.mark.parametrize("method", list_methods())
def test_every_method_learns_fifty_images_by_heart(method: str) -> None:
    x = images(50, seed=5)
    labels = torch.arange(50) % CLASSES
    texts = [f"kind {label} of thing {'abcde'[label] * 3}" for label in labels.tolist()]
    model = build(method, texts=texts, width=24).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(80):
        loss = score(model, model.training_outputs(x, texts), labels, label_smoothing=0.0).total
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval()
    assert float((model(x).argmax(-1) == labels).float().mean()) == 1.0


@pytest.mark.parametrize("method", list_methods())
def test_every_method_beats_chance_and_its_run_loads_again(method: str, manifest_file: Path, tmp_path: Path) -> None:
    config = make_config(
        {
            "method": method,
            "data": {"source": str(manifest_file), "image_size": 32},
            "backbone": {"name": "timm:test_resnet"},
            "training": {"epochs": 6, "batch_size": 8, "lr": 5e-3, "devices": "cpu"},
        }
    )
    result = marnet.fit(config, tmp_path / "run")
    assert result.metrics.top1 > 0.9  # three classes that colour tells apart: chance is 1 in 3
    predicting = set(load_file(tmp_path / "run" / "model.safetensors"))
    learned_from_text = ("text.", "words", "semantic", "space.", "training_only")
    assert not [name for name in predicting if any(part in name for part in learned_from_text)]
    x = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        before = load_run(tmp_path / "run", with_text=True).model(x)
        for name in ("text.safetensors", "text.json"):
            (tmp_path / "run" / name).unlink(missing_ok=True)
        assert torch.equal(load_run(tmp_path / "run").model(x), before)
    assert tuple(marnet.evaluate(tmp_path / "run")) == pytest.approx(tuple(result.metrics), abs=1e-6)
