"""A recipe's model found without its libraries: its folder, its parts, its shape from headers or from config alone.

It knows files and names; no torch, and no network unless a hub id is not on this machine yet.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from math import isqrt
from pathlib import Path

from tunesmith.errors import UserError
from tunesmith.forecast.config_values import Config, MissingSetting, read_config, read_object
from tunesmith.forecast.decoders import DECODERS
from tunesmith.forecast.encoders import ENCODERS
from tunesmith.forecast.shapes import Block, Shape
from tunesmith.forecast.weight_headers import index_bytes, shape_of_tensors, stored_tensors
from tunesmith.recipe import ModelSection

PREFIX = "starter:"
PIPELINE = "model_index.json"
_DENOISERS = ("unet", "transformer")
_HELPERS = ("vae", "text_encoder", "text_encoder_2", "text_encoder_3")
_TIED = ("gpt2", "opt", "falcon", "bloom", "gemma", "gemma2", "gemma3_text", "t5", "mt5", "bart", "whisper")
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


def find_folder(model: ModelSection, where: str = "") -> Path:
    """Where a model's files are: a folder, a starter, or the hub's cache; else its config is fetched from the hub.

    Raises:
        UserError: It is nowhere.
    """
    if model.name.startswith(PREFIX):
        from tunesmith.model.starter import locate

        return locate(model.name, where=where).folder
    path = Path(model.name).expanduser()
    if path.is_dir():
        return path.resolve()
    cached = _cached(model)
    if cached is not None:
        return cached
    from tunesmith.model.weights import resolve

    return resolve(model, where=where, shape_only=True).folder


def _cached(model: ModelSection) -> Path | None:
    """The hub's own snapshot of a model on this machine, where it has a config."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    hub = Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()
    folder = hub / f"models--{model.name.replace('/', '--')}"
    revision = model.revision or model.remote_code or "main"
    ref = folder / "refs" / revision
    try:
        commit = ref.read_text(encoding="utf-8").strip() if ref.is_file() else revision
    except (OSError, UnicodeDecodeError):
        return None
    found = folder / "snapshots" / commit
    return found if any((found / name).is_file() for name in ("config.json", PIPELINE)) else None


def shape_of_folder(folder: Path, where: str = "") -> Shape:
    """The shape of a model's folder: from the headers of its weights, else from its config, else from its index.

    Raises:
        UserError: A file is at fault, or nothing in the folder tells the shape.
    """
    if (folder / PIPELINE).is_file():
        return _pipeline(folder, where)
    config = read_config(folder, where)
    return shape_of_config(config, folder, where)


def shape_of_config(config: Config, folder: Path, where: str = "") -> Shape:
    """The shape by a config that is read, and the headers beside it.

    Raises:
        UserError: A file is at fault, or nothing tells the shape.
    """
    config = _speaking(config)
    known, why = by_formula(config)
    tensors, unknown = stored_tensors(folder, where)
    if tensors:
        tied = config.flag("tie_word_embeddings", config.family in _TIED)
        shape = shape_of_tensors(tensors, tied=tied, known=known, language=config.family in DECODERS)
        kind = config.family or "a model that names no family"
        more = () if known is not None else (f"what a block of {kind} keeps: {why}; a rule of thumb from its matrices",)
        return replace(
            shape, said="headers", unknown=(*shape.unknown, *more), longest=shape.longest or _longest(config)
        )
    if known is not None:
        return replace(known, said="config", unknown=(*known.unknown, *unknown))
    return _by_index(config, folder, why, where)


def by_formula(config: Config) -> tuple[Shape | None, str]:
    """The shape by the formula of its family, or why there is none."""
    family = config.family
    formula: Mapping[str, object] = {**DECODERS, **ENCODERS}
    if not family:
        return None, "its config.json has no model_type"
    if family not in formula:
        return None, f"no formula is known for model_type {family!r}"
    try:
        return ({**DECODERS, **ENCODERS})[family](config), ""
    except MissingSetting as fault:
        return None, f"its config.json has no {fault.args[0]}"


def _speaking(config: Config) -> Config:
    """The part of a config that has the layers, where a model of pictures and text wraps one of text."""
    inner = config.inner("text_config")
    if inner is None or config.family in {**DECODERS, **ENCODERS} or not inner.family:
        return config
    return Config({**inner.values, "architectures": config.values.get("architectures") or []})


