"""CDR: its arithmetic against slow loops, noise as an input, guidance, and that it learns."""

import math
import re

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from marnet.choices import Guide, Parametrisation, Sampler
from marnet.modules.reconstruction import CrossModalDiffusionReconstruction, Denoiser, time_embedding
from marnet.modules.semantics import SemanticSpace


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


both_guides = pytest.mark.parametrize("guide", ["features", "linear"])


def perturbed(
    *,
    guide: Guide = "features",
    prediction: Parametrisation = "x0",
    sampler: Sampler = "ddim",
    steps: int = 3,
    guidance_scale: float = 1.0,
    condition_dropout: float = 0.1,
    condition_noise: float = 0.1,
) -> CrossModalDiffusionReconstruction:
    """A small CDR (D_v = 6, d_0 = 4) away from its zero start, as if it had been trained."""
    torch.manual_seed(0)
    module = CrossModalDiffusionReconstruction(
        6,
        4,
        guide=guide,
        hidden=16,
        timesteps=50,
        prediction=prediction,
        sampler=sampler,
        steps=steps,
        guidance_scale=guidance_scale,
        condition_dropout=condition_dropout,
        condition_noise=condition_noise,
        correction=1.0,
    )
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return module.eval()


def condition_by_hand(module: CrossModalDiffusionReconstruction, row: Tensor) -> Tensor:
    """The condition `(1, D_c)` of one image `(D_v,)`: its layer norm, or the linear prediction."""
    weight, bias = module.guide.map.weight, module.guide.map.bias
    if module.guide.is_linear:
        return (weight @ row + bias)[None]
    return ((row - row.mean()) / torch.sqrt(row.var(correction=0) + 1e-5) * weight + bias)[None]


def output_by_hand(module: CrossModalDiffusionReconstruction, x_t: Tensor, t: Tensor, row: Tensor) -> Tensor:
    """The output `(d_0,)` for one image: a linear of x_0 is corrected where x_0 is predicted."""
    condition = condition_by_hand(module, row)
    corrected = module.guide.is_linear and module.prediction == "x0"
    return module.denoiser(x_t[None], t, condition)[0] + (condition[0] if corrected else 0)


@pytest.mark.parametrize("depth", [1, 3])
def test_the_denoiser_starts_as_the_constant_zero(depth: int) -> None:
    denoiser = Denoiser(5, 7, hidden=16, depth=depth)
    output = denoiser(normal(4, 5), torch.tensor([0, 3, 500, 999]), normal(4, 7))
    assert output.shape == (4, 5)
    assert torch.equal(output, torch.zeros(4, 5))


def test_the_denoiser_sees_state_time_and_image() -> None:
    denoiser = perturbed().denoiser
    x, t, c = normal(3, 4), torch.tensor([1, 20, 40]), normal(3, 6, seed=1)
    base = denoiser(x, t, c)
    for other in (denoiser(x + 1e-1, t, c), denoiser(x, t + 3, c), denoiser(x, t, c + 1e-1)):
        assert ((other - base).abs().amax(1) > 1e-4).all()


@both_guides
def test_zero_start_reconstructs_the_mean(guide: Guide) -> None:
    """Before training x_CDR is 0, the mean of the centred semantics, whatever the image; so is the linear."""
    module = CrossModalDiffusionReconstruction(6, 4, guide=guide, hidden=16)
    assert torch.equal(module.sample(normal(5, 6)), torch.zeros(5, 4))
    found = module(normal(5, 6), normal(5, 4, seed=1))
    assert (
        found.linear_prediction is None
        if guide == "features"
        else torch.equal(found.linear_prediction, torch.zeros(5, 4))
    )


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_an_untrained_denoiser_leaves_the_linear_prediction_as_it_is(sampler: Sampler, steps: int) -> None:
    module = CrossModalDiffusionReconstruction(
        6, 4, guide="linear", hidden=16, sampler=sampler, steps=steps, correction=1.0
    )
    torch.nn.init.normal_(module.guide.map.weight, std=0.3)
    torch.nn.init.normal_(module.guide.map.bias, std=0.3)
    x_v = normal(5, 6)
    linear = x_v @ module.guide.map.weight.T + module.guide.map.bias
    assert linear.abs().max() < module.bound
    torch.testing.assert_close(module.sample(x_v, normal(5, 4, seed=3)), linear)
    found = module.eval()(x_v, normal(5, 4, seed=1))
    torch.testing.assert_close(found.linear_prediction, linear)
    torch.testing.assert_close(found.prediction, linear)


