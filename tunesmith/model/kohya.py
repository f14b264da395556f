"""The low-rank updates of a diffusion pipeline in kohya's key layout, which sd-scripts, ComfyUI and the web UIs read.

A key is the layer's name in the model that the scripts train, with ``_`` for ``.``: diffusers' own names for Stable
Diffusion 1 and 2, those of the original model for SDXL, SD3 and Flux, where one layer holds query, key and value
together. Each layer's scale stands beside it as ``.alpha``; nothing else about it is in the file. It knows names and
files; no pipeline, no recipe and no training.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from tunesmith.errors import UserError
from tunesmith.model.diffusion_lora import (
    DENOISER,
    TEXT_ENCODERS,
    name_in_file,
    put_updates,
    read_tensors,
    updates_of,
    write_tensors,
)
from tunesmith.model.lora import LoraLinear
from tunesmith.model.peft_format import AdapterFiles

_DOWN, _UP, _ALPHA = ".lora_down.weight", ".lora_up.weight", ".alpha"
_NETWORKS = {"sd": "networks.lora", "sdxl": "networks.lora", "sd3": "networks.lora_sd3", "flux": "networks.lora_flux"}
_SDXL_TOP = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}
# Of each kind of block: the original layer's name, and the layers of diffusers that it holds, in its order.
_FLUX = {
    "transformer_blocks": (
        "double_blocks",
        {
            "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
            "img_attn.proj": ("attn.to_out.0",),
            "img_mlp.0": ("ff.net.0.proj",),
            "img_mlp.2": ("ff.net.2",),
            "img_mod.lin": ("norm1.linear",),
            "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
            "txt_attn.proj": ("attn.to_add_out",),
            "txt_mlp.0": ("ff_context.net.0.proj",),
            "txt_mlp.2": ("ff_context.net.2",),
            "txt_mod.lin": ("norm1_context.linear",),
        },
    ),
    "single_transformer_blocks": (
        "single_blocks",
        {
            "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
            "linear2": ("proj_out",),
            "modulation.lin": ("norm.linear",),
        },
    ),
}
_SD3 = {
    "transformer_blocks": (
        "joint_blocks",
        {
            "x_block.attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
            "x_block.attn.proj": ("attn.to_out.0",),
            "x_block.attn2.qkv": ("attn2.to_q", "attn2.to_k", "attn2.to_v"),
            "x_block.attn2.proj": ("attn2.to_out.0",),
            "x_block.mlp.fc1": ("ff.net.0.proj",),
            "x_block.mlp.fc2": ("ff.net.2",),
            "x_block.adaLN_modulation.1": ("norm1.linear",),
            "context_block.attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
            "context_block.attn.proj": ("attn.to_add_out",),
            "context_block.mlp.fc1": ("ff_context.net.0.proj",),
            "context_block.mlp.fc2": ("ff_context.net.2",),
            "context_block.adaLN_modulation.1": ("norm1_context.linear",),
        },
    ),
}


@dataclass(frozen=True)
class Place:
    """Where a layer's update stands in the file.

    Args:
        key: The layer of the original model, with prefix and underscores.
        joined: The layers of this model that it holds, in order; one in most cases.
    """

    key: str
    joined: tuple[str, ...]


def write_kohya(parts: Mapping[str, nn.Module], file: str | Path) -> Path:
    """Write the updates in kohya's key layout.

    rsLoRA is written as the alpha that gives the same scale. Where one original layer holds several layers with an
    update of their own, their matrices stand block by block, as sd-scripts does with ``split_qkv``.

    Args:
        parts: ``denoiser``, also where it has no updates, ``text_encoder`` and ``text_encoder_2``.
        file: Where to write, ``*.safetensors``; its folder is made if need be.

    Returns:
        The file.

    Raises:
        UserError: DoRA, a layer that the layout has no name for, or a part that pipelines put no update on.
    """
    family = _family(parts[DENOISER])
    tensors: dict[str, Tensor] = {}
    updates = updates_of(parts)
    for part, layers in updates.items():
        _check(layers)
        places = _places(part, parts[part], family)
        groups: dict[str, list[str]] = defaultdict(list)
        for name in layers:
            if name not in places:
                fix = "leave it out of adapter.targets, or save in diffusers' layout"
                raise UserError("kohya's layout has no name for this layer", f"{part}.{name}", fix)
            groups[places[name].key].append(name)
        joined = {key: _join(parts[part], places[names[0]], layers) for key, names in groups.items()}
        if family in ("sd", "sdxl"):
            joined = _one_alpha(joined)
        for key, (down, up, alpha) in joined.items():
            tensors |= {f"{key}{_DOWN}": down, f"{key}{_UP}": up, f"{key}{_ALPHA}": torch.tensor(alpha)}
    first = next(iter(next(iter(updates.values())).values()))
    path = Path(file)
    header = {
        "ss_network_module": _NETWORKS[family],
        "ss_network_dim": str(first.r),
        "ss_network_alpha": str(_alpha(first)),
    }
    write_tensors(path, tensors, header)
    return path


def read_kohya(parts: Mapping[str, nn.Module], file: str | Path) -> dict[str, AdapterFiles]:
    """Read updates in kohya's key layout, whoever wrote them.

    Args:
        parts: The pipeline they are for: underscored names can be told apart only by the layers that there are.
        file: The safetensors file.

    Returns:
        Part to its updates, under the layers' names in ``parts``.

    Raises:
        UserError: A file that is missing or broken, a key that means no linear layer of this pipeline, or an update of
            another kind than LoRA.
    """
    path = Path(file)
    tensors, _ = read_tensors(path)
    family = _family(parts[DENOISER])
    read: dict[str, AdapterFiles] = {}
    known: set[str] = set()
    for part, module in parts.items():
        by_key = {place.key: place for place in _places(part, module, family).values()}
        updates: dict[str, dict[str, Tensor]] = {}
        alphas: dict[str, float] = {}
        for key, place in by_key.items():
            if f"{key}{_DOWN}" not in tensors or f"{key}{_UP}" not in tensors:
                continue
            down, up = tensors[f"{key}{_DOWN}"], tensors[f"{key}{_UP}"]
            alpha = float(tensors.get(f"{key}{_ALPHA}", torch.tensor(float(len(down)))))
            known |= {f"{key}{end}" for end in (_DOWN, _UP, _ALPHA)}
            for name, (a, b) in _split(module, place, down, up, path).items():
                updates[name] = {"lora_A": a, "lora_B": b}
                alphas[f"^{name}"] = alpha * len(a) / len(down)
        if updates:
            read[part] = AdapterFiles(path.parent, {"alpha_pattern": alphas}, updates, {}, weights_file=path.name)
    if strange := sorted(set(tensors) - known):
        fix = "load it on the base it was trained for; only LoRA of linear layers is read"
        raise UserError(f"'{strange[0]}' is no low-rank update of a layer of this pipeline", str(path), fix)
    return read


def load_kohya(parts: Mapping[str, nn.Module], file: str | Path) -> dict[str, list[str]]:
    """Put the updates of a file in kohya's layout on a pipeline's parts; see ``load_lora``."""
    return put_updates(parts, read_kohya(parts, file))


def _family(denoiser: nn.Module) -> str:
    kind, config = type(denoiser).__name__, cast(Any, denoiser).config
    if kind == "UNet2DConditionModel":
        return "sdxl" if config.addition_embed_type == "text_time" else "sd"
    families = {"SD3Transformer2DModel": "sd3", "FluxTransformer2DModel": "flux"}
    if kind not in families:
        raise UserError(f"kohya's layout is not known for a {kind}", DENOISER, "save in diffusers' layout")
    return families[kind]


def _check(layers: Mapping[str, LoraLinear]) -> None:
    for name, layer in layers.items():
        if layer.lora_magnitude_vector is not None:
            fix = "save in diffusers' layout, merge the adapter, or train with dora: false"
            raise UserError("kohya's layout holds DoRA in a way that diffusers overlooks", name, fix)


def _places(part: str, module: nn.Module, family: str) -> dict[str, Place]:
    """The place of each linear layer of a part that the layout has a name for."""
    names = [
        name
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear | LoraLinear) and not name.endswith(".base_layer")
    ]
    if part in TEXT_ENCODERS:
        prefix = "lora_te" if family == "sd" else f"lora_te{TEXT_ENCODERS.index(part) + 1}"
        return {name: Place(_key(prefix, name_in_file(part, name)), (name,)) for name in names}
    if part != DENOISER:
        return {}
    if family in ("sd3", "flux"):
        places = _transformer_places(names, module, family)
    elif family == "sdxl":
        per_block = int(cast(Any, module).config.layers_per_block)
        original = {name: _sdxl_name(name, per_block) for name in names}
        places = {name: Place(there, (name,)) for name, there in original.items() if there is not None}
    else:
        places = {name: Place(name, (name,)) for name in names}
    return {name: Place(_key("lora_unet", place.key), place.joined) for name, place in places.items()}


def _key(prefix: str, name: str) -> str:
    return f"{prefix}_{name.replace('.', '_')}"


def _sdxl_name(name: str, per_block: int) -> str | None:
    """A layer's name in the original UNet: blocks in one row, each a residual block (0) and an attention (1)."""
    if name in _SDXL_TOP:
        return _SDXL_TOP[name]
    match = re.fullmatch(r"(down_blocks|up_blocks|mid_block)(?:\.(\d+))?\.(resnets|attentions)\.(\d+)\.(.+)", name)
    if match is None:
        return None
    side, block, kind, place, rest = match.groups()
    attends, number = kind == "attentions", int(place)
    rest = "emb_layers.1" if rest == "time_emb_proj" else rest
    if side == "mid_block":
        return f"middle_block.{1 if attends else 2 * number}.{rest}"
    number += int(block) * (per_block + 1)
    row = f"input_blocks.{number + 1}" if side == "down_blocks" else f"output_blocks.{number}"
    return f"{row}.{int(attends)}.{rest}"


