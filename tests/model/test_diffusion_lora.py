"""LoRA of diffusion pipelines: what is written makes diffusers draw the same pictures, and is read back the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from tests.fixtures.small_pipelines import FAMILIES, make
from tunesmith.errors import UserError
from tunesmith.model import adapters
from tunesmith.model.diffusion_lora import METADATA_KEY, WEIGHTS_FILE, load_lora, read_diffusers, write_diffusers
from tunesmith.model.kohya import load_kohya, read_kohya, write_kohya
from tunesmith.model.lora import LoraLinear
from tunesmith.model.new_tokens import add_rows, add_tokens
from tunesmith.model.pretrained import quiet
from tunesmith.model.textual_inversion import EMBEDDING_FILE, read_embedding, write_embedding
from tunesmith.recipe.sections import AdapterSection

PROMPT = "a photo of a dog"
LORA = AdapterSection(r=4, alpha=6, dropout=0.3)
KINDS = {"lora": LORA, "rslora": AdapterSection(r=4, alpha=3, rslora=True), "dora": AdapterSection(r=2, dora=True)}


def parts_of(pipe: Any) -> dict[str, nn.Module]:
    found = {"denoiser": getattr(pipe, "unet", None) or getattr(pipe, "transformer", None)}
    found |= {name: getattr(pipe, name, None) for name in ("text_encoder", "text_encoder_2")}
    return {name: module for name, module in found.items() if module is not None}


def tune(parts: Mapping[str, nn.Module], settings: AdapterSection = LORA) -> None:
    """Updates on every linear layer that change what comes out."""
    for part, module in parts.items():
        # The text projection and the ends of a transformer are outside the blocks.
        blocks = [getattr(module, "encoder", None) or getattr(module, "text_model", None) or module]
        if part == "denoiser" and hasattr(module, "transformer_blocks"):
            blocks = [module.transformer_blocks, getattr(module, "single_transformer_blocks", nn.ModuleList())]
        adapters.attach(module, blocks, settings, seed=1)
    draw(parts)


@torch.no_grad()
def draw(parts: Mapping[str, nn.Module]) -> None:
    generator = torch.Generator().manual_seed(2)
    for module in parts.values():
        for layer in layers_of(module).values():
            layer.lora_B.normal_(0, 0.2, generator=generator)
            if layer.lora_magnitude_vector is not None:
                layer.lora_magnitude_vector.mul_(1 + 0.3 * torch.rand(layer.out_features, generator=generator))


def layers_of(module: nn.Module) -> dict[str, LoraLinear]:
    return {name: layer for name, layer in module.named_modules() if isinstance(layer, LoraLinear)}


@torch.no_grad()
def result(pipe: Any) -> np.ndarray[Any, Any]:
    """A picture; of Flux, whose second text encoder is left out, the denoiser's output and the text states."""
    if type(pipe).__name__ != "FluxPipeline":
        generator = torch.Generator().manual_seed(3)
        size = {"height": 16, "width": 16, "num_inference_steps": 2, "output_type": "np", "guidance_scale": 3.0}
        return np.asarray(pipe(PROMPT, generator=generator, **size).images)
    generator = torch.Generator().manual_seed(3)
    ids = pipe.tokenizer(PROMPT, return_tensors="pt").input_ids
    states = pipe.text_encoder(ids)
    out = pipe.transformer(
        hidden_states=torch.randn(1, 6, 4, generator=generator), timestep=torch.tensor([0.5]),
        encoder_hidden_states=states.last_hidden_state, pooled_projections=states.pooler_output,
        img_ids=torch.arange(18.0).view(6, 3), txt_ids=torch.zeros(ids.shape[1], 3),
    ).sample  # fmt: skip
    return np.concatenate([out.flatten().numpy(), states.last_hidden_state.flatten().numpy()])


