"""CDR: its arithmetic against slow loops, noise as an input, guidance, and that it learns."""

import math
import re

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from marnet.config import Parametrisation, Sampler
from marnet.modules.reconstruction import CrossModalDiffusionReconstruction, Denoiser, time_embedding


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def perturbed(
    *,
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
        hidden=16,
        timesteps=50,
        prediction=prediction,
        sampler=sampler,
        steps=steps,
        guidance_scale=guidance_scale,
        condition_dropout=condition_dropout,
        condition_noise=condition_noise,
    )
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return module.eval()


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


def test_zero_start_reconstructs_the_mean() -> None:
    """Before training x_CDR is 0, the mean of the centred semantics, whatever the image."""
    module = CrossModalDiffusionReconstruction(6, 4, hidden=16)
    assert torch.equal(module.sample(normal(5, 6)), torch.zeros(5, 4))


def test_clean_semantics_against_a_loop() -> None:
    module = CrossModalDiffusionReconstruction(6, 3, hidden=8)
    x_s = torch.tensor([[3.0, 4.0, 0.0], [0.0, 0.0, 2.0], [1.0, 1.0, 1.0]])
    module.fit_centre(x_s)
    scaled = []
    for row in x_s.tolist():
        length = math.sqrt(sum(value * value for value in row))
        scaled.append([math.sqrt(3) * value / length for value in row])
    centre = [sum(row[j] for row in scaled) / 3 for j in range(3)]
    expected = [[row[j] - centre[j] for j in range(3)] for row in scaled]
    torch.testing.assert_close(module.centre, torch.tensor(centre))
    torch.testing.assert_close(module.clean(x_s), torch.tensor(expected))
    torch.testing.assert_close(module.clean(x_s).mean(0), torch.zeros(3), atol=1e-6, rtol=0)
    # The length of a text vector means nothing, only its direction.
    torch.testing.assert_close(module.clean(100 * x_s), module.clean(x_s))
    assert module.clean(x_s).abs().max() <= module.bound


def test_a_text_of_unknown_words_stays_finite() -> None:
    module = CrossModalDiffusionReconstruction(6, 3, hidden=8)
    module.fit_centre(normal(5, 3))
    torch.testing.assert_close(module.clean(torch.zeros(1, 3))[0], -module.centre)


@pytest.mark.parametrize("prediction", ["x0", "v", "epsilon"])
def test_the_training_task_against_a_loop(prediction: Parametrisation) -> None:
    module = perturbed(prediction=prediction)
    x_v, x_s = normal(3, 6), normal(3, 4, seed=1)
    module.fit_centre(x_s)
    t, noise = torch.tensor([0, 20, 49]), normal(3, 4, seed=2)
    found = module(x_v, x_s, t=t, noise=noise)
    x0 = module.clean(x_s)
    torch.testing.assert_close(found.x0, x0)
    for i in range(3):
        level = float(module.alpha_bar[t[i]])
        signal, spread = math.sqrt(level), math.sqrt(1 - level)
        x_t = signal * x0[i] + spread * noise[i]
        target = {"x0": x0[i], "epsilon": noise[i], "v": signal * noise[i] - spread * x0[i]}[prediction]
        torch.testing.assert_close(found.target[i], target)
        condition = (x_v[i] - x_v[i].mean()) / torch.sqrt(x_v[i].var(correction=0) + 1e-5)
        condition = condition * module.normalise.weight + module.normalise.bias
        output = module.denoiser(x_t[None], t[i : i + 1], condition[None])[0]
        torch.testing.assert_close(found.prediction[i], output, rtol=1e-4, atol=1e-5)


def test_given_draws_fix_the_task_and_missing_ones_are_drawn() -> None:
    module = perturbed()
    x_v, x_s = normal(64, 6), normal(64, 4, seed=1)
    given = {"t": torch.arange(64) % 50, "noise": normal(64, 4, seed=2)}
    assert torch.equal(module(x_v, x_s, **given).prediction, module(x_v, x_s, **given).prediction)
    assert not torch.equal(module(x_v, x_s).prediction, module(x_v, x_s).prediction)


def test_no_gradient_reaches_the_text() -> None:
    module = perturbed().train()
    x_v, x_s = normal(5, 6).requires_grad_(), normal(5, 4, seed=1).requires_grad_()
    output = module(x_v, x_s)
    assert not output.target.requires_grad
    to_image, to_text = torch.autograd.grad(
        (output.prediction - output.target).pow(2).sum() + output.x0.sum(), [x_v, x_s], allow_unused=True
    )
    assert to_text is None
    assert to_image.abs().sum() > 0