def test_the_linear_prediction_is_judged_without_noise_and_without_dropping() -> None:
    module = perturbed(guide="linear", condition_noise=2.0, condition_dropout=0.9).train()
    x_v = normal(5, 6)
    torch.testing.assert_close(module(x_v, normal(5, 4, seed=1)).linear_prediction, module.guide(x_v))


@pytest.mark.parametrize("prediction", ["x0", "v", "epsilon"])
def test_what_each_loss_teaches_under_a_linear_guide(prediction: Parametrisation) -> None:
    """Denoising teaches the denoiser alone; the linear's own loss, and what is asked of x_CDR, reach the image."""
    module = perturbed(guide="linear", prediction=prediction, condition_dropout=0.5).train()
    x_v, x0 = normal(64, 6).requires_grad_(), normal(64, 4, seed=1)
    found = module(x_v, x0)
    (found.prediction - found.target).square().mean().backward(retain_graph=True)
    assert x_v.grad is None
    assert all(parameter.grad is None for parameter in module.guide.parameters())
    assert module.no_image.grad.abs().sum() > 0
    assert all(parameter.grad.abs().sum() > 0 for parameter in module.denoiser.parameters())
    module.zero_grad()
    (found.linear_prediction - found.x0).square().mean().backward()
    assert (x_v.grad.abs().sum(1) > 0).all()
    assert all(parameter.grad.abs().sum() > 0 for parameter in module.guide.parameters())
    assert all(parameter.grad is None for parameter in module.denoiser.parameters())
    module.zero_grad()
    x_v.grad = None
    module.sample(x_v).square().sum().backward()
    assert (x_v.grad.abs().sum(1) > 0).all()
    assert all(parameter.grad.abs().sum() > 0 for parameter in module.guide.parameters())


def test_what_is_asked_of_x_cdr_reaches_a_linear_prediction_past_the_denoiser() -> None:
    """In one step x_CDR is l + denoiser(l); its derivative by l is that of the first summand alone."""
    module = perturbed(guide="linear", steps=1)
    x_v = normal(5, 6).requires_grad_()
    weights = normal(5, 4, seed=5)
    (found,) = torch.autograd.grad((weights * module.sample(x_v)).sum(), x_v)
    torch.testing.assert_close(found, weights @ module.guide.map.weight)


def test_no_semantics_lie_beyond_the_bound() -> None:
    space, module = SemanticSpace(5, dimensions=3), CrossModalDiffusionReconstruction(6, 3, guide="linear", hidden=8)
    x_s = normal(9, 5)
    space.fit(x_s)
    found = module(normal(9, 6), space(x_s))
    assert found.x0.shape == found.linear_prediction.shape == module.sample(normal(9, 6)).shape == (9, 3)
    assert found.x0.abs().max() <= module.bound == 2 * math.sqrt(3)


@both_guides
@pytest.mark.parametrize("prediction", ["x0", "v", "epsilon"])
def test_the_training_task_against_a_loop(prediction: Parametrisation, guide: Guide) -> None:
    module = perturbed(prediction=prediction, guide=guide)
    x_v, x0 = normal(3, 6), normal(3, 4, seed=1)
    t, noise = torch.tensor([0, 20, 49]), normal(3, 4, seed=2)
    found = module(x_v, x0, t=t, noise=noise)
    torch.testing.assert_close(found.x0, x0)
    for i in range(3):
        level = float(module.alpha_bar[t[i]])
        signal, spread = math.sqrt(level), math.sqrt(1 - level)
        x_t = signal * x0[i] + spread * noise[i]
        target = {"x0": x0[i], "epsilon": noise[i], "v": signal * noise[i] - spread * x0[i]}[prediction]
        torch.testing.assert_close(found.target[i], target)
        output = output_by_hand(module, x_t, t[i : i + 1], x_v[i])
        torch.testing.assert_close(found.prediction[i], output, rtol=1e-4, atol=1e-5)


@both_guides
def test_given_draws_fix_the_task_and_missing_ones_are_drawn(guide: Guide) -> None:
    module = perturbed(guide=guide)
    x_v, x0 = normal(64, 6), normal(64, 4, seed=1)
    given = {"t": torch.arange(64) % 50, "noise": normal(64, 4, seed=2)}
    assert torch.equal(module(x_v, x0, **given).prediction, module(x_v, x0, **given).prediction)
    assert not torch.equal(module(x_v, x0).prediction, module(x_v, x0).prediction)


