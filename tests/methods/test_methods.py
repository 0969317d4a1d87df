"""One contract over every method, and a method, a part and a fusion from outside the package."""

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import marnet
from marnet.config import Config, make_config
from marnet.config.nested import flatten
from marnet.errors import ConfigError
from marnet.losses import DEFAULT_WEIGHTS
from marnet.methods import (
    BuiltPart,
    Method,
    ModelParts,
    Part,
    Scene,
    Targets,
    TrainingStep,
    built_in_methods,
    find_method,
    list_methods,
    resolve,
)
from marnet.methods.parts.fusion import Fusion

METHODS = Path(marnet.__file__).parent / "methods"


def test_each_method_is_a_file_named_after_it() -> None:
    files = {path.stem.replace("_", "-") for path in METHODS.glob("*.py")} - {"--init--", "method"}
    assert set(list_methods()) == files
    assert list_methods()[0] == "image-only"


@pytest.mark.parametrize("name", list_methods())
def test_a_method_reads_settings_that_exist_and_weighs_its_terms(name: str) -> None:
    method = find_method(name)
    known = flatten(make_config({"method": name, "options": {"x": 1}}).model_dump(mode="json"))
    for setting in method.settings(Config(method=name)):
        assert any(each == setting or (setting.endswith(".") and each.startswith(setting)) for each in known), setting
    assert set(method.terms) <= set(DEFAULT_WEIGHTS)
    assert method.needs_text is (name != "image-only")
    assert method.summary.endswith(".")
    assert {part.name for part in method.parts} == {part.name: part for part in method.parts}.keys()


def test_the_defaults_of_the_losses_are_those_of_the_configuration() -> None:
    assert resolve(Config()).losses.weights == DEFAULT_WEIGHTS


@pytest.mark.parametrize(
    ("values", "weight"),
    [
        ({}, 0.0),
        ({"fusion": {"kind": "averaged"}}, 0.2),
        ({"fusion": {"kind": "concat"}}, 1.0),
        ({"method": "late-fusion"}, 1.0),
        ({"method": "image-only"}, 0.0),
        ({"method": "image-only", "fusion": {"kind": "averaged"}}, 0.2),
        ({"losses": {"classification": 0.5}, "fusion": {"kind": "concat"}}, 0.5),
    ],
)
def test_the_weight_of_the_fused_prediction_follows_from_the_fusion(values: dict, weight: float) -> None:
    resolved = resolve(make_config(values))
    assert resolved.losses.classification == weight
    assert resolve(resolved) == resolved


@pytest.mark.parametrize(
    ("values", "limit"),
    [
        ({}, "unlimited"),
        ({"backbone": {"pretrained": True}}, 1.0),
        ({"backbone": {"weights": "file.safetensors"}}, 1.0),
        ({"backbone": {"name": "own"}}, 1.0),
        ({"backbone": {"pretrained": True}, "training": {"text_gradient": "unlimited"}}, "unlimited"),
        ({"training": {"text_gradient": 2}}, 2),
    ],
)
def test_text_pulls_no_harder_than_the_classes_at_what_a_backbone_knows(values: dict, limit: float | str) -> None:
    assert resolve(make_config(values)).training.text_gradient == limit


@pytest.mark.parametrize("wrong", [-1, "much", True, None])
def test_a_limit_that_is_none_is_refused(wrong: object) -> None:
    with pytest.raises(ConfigError, match=r"`training\.text_gradient`.*auto, unlimited or a number of 0 or more"):
        make_config({"training": {"text_gradient": wrong}})


def test_an_unknown_method_or_fusion_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"`method`: found 'marnett', which is not a method\. Expected one of image-only"
    ):
        resolve(make_config({"method": "marnett"}))
    with pytest.raises(ConfigError, match=r"Fusion 'gated' is not known\. .* Did you mean 'weighted' or 'gated-"):
        resolve(make_config({"fusion": {"kind": "gated"}}))
    with pytest.raises(ConfigError, match=r"`options\.speed` is not an option of method 'marnet', which has none\."):
        resolve(make_config({"options": {"speed": 1}}))
    with pytest.raises(ConfigError, match=re.escape("but it must be a marnet.methods.Method")):
        resolve(make_config({"method": "module:marnet.methods.FULL"}))
    with pytest.raises(ConfigError, match="nowhere"):
        resolve(make_config({"method": "module:nowhere.METHOD"}))