def alike(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> bool:
    return bool(np.abs(one - other).max() < 2e-4)


def same_updates(one: Mapping[str, nn.Module], other: Mapping[str, nn.Module], *, atol: float = 0.0) -> None:
    for part, module in one.items():
        mine, theirs = layers_of(module), layers_of(other[part])
        assert list(mine) == list(theirs)
        for name, layer in mine.items():
            assert layer.scaling == pytest.approx(theirs[name].scaling)
            for key, value in layer.named_parameters(recurse=False):
                torch.testing.assert_close(theirs[name].get_parameter(key), value, rtol=0, atol=atol)


@pytest.fixture(scope="module")
def pipelines() -> Any:
    """diffusers, with what it imports only when a pipeline is made: half of this module's time."""
    import diffusers

    for family in FAMILIES:
        make(family)
    return diffusers


@pytest.fixture(autouse=True)
def no_noise(pipelines: Any) -> Iterator[None]:
    """diffusers and transformers report on what they load; a report is no reason to fail."""
    level = pipelines.logging.get_verbosity()
    pipelines.logging.set_verbosity_error()
    with quiet():
        yield
    pipelines.logging.set_verbosity(level)


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        *((family, "lora") for family in FAMILIES),
        ("sd", "rslora"),
        ("flux", "rslora"),
        ("sd", "dora"),
        ("sdxl", "dora"),
    ],
)
def test_diffusers_draws_the_same_picture_from_the_file(family: str, kind: str, tmp_path: Path) -> None:
    tuned, fresh = make(family), make(family)
    tune(parts_of(tuned), KINDS[kind])
    file = write_diffusers(parts_of(tuned), tmp_path / "new" / "lora")
    assert file == tmp_path / "new" / "lora" / WEIGHTS_FILE
    base, wanted = result(fresh), result(tuned)
    fresh.load_lora_weights(file.parent)
    assert not np.allclose(base, wanted, atol=0.02)
    assert alike(result(fresh), wanted)
    again = make(family)
    load_lora(parts_of(again), file.parent)
    same_updates(parts_of(tuned), parts_of(again))
    assert np.array_equal(result(again), wanted)


def test_equal_updates_are_equal_bytes(tmp_path: Path) -> None:
    """A header in another order each time would make a resumed run's files others than a whole run's."""
    tuned = make("sd")
    tune(parts_of(tuned))
    vectors = {"text_encoder": torch.ones(1, 16)}
    made = [
        (
            write_diffusers(parts_of(tuned), tmp_path / str(n)).read_bytes(),
            write_kohya(parts_of(tuned), tmp_path / f"{n}.safetensors").read_bytes(),
            write_embedding(tmp_path / f"{n}-token.safetensors", '"sks" ü\t', vectors).read_bytes(),
        )
        for n in range(8)
    ]
    assert len(set(made)) == 1
    assert safe_open(tmp_path / "0" / WEIGHTS_FILE, "pt").metadata()["format"] == "pt"
    assert read_embedding(tmp_path / "0-token.safetensors").token == '"sks" ü\t'


@torch.no_grad()
def vary(parts: Mapping[str, nn.Module]) -> None:
    """Another rank for every third layer, another alpha for every fourth."""
    for module in parts.values():
        for i, layer in enumerate(layers_of(module).values()):
            if i % 3 == 0:
                layer.lora_A, layer.lora_B = nn.Parameter(layer.lora_A[:2]), nn.Parameter(layer.lora_B[:, :2])
            if i % 4 == 0:
                layer.alpha = 2.5
            layer.scaling = layer.alpha / layer.r


def test_layers_of_several_ranks_and_alphas_keep_theirs(tmp_path: Path) -> None:
    tuned, fresh, other, again = make("sd"), make("sd"), make("sd"), make("sd")
    tune(parts_of(tuned))
    vary(parts_of(tuned))
    wanted = result(tuned)
    fresh.load_lora_weights(write_diffusers(parts_of(tuned), tmp_path / "ours").parent)
    assert alike(result(fresh), wanted)
    load_lora(parts_of(again), tmp_path / "ours")
    same_updates(parts_of(tuned), parts_of(again))
    file = write_kohya(parts_of(tuned), tmp_path / "theirs" / "lora.safetensors")
    other.load_lora_weights(file.parent, weight_name=file.name)
    assert alike(result(other), wanted)