@both_guides
def test_gradient_flows_from_the_training_task_to_the_image(guide: Guide) -> None:
    module = perturbed(guide=guide).train()
    x_v = normal(5, 6).requires_grad_()
    output = module(x_v, normal(5, 4, seed=1))
    loss = (output.prediction - output.target).pow(2).sum()
    if output.linear_prediction is not None:
        loss = loss + (output.linear_prediction - output.x0).pow(2).sum()
    (to_image,) = torch.autograd.grad(loss, x_v)
    assert to_image.abs().sum() > 0


@both_guides
def test_a_batch_without_texts_gives_an_empty_task(guide: Guide) -> None:
    output = perturbed(guide=guide).train()(torch.zeros(0, 6), torch.zeros(0, 4))
    assert output.prediction.shape == output.target.shape == (0, 4)
    assert output.linear_prediction is None if guide == "features" else output.linear_prediction.shape == (0, 4)


@both_guides
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_the_share_of_dropped_conditions(dropout: float, guide: Guide) -> None:
    module = perturbed(guide=guide, condition_dropout=dropout, condition_noise=0.0).train()
    n = 4000
    x_v, x0, t, noise = normal(n, 6), normal(n, 4, seed=1), torch.full((n,), 20), normal(n, 4, seed=2)
    module.eval()
    with_image = module(x_v, x0, t=t, noise=noise).prediction
    x_t = math.sqrt(module.alpha_bar[20]) * x0 + math.sqrt(1 - module.alpha_bar[20]) * noise
    without = module.denoiser(x_t, t, module.no_image.expand(n, -1)) + (module.no_image if guide == "linear" else 0)
    module.train()
    torch.manual_seed(0)
    found = module(x_v, x0, t=t, noise=noise).prediction
    is_with = torch.isclose(found, with_image, atol=1e-5).all(1)
    is_without = torch.isclose(found, without, atol=1e-5).all(1)
    assert (is_with ^ is_without).all()
    assert is_without.float().mean().item() == pytest.approx(dropout, abs=0.025)


@both_guides
def test_noise_on_the_condition_is_for_training_only(guide: Guide) -> None:
    module = perturbed(guide=guide, condition_dropout=0.0, condition_noise=0.5)
    given = {"t": torch.full((8,), 20), "noise": normal(8, 4, seed=2)}
    x_v, x0 = normal(8, 6), normal(8, 4, seed=1)
    assert torch.equal(module(x_v, x0, **given).prediction, module(x_v, x0, **given).prediction)
    module.train()
    assert not torch.equal(module(x_v, x0, **given).prediction, module(x_v, x0, **given).prediction)
    assert torch.equal(module.sample(x_v), module.sample(x_v))


@both_guides
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
@pytest.mark.parametrize("prediction", ["x0", "v", "epsilon"])
def test_sampling_draws_nothing_by_itself(
    prediction: Parametrisation, sampler: Sampler, training: bool, guide: Guide
) -> None:
    module = perturbed(prediction=prediction, sampler=sampler, guide=guide).train(training)
    x_v = normal(5, 6)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = module.sample(x_v)
    second = module.sample(x_v, normal(5, 4, seed=3))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(module.sample(x_v), first)
    assert torch.equal(module.sample(x_v, normal(5, 4, seed=3)), second)
    assert not torch.allclose(first, second)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_the_default_start_is_the_stored_vector(sampler: Sampler) -> None:
    module = perturbed(sampler=sampler)
    x_v = normal(5, 6)
    assert torch.equal(module.start, torch.zeros(4))
    assert torch.equal(module.sample(x_v), module.sample(x_v, torch.zeros(5, 4)))
    module.start.copy_(torch.tensor([1.0, -1.0, 0.5, 2.0]))
    assert torch.equal(module.sample(x_v), module.sample(x_v, module.start.expand(5, 4)))
    assert "start" in module.state_dict()


def reverse_by_hand(
    module: CrossModalDiffusionReconstruction, x_v: Tensor, noise: Tensor, draws: Tensor | None
) -> Tensor:
    """The reverse process for one image at a time, over plain numbers where they are numbers."""
    rows = []
    for i in range(len(x_v)):
        x = noise[i]
        times = [round(module.timesteps * (1 - k / module.steps)) - 1 for k in range(module.steps)]
        for k, t in enumerate(times):
            now = float(module.alpha_bar[t])
            after = float(module.alpha_bar[times[k + 1]]) if k + 1 < len(times) else 1.0
            output = output_by_hand(module, x, torch.tensor([t]), x_v[i])
            if module.prediction == "epsilon":
                x0 = (x - math.sqrt(1 - now) * output) / math.sqrt(now)
            elif module.prediction == "v":
                x0 = math.sqrt(now) * x - math.sqrt(1 - now) * output
            else:
                x0 = output
            x0 = torch.minimum(torch.maximum(x0, torch.tensor(-4.0)), torch.tensor(4.0))  # 2 sqrt(d_0)
            if module.sampler == "ddim":
                epsilon = (x - math.sqrt(now) * x0) / math.sqrt(1 - now)
                x = math.sqrt(after) * x0 + math.sqrt(1 - after) * epsilon
            else:
                beta = 1 - now / after
                x = math.sqrt(after) * beta / (1 - now) * x0 + math.sqrt(now / after) * (1 - after) / (1 - now) * x
                if draws is not None:
                    x = x + math.sqrt(beta * (1 - after) / (1 - now)) * draws[k, i]
        rows.append(x)
    return torch.stack(rows)