def test_a_batch_without_texts_gives_an_empty_task() -> None:
    output = perturbed().train()(torch.zeros(0, 6), torch.zeros(0, 4))
    assert output.prediction.shape == output.target.shape == (0, 4)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_the_share_of_dropped_conditions(dropout: float) -> None:
    module = perturbed(condition_dropout=dropout, condition_noise=0.0).train()
    n = 4000
    x_v, x_s, t, noise = normal(n, 6), normal(n, 4, seed=1), torch.full((n,), 20), normal(n, 4, seed=2)
    module.eval()
    with_image = module(x_v, x_s, t=t, noise=noise).prediction
    x_t = math.sqrt(module.alpha_bar[20]) * module.clean(x_s) + math.sqrt(1 - module.alpha_bar[20]) * noise
    without = module.denoiser(x_t, t, module.no_image.expand(n, 6))
    module.train()
    torch.manual_seed(0)
    found = module(x_v, x_s, t=t, noise=noise).prediction
    is_with = torch.isclose(found, with_image, atol=1e-5).all(1)
    is_without = torch.isclose(found, without, atol=1e-5).all(1)
    assert (is_with ^ is_without).all()
    assert is_without.float().mean().item() == pytest.approx(dropout, abs=0.025)


def test_noise_on_the_condition_is_for_training_only() -> None:
    module = perturbed(condition_dropout=0.0, condition_noise=0.5)
    given = {"t": torch.full((8,), 20), "noise": normal(8, 4, seed=2)}
    x_v, x_s = normal(8, 6), normal(8, 4, seed=1)
    assert torch.equal(module(x_v, x_s, **given).prediction, module(x_v, x_s, **given).prediction)
    module.train()
    assert not torch.equal(module(x_v, x_s, **given).prediction, module(x_v, x_s, **given).prediction)
    assert torch.equal(module.sample(x_v), module.sample(x_v))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
@pytest.mark.parametrize("prediction", ["x0", "v", "epsilon"])
def test_sampling_draws_nothing_by_itself(prediction: Parametrisation, sampler: Sampler, training: bool) -> None:
    module = perturbed(prediction=prediction, sampler=sampler).train(training)
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
            output = module.denoiser(x[None], torch.tensor([t]), module.normalise(x_v[i : i + 1]))[0]
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


