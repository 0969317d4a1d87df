"""The regression that takes CDR's place: same call, same target, same size."""

import pytest
import torch

from marnet.choices import Guide
from marnet.modules.reconstruction import CrossModalDiffusionReconstruction
from marnet.modules.regression import SemanticRegression, count_parameters, hidden_as_large_as

X_V = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
X_0 = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))


both_guides = pytest.mark.parametrize("guide", ["features", "linear"])


@both_guides
@pytest.mark.parametrize(("visual", "semantic"), [(512, 128), (192, 384), (6, 4), (2048, 32)])
@pytest.mark.parametrize(("hidden", "depth"), [(256, 2), (64, 1), (512, 4)])
def test_it_is_as_large_as_the_diffusion(visual: int, semantic: int, hidden: int, depth: int, guide: Guide) -> None:
    diffusion = CrossModalDiffusionReconstruction(visual, semantic, guide=guide, hidden=hidden, depth=depth)
    wanted = count_parameters(diffusion)
    width = hidden_as_large_as(
        wanted, lambda size: SemanticRegression(visual, semantic, guide=guide, hidden=size, depth=depth)
    )
    rival = SemanticRegression(visual, semantic, guide=guide, hidden=width, depth=depth)
    assert abs(count_parameters(rival) - wanted) < 0.01 * wanted


def test_the_number_of_parameters_worked_by_hand() -> None:
    # norm 2*6; inlet 6*3+3; two blocks of 2*(3*3+3); outlet 3*4+4
    assert count_parameters(SemanticRegression(6, 4, guide="features", hidden=3, depth=2)) == 12 + 21 + 48 + 16
    # of the linear: 6*4+4 in place of the norm, and the inlet 4*3+3
    assert count_parameters(SemanticRegression(6, 4, guide="linear", hidden=3, depth=2)) == 28 + 15 + 48 + 16


def test_finding_the_width_draws_no_random_number() -> None:
    before = torch.get_rng_state()
    hidden_as_large_as(10_000, lambda hidden: SemanticRegression(6, 4, hidden=hidden))
    assert torch.equal(torch.get_rng_state(), before)


def test_its_target_is_that_of_the_diffusion() -> None:
    rival, diffusion = SemanticRegression(6, 4), CrossModalDiffusionReconstruction(6, 4)
    assert torch.equal(rival(X_V, X_0).target, X_0)
    assert torch.equal(diffusion(X_V, X_0).target, X_0)


def test_it_starts_as_the_mean_and_is_a_function_of_the_image() -> None:
    module = SemanticRegression(6, 4, correction=1.0).eval()
    assert module.sample(X_V).abs().sum() == 0
    torch.nn.init.normal_(module.outlet.weight)
    first = module.sample(X_V)
    assert first.shape == (5, 4)
    assert torch.equal(module.sample(X_V, torch.randn(5, 4), steps=9), first)
    assert torch.equal(module(X_V, X_0, t=torch.zeros(5, dtype=torch.long)).prediction, first)
    torch.testing.assert_close(module.sample(X_V[2:4]), first[2:4])


def test_an_untrained_network_leaves_the_linear_prediction_as_it_is() -> None:
    module = SemanticRegression(6, 4, guide="linear").eval()
    assert torch.equal(module.sample(X_V), torch.zeros(5, 4))
    torch.nn.init.normal_(module.guide.map.weight)
    torch.nn.init.normal_(module.guide.map.bias)
    linear = X_V @ module.guide.map.weight.T + module.guide.map.bias
    torch.testing.assert_close(module.sample(X_V), linear)
    torch.testing.assert_close(module(X_V, X_0).linear_prediction, linear)
    torch.testing.assert_close(module(X_V, X_0).prediction, linear)
    assert SemanticRegression(6, 4, guide="features")(X_V, X_0).linear_prediction is None


def test_what_each_loss_teaches_under_a_linear_guide() -> None:
    """Regression teaches the network alone; the linear's own loss, and what is asked of x_CDR, reach the image."""
    torch.manual_seed(0)
    module = SemanticRegression(6, 4, guide="linear", hidden=8).train()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x_v = X_V.clone().requires_grad_()
    found = module(x_v, X_0)
    (found.prediction - found.target).square().mean().backward(retain_graph=True)
    assert x_v.grad is None
    assert {name for name, p in module.named_parameters() if p.grad is None} == {"guide.map.weight", "guide.map.bias"}
    module.zero_grad()
    (found.linear_prediction - found.x0).square().mean().backward()
    assert (x_v.grad.abs().sum(1) > 0).all()
    assert {name for name, p in module.named_parameters() if p.grad is not None} == {
        "guide.map.weight",
        "guide.map.bias",
    }
    weights = torch.randn(5, 4)
    (gradient,) = torch.autograd.grad((weights * module.sample(x_v)).sum(), x_v)
    torch.testing.assert_close(gradient, weights @ module.guide.map.weight)  # past the network, not through it


def test_an_unknown_guide_is_refused() -> None:
    with pytest.raises(ValueError, match=r"guide is 'image', but it must be one of linear, features\."):
        SemanticRegression(6, 4, guide="image")


@both_guides
def test_only_training_puts_noise_on_the_image(guide: Guide) -> None:
    module = SemanticRegression(6, 4, guide=guide, condition_noise=0.5).train()
    torch.nn.init.normal_(module.outlet.weight)
    assert not torch.allclose(module(X_V, X_0).prediction, module(X_V, X_0).prediction)
    assert torch.equal(module.sample(X_V), module.sample(X_V))
    quiet = SemanticRegression(6, 4, guide=guide, condition_noise=0.0, correction=1.0).train()
    torch.nn.init.normal_(quiet.outlet.weight)
    assert torch.equal(quiet(X_V, X_0).prediction, quiet.sample(X_V))


def test_it_learns_a_map_that_is_not_linear() -> None:
    torch.manual_seed(0)
    x_v = torch.randn(256, 6)
    x0 = torch.stack([x_v[:, 0] * x_v[:, 1], x_v[:, 2].abs(), x_v[:, 3].sin(), torch.ones(256)], dim=-1)
    module = SemanticRegression(6, 4, guide="features", hidden=64, condition_noise=0.0)
    optimiser = torch.optim.AdamW(module.parameters(), lr=3e-3)
    first = last = 0.0
    for step in range(300):
        found = module(x_v, x0)
        loss = torch.nn.functional.mse_loss(found.prediction, found.target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        last = float(loss.detach())
        first = last if step == 0 else first
    assert last < 0.05 * first


def test_it_mends_what_a_linear_guess_gets_wrong() -> None:
    torch.manual_seed(0)
    x_v = torch.randn(256, 6)
    x0 = (3 * x_v[:, :4]).tanh()
    module = SemanticRegression(6, 4, guide="linear", hidden=64, condition_noise=0.0)
    optimiser = torch.optim.AdamW(module.parameters(), lr=3e-3)
    for _ in range(500):
        found = module(x_v, x0)
        errors = [
            torch.nn.functional.mse_loss(part, found.target) for part in (found.linear_prediction, found.prediction)
        ]
        optimiser.zero_grad()
        sum(errors).backward()
        optimiser.step()
    of_the_guess, of_the_whole = (float(error.detach()) for error in errors)
    assert of_the_guess < 0.5  # of a variance of 1
    assert of_the_whole < 0.3 * of_the_guess