@both_guides
@pytest.mark.parametrize("prediction", ["x0", "v", "epsilon"])
def test_ddim_sampling_against_a_loop(prediction: Parametrisation, guide: Guide) -> None:
    module = perturbed(guide=guide, prediction=prediction, steps=5)
    x_v, noise = normal(3, 6), normal(3, 4, seed=3)
    expected = reverse_by_hand(module, x_v, noise, None)
    torch.testing.assert_close(module.sample(x_v, noise), expected, rtol=1e-4, atol=1e-4)


@both_guides
@pytest.mark.parametrize("prediction", ["x0", "v", "epsilon"])
def test_ddpm_sampling_against_a_loop(prediction: Parametrisation, guide: Guide) -> None:
    module = perturbed(guide=guide, prediction=prediction, sampler="ddpm", steps=5)
    x_v, noise = normal(3, 6), normal(6, 3, 4, seed=3)
    with_draws = module.sample(x_v, noise)
    torch.testing.assert_close(with_draws, reverse_by_hand(module, x_v, noise[0], noise[1:]), rtol=1e-4, atol=1e-4)
    mean = module.sample(x_v, noise[0])
    torch.testing.assert_close(mean, reverse_by_hand(module, x_v, noise[0], None), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(mean, with_draws)


def test_noise_of_a_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=re.escape("noise has the shape (5, 3), but it must be (5, 4) for 5 images.")):
        perturbed().sample(normal(5, 6), normal(5, 3))
    with pytest.raises(
        ValueError, match=re.escape("noise has the shape (4, 5, 4), but it must be (5, 4) for 5 images.")
    ):
        perturbed().sample(normal(5, 6), normal(4, 5, 4))
    with pytest.raises(
        ValueError, match=re.escape("noise has the shape (3, 5, 4), but it must be (5, 4) or (4, 5, 4) for 5 images.")
    ):
        perturbed(sampler="ddpm").sample(normal(5, 6), normal(3, 5, 4))


@both_guides
def test_the_number_of_steps_may_be_given_a_call(guide: Guide) -> None:
    module = perturbed(guide=guide, steps=3)
    x_v, noise = normal(5, 6), normal(5, 4, seed=3)
    by_call = module.sample(x_v, noise, steps=7)
    module.steps = 7
    assert torch.equal(module.sample(x_v, noise), by_call)
    for steps in (0, 51):
        with pytest.raises(ValueError, match=rf"steps is {steps}, but it must be between 1 and timesteps = 50\."):
            module.sample(x_v, noise, steps=steps)


def test_unknown_options_are_refused_before_training() -> None:
    known_options = {
        "guide": "linear, features",
        "schedule": "cosine, linear",
        "prediction": "x0, v, epsilon",
        "sampler": "ddim, ddpm",
    }
    for name, known in known_options.items():
        with pytest.raises(ValueError, match=rf"{name} is 'other', but it must be one of {known}\."):
            CrossModalDiffusionReconstruction(6, 4, hidden=8, **{name: "other"})
    with pytest.raises(ValueError, match=r"steps is 4, but it must be between 1 and timesteps = 3\."):
        CrossModalDiffusionReconstruction(6, 4, hidden=8, timesteps=3, steps=4)


@both_guides
@pytest.mark.parametrize("scale", [0.0, 1.0, 3.0])
def test_guidance_is_the_formula(scale: float, guide: Guide) -> None:
    """In one step of x0 prediction x_CDR is the guided output: u + w (c - u)."""
    module = perturbed(guide=guide, steps=1, guidance_scale=scale)
    module.bound = 1e6
    x_v, noise = normal(5, 6), normal(5, 4, seed=3)
    t = torch.full((5,), 49)
    conditional = torch.stack([output_by_hand(module, noise[i], t[i : i + 1], x_v[i]) for i in range(5)])
    unconditional = module.denoiser(noise, t, module.no_image.expand(5, -1))
    if guide == "linear":
        unconditional = unconditional + module.no_image
    expected = unconditional + scale * (conditional - unconditional)
    torch.testing.assert_close(module.sample(x_v, noise), expected, rtol=1e-4, atol=1e-5)
    other_image = module.sample(x_v.flip(0), noise)
    assert torch.allclose(other_image, module.sample(x_v, noise)) is (scale == 0.0)


