"""A latent diffusion model as one module: pictures of several sizes, texts as diffusers reads them, layer groups."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.fixtures import small_pipelines
from tunesmith.model.boundary import Boundary, find_boundary
from tunesmith.model.latent_diffusion import (
    LatentDiffusion,
    Latents,
    Told,
    by_size,
    load_pipeline,
    load_tokenizers,
    pipeline_shape,
    scaled,
)
from tunesmith.model.layers import HEAD, NECK

FAMILIES = ("sd", "sd2", "sdxl", "sd3")
SIZES = [(16, 16), (16, 24), (16, 16), (24, 16)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pipelines")
    return {family: small_pipelines.write(root / family, family) for family in FAMILIES}


@pytest.fixture(scope="module")
def models(folders: dict[str, Path]) -> dict[str, LatentDiffusion]:
    return {family: load_pipeline(folder) for family, folder in folders.items()}


def pictures(sizes: list[tuple[int, int]]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator) for size in sizes]


def tokens_of(folder: Path, prompts: list[str]) -> dict[str, torch.Tensor]:
    return {
        name: one(prompts, padding="max_length", truncation=True, return_tensors="pt")["input_ids"]
        for name, one in load_tokenizers(folder).items()
    }


@torch.no_grad()
def test_pictures_of_several_sizes_give_what_each_gives_alone(models: dict[str, LatentDiffusion]) -> None:
    latents, some = models["sd"].latents, pictures(SIZES)
    together = latents(some)
    assert together.shape == (4, 96, 8)
    for at, (picture, (height, width)) in enumerate(zip(some, SIZES, strict=True)):
        alone = latents([picture])
        positions = height * width // 4
        assert alone.shape == (1, positions, 8)
        torch.testing.assert_close(together[at, :positions], alone[0])
        assert not together[at, positions:].any()
        wanted = latents.vae.encode(scaled(picture[None])).latent_dist.parameters  # type: ignore[operator]
        torch.testing.assert_close(alone.transpose(1, 2).reshape(wanted.shape), wanted)
    assert by_size(SIZES) == {(16, 16): [0, 2], (16, 24): [1], (24, 16): [3]}


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_texts_are_read_as_diffusers_reads_them(
    family: str, folders: dict[str, Path], models: dict[str, LatentDiffusion]
) -> None:
    prompt = "a photo of a dog on grass"
    states, pooled = models[family].texts(tokens_of(folders[family], [prompt]))
    pipe = small_pipelines.read(folders[family])
    if family in ("sd", "sd2"):
        wanted = pipe.encode_prompt(prompt, "cpu", 1, False)[0]
        assert pooled.shape == (1, 1)
    elif family == "sdxl":
        wanted, _, theirs, _ = pipe.encode_prompt(prompt, do_classifier_free_guidance=False)
        torch.testing.assert_close(pooled, theirs)
    else:
        wanted, _, theirs, _ = pipe.encode_prompt(prompt, prompt, prompt, do_classifier_free_guidance=False)
        torch.testing.assert_close(pooled, theirs)
    torch.testing.assert_close(states, wanted)


@pytest.mark.parametrize("family", FAMILIES)
def test_latents_are_scaled_as_each_familys_pipeline_does(family: str, models: dict[str, LatentDiffusion]) -> None:
    """The small VAEs have a scaling factor of 0.5 and a shift of 0.1, which Stable Diffusion 1, 2 and XL leave out."""
    shift = 0.1 if family == "sd3" else 0.0
    values = torch.tensor([2.0])
    torch.testing.assert_close(models[family].latents.known(values), (values - shift) * 0.5)


@torch.no_grad()
def test_known_and_decoded_are_each_others_inverse() -> None:
    vae = small_pipelines.vae()
    vae.register_to_config(latents_mean=[0.1, 0.2, 0.3, 0.4], latents_std=[1.0, 2.0, 3.0, 4.0])
    for family in ("sd", "sdxl", "sd3"):
        latents = Latents(vae, family)  # type: ignore[arg-type]
        raw = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        wanted = ((vae.decode(raw).sample / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
        found = latents.decoded(latents.known(raw))
        assert (found.int() - wanted.int()).abs().max() <= 1
    spread = Latents(vae, "sdxl").known(torch.ones(1, 4, 1, 1)).flatten()
    torch.testing.assert_close(spread, torch.tensor([0.9, 0.8 / 2, 0.7 / 3, 0.6 / 4]) * 0.5)


@torch.no_grad()
def test_the_vae_of_sdxl_is_never_narrowed_to_fp16(folders: dict[str, Path]) -> None:
    held = load_pipeline(folders["sdxl"], dtype=torch.float16)
    assert {p.dtype for p in held.latents.parameters()} == {torch.float32}
    assert {p.dtype for p in held.denoiser.parameters()} == {torch.float16}
    plain = held.latents(pictures([(16, 16)]))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(held.latents(pictures([(16, 16)])), plain)
    other = load_pipeline(folders["sd"], dtype=torch.float16)
    assert {p.dtype for p in other.latents.parameters()} == {torch.float16}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_shape_is_that_of_the_model(
    family: str, folders: dict[str, Path], models: dict[str, LatentDiffusion]
) -> None:
    shape = pipeline_shape(folders[family])
    assert all(p.is_meta for p in shape.parameters())
    assert {n: p.shape for n, p in shape.named_parameters()} == {
        n: p.shape for n, p in models[family].named_parameters()
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_hold_every_parameter_once(family: str, models: dict[str, LatentDiffusion]) -> None:
    model = models[family]
    layers = model.layers(frozenset(), texts_learn=False)
    names = [name for group in layers.groups.values() for name in group]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    assert all(name.startswith("latents.") for name in layers.names("block 0"))
    assert all(name.startswith("texts.") for name in layers.names("block 1"))
    assert layers.names("block 2") == ()
    first, last = {name.split(".")[1] for name in layers.names("block 3")}, layers.names(NECK)
    outside = {"sd3": {"pos_embed", "context_embedder"}}.get(family, {"conv_in", "time_embedding"})
    assert outside <= first
    assert any(("proj_out" if family == "sd3" else "conv_out") in name for name in last)
    assert layers.names(HEAD) == ()
    # The VAE never learns, and the texts only where they are asked to.
    assert not {"block 0", "block 1"} & set(layers.learning("all"))
    with_texts = model.layers(frozenset(), texts_learn=True).learning("all")
    assert "block 1" in with_texts
    assert "block 0" not in with_texts
    assert not any(block is model.latents or block is model.texts for block in layers.adapted_blocks(None))


@pytest.mark.parametrize("texts_learn", [False, True])
@pytest.mark.parametrize("family", ["sd", "sdxl", "sd3"])
def test_conditions_are_what_is_kept(family: str, texts_learn: bool, folders: dict[str, Path]) -> None:
    """Where the texts learn, the latents alone."""
    model = load_pipeline(folders[family])
    layers = model.layers(frozenset(), texts_learn=texts_learn)
    layers.apply(layers.learning("all"))
    tokens, some = tokens_of(folders[family], ["a dog", "a cat"]), pictures([(16, 16)] * 2)

    def loss() -> Any:
        moments, states, pooled = model.conditions(some, tokens)
        noisy = moments[:, :, :4].transpose(1, 2).reshape(2, 4, 8, 8)
        told = Told(states, pooled, torch.zeros(2, 6))
        return model.denoised(noisy, torch.tensor([3, 4]), told).square().sum()

    found = find_boundary(layers, loss)
    assert isinstance(found, Boundary), found
    assert found.name == ("latents" if texts_learn else "joint")
