"""Pictures from prompts: a diffusion model run backward from noise that each row draws from its own seed.

It knows schedulers and guidance; no text, no file and no task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tunesmith.model.latent_diffusion import LatentDiffusion, Size, Told, by_size


@dataclass(frozen=True)
class Sampling:
    """How pictures are made.

    Args:
        steps: Steps of the scheduler.
        guidance: How far beyond the prompt (classifier-free guidance, arXiv:2207.12598); 1: not at all.
        scheduler: The pipeline's own scheduler for flows, DDIM (arXiv:2010.02502) for all others: no noise is drawn on
            the way, so a picture depends on its seed and not on its batch.
    """

    steps: int
    guidance: float
    scheduler: Any

    @classmethod
    def of(cls, folder: Path, steps: int, guidance: float) -> Sampling:
        """As a pipeline's folder says."""
        from tunesmith.model.pipeline_folder import PipelineFolder
        from tunesmith.model.pretrained import diffusers

        config = PipelineFolder.read(folder).config("scheduler")
        flow = "FlowMatch" in str(config.get("_class_name", ""))
        library = diffusers()
        kind = library.FlowMatchEulerDiscreteScheduler if flow else library.DDIMScheduler
        # With its class's name, so that settings that only that class has are passed over in silence.
        known = {k: v for k, v in config.items() if k == "_class_name" or not k.startswith("_")}
        if not flow:
            # Times are counted as its authors count; latents have no range that they could be clipped to.
            known |= {"clip_sample": False}
        return cls(steps, guidance, kind.from_config(known))


def start(seeds: Sequence[int], shape: tuple[int, int, int]) -> Tensor:
    """Noise that pictures begin from, each from its seed: [rows, channels, height, width]."""
    made = [torch.randn(shape, generator=torch.Generator().manual_seed(int(seed))) for seed in seeds]
    return torch.stack(made)


def sample(
    model: LatentDiffusion, told: Told, without: Told | None, seeds: Sequence[int], sizes: Sequence[Size], how: Sampling
) -> list[Tensor]:
    """Pictures, uint8 [3, height, width], in the order of the rows.

    Args:
        model: In ``eval`` mode.
        told: What the prompts say, by row.
        without: What no prompt says, by row; None: no guidance.
        seeds: One a row.
        sizes: Height and width of each picture in pixels, multiples of the VAE's factor.
        how: Scheduler, steps, guidance.
    """
    found: list[Tensor | None] = [None] * len(sizes)
    device = told.states.device
    for (height, width), rows in by_size(sizes).items():
        factor = model.latents.factor
        shape = (model.latents.channels, height // factor, width // factor)
        latents = start([seeds[i] for i in rows], shape).to(device)
        latents = _backward(model, told.rows(rows), None if without is None else without.rows(rows), latents, how)
        for row, picture in zip(rows, model.latents.decoded(latents), strict=True):
            found[row] = picture
    return [one for one in found if one is not None]


def _backward(model: LatentDiffusion, told: Told, without: Told | None, latents: Tensor, how: Sampling) -> Tensor:
    how.scheduler.set_timesteps(how.steps, device=latents.device)
    latents = latents * getattr(how.scheduler, "init_noise_sigma", 1.0)
    for time in how.scheduler.timesteps:
        times = time.expand(len(latents)).to(latents.device)
        said = model.denoised(latents, times, told).float()
        if without is not None and how.guidance != 1:
            plain = model.denoised(latents, times, without).float()
            said = plain + how.guidance * (said - plain)
        latents = how.scheduler.step(said, time, latents, return_dict=False)[0]
    return latents
