"""The autoencoder between pictures and latents. It knows pictures, no words."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL

from emoji_diffusion.compose import SIDE, Pool
from emoji_diffusion.loop import Place, Plan, learn

KL = 1e-6
CROP, CROP_SHARE = 32, 0.85
"""Most steps see a quarter of each picture: four times as many steps for the same time; the last ones see all of it."""


def build(widths: tuple[int, ...] = (16, 32, 64)) -> AutoencoderKL:
    """An untrained autoencoder: pictures [n, 3, 64, 64] in -1 to 1, latents [n, 4, 16, 16]."""
    return AutoencoderKL(
        sample_size=SIDE,
        block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        mid_block_add_attention=False,
        scaling_factor=1.0,
    )


def pixels(pictures: np.ndarray) -> torch.Tensor:
    """Uint8 [n, h, w, 3] to float32 [n, 3, h, w] in -1 to 1."""
    values = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return values.contiguous()


def train(pool: Pool, plan: Plan, place: Place, widths: tuple[int, ...]) -> tuple[AutoencoderKL, dict[str, float]]:
    """Learn to rebuild the pictures: absolute and squared errors, and a little pull of latents to a normal spread."""
    torch.manual_seed(place.seed)
    model = build(widths)

    def loss(rng: np.random.Generator, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        real = pixels(_draw(pool.pictures, rng, plan.batch, step < CROP_SHARE * plan.steps))
        spread = model.encode(real).latent_dist
        noise = torch.from_numpy(rng.standard_normal(spread.mean.shape, np.float32))
        error = (model.decode(spread.mean + spread.std * noise).sample - real).float()
        kl = spread.kl().mean()
        total = error.abs().mean() + 2 * error.square().mean() + KL * kl
        return total, {"l1": error.abs().mean().item(), "mse": error.square().mean().item(), "kl": kl.item()}

    numbers = learn("vae", model, loss, plan, place)
    scale = 1.0 / encode(model, pool.pictures[:: max(len(pool.pictures) // 1000, 1)]).std().item()
    model.register_to_config(scaling_factor=round(scale, 6))
    return model, numbers


def _draw(pictures: np.ndarray, rng: np.random.Generator, batch: int, crop: bool) -> np.ndarray:
    """Squares out of pictures, or a quarter as many whole ones, as uint8 [n, side, side, 3]."""
    chosen = rng.integers(len(pictures), size=batch if crop else max(batch // 4, 1))
    if not crop:
        return pictures[chosen]
    corners = rng.integers(SIDE - CROP + 1, size=(batch, 2))
    return np.stack([pictures[at, top : top + CROP, left : left + CROP]
                     for at, (top, left) in zip(chosen, corners, strict=True)])  # fmt: skip


@torch.no_grad()
def encode(model: Any, pictures: np.ndarray, batch: int = 128) -> torch.Tensor:
    """Means of the latents, not scaled: float32 [n, 4, 16, 16]."""
    parts = [model.encode(pixels(pictures[at : at + batch])).latent_dist.mean
             for at in range(0, len(pictures), batch)]  # fmt: skip
    return torch.cat(parts)


@torch.no_grad()
def decode(model: Any, latents: torch.Tensor, batch: int = 128) -> np.ndarray:
    """Latents, not scaled, to pictures: uint8 [n, 64, 64, 3]."""
    parts = [model.decode(latents[at : at + batch]).sample for at in range(0, len(latents), batch)]
    values = (torch.cat(parts).clamp(-1, 1) + 1) * 127.5
    return values.round().byte().permute(0, 2, 3, 1).contiguous().numpy()


def psnr(model: Any, pictures: np.ndarray) -> float:
    """Peak signal to noise of rebuilt pictures in dB, from the mean squared error over all of them."""
    rebuilt = decode(model, encode(model, pictures)).astype(np.float64)
    error = np.square(rebuilt - pictures.astype(np.float64)).mean()
    return float(10 * np.log10(255.0**2 / error))
