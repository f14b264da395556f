"""Pictures that we make are those that diffusers' pipelines make of the same noise, to one level of a byte."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.fixtures import small_pipelines
from tunesmith.model.diffusion_sampling import Sampling, sample, start
from tunesmith.model.latent_diffusion import LatentDiffusion, Told, load_pipeline, load_tokenizers
from tunesmith.model.pipeline_folder import PipelineFolder
from tunesmith.model.pretrained import diffusers

FAMILIES = ("sd", "sd2", "sdxl", "sd3")
PROMPTS = ["a photo of a dog", "two trees"]
STEPS = 3


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pipelines")
    return {family: small_pipelines.write(root / family, family) for family in FAMILIES}


def told(model: LatentDiffusion, folder: Path, prompts: list[str], sizes: list[tuple[int, int]]) -> Told:
    tokens = {
        name: one(prompts, padding="max_length", truncation=True, return_tensors="pt")["input_ids"]
        for name, one in load_tokenizers(folder).items()
    }
    states, pooled = model.texts(tokens)
    if PipelineFolder.read(folder).zeros_for_empty and not any(prompts):
        states, pooled = torch.zeros_like(states), torch.zeros_like(pooled)
    return Told(states, pooled, torch.tensor([[h, w, 0, 0, h, w] for h, w in sizes], dtype=torch.float32))


@torch.no_grad()
def ours(folder: Path, seeds: list[int], sizes: list[tuple[int, int]], guidance: float) -> list[np.ndarray]:
    model = load_pipeline(folder)
    without = told(model, folder, [""] * len(seeds), sizes) if guidance > 1 else None
    how = Sampling.of(folder, STEPS, guidance)
    made = sample(model, told(model, folder, PROMPTS[: len(seeds)], sizes), without, seeds, sizes, how)
    return [one.permute(1, 2, 0).numpy() for one in made]


def theirs(folder: Path, prompt: str, seed: int, size: tuple[int, int], guidance: float) -> np.ndarray:
    pipe = small_pipelines.read(folder)
    found = pipe(
        prompt, height=size[0], width=size[1], num_inference_steps=STEPS, guidance_scale=guidance, output_type="np",
        latents=start([seed], (4, size[0] // 2, size[1] // 2)),
    )  # fmt: skip
    return (np.asarray(found.images[0]) * 255).round().astype(int)


@pytest.mark.parametrize("guidance", [4.0, 1.0])
@pytest.mark.parametrize("family", FAMILIES)
def test_pictures_are_those_of_diffusers(family: str, guidance: float, folders: dict[str, Path]) -> None:
    """Two pictures of different sizes, made together here and one by one there."""
    sizes, seeds = [(16, 16), (16, 24)], [11, 2**60 + 7]
    mine = ours(folders[family], seeds, sizes, guidance)
    for at, picture in enumerate(mine):
        wanted = theirs(folders[family], PROMPTS[at], seeds[at], sizes[at], guidance)
        assert picture.shape == wanted.shape
        assert np.abs(picture - wanted).max() <= 1
        assert picture.std() > 1


def test_a_picture_depends_on_its_seed_and_not_on_its_batch(folders: dict[str, Path]) -> None:
    sizes = [(16, 16), (16, 16)]
    together, alone = ours(folders["sd"], [5, 6], sizes, 4.0), ours(folders["sd"], [5], sizes[:1], 4.0)
    other = ours(folders["sd"], [7], sizes[:1], 4.0)
    assert np.abs(together[0].astype(int) - alone[0]).max() <= 1
    assert np.abs(other[0].astype(int) - alone[0]).mean() > 2


def test_another_scheduler_gives_its_configuration_without_a_word(folders: dict[str, Path], tmp_path: Path) -> None:
    """Stable Diffusion 1.5 comes with PNDM: its times and betas count, and it is no reason to warn."""
    library = diffusers()
    scheduler = library.PNDMScheduler(beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1)
    (tmp_path / "scheduler").mkdir()
    for name in ("unet", "vae", "text_encoder", "tokenizer"):
        (tmp_path / name).symlink_to(folders["sd"] / name)
    index = json.loads((folders["sd"] / "model_index.json").read_text())
    index["scheduler"] = ["diffusers", "PNDMScheduler"]
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    scheduler.save_pretrained(tmp_path / "scheduler")
    heard: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = heard.append  # type: ignore[method-assign]
    logger = logging.getLogger("diffusers")
    logger.addHandler(handler)
    try:
        found: Any = Sampling.of(tmp_path, 4, 1.0).scheduler
    finally:
        logger.removeHandler(handler)
    assert type(found) is library.DDIMScheduler
    assert (found.config.beta_schedule, found.config.steps_offset) == ("scaled_linear", 1)
    assert [record.getMessage() for record in heard] == []


def test_what_bitsandbytes_lacks_is_not_told_and_other_warnings_are(caplog: pytest.LogCaptureFixture) -> None:
    diffusers()
    logger = logging.getLogger("bitsandbytes.backends.cpu.ops")
    logger.warning("Failed to load CPU gemm_4bit_forward from kernels-community: %s", "no kernels")
    logger.warning("the weights are broken")
    assert [record.getMessage() for record in caplog.records] == ["the weights are broken"]
