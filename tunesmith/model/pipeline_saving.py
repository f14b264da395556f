"""A diffusion model written in diffusers' own layout, and its adapter in the layouts that others load.

It knows the names of files; no recipe and no run.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from tunesmith.errors import EXIT_FINDINGS, UserError
from tunesmith.model.latent_diffusion import LatentDiffusion
from tunesmith.model.new_tokens import TokenRows, folded
from tunesmith.model.pipeline_folder import INDEX, WEIGHTED, PipelineFolder
from tunesmith.model.pretrained import quiet

SAME = 1e-5
"""Largest difference of an update that was read back, relative to its size."""


def adapter_parts(model: LatentDiffusion) -> dict[str, nn.Module]:
    """The parts that may carry an adapter, by the names that adapter files know."""
    return {"denoiser": model.denoiser, **model.texts.encoders()}


def save_pipeline(model: LatentDiffusion, source: Path, folder: Path, tokenizers: Mapping[str, Any]) -> None:
    """Write a whole pipeline: what may have learned from the model, the rest copied.

    Args:
        model: Without adapters; vectors of new tokens are written into their encoders.
        source: The pipeline that it came from.
        folder: Where to write.
        tokenizers: By text encoder, with the new tokens.
    """
    found = PipelineFolder.read(source)
    (folder / INDEX).write_text(found.index_of_parts(), encoding="utf-8")
    for name in found.parts:
        if (source / name).is_dir() and name not in (found.denoiser, *found.encoders):
            wanted = shutil.ignore_patterns(*([] if name not in WEIGHTED else ["*.fp16.*", "*.non_ema.*", "*.bin"]))
            shutil.copytree(source / name, folder / name, ignore=wanted, copy_function=shutil.copyfile)
    with folded(model), quiet():
        model.denoiser.save_pretrained(folder / found.denoiser)  # type: ignore[operator]
        for name, encoder in model.texts.encoders().items():
            encoder.save_pretrained(folder / name)  # type: ignore[operator]
            tokenizers[name].save_pretrained(folder / name.replace("text_encoder", "tokenizer"))


def save_adapter_files(model: LatentDiffusion, folder: Path, token: str | None) -> list[Path]:
    """Write adapters and the vectors of a new token as diffusers loads them.

    Args:
        model: With its adapters.
        folder: Where to write.
        token: The new token's text, where one was learned.
    """
    from tunesmith.model.diffusion_lora import write_diffusers
    from tunesmith.model.lora import LoraLinear

    made: list[Path] = []
    if any(isinstance(module, LoraLinear) for module in model.modules()):
        made.append(write_diffusers(adapter_parts(model), folder))
    return [*made, *save_token(model, folder, token)]


def save_token(model: LatentDiffusion, folder: Path, token: str | None) -> list[Path]:
    """Write the learned vectors of a token in a file of their own, where there are some that diffusers can load."""
    from tunesmith.model.textual_inversion import EMBEDDING_FILE, write_embedding

    vectors = {
        name: module.rows.detach()
        for name, encoder in model.texts.encoders().items()
        for module in encoder.modules()
        if isinstance(module, TokenRows)
    }
    if token is None or not vectors or set(vectors) - {"text_encoder", "text_encoder_2"}:
        return []
    return [write_embedding(folder / EMBEDDING_FILE, token, vectors)]


def loading_lines(found: PipelineFolder, saved: str, *, base: str | None, token: str | None) -> list[str]:
    """Python that loads with diffusers what was saved.

    Args:
        found: The pipeline that it came from.
        saved: Where it was saved, in words.
        base: The pipeline's name, where an adapter was saved; None: the whole.
        token: The new token, where one was learned.
    """
    from tunesmith.model.textual_inversion import EMBEDDING_FILE

    without = "".join(f", {name}=None" for name in found.absent)
    lines = ["from diffusers import DiffusionPipeline", ""]
    if base is None:
        return [*lines, f'pipeline = DiffusionPipeline.from_pretrained("{saved}"{without})']
    lines += [
        f'pipeline = DiffusionPipeline.from_pretrained("{base}"{without})',
        f'pipeline.load_lora_weights("{saved}")',
    ]
    file = f"{saved}/{EMBEDDING_FILE}"
    if token is None or "text_encoder_3" in found.encoders:
        return lines
    if found.encoders == ("text_encoder",):
        return [*lines, f'pipeline.load_textual_inversion("{file}")']
    return [
        "from safetensors.torch import load_file",
        *lines,
        f'vectors = load_file("{file}")',
        f'pipeline.load_textual_inversion(vectors["clip_l"], "{token}")',
        "second = {'text_encoder': pipeline.text_encoder_2, 'tokenizer': pipeline.tokenizer_2}",
        f'pipeline.load_textual_inversion(vectors["clip_g"], "{token}", **second)',
    ]


def export_kohya(model: LatentDiffusion, file: Path) -> dict[str, Any]:
    """Write adapters in the layout of kohya's scripts, which ComfyUI and others load, and read them back.

    Args:
        model: With its adapters.
        file: Where to write.

    Returns:
        What was measured.

    Raises:
        UserError: What was read back is not what was written.
    """
    from tunesmith.model.kohya import read_kohya, write_kohya

    parts = adapter_parts(model)
    write_kohya(parts, file)
    try:
        measured = _read_back(parts, read_kohya(parts, file), file)
    except UserError:
        file.unlink()
        raise
    return {"format": "kohya", "bytes": file.stat().st_size, "verified": measured}


def _read_back(parts: Mapping[str, nn.Module], read: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """How far the updates in a file are from those of the model's layers."""
    from tunesmith.model.adapters import adapter_parameters

    worst, count = 0.0, 0
    for part, module in parts.items():
        updates = read[part].updates if part in read else {}
        modules = dict(module.named_modules())
        for name in {key.rpartition(".")[0] for key in adapter_parameters(module)}:
            layer: Any = modules[name]
            files = updates.get(name)
            if files is None:
                raise UserError(f"{part}.{name} was not written", str(file), "report this", code=EXIT_FINDINGS)
            scale = read[part].alpha(name) / len(files["lora_A"])
            again = scale * files["lora_B"].float() @ files["lora_A"].float()
            ours = (layer.scaling * layer.lora_B.float() @ layer.lora_A.float()).detach().cpu()
            apart = float((again - ours).abs().max() / ours.abs().max().clamp(min=1e-12))
            worst, count = max(worst, apart), count + 1
    if not worst <= SAME:
        raise UserError(f"an update differs by {worst:.3g} after reading", str(file), "report this", code=EXIT_FINDINGS)
    difference = {"output": "update of a layer, relative to its size", "largest": worst, "tolerance": SAME}
    return {"layers": count, "differences": [difference]}
