"""How latents are made noisy for a diffusion model to learn from, and what it should answer.

Everything drawn for a row comes from the row's own seed, on the CPU: the same on every device, in every batch, on two
ranks and after a resume. It knows schedules; no architecture, no text and no task.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tunesmith.errors import UserError

KINDS = ("epsilon", "v_prediction", "sample")


@dataclass(frozen=True)
class Draw:
    """What is drawn for rows of one size.

    Args:
        posterior: Standard normal, for the VAE's sample, [rows, channels, height, width].
        noise: Standard normal, the same shape.
        place: Where in time, 0 to 1, [rows].
    """

    posterior: Tensor
    noise: Tensor
    place: Tensor


def draw(seeds: Sequence[int], shape: tuple[int, int, int], offset: float = 0.0) -> Draw:
    """Noise and time of rows, each from its own seed.

    Args:
        seeds: One a row.
        shape: Channels, height, width of a latent.
        offset: Strength of a share of the noise that is constant over a channel, so that very dark and very bright
            pictures are learned ("noise offset", Guttenberg 2023).
    """
    posterior, noise, place = [], [], []
    for seed in seeds:
        generator = torch.Generator().manual_seed(int(seed))
        posterior.append(torch.randn(shape, generator=generator))
        one = torch.randn(shape, generator=generator)
        place.append(torch.rand((), generator=generator))
        if offset:
            one = one + offset * torch.randn(shape[0], 1, 1, generator=generator)
        noise.append(one)
    return Draw(torch.stack(posterior), torch.stack(noise), torch.stack(place))


@dataclass(frozen=True)
class Schedule:
    """A scheduler's configuration as training needs it.

    Args:
        kind: What the denoiser answers: ``epsilon``, ``v_prediction``, ``sample``, or ``flow`` (rectified flow).
        steps: How many times there are.
        signal: Share of the signal's variance at each time (alphas cumulated), [steps]; of ``flow`` empty.
        shift: Of the flow's times, towards noise.
    """

    kind: str
    steps: int
    signal: Tensor
    shift: float = 1.0

    @classmethod
    def of(cls, config: Mapping[str, Any], where: str = "scheduler") -> Schedule:
        """From ``scheduler_config.json``.

        Raises:
            UserError: A schedule that is not known.
        """
        steps, name = int(config.get("num_train_timesteps", 1000)), str(config.get("_class_name", ""))
        if "FlowMatch" in name:
            if config.get("use_dynamic_shifting"):
                fix = "write use_dynamic_shifting: false and the shift of its training into scheduler_config.json"
                raise UserError("the times of this flow depend on the size of a picture, unknown here", where, fix)
            return cls("flow", steps, torch.zeros(0), float(config.get("shift", 1.0)))
        if not any(config.get(key) is not None for key in ("beta_schedule", "beta_end", "trained_betas")):
            # Schedulers by sigma (EDM) scale what goes into the denoiser and what comes out of it.
            what = (
                f"the scheduler {name or 'without a name'} has no beta_schedule: how it makes noise is not known here"
            )
            raise UserError(
                what,
                where,
                "name a model with a scheduler of Stable Diffusion (DDPM, DDIM, PNDM, Euler, "
                "FlowMatchEulerDiscrete, ...)",
            )
        kind = str(config.get("prediction_type", "epsilon"))
        if kind not in KINDS:
            raise UserError(f"prediction_type is {kind!r}", where, f"it must be one of {', '.join(KINDS)}")
        signal = torch.cumprod(1.0 - _betas(config, steps, where), dim=0)
        if config.get("rescale_betas_zero_snr"):
            signal = _zero_terminal(signal)
        return cls(kind, steps, signal.float())

    def times(self, place: Tensor) -> Tensor:
        """Places 0 to 1 as times: whole numbers, or of ``flow`` noise levels 0 to 1."""
        if self.kind == "flow":
            # Logit-normal, as Stable Diffusion 3 was trained (arXiv:2403.03206, section 3.1).
            level = torch.sigmoid(torch.special.ndtri(place.double().clamp(1e-6, 1 - 1e-6))).float()
            return self.shift * level / (1 + (self.shift - 1) * level)
        return (place * self.steps).long().clamp(max=self.steps - 1)

    def model_times(self, times: Tensor) -> Tensor:
        """Times as the denoiser is told them."""
        return times * self.steps if self.kind == "flow" else times

    def noisy(self, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """Latents at their times, [rows, channels, height, width]."""
        if self.kind == "flow":
            level = _over(times, clean)
            return (1 - level) * clean + level * noise
        signal = _over(self.signal.to(clean.device)[times], clean)
        return signal.sqrt() * clean + (1 - signal).sqrt() * noise

    def target(self, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """What the denoiser should answer."""
        if self.kind == "flow":
            return noise - clean
        if self.kind == "epsilon":
            return noise
        if self.kind == "sample":
            return clean
        # arXiv:2202.00512
        signal = _over(self.signal.to(clean.device)[times], clean)
        return signal.sqrt() * noise - (1 - signal).sqrt() * clean

    def weights(self, times: Tensor, gamma: float | None) -> Tensor:
        """How much each row's error counts, [rows]: one, or Min-SNR (arXiv:2303.09556, section 3.4).

        Args:
            times: From ``times``.
            gamma: Where the signal-to-noise ratio is cut; None: every time counts the same.
        """
        if gamma is None or self.kind == "flow":
            return torch.ones(len(times), device=times.device)
        signal = self.signal.to(times.device)[times]
        ratio = signal / (1 - signal).clamp(min=1e-8)
        cut = ratio.clamp(max=gamma)
        if self.kind == "epsilon":
            return cut / ratio.clamp(min=1e-8)
        return cut / (ratio + 1) if self.kind == "v_prediction" else cut


def _over(values: Tensor, like: Tensor) -> Tensor:
    return values.to(like.device, like.dtype).view(-1, *(1 for _ in like.shape[1:]))


def _betas(config: Mapping[str, Any], steps: int, where: str) -> Tensor:
    first, last = float(config.get("beta_start", 1e-4)), float(config.get("beta_end", 0.02))
    name = str(config.get("beta_schedule", "linear"))
    if config.get("trained_betas") is not None:
        return torch.tensor(config["trained_betas"], dtype=torch.float64)
    if name == "linear":
        return torch.linspace(first, last, steps, dtype=torch.float64)
    if name == "scaled_linear":
        return torch.linspace(first**0.5, last**0.5, steps, dtype=torch.float64) ** 2
    if name == "squaredcos_cap_v2":

        def left(time: float) -> float:
            return math.cos((time + 0.008) / 1.008 * math.pi / 2) ** 2

        found = [min(1 - left((i + 1) / steps) / left(i / steps), 0.999) for i in range(steps)]
        return torch.tensor(found, dtype=torch.float64)
    raise UserError(f"beta_schedule is {name!r}", where, "it must be linear, scaled_linear or squaredcos_cap_v2")


def _zero_terminal(signal: Tensor) -> Tensor:
    """The schedule shifted and scaled so that the last time holds no signal (arXiv:2305.08891, algorithm 1)."""
    root = signal.sqrt()
    first, last = root[0].clone(), root[-1].clone()
    return ((root - last) * first / (first - last)) ** 2
