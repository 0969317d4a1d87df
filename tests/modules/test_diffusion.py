"""Schedules, forward process and reverse steps, against diffusers' schedulers and against values worked by hand."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from torch import Tensor

from marnet.choices import Parametrisation, Schedule
from marnet.modules import diffusion

DIFFUSERS_PREDICTION = {"x0": "sample", "v": "v_prediction", "epsilon": "epsilon"}
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
NO_BOUND = 1e9


def betas_by_hand(schedule: Schedule, timesteps: int) -> list[float]:
    """The definitions, written as loops over plain numbers."""
    if schedule == "linear":
        first, last = 0.1 / timesteps, 20 / timesteps  # 1e-4 and 0.02 at T = 1000
        return [min(first + (last - first) * i / max(timesteps - 1, 1), 0.999) for i in range(timesteps)]
    level = [math.cos((i / timesteps + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(timesteps + 1)]
    return [min(1 - level[i + 1] / level[i], 0.999) for i in range(timesteps)]


def peer(kind: type, schedule: Schedule, prediction: Parametrisation, timesteps: int, clip: float | None = None):
    """A scheduler of diffusers that computes what ours should."""
    options = {} if kind is DDIMScheduler else {"variance_type": "fixed_small"}
    if schedule == "cosine":
        options["beta_schedule"] = "squaredcos_cap_v2"
    elif timesteps == 1000:
        options["beta_schedule"] = "linear"
    else:
        options["trained_betas"] = betas_by_hand("linear", timesteps)
    return kind(
        num_train_timesteps=timesteps,
        prediction_type=DIFFUSERS_PREDICTION[prediction],
        timestep_spacing="trailing",
        clip_sample=clip is not None,
        clip_sample_range=clip or 1.0,
        **options,
    )


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("timesteps", [1, 2, 10, 50, 1000])
@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_alpha_bar_is_diffusers(schedule: Schedule, timesteps: int) -> None:
    ours = diffusion.make_alpha_bar(schedule, timesteps)
    theirs = peer(DDIMScheduler, schedule, "x0", timesteps).alphas_cumprod
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    assert ours.dtype == torch.float32
    assert ours.shape == (timesteps,)


@pytest.mark.parametrize("timesteps", [1, 2, 7, 50, 1000])
@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_alpha_bar_is_a_running_product_that_falls_and_stays_positive(schedule: Schedule, timesteps: int) -> None:
    ours = diffusion.make_alpha_bar(schedule, timesteps)
    product, expected = 1.0, []
    for beta in betas_by_hand(schedule, timesteps):
        product *= 1 - beta
        expected.append(product)
    torch.testing.assert_close(ours, torch.tensor(expected), rtol=1e-5, atol=0)
    assert (ours > 0).all()
    assert (ours < 1).all()
    assert (ours.diff() < 0).all()


def test_alpha_bar_worked_by_hand() -> None:
    # Linear, T = 2: the betas are 0.05 and 10, which is capped to 0.999.
    torch.testing.assert_close(diffusion.linear_alpha_bar(2), torch.tensor([0.95, 0.95 * 0.001]))
    # Cosine, T = 2: cos^2(0.508 / 1.008 * 90 degrees) / cos^2(0.008 / 1.008 * 90 degrees), then the cap again.
    half = math.cos(math.radians(0.508 / 1.008 * 90)) ** 2 / math.cos(math.radians(0.008 / 1.008 * 90)) ** 2
    torch.testing.assert_close(diffusion.cosine_alpha_bar(2), torch.tensor([half, half * 0.001]))
    assert half == pytest.approx(0.4938, abs=1e-4)


@pytest.mark.parametrize("timesteps", [10, 1000])
@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_add_noise_is_diffusers(schedule: Schedule, timesteps: int) -> None:
    x0, noise = normal(6, 5), normal(6, 5, seed=1)
    t = torch.tensor([0, 1, 2, timesteps // 2, timesteps - 2, timesteps - 1])
    ours = diffusion.add_noise(x0, noise, diffusion.make_alpha_bar(schedule, timesteps)[t, None])
    theirs = peer(DDIMScheduler, schedule, "x0", timesteps).add_noise(x0, noise, t)
    torch.testing.assert_close(ours, theirs, **TOLERANCE)


def test_add_noise_worked_by_hand() -> None:
    x0, noise = torch.tensor([[2.0, -4.0]]), torch.tensor([[1.0, 0.5]])
    torch.testing.assert_close(
        diffusion.add_noise(x0, noise, torch.tensor([[0.36]])), torch.tensor([[0.6 * 2 + 0.8, 0.6 * -4 + 0.8 * 0.5]])
    )


def test_training_targets_worked_by_hand() -> None:
    x0, noise, alpha_bar = torch.tensor([[2.0, -4.0]]), torch.tensor([[1.0, 0.5]]), torch.tensor([[0.36]])
    torch.testing.assert_close(diffusion.training_target("x0", x0, noise, alpha_bar), x0)
    torch.testing.assert_close(diffusion.training_target("epsilon", x0, noise, alpha_bar), noise)
    expected = torch.tensor([[0.6 * 1 - 0.8 * 2, 0.6 * 0.5 - 0.8 * -4]])
    torch.testing.assert_close(diffusion.training_target("v", x0, noise, alpha_bar), expected)


def test_velocity_target_is_diffusers() -> None:
    x0, noise, t = normal(4, 5), normal(4, 5, seed=1), torch.tensor([0, 300, 700, 999])
    alpha_bar = diffusion.cosine_alpha_bar(1000)[t, None]
    theirs = peer(DDPMScheduler, "cosine", "v", 1000).get_velocity(x0, noise, t)
    torch.testing.assert_close(diffusion.training_target("v", x0, noise, alpha_bar), theirs, **TOLERANCE)


@pytest.mark.parametrize("prediction", ["x0", "v", "epsilon"])
def test_interpreting_the_target_gives_back_what_was_mixed(prediction: Parametrisation) -> None:
    x0, noise = normal(4, 5), normal(4, 5, seed=1)
    for level in (0.999, 0.5, 0.01):
        alpha_bar = torch.tensor(level)
        x_t = diffusion.add_noise(x0, noise, alpha_bar)
        target = diffusion.training_target(prediction, x0, noise, alpha_bar)
        found = diffusion.interpret(prediction, target, x_t, alpha_bar, bound=NO_BOUND)
        torch.testing.assert_close(found.x0, x0, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(found.epsilon, noise, rtol=1e-4, atol=1e-4)


def test_interpreting_clamps_x0_and_keeps_x_t_consistent() -> None:
    x_t, output, alpha_bar = torch.tensor([[1.0, 1.0]]), torch.tensor([[9.0, 0.5]]), torch.tensor(0.64)
    found = diffusion.interpret("x0", output, x_t, alpha_bar, bound=2.0)
    torch.testing.assert_close(found.x0, torch.tensor([[2.0, 0.5]]))
    torch.testing.assert_close(found.epsilon, torch.tensor([[(1 - 0.8 * 2) / 0.6, (1 - 0.8 * 0.5) / 0.6]]))
    torch.testing.assert_close(diffusion.add_noise(found.x0, found.epsilon, alpha_bar), x_t)


@pytest.mark.parametrize("clip", [None, 1.5])
@pytest.mark.parametrize("prediction", ["x0", "v", "epsilon"])
@pytest.mark.parametrize("schedule", ["cosine", "linear"])
@pytest.mark.parametrize(("timesteps", "steps"), [(1000, 4), (1000, 50), (10, 5), (4, 4), (2, 1)])
def test_one_ddim_step_is_diffusers(
    schedule: Schedule, prediction: Parametrisation, timesteps: int, steps: int, clip: float | None
) -> None:
    scheduler = peer(DDIMScheduler, schedule, prediction, timesteps, clip)
    scheduler.set_timesteps(steps)
    alpha_bar = scheduler.alphas_cumprod  # so that only the step is compared
    times = diffusion.sampling_timesteps(timesteps, steps)
    assert times == scheduler.timesteps.tolist()
    x_t, output = normal(3, 5), normal(3, 5, seed=1)
    for i, t in enumerate(times):
        if prediction == "epsilon" and clip is None and alpha_bar[t] < 1e-3:
            continue  # x_0 is x_t over nearly nothing; without a clip neither side means anything
        following = alpha_bar[times[i + 1]] if i + 1 < steps else torch.tensor(1.0)
        denoised = diffusion.interpret(prediction, output, x_t, alpha_bar[t], bound=clip or NO_BOUND)
        theirs = scheduler.step(output, t, x_t, eta=0.0, use_clipped_model_output=True)
        torch.testing.assert_close(denoised.x0, theirs.pred_original_sample, **TOLERANCE)
        torch.testing.assert_close(diffusion.ddim_step(denoised, following), theirs.prev_sample, **TOLERANCE)


@pytest.mark.parametrize("prediction", ["x0", "v", "epsilon"])
@pytest.mark.parametrize("schedule", ["cosine", "linear"])
@pytest.mark.parametrize(("timesteps", "steps"), [(1000, 1000), (1000, 8), (10, 5), (4, 4), (2, 2)])
def test_one_ddpm_step_is_diffusers(
    schedule: Schedule, prediction: Parametrisation, timesteps: int, steps: int
) -> None:
    """Its mean, from x0 given by hand, and its sample, from the same draw."""
    scheduler = peer(DDPMScheduler, schedule, prediction, timesteps, clip=2.0)
    scheduler.set_timesteps(steps)
    alpha_bar = scheduler.alphas_cumprod  # so that only the step is compared
    times = diffusion.sampling_timesteps(timesteps, steps)
    assert times == scheduler.timesteps.tolist()
    x_t, output = normal(3, 5), normal(3, 5, seed=1)
    for i in sorted({0, 1, steps // 2, steps - 1} & set(range(steps))):
        t, following = times[i], alpha_bar[times[i + 1]] if i + 1 < steps else torch.tensor(1.0)
        x0 = diffusion.interpret(prediction, output, x_t, alpha_bar[t], bound=2.0).x0
        theirs = scheduler.step(output, t, x_t, generator=torch.Generator().manual_seed(7)).prev_sample
        draw = normal(3, 5, seed=7)
        ours = diffusion.ddpm_step(x_t, x0, alpha_bar[t], following, draw)
        torch.testing.assert_close(ours, theirs, **TOLERANCE)
        mean = diffusion.ddpm_step(x_t, x0, alpha_bar[t], following, None)
        spread = scheduler._get_variance(t).sqrt() if i + 1 < steps else 0.0
        torch.testing.assert_close(mean, theirs - spread * draw, **TOLERANCE)


def test_ddpm_step_worked_by_hand() -> None:
    # From abar 0.5 to abar 0.8: alpha = 0.625, beta = 0.375.
    x_t, x0, draw = torch.tensor([[1.0]]), torch.tensor([[2.0]]), torch.tensor([[3.0]])
    mean = (math.sqrt(0.8) * 0.375 * 2 + math.sqrt(0.625) * 0.2 * 1) / 0.5
    spread = math.sqrt(0.375 * 0.2 / 0.5)
    levels = (torch.tensor(0.5), torch.tensor(0.8))
    torch.testing.assert_close(diffusion.ddpm_step(x_t, x0, *levels, None), torch.tensor([[mean]]))
    torch.testing.assert_close(diffusion.ddpm_step(x_t, x0, *levels, draw), torch.tensor([[mean + 3 * spread]]))
    # To the clean level nothing but x0 is left, whatever the draw.
    torch.testing.assert_close(diffusion.ddpm_step(x_t, x0, torch.tensor(0.5), torch.tensor(1.0), draw), x0)


def test_ddim_step_worked_by_hand() -> None:
    denoised = diffusion.Denoised(torch.tensor([[2.0]]), torch.tensor([[-1.0]]))
    torch.testing.assert_close(diffusion.ddim_step(denoised, torch.tensor(0.36)), torch.tensor([[0.6 * 2 - 0.8]]))
    torch.testing.assert_close(diffusion.ddim_step(denoised, torch.tensor(1.0)), denoised.x0)


def toy_denoiser(x: Tensor, t: int) -> Tensor:
    """Some fixed smooth function of state and time."""
    return torch.tanh(0.7 * x.roll(1, -1) + 0.3 * x) * (0.5 + t / 2000) + 0.1


def chain(
    step: Callable[[Tensor, Tensor, int, Tensor, Tensor, int], Tensor],
    alpha_bar: Tensor,
    times: list[int],
    start: Tensor,
) -> Tensor:
    x = start
    for i, t in enumerate(times):
        following = alpha_bar[times[i + 1]] if i + 1 < len(times) else torch.tensor(1.0)
        x = step(x, toy_denoiser(x, t), t, alpha_bar[t], following, i)
    return x


@pytest.mark.parametrize("prediction", ["x0", "v", "epsilon"])
@pytest.mark.parametrize("schedule", ["cosine", "linear"])
@pytest.mark.parametrize(("timesteps", "steps"), [(1000, 1), (1000, 4), (1000, 25), (20, 10), (4, 4)])
def test_a_whole_ddim_chain_is_diffusers(
    schedule: Schedule, prediction: Parametrisation, timesteps: int, steps: int
) -> None:
    scheduler = peer(DDIMScheduler, schedule, prediction, timesteps, clip=3.0)
    scheduler.set_timesteps(steps)
    theirs = start = normal(4, 6)
    for t in scheduler.timesteps.tolist():
        theirs = scheduler.step(toy_denoiser(theirs, t), t, theirs, use_clipped_model_output=True).prev_sample

    def step(x: Tensor, output: Tensor, t: int, level: Tensor, following: Tensor, i: int) -> Tensor:
        return diffusion.ddim_step(diffusion.interpret(prediction, output, x, level, bound=3.0), following)

    alpha_bar = diffusion.make_alpha_bar(schedule, timesteps)
    ours = chain(step, alpha_bar, diffusion.sampling_timesteps(timesteps, steps), start)
    torch.testing.assert_close(ours, theirs, **TOLERANCE)


@pytest.mark.parametrize("prediction", ["x0", "v", "epsilon"])
@pytest.mark.parametrize("schedule", ["cosine", "linear"])
@pytest.mark.parametrize(("timesteps", "steps"), [(200, 200), (1000, 8), (4, 4)])
def test_a_whole_ddpm_chain_with_the_same_draws_is_diffusers(
    schedule: Schedule, prediction: Parametrisation, timesteps: int, steps: int
) -> None:
    scheduler = peer(DDPMScheduler, schedule, prediction, timesteps, clip=3.0)
    scheduler.set_timesteps(steps)
    theirs = start = normal(4, 6)
    generator = torch.Generator().manual_seed(3)
    for t in scheduler.timesteps.tolist():
        theirs = scheduler.step(toy_denoiser(theirs, t), t, theirs, generator=generator).prev_sample

    generator = torch.Generator().manual_seed(3)
    draws = [torch.randn(4, 6, generator=generator) for _ in range(steps)]

    def step(x: Tensor, output: Tensor, t: int, level: Tensor, following: Tensor, i: int) -> Tensor:
        x0 = diffusion.interpret(prediction, output, x, level, bound=3.0).x0
        return diffusion.ddpm_step(x, x0, level, following, draws[i])

    alpha_bar = diffusion.make_alpha_bar(schedule, timesteps)
    ours = chain(step, alpha_bar, diffusion.sampling_timesteps(timesteps, steps), start)
    torch.testing.assert_close(ours, theirs, **TOLERANCE)


def test_the_forward_process_has_the_distribution_that_it_claims() -> None:
    """Adding noise step by step, x_t = sqrt(1 - beta) x + sqrt(beta) e, ends where alpha_bar says."""
    betas = betas_by_hand("cosine", 10)[:6]
    x0 = torch.full((200_000,), 1.7, dtype=torch.float64)
    x = x0.clone()
    generator = torch.Generator().manual_seed(0)
    for beta in betas:
        x = math.sqrt(1 - beta) * x + math.sqrt(beta) * torch.randn(len(x), generator=generator, dtype=torch.float64)
    alpha_bar = float(diffusion.cosine_alpha_bar(10)[5])
    assert float(x.mean()) == pytest.approx(math.sqrt(alpha_bar) * 1.7, abs=0.01)
    assert float(x.var()) == pytest.approx(1 - alpha_bar, abs=0.01)


def test_sampling_times_are_distinct_and_even() -> None:
    for timesteps in (1, 2, 3, 10, 37, 50, 1000):
        for steps in {1, 2, 3, 4, 7, timesteps // 2, timesteps - 1, timesteps} & set(range(1, timesteps + 1)):
            times = diffusion.sampling_timesteps(timesteps, steps)
            assert len(times) == steps
            assert times[0] == timesteps - 1
            gaps = -np.diff([*times, -1])
            assert gaps.min() >= 1
            assert gaps.max() - gaps.min() <= 2
    assert diffusion.sampling_timesteps(1000, 4) == [999, 749, 499, 249]
    assert diffusion.sampling_timesteps(3, 3) == [2, 1, 0]


@pytest.mark.parametrize("steps", [0, -1, 11])
def test_impossible_numbers_of_steps_are_refused(steps: int) -> None:
    with pytest.raises(ValueError, match=rf"steps is {steps}, but it must be between 1 and timesteps = 10\."):
        diffusion.sampling_timesteps(10, steps)