TOY = '''
"""A method from outside: the image also predicts how long its text is."""

from torch import nn

from marnet.methods import BuiltPart, Method, Part
from marnet.methods.parts.fusion import Fusion


class Widened(nn.Module):
    width = 4

    def __init__(self, visual_width):
        super().__init__()
        self.map = nn.Linear(visual_width, 4)

    def features(self, x_v, noise=None):
        return self.map(x_v).tanh()


class Length(Part):
    name = "length"
    terms = ("length_head", "length")
    branch_term = "length_head"

    def build(self, scene):
        return BuiltPart(self, branch=Widened(scene.visual_width), training=nn.Linear(4, 1))

    def learn(self, model, step):
        predicted = model.training_part(self.name)(model.branches[self.name].features(step.x_v()))
        return predicted.squeeze(1), step.x_s.norm(dim=1)

    def losses(self, learned, targets):
        predicted, length = learned
        return {"length": (predicted - length).square().sum() / max(1, len(length))}

    def weights(self, config):
        return {"length": config.options["weight"], "length_head": 0.5}


METHOD = Method(
    name="toy",
    summary="Predicts the length of the text as well.",
    parts=(Length(), Fusion()),
    options={"weight": 2.0},
)


class Loudest(nn.Module):
    """A fusion from outside: the largest logit of any branch."""

    def __init__(self, widths, num_classes):
        super().__init__()

    def forward(self, features, logits):
        return sum(logits)
'''


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "toy_method.py").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    return "module:toy_method.METHOD"


def test_a_method_from_outside_trains_evaluates_and_is_reported(toy: str, manifest_file: Path, tmp_path: Path) -> None:
    config = make_config(
        {
            "method": toy,
            "options": {"weight": 0.5},
            "data": {"source": str(manifest_file), "image_size": 32},
            "backbone": {"name": "timm:test_resnet"},
            "fusion": {"kind": "module:toy_method.Loudest"},
            "training": {"epochs": 2, "batch_size": 16, "devices": "cpu"},
        }
    )
    run = marnet.fit(config, tmp_path / "run").path
    history = (run / "history.csv").read_text().splitlines()[0].split(",")
    assert {"train/length", "train/length_head", "train/visual"} <= set(history)
    assert marnet.evaluate(run).n == 18
    predictor = marnet.load(run)
    assert predictor.config.options == {"weight": 0.5}
    assert list(predictor.model.branches) == ["length"]
    from marnet.reports.run_report import write_run_report

    page = write_run_report([run], tmp_path / "report.html").read_text(encoding="utf-8")
    assert "toy_method" in page


def test_a_method_from_outside_is_compared_and_its_key_follows_from_its_options(
    toy: str, manifest_file: Path, tmp_path: Path
) -> None:
    from marnet.comparison.plan import ComparisonConfig, plan_run
    from marnet.comparison.runner import run_comparison

    base = {
        "data": {"source": str(manifest_file), "image_size": 32},
        "backbone": {"name": "timm:test_resnet"},
        "training": {"epochs": 1, "batch_size": 16, "devices": "cpu"},
    }
    arms = [{"name": "toy", "method": toy}, "image-only"]
    comparison = ComparisonConfig(base=base, arms=arms, seeds=1)
    result = run_comparison(comparison, tmp_path / "out")
    assert {record.arm for record in result.records} == {"toy", "image-only"}
    assert "toy" in result.results.read_text(encoding="utf-8")
    keys = [
        plan_run(ComparisonConfig(base={**base, **more}, arms=arms), comparison.arms[0], 0, "rows").key
        for more in ({}, {"options": {"weight": 3.0}}, {"alignment": {"width": 7}})
    ]
    assert keys[0] != keys[1]
    assert keys[0] == keys[2]  # the toy does not read EMA's settings


def test_a_part_needs_no_more_than_its_hooks() -> None:
    """A part written in place, wrapped around a module of one's own."""

    class Norm(Part):
        name = "norm"
        terms = ("norm",)
        needs_text = True

        def learn(self, model: ModelParts, step: TrainingStep) -> Tensor:
            return step.x_v().square().mean()

        def losses(self, learned: Tensor, targets: Targets) -> dict[str, Tensor]:
            return {"norm": learned}

        def weights(self, config: Config) -> dict[str, float]:
            return {"norm": 3.0}

    method = Method(name="norm", summary="Small features.", parts=(Norm(),))
    assert method.terms == ("classification", "norm")
    built = Norm().build(Scene(Config(), 2, 3, 0, 0))
    assert built == BuiltPart(built.part)
    backbone = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    from marnet.losses import Objective
    from marnet.model import MARNet

    objective = Objective(method.parts, weights=method.weights(resolve(Config())))
    model = MARNet(backbone, 2, visual_width=3, parts=[built], text=OneHot(), objective=objective)
    images = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    outputs = model.training_outputs(images, ["a", "", "b", "a"])
    terms = model.objective(outputs, torch.tensor([0, 1, 0, 1]))
    torch.testing.assert_close(terms.terms["norm"], images.mean((2, 3))[[0, 2, 3]].square().mean())
    torch.testing.assert_close(terms.total, terms.terms["classification"] + 3 * terms.terms["norm"])


class OneHot(nn.Module):
    """A text encoder of one column."""

    width = 1

    def forward(self, texts: list[str]) -> Tensor:
        return torch.ones(len(texts), 1)


def test_fusion_comes_behind_the_branches_that_it_fuses() -> None:
    for method in built_in_methods().values():
        names = [part.name for part in method.parts]
        if "fusion" in names:
            assert set(names[: names.index("fusion")]) <= {"alignment", "reconstruction"}
    assert Fusion().needs_text is False