@both_guides
def test_gradient_flows_from_the_reconstruction_to_the_image(guide: Guide) -> None:
    for sampler in ("ddim", "ddpm"):
        module = perturbed(guide=guide, sampler=sampler, guidance_scale=2.0)
        x_v = normal(5, 6).requires_grad_()
        module.sample(x_v).square().sum().backward()
        assert x_v.grad.abs().sum() > 0
        # Past a linear the reverse process is spared the backward pass: the denoiser learns from its own loss.
        learning = module.guide.parameters() if guide == "linear" else module.parameters()
        assert all(parameter.grad is not None for parameter in learning)
        assert all(parameter.grad is None for parameter in module.denoiser.parameters()) is (guide == "linear")


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_the_correction_is_the_share_of_the_way_from_the_linear_prediction_to_the_denoised(sampler: str) -> None:
    whole = perturbed(guide="linear", sampler=sampler)
    part = perturbed(guide="linear", sampler=sampler)  # the same weights
    part.guide.correction = 0.25
    x_v = normal(5, 6)
    linear, denoised = whole.guide(x_v), whole.sample(x_v)
    torch.testing.assert_close(part.sample(x_v), linear + 0.25 * (denoised - linear), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(linear, denoised)


@both_guides
def test_rows_do_not_influence_one_another(guide: Guide) -> None:
    module = perturbed(guide=guide, sampler="ddpm")
    x_v, noise = normal(6, 6), normal(4, 6, 4, seed=3)
    together = module.sample(x_v, noise)
    alone = torch.cat([module.sample(x_v[i : i + 1], noise[:, i : i + 1]) for i in range(6)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@both_guides
def test_double_precision_and_small_clocks_work(guide: Guide) -> None:
    module = CrossModalDiffusionReconstruction(6, 4, guide=guide, hidden=7, timesteps=1, steps=1).double()
    output = module(normal(3, 6).double(), normal(3, 4).double())
    assert output.prediction.dtype == torch.float64
    assert module.sample(normal(3, 6).double()).dtype == torch.float64


def test_time_embedding_worked_by_hand() -> None:
    found = time_embedding(torch.tensor([0, 2]), 5, longest_period=100.0)
    expected = [[1, 1, 0, 0, 0], [math.cos(2), math.cos(0.2), math.sin(2), math.sin(0.2), 0]]
    torch.testing.assert_close(found, torch.tensor(expected))


@both_guides
@pytest.mark.parametrize(
    ("prediction", "sampler", "steps"),
    [("x0", "ddim", 4), ("v", "ddim", 4), ("epsilon", "ddim", 50), ("x0", "ddpm", 20)],
)
def test_it_learns_a_mapping_from_images_to_semantics(
    prediction: Parametrisation, sampler: Sampler, steps: int, guide: Guide
) -> None:
    torch.manual_seed(0)
    x_v, x0 = torch.randn(8, 12), functional.normalize(torch.randn(8, 6)) * math.sqrt(6)
    module = CrossModalDiffusionReconstruction(
        12,
        6,
        guide=guide,
        hidden=32,
        depth=1,
        timesteps=100,
        prediction=prediction,
        sampler=sampler,
        steps=steps,
        condition_noise=0.02,
    )

    @torch.no_grad()
    def agreement() -> float:
        """The worst row's cosine between x_CDR, from random starts, and the truth."""
        found = functional.cosine_similarity(module.eval().sample(x_v, normal(8, 6, seed=9)), x0)
        module.train()
        return float(found.min())

    assert agreement() < 0.5
    optimiser = torch.optim.AdamW(module.parameters(), lr=0.01, weight_decay=0.0)
    updates = 600 if (prediction, guide) == ("epsilon", "linear") else 200  # the condition is itself being learned
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, updates)
    rows = torch.arange(8).repeat(8)
    for _ in range(updates):
        output = module(x_v[rows], x0[rows])
        loss = functional.mse_loss(output.prediction, output.target)
        if output.linear_prediction is not None:
            loss = loss + functional.mse_loss(output.linear_prediction, output.x0)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    assert agreement() > 0.95
