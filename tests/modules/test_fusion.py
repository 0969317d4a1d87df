"""The fusions: their arithmetic, their start, and that every branch learns."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from marnet.modules.fusion import FUSIONS, make_fusion
from marnet.modules.fusion.averaged import Averaged
from marnet.modules.fusion.concatenation import Concatenation
from marnet.modules.fusion.gated import BranchGate, GatedFeatures, GatedLogits
from marnet.modules.fusion.weighted import Weighted

WIDTHS = [6, 4, 5]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def branches(rows: int = 3, classes: int = 7) -> tuple[list[Tensor], list[Tensor]]:
    features = [normal(rows, width, seed=i) for i, width in enumerate(WIDTHS)]
    return features, [normal(rows, classes, seed=10 + i) for i in range(len(WIDTHS))]


def perturb(module: torch.nn.Module) -> None:
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))


def plain_norm(x: Tensor, norm: torch.nn.LayerNorm) -> Tensor:
    centred = x - x.mean(1, keepdim=True)
    return centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt() * norm.weight + norm.bias


@pytest.mark.parametrize("kind", FUSIONS)
@pytest.mark.parametrize("count", [2, 3])
def test_every_fusion_gives_one_row_of_logits_an_image(kind: str, count: int) -> None:
    features, logits = branches()
    assert make_fusion(kind, WIDTHS[:count], 7)(features[:count], logits[:count]).shape == (3, 7)


def test_the_names_are_those_of_the_configuration() -> None:
    assert {kind: type(make_fusion(kind, WIDTHS, 3)) for kind in FUSIONS} == {
        "weighted": Weighted,
        "averaged": Averaged,
        "concat": Concatenation,
        "gated-features": GatedFeatures,
        "gated-logits": GatedLogits,
    }


def test_the_gate_starts_equal_and_always_adds_up_to_one() -> None:
    gate = BranchGate(WIDTHS)
    features, _ = branches()
    torch.testing.assert_close(gate(features), torch.full((3, 3), 1 / 3))
    perturb(gate)
    weights = gate(features)
    assert weights.std() > 0.05
    assert (weights > 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(3))


def test_gated_logits_start_as_their_mean() -> None:
    features, logits = branches()
    expected = (logits[0] + logits[1] + logits[2]) / 3
    torch.testing.assert_close(GatedLogits(WIDTHS, 7)(features, logits), expected)


def test_averaged_worked_by_hand() -> None:
    """The mean of the logits, not of the probabilities; the features have no say."""
    logits = [torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([[0.0, 4.0, 1.0]]), torch.tensor([[2.0, -1.0, 3.0]])]
    for features in ([torch.zeros(1, 6)] * 3, [normal(1, width) for width in WIDTHS]):
        torch.testing.assert_close(Averaged(WIDTHS, 3)(features, logits), torch.tensor([[1.0, 1.0, 1.0]]))
    assert list(Averaged(WIDTHS, 3).parameters()) == []
    with pytest.raises(ValueError, match=r"The fusion got the logits of 2 branches, but it was built for 3\."):
        Averaged(WIDTHS, 3)(logits[:2], logits[:2])


def test_gated_logits_worked_by_hand() -> None:
    """Features (1, -1) are their own norm. Scores 1 - (-1) = 2 and 0: weights e^2 / (e^2 + 1) and the rest."""
    fusion = GatedLogits([2, 9], 3)
    score = fusion.gate.score[1]
    with torch.no_grad():
        score.weight.copy_(torch.tensor([[1.0, -1.0], [0.0, 0.0]]))
    logits = [torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([[0.0, 4.0, 1.0]])]
    weight = math.exp(2) / (math.exp(2) + 1)
    expected = torch.tensor([[weight, 4 * (1 - weight), 1 - 2 * weight]])
    found = fusion([torch.tensor([[1.0, -1.0]]), torch.zeros(1, 9)], logits)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)  # the norm adds 1e-5 to the variance


def test_gated_features_against_a_loop() -> None:
    fusion = GatedFeatures(WIDTHS, 7)
    perturb(fusion)
    features, logits = branches()
    weights = functional.softmax(
        functional.linear(plain_norm(features[0], fusion.gate.score[0]), *fusion.gate.score[1].parameters()), -1
    )
    mixed = torch.zeros(3, 6)
    for i, (x, (norm, linear)) in enumerate(zip(features, fusion.projections, strict=True)):
        mixed += weights[:, i : i + 1] * (plain_norm(x, norm) @ linear.weight.T + linear.bias)
    torch.testing.assert_close(fusion(features, logits), mixed @ fusion.head.weight.T + fusion.head.bias)


def test_concatenation_against_a_loop() -> None:
    fusion = Concatenation(WIDTHS, 7)
    perturb(fusion)
    features, logits = branches()
    side_by_side = torch.cat([plain_norm(x, norm) for x, norm in zip(features, fusion.norms, strict=True)], 1)
    expected = side_by_side @ fusion.head.weight.T + fusion.head.bias
    torch.testing.assert_close(fusion(features, logits), expected)


@pytest.mark.parametrize("kind", FUSIONS)
def test_gradient_reaches_every_branch_and_every_weight(kind: str) -> None:
    fusion = make_fusion(kind, WIDTHS, 7)
    features, logits = branches()
    if isinstance(fusion, Weighted):
        fusion.weights.fill_(0.5)  # as if they were fitted
    reads_logits = kind in {"weighted", "averaged", "gated-logits"}
    learning = [x.requires_grad_() for x in (logits if reads_logits else features)]
    functional.cross_entropy(fusion(features, logits), torch.tensor([0, 1, 2])).backward()
    for tensor in (*learning, *fusion.parameters()):
        assert tensor.grad is not None
    for tensor in learning:
        assert (tensor.grad.abs().sum(1) > 0).all()
    perturb(fusion)
    fusion.zero_grad()
    functional.cross_entropy(fusion(features, logits), torch.tensor([0, 1, 2])).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in fusion.parameters())


@pytest.mark.parametrize("kind", FUSIONS)
def test_a_missing_branch_is_refused(kind: str) -> None:
    fusion = make_fusion(kind, WIDTHS, 7)
    features, logits = branches()
    with pytest.raises((ValueError, RuntimeError)):
        fusion(features[:2], logits[:2])
