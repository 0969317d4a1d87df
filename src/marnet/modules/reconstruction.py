"""CDR, the cross-modal diffusion reconstruction: the text's semantics from the image (docs/method.md)."""

import math
from typing import NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from marnet.choices import Guide, Parametrisation, Sampler, Schedule
from marnet.modules import diffusion
from marnet.modules.guide import ImageGuide


class ReconstructionOutput(NamedTuple):
    """The learning task of CDR at one training step."""

    prediction: Tensor  # (B, d_0), the denoiser's output
    target: Tensor  # (B, d_0), what it should have been
    x0: Tensor  # (B, d_0), the clean semantics
    linear_prediction: Tensor | None = None  # (B, d_0), of the linear head that guides, if one does


class Denoiser(nn.Module):
    """A residual MLP over vectors, conditioned on time and image by adaptive layer norm (adaLN-zero).

    Every block's gate and the last layer start at zero, so that the network starts as the constant 0, the mean of the
    centred semantics. The architecture is ours; the paper gives none.
    """

    def __init__(self, width: int, condition_width: int, *, hidden: int = 256, depth: int = 2) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, hidden))
        self.condition = nn.Linear(condition_width, hidden)
        self.inlet = nn.Linear(width, hidden)
        self.blocks = nn.ModuleList(_Block(hidden) for _ in range(depth))
        self.modulate_outlet = nn.Linear(hidden, 2 * hidden)
        self.outlet = nn.Linear(hidden, width)
        for layer in (self.modulate_outlet, self.outlet):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.hidden = hidden

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """Output `(B, d_0)` for noisy semantics `(B, d_0)`, times `(B,)` or `(1,)` int64 and conditions `(B, D_c)`."""
        time = self.time(time_embedding(t, self.hidden).to(x_t.dtype))
        c = functional.silu(time + self.condition(condition))  # (B, hidden)
        h = self.inlet(x_t)
        for block in self.blocks:
            h = block(h, c)
        shift, scale = self.modulate_outlet(c).chunk(2, dim=-1)
        return self.outlet(_plain_norm(h) * (1 + scale) + shift)  # type: ignore[no-any-return]


class _Block(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, hidden))
        self.modulate = nn.Linear(hidden, 3 * hidden)
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        shift, scale, gate = self.modulate(c).chunk(3, dim=-1)
        return h + gate * self.mlp(_plain_norm(h) * (1 + scale) + shift)  # type: ignore[no-any-return]


