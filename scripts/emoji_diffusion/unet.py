"""The diffusion model on latents, steered by words. It knows latents and states of texts, no pixels.

It predicts velocities (Salimans and Ho, 2022) on a schedule that ends in pure noise (Lin et al., 2024), so that white
and black backgrounds come out right. All times count the same: min-SNR weights (Hang et al., 2023) nearly leave out
the noisiest ones, which decide on shapes. A tenth of the captions is dropped for guidance (Ho and Salimans, 2022).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DConditionModel

from emoji_diffusion.loop import Place, Plan, learn

DROPPED, ROUGH = 0.1, 700
WIDE_STEPS = 600
"""The first steps see every latent, the others those of the core."""


@dataclass(frozen=True)
class Latents:
    """What is learned from: scaled latents [n, 4, 16, 16], states [texts, length, width] and the text of each latent.

    The first text is the empty one. ``core`` has the indices of the latents that most steps see.
    """

    values: torch.Tensor
    states: torch.Tensor
    texts: np.ndarray
    core: np.ndarray


def build(widths: tuple[int, ...], words: int, size: int = 16) -> UNet2DConditionModel:
    """An untrained model in Stable Diffusion's form; the widest pictures are not worth attention at this size."""
    return UNet2DConditionModel(
        sample_size=size,
        in_channels=4,
        out_channels=4,
        block_out_channels=widths,
        down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * (len(widths) - 1)),
        up_block_types=(*("CrossAttnUpBlock2D",) * (len(widths) - 1), "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=words,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def schedule() -> DDIMScheduler:
    """Stable Diffusion's betas, rescaled to end in pure noise."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
    )


def train(
    data: Latents, plan: Plan, place: Place, widths: tuple[int, ...], look: Callable[[UNet2DConditionModel, int], None]
) -> tuple[UNet2DConditionModel, dict[str, float]]:
    """Learn to tell velocities; ``look`` is called now and then with the model and the step."""
    torch.manual_seed(place.seed)
    model = build(widths, data.states.shape[-1], data.values.shape[-1])
    kept = DDPMScheduler.from_config(schedule().config).alphas_cumprod.float()

    def loss(rng: np.random.Generator, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        wide = step < WIDE_STEPS
        at = rng.integers(len(data.values), size=plan.batch) if wide else rng.choice(data.core, size=plan.batch)
        clean = data.values[at]
        noise = torch.from_numpy(rng.standard_normal(clean.shape, np.float32))
        # spread evenly: the loss of a batch depends on its times more than on its pictures
        times = torch.from_numpy(
            ((rng.permutation(plan.batch) + rng.random(plan.batch)) * 1000 / plan.batch).astype(int)
        )
        share = kept[times].view(-1, 1, 1, 1)
        noisy = share.sqrt() * clean + (1 - share).sqrt() * noise
        velocity = share.sqrt() * noise - (1 - share).sqrt() * clean
        texts = np.where(rng.random(plan.batch) < DROPPED, 0, data.texts[at])
        told = model(noisy, times, data.states[texts].float()).sample.float()
        error = (told - velocity).square().mean((1, 2, 3))
        total = error.mean()
        rough = error[times >= ROUGH].mean()
        return total, {"mse": total.item(), "rough": rough.item()}

    numbers = learn("unet", model, loss, plan, place, lambda step: look(model, step))
    return model, numbers
