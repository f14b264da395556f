"""Image generation beside diffusers: LoRA steps with and without latents and texts at hand, and memory on a GPU.

    python benchmarks/image_generation.py [--quick] [--json] [--cases cached/lora-step,cached/loss,...]

``cached/lora-step``: seconds a step of our loop beside the training loop of diffusers' DreamBooth-LoRA example, which
encodes pictures and prompts anew every step; a Stable Diffusion 1.5 a quarter as wide, whose VAE and text encoder take
no more of a step's operations than the real ones do (both are in ``size``). ``cached/run``: the same runs of ten epochs
as a whole, what our cache takes to build among it. ``cached/emoji-step``: the shape of the emoji model, whose VAE is
small beside its denoiser. ``cached/loss``: how far the losses of the two loops are apart, step by step, with our rows'
noise. ``memory/...``: Stable Diffusion 1.5 at 512 pixels with random weights on a GPU.

Inside our clock: the loader, every step with its event on disk, what stands between epochs; in ``cached/run`` the
search for what can be kept, recording it, and the rehearsal, too. Outside the peer's: its pictures are decoded, scaled
and tokenized in advance, and lie in memory. Outside both: loading the model, what comes after the last step.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from benchmarks.harness import Case, absent, against, command, within
from benchmarks.image_generation_sides import (
    EIGHTH,
    EMOJI,
    QUARTER,
    SD15,
    TINY,
    Ran,
    Work,
    ours,
    part_seconds,
    plan_from,
    shares,
    theirs,
    written,
)
from benchmarks.vision import scratch

VERSIONS = ("torch", "diffusers", "transformers", "peft", "accelerate", "numpy", "Pillow")
GPU_GOALS = {"lora": 4.0, "all": 12.0}


@contextmanager
def silence() -> Iterator[None]:
    """Without what the libraries report while they load: it would stand in our JSON's way."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    kept = [(one, one.get_verbosity()) for one in (diffusers_logging, transformers_logging)]
    bars = transformers_logging.is_progress_bar_enabled()
    for one, _ in kept:
        one.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        for one, before in kept:
            one.set_verbosity(before)
        if bars:
            transformers_logging.enable_progress_bar()


def peer_name(work: Work) -> str:
    """The example, and the version of its library."""
    from tunesmith.machine import package_versions

    example = "train_dreambooth_lora" if work.learns == "lora" else "train_dreambooth"
    return f"diffusers {package_versions(['diffusers'])['diffusers']}, {example} written out"


def turns(work: Work, folder: Path, rounds: int) -> tuple[list[Ran], list[Ran], Any]:
    """Ours, theirs, ours, theirs ...; and our last loop. A short run of both goes before: first use costs more."""
    last: list[Any] = []
    mine, other = [], []
    brief = replace(work, pictures=work.pictures, epochs=2)
    for number in range(rounds + 1):
        now = work if number else brief
        one = ours(now, folder, last)
        peer = theirs(now, folder, plan_from(*last, now, same_noise=False))
        if number:
            mine.append(one)
            other.append(peer)
    return mine, other, last[0]


def size_of(work: Work, loop: Any) -> dict[str, Any]:
    """What a row ran on, with the shares of a step's operations here and in Stable Diffusion 1.5."""
    return {
        "pictures": work.pictures, "pixels": work.shape.side, "batch": work.rows, "epochs": work.epochs,
        "steps": work.steps, "cache": loop.decisions[0].reason,
        "operations_beside_denoiser": shares(work.shape), "of_sd15": shares(SD15),
    }  # fmt: skip


