"""The calibration: against scikit-learn, against known truths, and honest on the rows that it was fitted on."""

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from marnet.inference import held_out_fit
from marnet.inference.calibration import cross_fit, fit_calibration, uncalibrated_logits
from marnet.metrics import classification_metrics, multi_label_metrics
from marnet.model import MARNet
from marnet.modules.calibration import top_log_odds
from marnet.modules.class_means import ClassMeans
from marnet.modules.fusion.weighted import Weighted
from marnet.outputs import PredictionOutput
from marnet.runs.calibration import apply_calibration


def draw(rows: int, *, classes: int = 5, sharpness: float = 2.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return true logits (N, C) and labels drawn from them."""
    generator = torch.Generator().manual_seed(seed)
    logits = sharpness * torch.randn(rows, classes, generator=generator)
    return logits, torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]


def model_of(*branches: str, classes: int = 5, several: bool = False) -> MARNet:
    model = MARNet(nn.Identity(), classes, visual_width=2, several_classes=several).eval()
    if branches:
        model.branches = nn.ModuleDict({name: nn.Identity() for name in branches})
        model.fusion = Weighted([2] * (1 + len(branches)), classes)
    return model


def outputs_of(**branches: Tensor) -> PredictionOutput:
    return PredictionOutput(next(iter(branches.values())), branches, {})


class Logits(ClassifierMixin, BaseEstimator):
    """A fitted classifier whose decision function is its input."""

    def __init__(self, classes: int = 5) -> None:
        self.classes_ = np.arange(classes)

    def fit(self, X: np.ndarray, y: np.ndarray) -> "Logits":  # noqa: N803 - scikit-learn calls it so
        return self

    def decision_function(self, X: np.ndarray) -> np.ndarray:  # noqa: N803 - scikit-learn calls it so
        return X

    def predict(self, X: np.ndarray) -> np.ndarray:  # noqa: N803 - scikit-learn calls it so
        return X.argmax(1)


@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0])
def test_the_temperature_is_that_of_scikit_learn(factor: float) -> None:
    true, labels = draw(2000)
    logits = factor * true
    oracle = CalibratedClassifierCV(FrozenEstimator(Logits()), method="temperature")
    oracle.fit(logits.numpy(), labels.numpy())
    fitted = fit_calibration(model_of(), outputs_of(visual=logits), labels)
    ours = (logits.double() * fitted.inverse_temperature).softmax(-1)
    np.testing.assert_allclose(ours.numpy(), oracle.predict_proba(logits.numpy()), atol=5e-3)
    assert fitted.inverse_temperature == pytest.approx(1 / factor, rel=0.06)
    assert fitted.branch_weights is None
    assert fitted.thresholds is None


def sure_and_wrong(rows: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return logits whose mean confidence is right, although a tenth of the sure predictions are of other classes."""
    true, labels = draw(rows, classes=10, sharpness=3.0, seed=seed)
    generator = torch.Generator().manual_seed(100 + seed)
    lost = torch.rand(rows, generator=generator) < 0.15
    return true, torch.where(lost, torch.randint(10, (rows,), generator=generator), labels)


def test_the_line_on_the_odds_is_that_of_a_logistic_regression() -> None:
    logits, labels = sure_and_wrong(4000, 0)
    fitted = fit_calibration(model_of(classes=10), outputs_of(visual=logits), labels)
    odds = top_log_odds(logits.double() * fitted.inverse_temperature)[0].numpy()
    oracle = LogisticRegression(C=1e9).fit(odds, (logits.argmax(-1) == labels).numpy())
    assert fitted.top_slope == pytest.approx(float(oracle.coef_[0, 0]), abs=0.02)
    assert fitted.top_offset == pytest.approx(float(oracle.intercept_[0]), abs=0.02)
    assert fitted.top_slope < 0.95


def test_the_line_mends_what_a_temperature_cannot() -> None:
    logits, labels = sure_and_wrong(3000, 1)
    model = model_of(classes=10)
    fitted = fit_calibration(model, outputs_of(visual=logits), labels)
    apply_calibration(model, fitted)
    new, truth = sure_and_wrong(20_000, 2)
    alone = classification_metrics(new * fitted.inverse_temperature, truth)
    both = classification_metrics(model.calibration(new, new), truth)
    assert both.top1 == alone.top1
    assert alone.ece > 0.02
    assert both.ece < alone.ece / 2
    assert both.nll < alone.nll


def test_a_branch_that_is_noise_gets_no_weight() -> None:
    true, labels = draw(400)
    noise = torch.randn(400, 5, generator=torch.Generator().manual_seed(9))
    fitted = fit_calibration(model_of("noise"), outputs_of(visual=true, noise=noise), labels)
    assert fitted.branch_weights == {"visual": 1.0, "noise": 0.0}


def test_a_branch_with_a_view_of_its_own_joins_and_the_prediction_is_better() -> None:
    true, labels = draw(1200, sharpness=4.0)
    generator = torch.Generator().manual_seed(1)
    first, second = (true + 5 * torch.randn(1200, 5, generator=generator) for _ in range(2))
    model = model_of("other")
    outputs = outputs_of(visual=first, other=second)
    fitted = fit_calibration(model, outputs, labels)
    assert fitted.branch_weights is not None
    assert 0.35 < fitted.branch_weights["other"] < 0.65
    assert sum(fitted.branch_weights.values()) == pytest.approx(1)
    both = classification_metrics(cross_fit(model, outputs, labels).logits, labels)
    alone = classification_metrics(first, labels)
    assert both.top1 > alone.top1 + 0.02
    assert both.ece < 0.05 < alone.ece


def test_a_branch_that_raises_the_likelihood_but_not_the_number_of_correct_rows_does_not_join(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The head on x_v is sure of a few wrong answers; the other is wrong twice as often, but never sure of it."""
    _, labels = draw(600, classes=2, sharpness=1.0)
    right = nn.functional.one_hot(labels, 2).float()
    visual, other = 2 * right, 1.5 * right
    visual[:20] = 30 * (1 - right[:20])
    other[20:60] = 2.5 * (1 - right[20:60])
    outputs = outputs_of(visual=visual, b=other)
    assert fit_calibration(model_of("b", classes=2), outputs, labels).branch_weights == {"visual": 1.0, "b": 0.0}
    monkeypatch.setattr(held_out_fit, "_hits", lambda logits, rows: 0)
    by_likelihood = fit_calibration(model_of("b", classes=2), outputs, labels).branch_weights
    assert by_likelihood is not None
    assert by_likelihood["b"] > 0.5


def test_cross_fitted_metrics_do_not_flatter() -> None:
    """On pure noise the best of several branches looks better than it is; held-out predictions do not."""
    generator = torch.Generator().manual_seed(2)
    labels = torch.randint(5, (100,), generator=generator)
    names = ("visual", "a", "b", "c")
    outputs = outputs_of(**{name: 3 * torch.randn(100, 5, generator=generator) for name in names})
    found = cross_fit(model_of(*names[1:]), outputs, labels)
    assert float(nn.functional.cross_entropy(found.logits, labels)) > np.log(5) - 0.02


@pytest.mark.parametrize("rows", [1, 2, 9])
def test_few_rows_change_little(rows: int) -> None:
    true, labels = draw(rows, sharpness=8.0)
    fitted = fit_calibration(model_of("b"), outputs_of(visual=true, b=true), labels)
    assert fitted.branch_weights == {"visual": 1.0, "b": 0.0}
    assert 0.1 < fitted.inverse_temperature < 3
    assert len(fitted.scores) == rows


def test_several_classes_have_temperatures_and_thresholds_of_their_own() -> None:
    generator = torch.Generator().manual_seed(3)
    true = torch.randn(3000, 3, generator=generator) * 2 + torch.tensor([0.0, -3.0, 1.0])
    targets = torch.bernoulli(true.sigmoid(), generator=generator)
    logits = true * torch.tensor([3.0, 1.0, 0.5])
    model, outputs = model_of(classes=3, several=True), outputs_of(visual=logits)
    fitted = fit_calibration(model, outputs, targets)
    assert isinstance(fitted.inverse_temperature, list)
    assert fitted.inverse_temperature == pytest.approx([1 / 3, 1, 2], rel=0.15)
    assert fitted.thresholds is not None
    assert fitted.thresholds[1] < 0.45  # F1 of a rare class is best at a low threshold
    assert fitted.scores == []
    found = cross_fit(model, outputs, targets)
    tuned = multi_label_metrics(found.logits, targets, threshold=found.thresholds)
    plain = multi_label_metrics(logits, targets)
    assert tuned.macro_f1 > plain.macro_f1 + 0.02
    assert tuned.nll < plain.nll


def test_uncalibrated_logits_are_those_of_the_visual_head() -> None:
    true, _ = draw(4)
    outputs = PredictionOutput(2 * true, {"visual": true, "b": -true}, {})
    assert uncalibrated_logits(model_of("b"), outputs) is true
    assert uncalibrated_logits(model_of(), outputs) is outputs.logits


def planted_means(rows: int, *, share: float, noise: bool = False) -> tuple[MARNet, PredictionOutput, Tensor]:
    """Return a model with class means, and rows of two classes, of which the second has this share.

    Its head has hardly learned the second class; the means are right, or noise.
    """
    generator = torch.Generator().manual_seed(0)
    labels = (torch.rand(rows, generator=generator) < share).long()
    truth = nn.functional.one_hot(labels, 2).float()
    x_v = (torch.randn(rows, 2, generator=generator) if noise else truth) + 0.4 * torch.randn(
        rows, 2, generator=generator
    )
    model = model_of(classes=2)
    model.calibration.class_means = ClassMeans(torch.zeros(2), torch.eye(2), torch.eye(2), torch.tensor([0.05, 3.0]))
    logits = truth + torch.randn(rows, 2, generator=generator) + torch.tensor([3.0, 0.0])
    return model, PredictionOutput(logits, {"visual": logits}, {"visual": x_v}), labels


def recalls(logits: Tensor, labels: Tensor) -> list[float]:
    right = logits.argmax(1) == labels
    return [float(right[labels == label].float().mean()) for label in range(2)]


def test_class_means_and_rarity_find_a_class_that_the_head_does_not() -> None:
    model, outputs, labels = planted_means(600, share=0.5)
    fitted = fit_calibration(model, outputs, labels)
    assert fitted.class_means > 1
    assert fitted.rarity > 0.5  # the head puts the rare class 3 logits too low
    apply_calibration(model, fitted)
    assert recalls(outputs.logits, labels)[1] < 0.2
    found = recalls(model.calibration(outputs.logits, outputs.x_v), labels)
    assert min(found) > 0.9
    assert recalls(cross_fit(model, outputs, labels).logits, labels) == pytest.approx(found, abs=0.02)


def test_class_means_that_are_noise_get_no_weight() -> None:
    model, outputs, labels = planted_means(600, share=0.02, noise=True)
    fitted = fit_calibration(model, outputs, labels)
    assert fitted.class_means < 0.2
    model.calibration.class_means = None
    assert fit_calibration(model, outputs, labels).class_means == 0


def test_a_balanced_fit_counts_every_class_the_same() -> None:
    model, outputs, labels = planted_means(2000, share=0.05, noise=True)
    found = {}
    for balanced in (False, True):
        fitted = fit_calibration(model, outputs, labels, balanced=balanced)
        assert fitted.balanced is balanced
        apply_calibration(model, fitted)
        found[balanced] = recalls(model.calibration(outputs.logits, outputs.x_v), labels)
    assert found[False][1] < 0.1
    assert found[True][1] > 0.5
    apply_calibration(model, None)
    assert model.calibration(outputs.logits, outputs.x_v).equal(outputs.logits)