def _transformer_places(names: Sequence[str], module: nn.Module, family: str) -> dict[str, Place]:
    places: dict[str, Place] = {}
    present = set(names)
    for kind, (original, table) in (_SD3 if family == "sd3" else _FLUX).items():
        blocks = len(cast(Any, getattr(module, kind)))
        for block, (there, ours) in ((block, item) for block in range(blocks) for item in table.items()):
            joined = tuple(f"{kind}.{block}.{name}" for name in ours)
            # The last block of SD3 has no second half, and its modulation has shift and scale the other way round.
            swapped = family == "sd3" and block == blocks - 1 and ours == ("norm1_context.linear",)
            if present.issuperset(joined) and not swapped:
                places |= {name: Place(f"{original}.{block}.{there}", joined) for name in joined}
    return places


def _alpha(layer: LoraLinear) -> float:
    """The alpha that gives this scale in a layout where the scale is alpha over rank."""
    return layer.alpha * math.sqrt(layer.r) if layer.rslora else float(layer.alpha)


def _join(module: nn.Module, place: Place, layers: Mapping[str, LoraLinear]) -> tuple[Tensor, Tensor, float]:
    """The matrices of one original layer, and their alpha.

    Returns:
        Down [parts * r, in], up [out, parts * r], alpha. Parts without an update are zero.
    """
    own = [layers[name] for name in place.joined if name in layers]
    first, r = own[0], max(layer.r for layer in own)
    if len(place.joined) == 1:
        return first.lora_A.detach(), first.lora_B.detach(), _alpha(first)
    rank = r * len(place.joined)
    alpha = _alpha(first) * rank / first.r
    downs, ups = [], []
    for name in place.joined:
        down = torch.zeros(r, first.in_features)
        up = torch.zeros(_outputs(module, name), r)
        if (layer := layers.get(name)) is not None:
            down[: layer.r] = layer.lora_A.detach()
            up[:, : layer.r] = layer.lora_B.detach() * (_alpha(layer) * rank / (layer.r * alpha))
        downs.append(down)
        ups.append(up)
    return torch.cat(downs), cast(Tensor, torch.block_diag(*ups)), alpha  # type: ignore[no-untyped-call,unused-ignore]


