"""Diffusion over vectors: schedules, the forward process, and single reverse steps, all as pure functions.

The variable is x `(B, d_0)`. `alpha_bar` is the running product of (1 - beta): a tensor `(T,)`, or its value at a step.
Sources: DDPM (Ho et al. 2020), DDIM (Song et al. 2021), cosine schedule (Nichol and Dhariwal 2021), v (Salimans and
Ho 2022). The tests compare every function with diffusers' schedulers.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from marnet.choices import Parametrisation, Schedule


class Denoised(NamedTuple):
    """The output of a network in both forms that a reverse step takes."""

    x0: Tensor  # (B, d_0)
    epsilon: Tensor  # (B, d_0)


def linear_alpha_bar(timesteps: int, *, first_beta: float = 1e-4, last_beta: float = 0.02) -> Tensor:
    """Return alpha_bar `(T,)` of DDPM's schedule with linear betas; its ends are those of T = 1000, times 1000 / T."""
    factor = 1000 / timesteps
    betas = torch.linspace(first_beta * factor, last_beta * factor, timesteps, dtype=torch.float64).clamp(max=0.999)
    return torch.cumprod(1 - betas, 0).float()


def cosine_alpha_bar(timesteps: int, *, offset: float = 0.008, largest_beta: float = 0.999) -> Tensor:
    """Return alpha_bar `(T,)` that follows cos^2, with betas capped so that the last step stays invertible."""
    grid = torch.arange(timesteps + 1, dtype=torch.float64) / timesteps
    curve = torch.cos((grid + offset) / (1 + offset) * math.pi / 2) ** 2
    betas = (1 - curve[1:] / curve[:-1]).clamp(max=largest_beta)
    return torch.cumprod(1 - betas, 0).float()


SCHEDULES: dict[str, Callable[[int], Tensor]] = {"cosine": cosine_alpha_bar, "linear": linear_alpha_bar}


def make_alpha_bar(schedule: Schedule, timesteps: int) -> Tensor:
    """Return alpha_bar `(T,)` of a schedule by name."""
    return SCHEDULES[schedule](timesteps)


def add_noise(x0: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """Return x_t ~ q(x_t | x_0) for x_0, noise `(B, d_0)` and alpha_bar `(B, 1)` or `()` (equation 7)."""
    return alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * noise


def training_target(prediction: Parametrisation, x0: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """Return the target `(B, d_0)`: x_0, the noise epsilon, or v = sqrt(abar) eps - sqrt(1 - abar) x_0."""
    if prediction == "x0":
        return x0
    if prediction == "epsilon":
        return noise
    return alpha_bar.sqrt() * noise - (1 - alpha_bar).sqrt() * x0


def interpret(prediction: Parametrisation, output: Tensor, x_t: Tensor, alpha_bar: Tensor, *, bound: float) -> Denoised:
    """Turn the network's output at x_t `(B, d_0)` into x_0 and epsilon.

    x_0 is clamped to [-bound, bound]: at the last steps of a schedule sqrt(abar) is nearly 0, and dividing by it would
    magnify any error of a predicted epsilon. epsilon is recomputed from the clamped x_0.
    """
    signal, spread = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    if prediction == "x0":
        x0 = output
    elif prediction == "epsilon":
        x0 = (x_t - spread * output) / signal
    else:
        x0 = signal * x_t - spread * output
    x0 = x0.clamp(-bound, bound)
    return Denoised(x0, (x_t - signal * x0) / spread)


def ddim_step(denoised: Denoised, alpha_bar_next: Tensor) -> Tensor:
    """Take the deterministic DDIM step to the noise level `alpha_bar_next` (1 means clean): x `(B, d_0)`."""
    return alpha_bar_next.sqrt() * denoised.x0 + (1 - alpha_bar_next).sqrt() * denoised.epsilon


def ddpm_step(x_t: Tensor, x0: Tensor, alpha_bar: Tensor, alpha_bar_next: Tensor, noise: Tensor | None) -> Tensor:
    """Take a DDPM step from `alpha_bar` to `alpha_bar_next`: the mean of q(x_next | x_t, x_0), plus posterior noise.

    `noise` `(B, d_0)` is standard normal; None gives the mean alone.
    """
    alpha = alpha_bar / alpha_bar_next
    beta = 1 - alpha
    mean = (alpha_bar_next.sqrt() * beta * x0 + alpha.sqrt() * (1 - alpha_bar_next) * x_t) / (1 - alpha_bar)
    if noise is None:
        return mean
    variance = beta * (1 - alpha_bar_next) / (1 - alpha_bar)
    return mean + variance.sqrt() * noise


def sampling_timesteps(timesteps: int, steps: int) -> list[int]:
    """Return the `steps` times of the reverse process, from T - 1 down, evenly spaced ("trailing" in diffusers' terms).

    Raises:
        ValueError: `steps` is not between 1 and `timesteps`.
    """
    if not 1 <= steps <= timesteps:
        raise ValueError(f"steps is {steps}, but it must be between 1 and timesteps = {timesteps}.")
    return [round(timesteps - i * timesteps / steps) - 1 for i in range(steps)]