def without(layer: nn.Module, *names: str) -> None:
    """Take the update off some layers."""
    for name in names:
        setattr(layer, name, getattr(layer, name).base_layer)


@pytest.mark.parametrize("family", FAMILIES)
def test_diffusers_draws_the_same_picture_from_kohyas_layout(family: str, tmp_path: Path) -> None:
    tuned, fresh, again = make(family), make(family), make(family)
    tune(parts_of(tuned))
    if family == "flux":
        for block in tuned.transformer.single_transformer_blocks:
            # diffusers splits what holds these by the published model's sizes alone.
            without(block.attn, "to_q", "to_k", "to_v")
            without(block, "proj_mlp")
        without(tuned.transformer.transformer_blocks[0].attn, "to_k")
    if family == "sd3":
        without(tuned.transformer.transformer_blocks[-1].norm1_context, "linear")
    file = write_kohya(parts_of(tuned), tmp_path / "new" / "mine.safetensors")
    load_kohya(parts_of(again), file)
    same_updates(parts_of(tuned), parts_of(again))
    base, wanted = result(fresh), result(tuned)
    assert np.array_equal(result(again), wanted)
    if family != "sd3":  # diffusers reads no SD3 in this layout
        fresh.load_lora_weights(file.parent, weight_name=file.name)
        assert not np.allclose(base, wanted, atol=0.02)
        assert alike(result(fresh), wanted)


def test_rslora_is_written_as_the_alpha_of_the_same_scale(tmp_path: Path) -> None:
    tuned, fresh, again = make("sd"), make("sd"), make("sd")
    tune(parts_of(tuned), KINDS["rslora"])
    file = write_kohya(parts_of(tuned), tmp_path / "mine.safetensors")
    assert {float(value) for key, value in load_file(file).items() if key.endswith(".alpha")} == {6.0}
    fresh.load_lora_weights(file.parent, weight_name=file.name)
    load_kohya(parts_of(again), file)
    assert alike(result(fresh), result(tuned))
    same_updates(parts_of(tuned), parts_of(again))


def test_an_update_on_the_denoiser_alone(tmp_path: Path) -> None:
    tuned, fresh, other = make("sd"), make("sd"), make("sd")
    tune({"denoiser": tuned.unet})
    assert set(read_diffusers(write_diffusers(parts_of(tuned), tmp_path / "lora"))) == {"denoiser"}
    fresh.load_lora_weights(tmp_path / "lora")
    file = write_kohya(parts_of(tuned), tmp_path / "mine.safetensors")
    other.load_lora_weights(file.parent, weight_name=file.name)
    assert alike(result(fresh), result(tuned))
    assert alike(result(other), result(tuned))


def stems(file: Path) -> set[str]:
    return {key.rpartition(".lora_down")[0] for key in load_file(file) if ".lora_down." in key}