def lora_step(quick: bool) -> list[dict[str, Any]]:
    """A step, and the run as a whole."""
    work = Work(EIGHTH, 4, 2, 3) if quick else Work(QUARTER, 8, 4, 10)
    with scratch() as folder, silence():
        written(work, folder)
        mine, other, loop = turns(work, folder, 1 if quick else 3)
        size = size_of(work, loop) | {"seconds_of_parts": part_seconds(work, folder, 3)}
    recording = sorted(one.recording for one in mine)[len(mine) // 2]
    name = peer_name(work)
    whole = size | {"recording_seconds": float(f"{recording:.4g}")}
    steps, runs = ([r.step for r in mine], [r.step for r in other]), ([r.whole for r in mine], [r.whole for r in other])
    return [
        against("cached/lora-step", *steps, peer_name=name, goal=1.5, size=size),
        against("cached/run", *runs, peer_name=name, goal=None, size=whole),
    ]


def emoji_step(quick: bool) -> list[dict[str, Any]]:
    """A step of the emoji model's shape."""
    work = Work(EMOJI, 4, 2, 2) if quick else Work(EMOJI, 8, 8, 20)
    with scratch() as folder, silence():
        written(work, folder)
        mine, other, loop = turns(work, folder, 1 if quick else 3)
        size = size_of(work, loop)
    steps = [r.step for r in mine], [r.step for r in other]
    return [against("cached/emoji-step", *steps, peer_name=peer_name(work), goal=None, size=size)]


def loss(quick: bool) -> list[dict[str, Any]]:
    """The largest relative difference of a step's loss, with the same rows, start and noise."""
    work = Work(TINY, 4, 2, 3) if quick else Work(EIGHTH, 8, 4, 10)
    with scratch() as folder, silence():
        written(work, folder)
        last: list[Any] = []
        mine = ours(work, folder, last)
        other = theirs(work, folder, plan_from(*last, work, same_noise=True))
        assert last[0].decisions[0].use, "the cache was not used, so there is nothing to compare"
    apart = [abs(a - b) / abs(b) for a, b in zip(mine.losses, other.losses, strict=True)]
    size = {"steps": len(apart), "batch": work.rows, "pixels": work.shape.side, "least_loss": min(other.losses)}
    return [within("cached/loss", [max(apart)], unit="relative", goal=1e-4, size=size)]


def memory(learns: str) -> Case:
    """Peak memory and steps a second of Stable Diffusion 1.5 at 512 pixels, batch 1, on a GPU."""

    def case(quick: bool) -> list[dict[str, Any]]:
        import torch

        name, goal = f"memory/{learns}-512", GPU_GOALS[learns]
        # All weights: autocast's copies and what autograd keeps do not fit beside AdamW's moments otherwise.
        work = Work(SD15, 4, 1, 3 if quick else 10, learns, "cuda", recompute=learns == "all")
        if not torch.cuda.is_available():
            return [
                absent(case, peer_name=peer_name(work), reason="no GPU is at hand", goal=wanted)
                for case, wanted in ((name, goal), (f"{name}: steps", None))
            ]
        return measured(name, work, goal, rounds=1 if quick else 3)

    return case


def measured(name: str, work: Work, goal: float, rounds: int) -> list[dict[str, Any]]:
    """Rows of peak memory, ours within its goal, and of seconds a step beside the peer's."""
    with scratch() as folder, silence():
        written(work, folder)
        mine, other, loop = turns(work, folder, rounds)
    peer = peer_name(work)
    size = {"pixels": work.shape.side, "batch": work.rows, "steps": work.steps, "recomputed": work.recompute}
    size |= {"cache": loop.decisions[0].reason, "peer_peak_gib": max(r.peak for r in other) / 2**30}
    size |= {"steps_per_second": 1 / min(r.step for r in mine), "peer_steps_per_second": 1 / min(r.step for r in other)}
    steps = [r.step for r in mine], [r.step for r in other]
    return [
        within(name, [r.peak / 2**30 for r in mine], unit="GiB", goal=goal, size=size),
        against(f"{name}: steps", *steps, peer_name=peer, goal=None, size=size),
    ]


CASES: dict[str, Case] = {
    "cached/lora-step": lora_step,
    "cached/emoji-step": emoji_step,
    "cached/loss": loss,
    "memory/lora-512": memory("lora"),
    "memory/all-512": memory("all"),
}

if __name__ == "__main__":
    command("image_generation", (__doc__ or "").splitlines()[0], CASES, VERSIONS)
