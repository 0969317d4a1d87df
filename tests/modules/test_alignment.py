"""EMA: unit vectors, a bounded temperature that can still learn, and the scale of x_EMA."""

import math

import pytest
import torch
from torch import Tensor, nn

from marnet.losses import matching_loss
from marnet.modules.alignment import AlignedPair, EmbeddingMatchingAlignment, TextAlignment


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Both(nn.Module):
    """Both halves of EMA, for images of 7 features and semantics of 5."""

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        self.images = EmbeddingMatchingAlignment(7, width=16)
        self.texts = TextAlignment(5, width=16, temperature=temperature)

    def forward(self, x_v: Tensor, semantics: Tensor) -> AlignedPair:
        return AlignedPair(self.images(x_v), self.texts(semantics), self.texts.scale())


@pytest.fixture
def alignment() -> Both:
    torch.manual_seed(0)
    return Both()


def test_both_sides_are_unit_vectors_of_one_space(alignment: Both) -> None:
    pair = alignment(100 * normal(6, 7), 0.001 * normal(6, 5))
    assert pair.z_v.shape == pair.z_s.shape == (6, 16)
    torch.testing.assert_close(pair.z_v.square().sum(1), torch.ones(6))
    torch.testing.assert_close(pair.z_s.square().sum(1), torch.ones(6))
    torch.testing.assert_close(pair.scale, torch.tensor(10.0))


def test_projections_against_a_loop(alignment: Both) -> None:
    x_v = normal(3, 7)
    weight = alignment.images.project.weight.tolist()
    for i, row in enumerate(x_v.tolist()):
        projected = [sum(w * x for w, x in zip(line, row, strict=True)) for line in weight]
        length = math.sqrt(sum(p * p for p in projected))
        torch.testing.assert_close(alignment.images(x_v)[i], torch.tensor([p / length for p in projected]))


def test_features_are_z_v_at_unit_variance(alignment: Both) -> None:
    x_v = normal(6, 7)
    features = alignment.images.features(x_v)
    torch.testing.assert_close(features, 4.0 * alignment.images(x_v))  # sqrt(16)
    torch.testing.assert_close(features.square().mean(1), torch.ones(6))


@pytest.mark.parametrize("temperature", [0.01, 0.07, 0.5, 2.0])
def test_the_temperature_starts_where_it_is_told(temperature: float) -> None:
    scale = TextAlignment(3, temperature=temperature).scale()
    assert float(1 / scale.detach()) == pytest.approx(temperature, rel=1e-3)


@pytest.mark.parametrize("grown", [4.7, 10.0, 1000.0])
def test_the_temperature_never_falls_below_its_bound(grown: float, alignment: Both) -> None:
    with torch.no_grad():
        alignment.texts.log_scale.fill_(grown)
    scale = alignment(normal(2, 7), normal(2, 5)).scale.detach()
    assert 1 / float(scale) >= 0.01
    assert float(scale) == pytest.approx(100, rel=1e-3)


def test_a_temperature_at_its_bound_can_still_rise() -> None:
    """Mismatched pairs want softer similarities; being at the bound must not be for good."""
    for start in (0.01, 0.0101):
        torch.manual_seed(0)
        alignment = Both(start)
        optimiser = torch.optim.SGD([alignment.texts.log_scale], lr=0.01)
        with torch.no_grad():
            alignment.texts.log_scale.add_(1.0)  # an optimiser's step past the bound
        for _ in range(5):
            loss = matching_loss(*alignment(normal(8, 7), normal(8, 5, seed=1)), torch.eye(8))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        assert 1 / float(alignment.texts.scale().detach()) > 0.0105


def test_a_temperature_below_the_bound_is_refused() -> None:
    with pytest.raises(ValueError, match=r"temperature is 0\.005, but it must be 0\.01 or more\."):
        TextAlignment(3, temperature=0.005)


def test_gradient_reaches_every_parameter_and_both_inputs(alignment: Both) -> None:
    x_v, x_s = normal(6, 7).requires_grad_(), normal(6, 5).requires_grad_()
    matching_loss(*alignment(x_v, x_s), torch.eye(6)).backward()
    for tensor in (*alignment.parameters(), x_v, x_s):
        assert tensor.grad is not None
        assert tensor.grad.abs().sum() > 0


def test_matching_brings_pairs_together(alignment: Both) -> None:
    x_v, x_s = normal(8, 7), normal(8, 5, seed=1)
    optimiser = torch.optim.Adam(alignment.parameters(), lr=0.02)
    for _ in range(150):
        optimiser.zero_grad()
        matching_loss(*alignment(x_v, x_s), torch.eye(8)).backward()
        optimiser.step()
    pair = alignment(x_v, x_s)
    assert (pair.z_v @ pair.z_s.T).argmax(1).tolist() == list(range(8))


def test_the_semantics_are_projected_to_unit_vectors(alignment: Both) -> None:
    semantics = normal(20, 5)
    projected = semantics @ alignment.texts.project.weight.T
    expected = projected / projected.norm(dim=1, keepdim=True)
    torch.testing.assert_close(alignment(normal(20, 7), semantics).z_s, expected)