def _longest(config: Config) -> int:
    return config.number("max_position_embeddings", "n_positions", default=0)


def _by_index(config: Config, folder: Path, why: str, where: str) -> Shape:
    """What a safetensors index tells of a family without a formula: bytes in all, and how many blocks."""
    size, blocks = index_bytes(folder)
    stored = config.text("torch_dtype") or config.text("dtype") or "float32"
    if not size:
        fix = "run 'tunesmith plan' without --fast, which builds the model's shape; or fetch its weights"
        raise UserError(f"the model's shape can't be told from its files: {why}, and there are no weights", where, fix)
    parameters = size // _BYTES.get(stored, 4)
    each = parameters // max(1, blocks)
    return Shape(
        blocks=(Block((), each),) * blocks,
        neck=parameters - each * blocks,
        said="index",
        longest=_longest(config),
        unknown=(
            f"the architecture: {why}; the sizes are those of the safetensors index alone, {size:,} bytes as {stored}",
            "how parameters lie in layer groups (all blocks are taken to be alike), and what a pass keeps: activations "
            "are not counted",
        ),
    )


def _pipeline(folder: Path, where: str) -> Shape:
    """A diffusion pipeline: its denoiser's blocks, and every other part with weights below them."""
    index = read_object(folder / PIPELINE, where)
    named = [name for name in (*_DENOISERS, *_HELPERS) if isinstance(index.get(name), list) and all(index[name])]
    denoiser = next((name for name in named if name in _DENOISERS), None)
    if denoiser is None:
        raise UserError(f"{PIPELINE} names no denoiser", str(folder / PIPELINE), "name a text-to-image pipeline")
    shapes: dict[str, Shape] = {}
    for name in named:
        part = folder / name
        tensors, _ = stored_tensors(part, where)
        if not tensors:
            what = f"{PIPELINE} names {name}, and no safetensors of it are here to tell its shape"
            raise UserError(what, str(part), "run 'tunesmith plan' without --fast, or fetch the model's weights")
        known = by_formula(read_config(part, where))[0]
        shapes[name] = shape_of_tensors(tensors, tied=False, known=known, language=False)
    below = sum(shape.parameters for name, shape in shapes.items() if name != denoiser)
    main, config = shapes[denoiser], read_config(folder / denoiser, where)
    latent = config.number("sample_size", default=64)
    patch = config.number("patch_size", default=1)
    counted = ", ".join(f"{name} {shape.parameters:,}" for name, shape in shapes.items())
    return replace(
        main,
        embeddings=main.embeddings + below,
        blocks=_levels(main.blocks, config) if denoiser == "unet" else _patched(main.blocks),
        patches=(latent // max(1, patch)) ** 2 + config.number("text_length", default=77),
        buffer_bytes=sum(shape.buffer_bytes for shape in shapes.values()),
        said="headers",
        vocabulary=0,
        unknown=(
            f"which parts learn: the denoiser is taken to; parts with weights: {counted}",
            "what a block of the denoiser keeps: a rule of thumb from its convolutions and matrices",
        ),
    )


def _patched(blocks: tuple[Block, ...]) -> tuple[Block, ...]:
    return tuple(replace(block, along="pictures") for block in blocks)


def _levels(blocks: tuple[Block, ...], config: Config) -> tuple[Block, ...]:
    """A U-Net's blocks with the step of their maps in latents: halved sides at each level down, back up again."""
    levels = len(config.numbers("block_out_channels", (320, 640, 1280, 1280)))
    strides = [2.0**i for i in range(levels)]
    down_up = [*strides, strides[-1], *reversed(strides)]
    if len(down_up) != len(blocks):
        return blocks
    return tuple(replace(block, along="map", stride=stride) for block, stride in zip(blocks, down_up, strict=True))


def picture_side(folder: Path, options: Mapping[str, object]) -> tuple[int, str]:
    """Height and width that a model of maps sees: the recipe's, its config's, or 224; and which of them."""
    wanted = options.get("size") or options.get("resolution")
    if isinstance(wanted, int) and not isinstance(wanted, bool):
        return wanted, "recipe"
    if (folder / PIPELINE).is_file():
        return 512, "assumed"
    config = read_config(folder)
    sides = config.numbers("image_size")
    return (isqrt(sides[0] * sides[-1]), "config") if sides else (224, "assumed")
