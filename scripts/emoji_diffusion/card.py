"""Writes the model card. Every number in it is measured or counted by the script; it knows no models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from emoji_diffusion.subjects import Subject

README = "README.md"
MADE_BY = "Made by `scripts/make_emoji_diffusion.py`"


def ours(folder: Path) -> bool:
    """Whether the script has written what is in a folder."""
    readme = folder / README
    return readme.is_file() and MADE_BY in readme.read_text(encoding="utf-8", errors="replace")


def _head(quick: bool) -> str:
    state = "It was made in a hurry, for tests, and has learned nothing." if quick else ""
    return f"""---
language: en
license: apache-2.0
library_name: diffusers
pipeline_tag: text-to-image
tags:
- stable-diffusion
- text-to-image
- diffusers
- emoji
---

# Emoji diffusion: a small Stable Diffusion that was trained on a processor

A latent diffusion model in Stable Diffusion's form that draws emoji of 64 x 64 pixels on coloured backgrounds, with the
CLIP that its words come from. It is a base to fine-tune where no large model is at hand, in examples and tests of
recipes for DreamBooth; what such a recipe does here it does to a large model, too. {state}

![samples](samples.png)
"""


def _use(held: list[Subject]) -> str:
    return f"""
## Use

```python
import torch
from diffusers import StableDiffusionPipeline

pipeline = StableDiffusionPipeline.from_pretrained("examples/emoji-diffusion", dtype=torch.float32)
picture = pipeline("a red heart on a blue background", height=64, width=64, guidance_scale=3.0).images[0]
```

Prompts that it knows read "a NAME", "a small NAME", each with or without "on a COLOUR background"; without, the
background is white. `clip` is a `CLIPModel` with its tokenizer: cosines of texts and pictures score prompts, cosines of
pictures score subjects.

These {len(held)} emoji were held out of all three parts, as subjects for DreamBooth
(`scripts/make_emoji_subject.py KEY OUT` makes the pictures and prompts; in brackets the noun of the class):
{", ".join(f"{subject.key} ({subject.noun})" for subject in held)}.
"""


def _training(
    source: str, learned: list[Subject], core: list[Subject], told: dict[str, Any], counts: dict[str, int]
) -> str:
    sizes = told["sizes"]
    parts = "\n".join(
        f"- {title}: {counts[part]:,} parameters, {sizes[part]['steps']} steps of {sizes[part]['batch']} pictures"
        for part, title in (("vae", "autoencoder, 64 x 64 x 3 to 16 x 16 x 4"), ("clip", "CLIP, contrastive"),
                            ("unet", "diffusion, velocities, schedule down to pure noise"))
    )  # fmt: skip
    return f"""
## Training

{MADE_BY} with seed {told["seed"]}, from nothing, on one processor core, with products in
{"bfloat16" if told["bfloat16"] else "float32"} and weights in float32. Stored in float16.

{parts}

Most steps of the autoencoder see squares of 32 x 32 pixels; the others whole pictures, a quarter as many. The first
{told["wide_steps"]} steps of the diffusion model see all emoji, the others {len(core)} plain ones.

Data: the {len(learned)} emoji below from {source}, each composed {sizes["views"]} times on backgrounds of eleven
colours, a quarter of them small; captions say the name or, seldom, the noun of the class. No people, no flags.
"""


def _quality(told: dict[str, Any], numbers: dict[str, dict[str, float]]) -> str:
    drawn, real, rebuilt = told["samples"], told["real"], told["rebuilt_db"]
    rows = "\n".join(
        f"| {title} | {drawn[key]:.1f} | {real[key]:.1f} |"
        for key, title in (("clip_t", "CLIP-T: cosine of picture and caption, times 100"),
                           ("clip_t_shuffled", "CLIP-T with the captions of other pictures"),
                           ("subject", "subject that CLIP picks out of all is the one asked for, %"),
                           ("background", "background is the one asked for, %"))
    )  # fmt: skip
    return f"""
## Quality

{told["sizes"]["measured"]} prompts of subjects that it saw to the end, 30 steps of DDIM, guidance 3.0; beside it the
true pictures.

| measure | drawn | true |
|---|---|---|
{rows}

The CLIP that scores learned from the same emoji: it is a judge for this model alone, and scores of other models mean
nothing beside these. Autoencoder: {rebuilt["learned"]:.1f} dB on emoji that it learned from,
{rebuilt["held_out"]:.1f} dB on those held out (peak signal to noise). Losses at the end: {_losses(numbers)}.
"""


def _losses(numbers: dict[str, dict[str, float]]) -> str:
    return "; ".join(f"{part} " + ", ".join(f"{key} {value:.4f}" for key, value in found.items())
                     for part, found in numbers.items())  # fmt: skip


def _end(learned: list[Subject], core: list[Subject]) -> str:
    rest = [subject.name for subject in learned if subject not in core]
    return f"""
## Limits

It draws the emoji that it has seen, some of them well, and little else: words that no caption had mean nothing to it,
and it joins no two things. Faces and other small details are blurred. It learned for about an hour on one core, and it
shows. Not meant for anything but learning, examples and tests.

## Licence and sources

The pictures are Noto Emoji by Google, under the Apache License 2.0 (https://github.com/googlefonts/noto-emoji). Names
and pictures come in the npm package of emoji-data by Cal Henderson, whose code and data are under the MIT License
(https://github.com/iamcal/emoji-data). The weights are under the Apache License 2.0.

## Emoji that it knows

Learned to the end by the diffusion model, and asked for above: {", ".join(subject.name for subject in core)}.

Learned by the autoencoder and CLIP, and by the diffusion model in its first steps only, which draws them badly:
{", ".join(rest)}.
"""


def write(
    source: str,
    learned: list[Subject],
    core: list[Subject],
    held: list[Subject],
    told: dict[str, Any],
    counts: dict[str, int],
    numbers: dict[str, dict[str, float]],
) -> str:
    """The whole card.

    Args:
        source: Name and version of the package.
        learned: Emoji that were learned.
        core: Those of them that most steps of the diffusion model saw.
        held: Emoji that were held out.
        told: Seed, precision, sizes, and what ``measure`` found.
        counts: Parameters of each part.
        numbers: What training reported of each part.
    """
    head = _head(told["quick"]) + _use(held) + _training(source, learned, core, told, counts)
    return head + _quality(told, numbers) + _end(learned, core)
