"""The regression that takes CDR's place: same call, same target, same size."""

import math

import pytest
import torch

from marnet.modules.reconstruction import CrossModalDiffusionReconstruction
from marnet.modules.regression import SemanticRegression, count_parameters, hidden_as_large_as

X_V = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
X_S = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("visual", "semantic"), [(512, 128), (192, 384), (6, 4), (2048, 32)])
@pytest.mark.parametrize(("hidden", "depth"), [(256, 2), (64, 1), (512, 4)])
def test_it_is_as_large_as_the_diffusion(visual: int, semantic: int, hidden: int, depth: int) -> None:
    diffusion = CrossModalDiffusionReconstruction(visual, semantic, hidden=hidden, depth=depth)
    wanted = count_parameters(diffusion)
    width = hidden_as_large_as(wanted, visual, semantic, depth=depth)
    rival = SemanticRegression(visual, semantic, hidden=width, depth=depth)
    assert abs(count_parameters(rival) - wanted) < 0.01 * wanted


def test_the_number_of_parameters_worked_by_hand() -> None:
    # norm 2*6; inlet 6*3+3; two blocks of 2*(3*3+3); outlet 3*4+4
    assert count_parameters(SemanticRegression(6, 4, hidden=3, depth=2)) == 12 + 21 + 48 + 16


def test_finding_the_width_draws_no_random_number() -> None:
    before = torch.get_rng_state()
    hidden_as_large_as(10_000, 6, 4, depth=2)
    assert torch.equal(torch.get_rng_state(), before)


def test_its_target_is_that_of_the_diffusion() -> None:
    rival, diffusion = SemanticRegression(6, 4), CrossModalDiffusionReconstruction(6, 4)
    for module in (rival, diffusion):
        module.fit_centre(X_S)
    found = rival(X_V, X_S)
    torch.testing.assert_close(found.target, diffusion(X_V, X_S).x0)
    by_hand = [[math.sqrt(4) * value / math.sqrt(sum(v * v for v in row)) for value in row] for row in X_S.tolist()]
    centred = torch.tensor(by_hand) - torch.tensor(by_hand).mean(0)
    torch.testing.assert_close(found.target, centred)
    assert not found.target.requires_grad


def test_it_starts_as_the_mean_and_is_a_function_of_the_image() -> None:
    module = SemanticRegression(6, 4).eval()
    assert module.sample(X_V).abs().sum() == 0
    torch.nn.init.normal_(module.outlet.weight)
    first = module.sample(X_V)
    assert first.shape == (5, 4)
    assert torch.equal(module.sample(X_V, torch.randn(5, 4), steps=9), first)
    assert torch.equal(module(X_V, X_S, t=torch.zeros(5, dtype=torch.long)).prediction, first)
    torch.testing.assert_close(module.sample(X_V[2:4]), first[2:4])


def test_only_training_puts_noise_on_the_image() -> None:
    module = SemanticRegression(6, 4, condition_noise=0.5).train()
    torch.nn.init.normal_(module.outlet.weight)
    assert not torch.allclose(module(X_V, X_S).prediction, module(X_V, X_S).prediction)
    assert torch.equal(module.sample(X_V), module.sample(X_V))
    quiet = SemanticRegression(6, 4, condition_noise=0.0).train()
    torch.nn.init.normal_(quiet.outlet.weight)
    assert torch.equal(quiet(X_V, X_S).prediction, quiet.sample(X_V))


def test_it_learns_a_map_that_is_not_linear() -> None:
    torch.manual_seed(0)
    x_v = torch.randn(256, 6)
    x_s = torch.stack([x_v[:, 0] * x_v[:, 1], x_v[:, 2].abs(), x_v[:, 3].sin(), torch.ones(256)], dim=-1)
    module = SemanticRegression(6, 4, hidden=64, condition_noise=0.0)
    module.fit_centre(x_s)
    optimiser = torch.optim.AdamW(module.parameters(), lr=3e-3)
    first = last = 0.0
    for step in range(300):
        found = module(x_v, x_s)
        loss = torch.nn.functional.mse_loss(found.prediction, found.target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        last = float(loss.detach())
        first = last if step == 0 else first
    assert last < 0.05 * first