def test_kohyas_names_are_those_of_published_files(tmp_path: Path) -> None:
    pipes = {family: make(family) for family in FAMILIES}
    for family, pipe in pipes.items():
        tune(parts_of(pipe))
        if family == "sd3":
            without(pipe.transformer.transformer_blocks[-1].norm1_context, "linear")
    written = {f: stems(write_kohya(parts_of(pipe), tmp_path / f"{f}.safetensors")) for f, pipe in pipes.items()}
    assert written["sd"] >= {
        "lora_unet_down_blocks_0_attentions_1_transformer_blocks_0_attn1_to_q",
        "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_out_0",
        "lora_unet_up_blocks_1_attentions_2_transformer_blocks_0_ff_net_0_proj",
        "lora_te_text_model_encoder_layers_0_self_attn_q_proj",
        "lora_te_text_model_encoder_layers_1_mlp_fc2",
    }
    assert written["sdxl"] >= {
        "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q",
        "lora_unet_input_blocks_8_1_transformer_blocks_1_attn2_to_v",
        "lora_unet_middle_block_1_transformer_blocks_1_ff_net_2",
        "lora_unet_output_blocks_2_1_proj_in",
        "lora_unet_output_blocks_5_1_transformer_blocks_0_attn2_to_out_0",
        "lora_te1_text_model_encoder_layers_0_self_attn_out_proj",
        "lora_te2_text_model_encoder_layers_1_mlp_fc1",
    }
    assert written["sd3"] >= {
        "lora_unet_joint_blocks_0_context_block_adaLN_modulation_1",
        "lora_unet_joint_blocks_0_x_block_attn2_qkv",
        "lora_unet_joint_blocks_1_x_block_mlp_fc1",
        "lora_te1_text_model_encoder_layers_0_self_attn_k_proj",
        "lora_te2_text_model_encoder_layers_0_self_attn_k_proj",
    }
    double = ("attn_proj", "attn_qkv", "mlp_0", "mlp_2", "mod_lin")
    assert {name for name in written["flux"] if "_1_" in name and "lora_unet" in name} == {
        *(f"lora_unet_double_blocks_1_{half}_{name}" for half in ("img", "txt") for name in double),
        *(f"lora_unet_single_blocks_1_{name}" for name in ("linear1", "linear2", "modulation_lin")),
    }
    assert all(name.startswith("lora_te1_text_model_") for name in written["flux"] if "lora_te" in name)
    header = safe_open(tmp_path / "flux.safetensors", "pt").metadata()
    assert (header["ss_network_module"], header["ss_network_dim"]) == ("networks.lora_flux", "4")


class Original(dict[str, torch.Tensor]):
    """What a file in kohya's layout adds to each weight of an original model; anything else is made up."""

    def __init__(self, file: Path, names: list[str]) -> None:
        super().__init__({name: torch.zeros(1, 1) for name in names})
        self.tensors, self.taken = load_file(file), set[str]()

    def pop(self, key: str, *default: Any) -> torch.Tensor:
        stem = f"lora_unet_{key.removesuffix('.weight').replace('.', '_')}"
        if not key.endswith(".weight") or f"{stem}.lora_up.weight" not in self.tensors:
            return torch.zeros(6, 1)
        self.taken.add(stem)
        down = self.tensors[f"{stem}.lora_down.weight"]
        return self.tensors[f"{stem}.lora_up.weight"] @ down * (self.tensors[f"{stem}.alpha"] / len(down))


def test_sd3s_original_layers_are_those_that_diffusers_converts(tmp_path: Path) -> None:
    from diffusers.loaders.single_file_utils import convert_sd3_transformer_checkpoint_to_diffusers as convert

    tuned = make("sd3")
    tune({"denoiser": tuned.transformer})
    without(tuned.transformer.transformer_blocks[-1].norm1_context, "linear")
    file = write_kohya(parts_of(tuned), tmp_path / "mine.safetensors")
    names = ["joint_blocks.0.x_block.attn2.qkv.weight", "joint_blocks.1.x_block.attn.qkv.weight"]
    original = Original(file, [*names, "context_embedder.weight"])
    converted = convert(original)
    assert original.taken == stems(file)
    for name, layer in layers_of(tuned.transformer).items():
        added = layer.merged_weight() - layer.weight
        torch.testing.assert_close(converted[f"{name}.weight"], added, rtol=1e-4, atol=1e-5)


def test_a_joined_layer_holds_each_update_at_its_place(tmp_path: Path) -> None:
    tuned, again = make("flux"), make("flux")
    tune(parts_of(tuned))
    vary(parts_of(tuned))
    block = tuned.transformer.single_transformer_blocks[0]
    without(block.attn, "to_k")
    file = write_kohya(parts_of(tuned), tmp_path / "mine.safetensors")
    tensors = load_file(file)
    stem = "lora_unet_single_blocks_0_linear1"
    down = tensors[f"{stem}.lora_down.weight"]
    added = tensors[f"{stem}.lora_up.weight"] @ down * (tensors[f"{stem}.alpha"] / len(down))
    for rows, layer in zip(
        added.split([32, 32, 32, 128]), (*map(block.attn.get_submodule, QKV), block.proj_mlp), strict=True
    ):
        wanted = torch.zeros(32, 32)
        if isinstance(layer, LoraLinear):
            wanted = layer.merged_weight() - layer.weight
        torch.testing.assert_close(rows, wanted, rtol=1e-4, atol=1e-6)
    load_kohya(parts_of(again), file)
    assert alike(result(again), result(tuned))
    assert isinstance(again.transformer.single_transformer_blocks[0].attn.to_k, nn.Linear)
    # One update over query, key and value together, as sd-scripts trains them by default.
    tensors[f"{stem}.lora_up.weight"].normal_()
    save_file(tensors, file)
    read = read_kohya(parts_of(tuned), file)["denoiser"].updates
    whole = torch.cat([read[f"single_transformer_blocks.0.{n}"]["lora_B"] for n in (*ATTENTION, "proj_mlp")])
    assert torch.equal(whole, tensors[f"{stem}.lora_up.weight"])


