"""Measures a whole model: how it rebuilds pictures, and whether its pictures show what was asked. It trains nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image

from emoji_diffusion import autoencoder, clip
from emoji_diffusion.compose import COLOURS, SIDE, Look, Pool, caption
from emoji_diffusion.subjects import Subject

STEPS, GUIDANCE, BATCH = 30, 3.0, 32


def draw(pipeline: Any, prompts: list[str], seed: int, steps: int = STEPS, guidance: float = GUIDANCE) -> np.ndarray:
    """Pictures of prompts, uint8 [n, SIDE, SIDE, 3]; each has its own noise."""
    made = []
    for at in range(0, len(prompts), BATCH):
        part = prompts[at : at + BATCH]
        noise = [torch.Generator().manual_seed(seed * 100_003 + at + index) for index in range(len(part))]
        made += pipeline(part, num_inference_steps=steps, guidance_scale=guidance, generator=noise, height=SIDE,
                         width=SIDE).images  # fmt: skip
    return np.stack([np.asarray(picture.convert("RGB")) for picture in made])


def sheet(pictures: np.ndarray, columns: int) -> Image.Image:
    """The pictures in rows; the last row is filled with grey."""
    missing = -len(pictures) % columns
    filled = np.concatenate([pictures, np.full((missing, *pictures.shape[1:]), 128, np.uint8)])
    rows = [np.concatenate(list(filled[at : at + columns]), axis=1) for at in range(0, len(filled), columns)]
    return Image.fromarray(np.concatenate(rows, axis=0))


def background(picture: np.ndarray) -> str:
    """The named colour that is nearest to the middle one of the picture's edge."""
    edge = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    distances = {name: np.abs(np.median(edge, axis=0) - colour).sum() for name, colour in COLOURS.items()}
    return min(distances, key=lambda name: distances[name])


def wishes(subjects: list[Subject], count: int, seed: int) -> list[tuple[int, Look]]:
    """Subjects and backgrounds to ask for: each subject once before any comes again."""
    rng = np.random.default_rng([seed, 77])
    names = list(COLOURS)
    order = [int(index) for _ in range(count // len(subjects) + 1) for index in rng.permutation(len(subjects))]
    return [(index, Look(names[int(rng.integers(len(names)))])) for index in order[:count]]


def fidelity(
    scorer: Any, tokenizer: Any, subjects: list[Subject], asked: list[tuple[int, Look]], pictures: np.ndarray
) -> dict[str, float]:
    """How well pictures show what was asked.

    Returns:
        ``clip_t``: mean cosine, times 100, of a picture and its caption; ``clip_t_shuffled``: of a picture and the
        caption of another; ``subject``: percent of pictures whose subject CLIP picks out of all that are known, on the
        background that was asked; ``background``: percent of pictures with the background that was asked.
    """
    texts = [caption(subjects[index].name, look) for index, look in asked]
    seen, said = clip.see(scorer, pictures), clip.read(scorer, tokenizer, texts)
    every = {look: clip.read(scorer, tokenizer, [caption(subject.name, look) for subject in subjects])
             for look in {look for _, look in asked}}  # fmt: skip
    right = sum(int((every[look] @ row).argmax() == index) for row, (index, look) in zip(seen, asked, strict=True))
    grounds = sum(background(picture) == look.colour for picture, (_, look) in zip(pictures, asked, strict=True))
    return {
        "clip_t": 100 * (seen * said).sum(1).mean().item(),
        "clip_t_shuffled": 100 * (seen * said.roll(1, 0)).sum(1).mean().item(),
        "subject": 100 * right / len(asked),
        "background": 100 * grounds / len(asked),
    }


def rebuilt(vae: Any, learned: Pool, held_out: Pool) -> dict[str, float]:
    """Peak signal to noise in dB of the autoencoder on subjects that it learned from and on others."""
    some = learned.pictures[:: max(len(learned.pictures) // 400, 1)]
    return {"learned": autoencoder.psnr(vae, some), "held_out": autoencoder.psnr(vae, held_out.pictures)}