class CrossModalDiffusionReconstruction(nn.Module):
    """Diffuse the semantic embedding, denoise it under guidance of the image (equations 7 to 10, 13).

    The diffused variable is x_0 of `SemanticSpace`. The guide is either the image's features, or (ours) a linear
    prediction of x_0 from them, which the denoiser corrects. The linear head has a loss of its own, and the denoiser's
    gradient stops at it: the backbone has to make the semantics linearly readable, and the diffusion to know which
    semantics exist.

    Example:
        >>> import torch
        >>> cdr = CrossModalDiffusionReconstruction(512, 64)
        >>> cdr.sample(torch.randn(4, 512)).shape
        torch.Size([4, 64])

    Args:
        visual_width: D_v, the width of the image features.
        width: d_0, the width of x_0.
        guide: "linear" or "features".
        hidden, depth: size of the denoiser.
        timesteps: T of the forward process.
        schedule: "cosine" or "linear".
        prediction: what the denoiser outputs: "x0", "v" or "epsilon" (which needs some ten steps or more).
        sampler: "ddim" or "ddpm".
        steps: K, steps of the reverse process.
        guidance_scale: w of classifier-free guidance; 1 runs the denoiser once a step, any other value twice.
        condition_dropout: share of training rows whose condition is replaced by a learned "no image".
        condition_noise: standard deviation of the noise on the condition in training (ours).
        correction: how far x_CDR moves from the linear prediction to the end of the reverse process, 0 to 1 (ours).

    Raises:
        ValueError: `guide`, `schedule`, `prediction` or `sampler` is unknown, or `steps` is not between 1 and T.
    """

    alpha_bar: Tensor
    start: Tensor

    def __init__(
        self,
        visual_width: int,
        width: int,
        *,
        guide: Guide = "linear",
        hidden: int = 256,
        depth: int = 2,
        timesteps: int = 1000,
        schedule: Schedule = "cosine",
        prediction: Parametrisation = "x0",
        sampler: Sampler = "ddim",
        steps: int = 4,
        guidance_scale: float = 1.0,
        condition_dropout: float = 0.1,
        condition_noise: float = 1.0,
        correction: float = 0.25,
    ) -> None:
        super().__init__()
        for name, value, known in (
            ("schedule", schedule, get_args(Schedule)),
            ("prediction", prediction, get_args(Parametrisation)),
            ("sampler", sampler, get_args(Sampler)),
        ):
            if value not in known:
                raise ValueError(f"{name} is {value!r}, but it must be one of {', '.join(known)}.")
        diffusion.sampling_timesteps(timesteps, steps)  # refuses a wrong number of steps before any training
        self.width = width
        self.timesteps = timesteps
        self.prediction = prediction
        self.sampler = sampler
        self.steps = steps
        self.guidance_scale = guidance_scale
        self.condition_dropout = condition_dropout
        self.guide = ImageGuide(guide, visual_width, self.width, noise=condition_noise, correction=correction)
        self.no_image = nn.Parameter(torch.zeros(self.guide.width))
        self.denoiser = Denoiser(self.width, self.guide.width, hidden=hidden, depth=depth)
        self.register_buffer("alpha_bar", diffusion.make_alpha_bar(schedule, timesteps), persistent=False)  # (T,)
        self.register_buffer("start", torch.zeros(self.width))
        # |x_0| is sqrt(d_0) and the centre's length at most that, so no coordinate of their difference is larger:
        self.bound = 2 * math.sqrt(self.width)

    def forward(
        self, x_v: Tensor, x0: Tensor, *, t: Tensor | None = None, noise: Tensor | None = None
    ) -> ReconstructionOutput:
        """Return one denoising task per row: image features `(B, D_v)`, clean semantics `(B, d_0)`.

        `t` `(B,)` int64 and `noise` `(B, d_0)` are drawn from torch's generator unless given.
        """
        if t is None:
            t = torch.randint(self.timesteps, (len(x0),), device=x0.device)
        if noise is None:
            noise = torch.randn_like(x0)
        alpha_bar = self.alpha_bar[t, None]  # (B, 1)
        condition, linear_prediction = self.guide.for_training(x_v)
        if self.training:
            dropped = torch.rand(len(condition), 1, device=condition.device) < self.condition_dropout
            condition = torch.where(dropped, self.no_image, condition)
        output = self._denoise(diffusion.add_noise(x0, noise, alpha_bar), t, condition)
        target = diffusion.training_target(self.prediction, x0, noise, alpha_bar)
        return ReconstructionOutput(output, target, x0, linear_prediction)

    def features(self, x_v: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return x_CDR `(B, d_0)`; see `sample`."""
        return self.sample(x_v, noise)

    def sample(self, x_v: Tensor, noise: Tensor | None = None, *, steps: int | None = None) -> Tensor:
        """Return x_CDR `(B, d_0)`: the reverse process guided by image features `(B, D_v)` (equation 10).

        Args:
            x_v: image features.
            noise: x_T `(B, d_0)`; for DDPM optionally `(1 + K, B, d_0)`, x_T and one draw per step. None: the stored
                start vector, and for DDPM the mean of each step, so that the result is a function of the image.
            steps: K for this call; None: the module's own.

        Raises:
            ValueError: the shape of `noise` fits neither form, or `steps` is not between 1 and T.
        """
        count = self.steps if steps is None else steps
        start, draws = self._start(x_v, noise, count)
        return self.guide.reconstruct(x_v, lambda condition: self._reverse(start, condition, draws, count))

    def _reverse(self, x: Tensor, condition: Tensor, draws: Tensor | None, count: int) -> Tensor:
        times = diffusion.sampling_timesteps(self.timesteps, count)
        clean = torch.ones((), dtype=self.alpha_bar.dtype, device=x.device)
        for i, t in enumerate(times):
            alpha_bar = self.alpha_bar[t]
            alpha_bar_next = self.alpha_bar[times[i + 1]] if i + 1 < count else clean
            output = self._guided(x, torch.full((1,), t, device=x.device), condition)
            denoised = diffusion.interpret(self.prediction, output, x, alpha_bar, bound=self.bound)
            if self.sampler == "ddim":
                x = diffusion.ddim_step(denoised, alpha_bar_next)
            else:
                draw = draws[i] if draws is not None and i + 1 < count else None
                x = diffusion.ddpm_step(x, denoised.x0, alpha_bar, alpha_bar_next, draw)
        return x

    def _start(self, x_v: Tensor, noise: Tensor | None, count: int) -> tuple[Tensor, Tensor | None]:
        one = (x_v.shape[0], self.width)  # `len` would fix the batch size of an exported model
        if noise is None:
            return self.start.to(x_v.dtype).expand(one), None
        if tuple(noise.shape) == one:
            return noise, None
        if self.sampler == "ddpm" and tuple(noise.shape) == (1 + count, *one):
            return noise[0], noise[1:]
        forms = f"{one}" + (f" or {(1 + count, *one)}" if self.sampler == "ddpm" else "")
        raise ValueError(f"noise has the shape {tuple(noise.shape)}, but it must be {forms} for {len(x_v)} images.")

    def _guided(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        with_image = self._denoise(x, t, condition)
        if self.guidance_scale == 1:
            return with_image
        without = self._denoise(x, t, self.no_image.expand_as(condition))
        return without + self.guidance_scale * (with_image - without)

    def _denoise(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """Return the output `(B, d_0)`; if x_0 is predicted under a linear guide, the denoiser corrects that."""
        output: Tensor = self.denoiser(x, t, condition)
        return condition + output if self.guide.is_linear and self.prediction == "x0" else output


def time_embedding(t: Tensor, width: int, *, longest_period: float = 10_000.0) -> Tensor:
    """Sinusoids `(B, width)` of times `(B,)`, geometric in frequency (Vaswani et al. 2017)."""
    half = width // 2
    frequencies = torch.exp(-math.log(longest_period) * torch.arange(half, device=t.device) / half)  # (half,)
    angles = t[:, None].float() * frequencies
    return functional.pad(torch.cat([angles.cos(), angles.sin()], dim=-1), (0, width - 2 * half))


def _plain_norm(h: Tensor) -> Tensor:
    """Layer norm without parameters; adaLN supplies them."""
    return functional.layer_norm(h, h.shape[-1:])