QKV = ("to_q", "to_k", "to_v")
ATTENTION = tuple(f"attn.{name}" for name in QKV)


def test_the_file_is_the_one_that_the_pipeline_saves(tmp_path: Path) -> None:
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft.utils import get_peft_model_state_dict

    tuned, fresh, again, old = make("sdxl"), make("sdxl"), make("sdxl"), make("sdxl")
    tune(parts_of(tuned))
    file = write_diffusers(parts_of(tuned), tmp_path / "ours")
    fresh.load_lora_weights(file.parent)
    names = {"unet": fresh.unet, "text_encoder": fresh.text_encoder, "text_encoder_2": fresh.text_encoder_2}
    states = {name: get_peft_model_state_dict(module, adapter_name="default_0") for name, module in names.items()}
    settings = {name: module.peft_config["default_0"].to_dict() for name, module in names.items()}
    fresh.save_lora_weights(
        tmp_path / "theirs",
        **{f"{name}_lora_layers": state for name, state in states.items()},
        **{f"{name}_lora_adapter_metadata": values for name, values in settings.items()},
    )
    ours, theirs = load_file(file), load_file(tmp_path / "theirs" / WEIGHTS_FILE)
    # This version of transformers has no such level; files, ComfyUI and older versions have it.
    assert {key.replace("encoder.text_model.", "encoder.") for key in ours} == set(theirs)
    assert all(torch.equal(theirs[key.replace("encoder.text_model.", "encoder.")], ours[key]) for key in ours)
    mine, other = (header_of(folder) for folder in (file.parent, tmp_path / "theirs"))
    for key, value in mine.items():
        assert sorted(other[key]) == value if isinstance(value, list) else other[key] == value
    load_lora(parts_of(again), tmp_path / "theirs")
    same_updates(parts_of(tuned), parts_of(again))
    fresh.save_lora_weights(
        tmp_path / "old", **{f"{n}_lora_layers": convert_state_dict_to_diffusers(s) for n, s in states.items()}
    )
    # Older training scripts wrote other names and no settings: alpha is the rank then.
    assert any(".lora.down." in key for key in load_file(tmp_path / "old" / WEIGHTS_FILE))
    load_lora(parts_of(old), tmp_path / "old")
    assert {layer.scaling for module in parts_of(old).values() for layer in layers_of(module).values()} == {1.0}


def header_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(safe_open(folder / WEIGHTS_FILE, "pt").metadata()[METADATA_KEY])
    return found


def test_targets_are_short_where_they_mean_these_layers_alone(tmp_path: Path) -> None:
    sd, flux, fresh = make("sd"), make("flux"), make("flux")
    adapters.attach(sd.unet, [sd.unet], AdapterSection(targets=["to_q", "to_out.0"]), seed=0)
    write_diffusers(parts_of(sd), tmp_path / "sd")
    assert header_of(tmp_path / "sd")["unet.target_modules"] == ["to_out.0", "to_q"]
    # Every other layer whose name ends so has no update.
    flux.transformer.proj_out = LoraLinear(flux.transformer.proj_out, r=2, alpha=2)
    draw(parts_of(flux))
    write_diffusers(parts_of(flux), tmp_path / "flux")
    fresh.load_lora_weights(tmp_path / "flux")
    assert alike(result(fresh), result(flux))
    assert isinstance(fresh.transformer.single_transformer_blocks[0].proj_out, nn.Linear)


