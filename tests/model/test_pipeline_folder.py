"""Folders of pipelines: what they are, and what is said of broken ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures import small_pipelines
from tunesmith.errors import UserError
from tunesmith.model.latent_diffusion import load_pipeline, load_tokenizers, token_vectors
from tunesmith.model.pipeline_folder import INDEX, PipelineFolder, hub_patterns, weight_files
from tunesmith.model.pretrained import diffusers, quiet
from tunesmith.model.weights import resolve
from tunesmith.recipe import ModelSection


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_pipelines.write(tmp_path_factory.mktemp("whole") / "sd", "sd")


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "sd"))


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_what_a_folder_holds(folder: Path) -> None:
    found = PipelineFolder.read(folder)
    assert (found.family, found.denoiser, found.encoders) == ("sd", "unet", ("text_encoder",))
    assert found.parts["unet"] == ("diffusers", "UNet2DConditionModel")
    assert not found.zeros_for_empty
    found.check_fit()
    assert {file.parent.name for file in weight_files(folder)} == {"unet", "text_encoder", "vae"}
    assert resolve(ModelSection(name=str(folder))).files == tuple(weight_files(folder))


def unlink_index(folder: Path) -> None:
    (folder / INDEX).unlink()


def break_index(folder: Path) -> None:
    (folder / INDEX).write_text("{")


def listed_index(folder: Path) -> None:
    (folder / INDEX).write_text("[]")


def other_kind(folder: Path) -> None:
    edit(folder / INDEX, _class_name="KandinskyPipeline", unet=["diffusers", "Kandinsky3UNet"])


def lose(part: str) -> Callable[[Path], None]:
    return lambda folder: shutil.rmtree(folder / part)


def unname(folder: Path) -> None:
    edit(folder / INDEX, vae=[None, None])


def lose_config(folder: Path) -> None:
    (folder / "vae" / "config.json").unlink()


def other_vae(folder: Path) -> None:
    edit(folder / "vae" / "config.json", latent_channels=16)


def inpainting(folder: Path) -> None:
    edit(folder / "unet" / "config.json", in_channels=9)


def pickles(folder: Path) -> None:
    (folder / "unet" / "diffusion_pytorch_model.safetensors").rename(folder / "unet" / "diffusion_pytorch_model.bin")


def half_only(folder: Path) -> None:
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    file.rename(file.with_name("diffusion_pytorch_model.fp16.safetensors"))


def strange_vae(folder: Path) -> None:
    edit(folder / INDEX, vae=["diffusers", "AutoencoderTiny"])


def own_code(folder: Path) -> None:
    edit(folder / INDEX, unet=["my_unet", "UNet2DConditionModel"])


def cut_short(folder: Path) -> None:
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def no_tokenizer_files(folder: Path) -> None:
    for file in (folder / "tokenizer").iterdir():
        file.unlink()


def read_all(folder: Path) -> None:
    PipelineFolder.read(folder).check_fit()
    weight_files(folder)
    load_pipeline(folder)
    load_tokenizers(folder)


@pytest.mark.parametrize(
    ("broken", "what", "where"),
    [
        (unlink_index, "there is no model_index.json: this is no diffusion pipeline", ""),
        (break_index, "model_index.json can't be read", INDEX),
        (listed_index, "model_index.json is no JSON object", INDEX),
        (other_kind, "a pipeline of class KandinskyPipeline can't be fine-tuned here", INDEX),
        (lose("vae"), "the pipeline has no vae: model_index.json names it, but there is no such folder", ""),
        (lose("tokenizer"), "the pipeline has no tokenizer", ""),
        (lose("scheduler"), "the pipeline has no scheduler", ""),
        (unname, "the pipeline has no vae: model_index.json does not name it", ""),
        (lose_config, "vae has no config.json", "vae"),
        (other_vae, "the VAE makes latents of 16 channels, and the unet takes 4: they are of different models", "vae"),
        (inpainting, "the VAE makes latents of 4 channels, and the unet takes 9", "vae"),
        (pickles, "unet has no safetensors weights", "unet"),
        (half_only, "unet has no safetensors weights", "unet"),
        (strange_vae, "vae is of class diffusers.AutoencoderTiny, which can't be read here", "vae"),
        (own_code, "unet is of class my_unet.UNet2DConditionModel, which can't be read here", "unet"),
        (cut_short, "unet can't be loaded", "unet"),
        (no_tokenizer_files, "the tokenizer can't be read", "tokenizer"),
    ],
)
def test_a_broken_folder_is_named(broken: Any, what: str, where: str, folder: Path) -> None:
    broken(folder)
    with pytest.raises(UserError) as caught:
        read_all(folder)
    assert what in caught.value.what
    assert caught.value.where == str(folder / where if where else folder)
    assert caught.value.fix


def test_a_folder_that_is_no_pipeline_is_named_as_other_models_are(folder: Path) -> None:
    unlink_index(folder)
    with pytest.raises(UserError, match=r"has no config\.json"):
        resolve(ModelSection(name=str(folder)))


def test_other_precisions_beside_the_weights_are_passed_over(folder: Path) -> None:
    before = weight_files(folder)
    for part in ("unet", "vae"):
        file = next((folder / part).glob("*.safetensors"))
        shutil.copyfile(file, file.with_name(f"{file.stem}.fp16.safetensors"))
    assert weight_files(folder) == before


@pytest.mark.parametrize("named", [True, False])
def test_a_missing_safety_checker_is_told_and_written_as_none(named: bool, folder: Path) -> None:
    if named:
        edit(folder / INDEX, safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"])
    found = PipelineFolder.read(folder)
    assert found.notes() == ["the folder has no safety checker: nothing checks what is generated"]
    (folder / INDEX).write_text(found.index_of_parts())
    assert json.loads((folder / INDEX).read_text())["safety_checker"] == [None, None]
    with quiet():
        diffusers().DiffusionPipeline.from_pretrained(folder, local_files_only=True)


def test_the_vectors_of_an_encoders_tokens(folder: Path) -> None:
    vectors = token_vectors(folder / "text_encoder")
    assert vectors.shape == (84, 16)
    assert token_vectors(folder / "vae") is None


def test_what_is_fetched_from_a_hub() -> None:
    wanted, left = hub_patterns()
    assert {"unet/*.safetensors", "transformer/*.safetensors", "text_encoder_3/*.safetensors", "*.json"} <= set(wanted)
    assert {"*.fp16.*", "safety_checker/*"} <= set(left)