@pytest.mark.parametrize("prediction", ["x0", "v", "epsilon"])
def test_ddim_sampling_against_a_loop(prediction: Parametrisation) -> None:
    module = perturbed(prediction=prediction, steps=5)
    x_v, noise = normal(3, 6), normal(3, 4, seed=3)
    expected = reverse_by_hand(module, x_v, noise, None)
    torch.testing.assert_close(module.sample(x_v, noise), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("prediction", ["x0", "v", "epsilon"])
def test_ddpm_sampling_against_a_loop(prediction: Parametrisation) -> None:
    module = perturbed(prediction=prediction, sampler="ddpm", steps=5)
    x_v, noise = normal(3, 6), normal(6, 3, 4, seed=3)
    with_draws = module.sample(x_v, noise)
    torch.testing.assert_close(with_draws, reverse_by_hand(module, x_v, noise[0], noise[1:]), rtol=1e-4, atol=1e-4)
    mean = module.sample(x_v, noise[0])
    torch.testing.assert_close(mean, reverse_by_hand(module, x_v, noise[0], None), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(mean, with_draws)


def test_noise_of_a_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=re.escape("noise has the shape (5, 3); needed (5, 4) for 5 images.")):
        perturbed().sample(normal(5, 6), normal(5, 3))
    with pytest.raises(ValueError, match=re.escape("noise has the shape (4, 5, 4); needed (5, 4) for 5 images.")):
        perturbed().sample(normal(5, 6), normal(4, 5, 4))
    with pytest.raises(
        ValueError, match=re.escape("noise has the shape (3, 5, 4); needed (5, 4) or (4, 5, 4) for 5 images.")
    ):
        perturbed(sampler="ddpm").sample(normal(5, 6), normal(3, 5, 4))


def test_the_number_of_steps_may_be_given_a_call() -> None:
    module = perturbed(steps=3)
    x_v, noise = normal(5, 6), normal(5, 4, seed=3)
    by_call = module.sample(x_v, noise, steps=7)
    module.steps = 7
    assert torch.equal(module.sample(x_v, noise), by_call)
    for steps in (0, 51):
        with pytest.raises(ValueError, match=rf"steps is {steps}; needed 1 to timesteps = 50\."):
            module.sample(x_v, noise, steps=steps)


def test_unknown_options_are_refused_before_training() -> None:
    for name, known in (("schedule", "cosine, linear"), ("prediction", "x0, v, epsilon"), ("sampler", "ddim, ddpm")):
        with pytest.raises(ValueError, match=rf"{name} is 'other'; needed one of {known}\."):
            CrossModalDiffusionReconstruction(6, 4, hidden=8, **{name: "other"})
    with pytest.raises(ValueError, match=r"steps is 4; needed 1 to timesteps = 3\."):
        CrossModalDiffusionReconstruction(6, 4, hidden=8, timesteps=3, steps=4)


@pytest.mark.parametrize("scale", [0.0, 1.0, 3.0])
def test_guidance_is_the_formula(scale: float) -> None:
    """In one step of x0 prediction x_CDR is the guided output: u + w (c - u)."""
    module = perturbed(steps=1, guidance_scale=scale)
    module.bound = 1e6
    x_v, noise = normal(5, 6), normal(5, 4, seed=3)
    t = torch.full((5,), 49)
    conditional = module.denoiser(
        noise, t, functional.layer_norm(x_v, (6,), module.normalise.weight, module.normalise.bias)
    )
    unconditional = module.denoiser(noise, t, module.no_image.expand(5, 6))
    expected = unconditional + scale * (conditional - unconditional)
    torch.testing.assert_close(module.sample(x_v, noise), expected, rtol=1e-4, atol=1e-5)
    other_image = module.sample(x_v.flip(0), noise)
    assert torch.allclose(other_image, module.sample(x_v, noise)) is (scale == 0.0)


def test_gradient_flows_from_the_reconstruction_to_the_image() -> None:
    for sampler in ("ddim", "ddpm"):
        module = perturbed(sampler=sampler, guidance_scale=2.0)
        x_v = normal(5, 6).requires_grad_()
        module.sample(x_v).square().sum().backward()
        assert x_v.grad.abs().sum() > 0
        assert all(parameter.grad is not None for parameter in module.parameters())


def test_rows_do_not_influence_one_another() -> None:
    module = perturbed(sampler="ddpm")
    x_v, noise = normal(6, 6), normal(4, 6, 4, seed=3)
    together = module.sample(x_v, noise)
    alone = torch.cat([module.sample(x_v[i : i + 1], noise[:, i : i + 1]) for i in range(6)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_double_precision_and_small_clocks_work() -> None:
    module = CrossModalDiffusionReconstruction(6, 4, hidden=7, timesteps=1, steps=1).double()
    output = module(normal(3, 6).double(), normal(3, 4).double())
    assert output.prediction.dtype == torch.float64
    assert module.sample(normal(3, 6).double()).dtype == torch.float64


def test_time_embedding_worked_by_hand() -> None:
    found = time_embedding(torch.tensor([0, 2]), 5, longest_period=100.0)
    expected = [[1, 1, 0, 0, 0], [math.cos(2), math.cos(0.2), math.sin(2), math.sin(0.2), 0]]
    torch.testing.assert_close(found, torch.tensor(expected))


@pytest.mark.parametrize(
    ("prediction", "sampler", "steps"),
    [("x0", "ddim", 4), ("v", "ddim", 4), ("epsilon", "ddim", 50), ("x0", "ddpm", 20)],
)
def test_it_learns_a_mapping_from_images_to_semantics(
    prediction: Parametrisation, sampler: Sampler, steps: int
) -> None:
    torch.manual_seed(0)
    x_v, x_s = torch.randn(8, 12), torch.randn(8, 6)
    module = CrossModalDiffusionReconstruction(
        12,
        6,
        hidden=32,
        depth=1,
        timesteps=100,
        prediction=prediction,
        sampler=sampler,
        steps=steps,
        condition_noise=0.02,
    )
    module.fit_centre(x_s)

    @torch.no_grad()
    def agreement() -> float:
        """The worst row's cosine between x_CDR, from random starts, and the truth."""
        found = functional.cosine_similarity(module.eval().sample(x_v, normal(8, 6, seed=9)), module.clean(x_s))
        module.train()
        return float(found.min())

    assert agreement() < 0.5
    optimiser = torch.optim.AdamW(module.parameters(), lr=0.01, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 200)
    rows = torch.arange(8).repeat(8)
    for _ in range(200):
        output = module(x_v[rows], x_s[rows])
        loss = functional.mse_loss(output.prediction, output.target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    assert agreement() > 0.95