def refused(action: Callable[[], object], what: str) -> UserError:
    with pytest.raises(UserError, match=what) as error:
        action()
    assert error.value.fix
    assert error.value.where
    return error.value


def test_what_the_layouts_cannot_hold_is_refused(tmp_path: Path) -> None:
    from diffusers import DiTTransformer2DModel
    from transformers import T5Config, T5EncoderModel

    sd, flux = make("sd"), make("flux")
    file = tmp_path / "lora.safetensors"
    with pytest.raises(ValueError, match="no updates"):
        write_diffusers(parts_of(sd), tmp_path)
    tune(parts_of(sd), KINDS["dora"])
    assert "dora: false" in refused(lambda: write_kohya(parts_of(sd), file), "DoRA").fix
    flux.transformer.x_embedder = LoraLinear(flux.transformer.x_embedder, r=2, alpha=2)
    assert refused(lambda: write_kohya(parts_of(flux), file), "no name for this layer").where == "denoiser.x_embedder"
    t5 = T5EncoderModel(T5Config(vocab_size=9, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2))
    adapters.attach(t5, [t5], LORA, seed=0)
    parts = parts_of(flux) | {"text_encoder_2": t5}
    refused(lambda: write_diffusers(parts, tmp_path), "text_encoder_2, a T5EncoderModel")
    refused(lambda: write_kohya(parts, file), "text_encoder_2, a T5EncoderModel")
    dit = DiTTransformer2DModel(num_attention_heads=1, attention_head_dim=8, num_layers=1, sample_size=4, patch_size=2)
    adapters.attach(dit, [dit], LORA, seed=0)
    refused(lambda: write_kohya({"denoiser": dit}, file), "DiTTransformer2DModel")
    linear = nn.Sequential(LoraLinear(nn.Linear(2, 2), r=1, alpha=1))
    refused(lambda: write_diffusers({"denoiser": linear}, tmp_path), "a Sequential")
    mixed = nn.Sequential(
        LoraLinear(nn.Linear(2, 2), r=1, alpha=1), LoraLinear(nn.Linear(2, 2), r=1, alpha=1, dora=True)
    )
    with pytest.raises(ValueError, match="several kinds"):
        write_diffusers({"denoiser": type("UNet", (nn.Sequential,), {})(mixed)}, tmp_path)
    assert not list(tmp_path.iterdir())


