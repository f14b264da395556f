"""Layer groups of picture models whose lists of modules stand in no order of execution: detectors, segmenters.

RT-DETR registers projections between its lists, D-FINE lists of layers side by side, UperNet its head beside its
backbone; read as they stand, ``train: {top: n}`` would train what nobody meant. Here their parts are named, bottom to
top. It knows the families by their modules; no task and no loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from tunesmith.model.layers import EMBEDDINGS, HEAD, LayerGroups
from tunesmith.model.pretrained_part import trunk_beside_head


@dataclass(frozen=True)
class Part:
    """A block, and what belongs to it.

    Args:
        block: The module that runs as one.
        names: Dotted paths of modules whose parameters are its own.
    """

    block: nn.Module
    names: tuple[str, ...]


def picture_layers(model: nn.Module, fresh: frozenset[str] = frozenset()) -> LayerGroups:
    """A picture model as layer groups, bottom to top.

    Of RT-DETR, RT-DETRv2 and D-FINE: the backbone's stages, the encoder that mixes their maps, the decoder's layers;
    of Mask2Former the same. Their head is what says boxes, masks and classes. Of UperNet: the backbone's stages, and
    the rest is its head. All others are read as their modules stand.

    Args:
        model: The whole model.
        fresh: Parameters that the pretrained weights did not hold.
    """
    family = getattr(getattr(model, "config", None), "model_type", "")
    if family in ("rt_detr", "rt_detr_v2", "d_fine"):
        return _grouped(model, model.get_submodule("model"), "model.backbone", _decoder_parts(model), fresh)
    if family == "mask2former":
        encoder = "model.pixel_level_module.encoder"
        return _grouped(model, model.get_submodule("model"), encoder, _mask_parts(model, encoder), fresh)
    trunk = model.get_submodule("backbone") if family == "upernet" else trunk_beside_head(model, fresh)
    return LayerGroups.of(model, trunk=trunk, fresh=fresh)


def _decoder_parts(model: nn.Module) -> list[Part]:
    parts = _each(model, "model.backbone.model.encoder.stages")
    mixing = ("model.encoder_input_proj", "model.encoder", "model.decoder_input_proj")
    parts.append(Part(model.get_submodule("model.encoder"), mixing))
    return [*parts, *_each(model, "model.decoder.layers")]


def _mask_parts(model: nn.Module, encoder: str) -> list[Part]:
    # The norms of a stage's map stand beside the stages.
    norms = f"{encoder}.hidden_states_norms"
    parts = [
        Part(part.block, (*part.names, f"{norms}.stage{i + 1}"))
        for i, part in enumerate(_each(model, f"{encoder}.swin.encoder.layers"))
    ]
    mixing = "model.pixel_level_module.decoder"
    inputs = ("input_projections", "level_embed")
    below = (mixing, *(f"model.transformer_module.{name}" for name in inputs))
    parts.append(Part(model.get_submodule(mixing), below))
    return [*parts, *_each(model, "model.transformer_module.decoder.layers")]


def _each(model: nn.Module, path: str) -> list[Part]:
    blocks: Any = model.get_submodule(path)
    return [Part(block, (f"{path}.{i}",)) for i, block in enumerate(blocks)]


def _grouped(
    model: nn.Module, trunk: nn.Module, backbone: str, parts: Sequence[Part], fresh: frozenset[str]
) -> LayerGroups:
    groups: dict[str, list[str]] = {EMBEDDINGS: []}
    groups |= {f"block {i}": [] for i in range(len(parts))} | {HEAD: []}
    for name, _ in model.named_parameters():
        index = next((i for i, part in enumerate(parts) if _within(name, part.names)), None)
        if name in fresh or (index is None and not _within(name, (backbone,))):
            groups[HEAD].append(name)
        else:
            groups[EMBEDDINGS if index is None else f"block {index}"].append(name)
    kept = {group: tuple(names) for group, names in groups.items() if names or group == HEAD}
    return LayerGroups(model, trunk, tuple(part.block for part in parts), kept)


def _within(name: str, paths: Sequence[str]) -> bool:
    return any(name.startswith(f"{path}.") for path in paths)