def _one_alpha(joined: Mapping[str, tuple[Tensor, Tensor, float]]) -> dict[str, tuple[Tensor, Tensor, float]]:
    """The same updates with one alpha for all: diffusers gives a UNet's or text encoder's attention no other.

    It looks other alphas up by names that its own conversion has changed (``get_peft_kwargs`` in 0.42).
    """
    alpha = Counter(alpha for _, _, alpha in joined.values()).most_common(1)[0][0]
    return {key: (down, up if own == alpha else up * (own / alpha), alpha) for key, (down, up, own) in joined.items()}


def _split(module: nn.Module, place: Place, down: Tensor, up: Tensor, path: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """The matrices of each layer that an original layer holds: A [r, in], B [out, r]."""
    sizes = [_outputs(module, name) for name in place.joined]
    if down.ndim != 2 or up.shape != (sum(sizes), len(down)):
        what = f"the update of '{place.key}' is {tuple(up.shape)} by {tuple(down.shape)}, for {sum(sizes)} outputs"
        raise UserError(what, str(path), "load it on the base it was trained for")
    rows = torch.split(up, sizes)
    parts = len(sizes)
    r, rest = divmod(len(down), parts)
    columns = [slice(i * r, (i + 1) * r) for i in range(parts)]
    apart = rest == 0 and all(not rows[i][:, columns[j]].any() for i in range(parts) for j in range(parts) if i != j)
    if not apart:
        return {name: (down, rows[i].contiguous()) for i, name in enumerate(place.joined)}
    halves = {name: (down[columns[i]], rows[i][:, columns[i]]) for i, name in enumerate(place.joined)}
    return {name: (a.contiguous(), b.contiguous()) for name, (a, b) in halves.items() if a.any() or b.any()}


def _outputs(module: nn.Module, name: str) -> int:
    return int(cast(nn.Linear, module.get_submodule(name)).out_features)