def test_files_of_something_else_are_refused(tmp_path: Path) -> None:
    tuned, sdxl = make("sd"), make("sdxl")
    tune(parts_of(tuned))
    file = write_diffusers(parts_of(tuned), tmp_path)
    theirs = write_kohya(parts_of(tuned), tmp_path / "kohya.safetensors")
    bare = parts_of(make("sd"))
    refused(lambda: load_lora(bare, tmp_path / "none"), "there is no none")
    refused(lambda: load_lora(bare, theirs), "kohya's layout")
    refused(lambda: load_kohya(bare, file), "no low-rank update of a layer")
    refused(lambda: load_lora({"denoiser": bare["denoiser"]}, file), "'text_encoder', which this pipeline lacks")
    assert refused(lambda: load_lora(parts_of(sdxl), file), "shape|no linear layer").where == str(file)
    refused(lambda: load_kohya(parts_of(sdxl), theirs), "no low-rank update of a layer")
    tensors, header = load_file(file), safe_open(file, "pt").metadata()
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(file.read_bytes()[:2000])
    refused(lambda: load_lora(bare, broken), "broken")
    name = "unet.conv_in.lora_A.weight"
    for changed, settings, what in (
        ({**tensors, "unet.conv_in.weight": torch.zeros(1)}, header, "'unet.conv_in.weight' is no low-rank"),
        ({**tensors, "vae.conv_in.lora_A.weight": torch.zeros(1)}, header, "is no low-rank"),
        ({**tensors, name: torch.zeros(1, 1)}, header, "'conv_in' has lora_A"),
        ({**tensors, name: torch.zeros(1, 1), name.replace("_A", "_B"): torch.zeros(1, 1)}, header, "no linear layer"),
        (tensors, {METADATA_KEY: "{"}, "not JSON"),
        (tensors, {METADATA_KEY: "[]"}, "no settings"),
        (tensors, {METADATA_KEY: '{"unet.lora_bias": true}'}, "lora_bias"),
    ):
        save_file(changed, broken, metadata=settings)
        refused(lambda: load_lora(bare, broken), what)
    mine = load_file(theirs)
    key = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"
    for changed, what in (
        ({**mine, f"{key}.dora_scale": torch.zeros(1)}, "dora_scale' is no low-rank"),
        ({**mine, f"{key}.lora_up.weight": torch.zeros(3, 4)}, "3, 4"),
        ({k: v for k, v in mine.items() if k != f"{key}.lora_up.weight"}, "is no low-rank"),
    ):
        save_file(changed, broken)
        refused(lambda: load_kohya(bare, broken), what)
    assert not any(layers_of(module) for module in bare.values())


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("family", ["sd", "sdxl"])
@torch.no_grad()
def test_a_learned_token_means_the_same_in_diffusers(family: str, count: int, tmp_path: Path) -> None:
    tuned, fresh = make(family), make(family)
    tokens = ["<sks>", *(f"<sks>_{i}" for i in range(1, count))]
    prompt, vectors, wanted = f"a photo of {' '.join(tokens)} here", {}, {}
    pairs = {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"}
    pairs = {part: name for part, name in pairs.items() if part in parts_of(tuned)}
    for part, name in pairs.items():
        encoder, words = getattr(tuned, part), getattr(tuned, name)
        ids, pieces = add_tokens(words, tokens)
        add_rows(encoder, ids, pieces)
        rows = encoder.get_input_embeddings().rows
        rows.normal_(generator=torch.Generator().manual_seed(5))
        vectors[part] = rows
        wanted[part] = encoder(words(prompt, return_tensors="pt").input_ids).last_hidden_state
    file = write_embedding(tmp_path / "new" / EMBEDDING_FILE, "<sks>", vectors)
    if family == "sd":
        fresh.load_textual_inversion(file.parent)
    else:
        state = load_file(file)
        for key, part in (("clip_l", "text_encoder"), ("clip_g", "text_encoder_2")):
            names = {"tokenizer": getattr(fresh, pairs[part]), "text_encoder": getattr(fresh, part)}
            fresh.load_textual_inversion(state[key], token="<sks>", **names)
    for part, name in pairs.items():
        words = getattr(fresh, name)
        text = fresh.maybe_convert_prompt("a photo of <sks> here", words)
        assert text == prompt
        states = getattr(fresh, part)(words(text, return_tensors="pt").input_ids).last_hidden_state
        torch.testing.assert_close(states, wanted[part], rtol=0, atol=1e-6)
    read = read_embedding(file.parent)
    assert read.token == "<sks>"
    assert set(read.vectors) == set(vectors)
    assert all(torch.equal(read.vectors[part], vectors[part]) for part in vectors)


def test_embedding_files_of_others_and_of_something_else(tmp_path: Path) -> None:
    file = tmp_path / "other.safetensors"
    save_file({"<cat>": torch.ones(8)}, file)
    read = read_embedding(file)
    assert (read.token, read.vectors["text_encoder"].shape) == ("<cat>", (1, 8))
    save_file({"clip_l": torch.ones(2, 8), "clip_g": torch.ones(2, 4)}, file)
    assert read_embedding(file).token is None
    for tensors in ({"a": torch.ones(1, 8), "b": torch.ones(1, 8)}, {"conv": torch.ones(1, 1, 3, 3)}):
        save_file(tensors, file)
        refused(lambda: read_embedding(file), "no token's vectors")
    refused(lambda: read_embedding(tmp_path), "there is no learned_embeds")
    for vectors in ({"text_encoder": torch.ones(8)}, {"text_encoder_2": torch.ones(1, 8)}):
        with pytest.raises(ValueError, match="vectors are"):
            write_embedding(file, "<cat>", vectors)
