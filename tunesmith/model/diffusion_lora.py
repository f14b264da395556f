"""The low-rank updates of a diffusion pipeline in diffusers' own file: written, read, and put on a bare model.

``pytorch_lora_weights.safetensors`` holds the updates of all parts of a pipeline, named as the pipeline names its parts
(``unet.``, ``transformer.``, ``text_encoder.``, ``text_encoder_2.``), and in its header the settings of each in peft's
words: without them diffusers takes the rank for alpha. It knows names and files; no pipeline, recipe or training.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from tunesmith.errors import UserError
from tunesmith.model import peft_format
from tunesmith.model.adapters import check_fits, load_adapter
from tunesmith.model.lora import LoraLinear
from tunesmith.model.peft_format import AdapterFiles

DENOISER = "denoiser"
TEXT_ENCODERS = ("text_encoder", "text_encoder_2")
WEIGHTS_FILE = "pytorch_lora_weights.safetensors"
METADATA_KEY = "lora_adapter_metadata"

_DENOISERS = {"unet": DENOISER, "transformer": DENOISER}
_TEXT_MODEL = "text_model."
# The ends of names, those of peft first; the others stand in files of older training scripts of diffusers.
_ENDS = {
    ".lora_A.weight": "lora_A",
    ".lora_B.weight": "lora_B",
    ".lora_magnitude_vector": "lora_magnitude_vector",
    ".lora_magnitude_vector.weight": "lora_magnitude_vector",
    ".lora.down.weight": "lora_A",
    ".lora.up.weight": "lora_B",
    ".lora_linear_layer.down.weight": "lora_A",
    ".lora_linear_layer.up.weight": "lora_B",
}


def write_diffusers(parts: Mapping[str, nn.Module], folder: str | Path) -> Path:
    """Write the updates as a pipeline's ``save_lora_weights`` does, for its ``load_lora_weights`` to read.

    LoRA, rsLoRA and DoRA, whatever the ranks and alphas of single layers.

    Args:
        parts: ``denoiser``, ``text_encoder`` and ``text_encoder_2``, those that there are; a part without updates is
            left out of the file.
        folder: Where to write; made if need be.

    Returns:
        The file.

    Raises:
        UserError: A part that diffusers puts no update on.
    """
    tensors: dict[str, Tensor] = {}
    settings: dict[str, Any] = {}
    for part, layers in updates_of(parts).items():
        prefix = _prefix(part, parts[part])
        for name, layer in layers.items():
            stem = f"{prefix}.{name_in_file(part, name)}"
            tensors[f"{stem}.lora_A.weight"] = layer.lora_A
            tensors[f"{stem}.lora_B.weight"] = layer.lora_B
            if layer.lora_magnitude_vector is not None:
                # transformers 5, which fills the text encoders, overlooks the key that peft writes.
                end = "" if part == DENOISER else ".weight"
                tensors[f"{stem}.lora_magnitude_vector{end}"] = layer.lora_magnitude_vector
        settings |= {f"{prefix}.{key}": value for key, value in _settings(part, parts[part], layers).items()}
    path = Path(folder) / WEIGHTS_FILE
    write_tensors(path, tensors, {METADATA_KEY: json.dumps(settings, indent=2, sort_keys=True)})
    return path


def read_diffusers(source: str | Path) -> dict[str, AdapterFiles]:
    """Read the updates of each part of a pipeline, whoever wrote them.

    Args:
        source: The file, or the folder that holds it as ``pytorch_lora_weights.safetensors``.

    Returns:
        Part (``denoiser``, ``text_encoder``, ...) to its updates, under the names that the file has for the layers.

    Raises:
        UserError: A file that is missing or broken, or tensors that are no low-rank update in this layout.
    """
    path = Path(source)
    path = path / WEIGHTS_FILE if path.is_dir() else path
    tensors, header = read_tensors(path)
    if any(key.startswith(("lora_unet_", "lora_te")) for key in tensors):
        fix = "read it with load_kohya"
        raise UserError("these names are of kohya's layout, not of diffusers'", str(path), fix)
    updates: dict[str, dict[str, dict[str, Tensor]]] = defaultdict(lambda: defaultdict(dict))
    for key, value in tensors.items():
        prefix, _, rest = key.partition(".")
        end = next((end for end in _ENDS if rest.endswith(end)), None)
        if end is None or prefix not in (*_DENOISERS, *TEXT_ENCODERS):
            raise UserError(f"'{key}' is no low-rank update of a pipeline's part", str(path), "save it with diffusers")
        updates[_DENOISERS.get(prefix, prefix)][rest.removesuffix(end)][_ENDS[end]] = value
    written = _written_settings(header, path)
    return {
        part: AdapterFiles(path.parent, _read_settings(part, written, layers, path), layers, {}, weights_file=path.name)
        for part, layers in updates.items()
    }


def load_lora(parts: Mapping[str, nn.Module], source: str | Path) -> dict[str, list[str]]:
    """Put the updates of a file in diffusers' layout on a pipeline's parts.

    Where a part carries updates already, they must be the same layers, rank, scale and kind; only their values are
    then replaced.

    Returns:
        The layers that carry an update, for each part in the file.

    Raises:
        UserError: What ``read_diffusers`` refuses, or a file of another pipeline.
    """
    return put_updates(parts, read_diffusers(source))


def put_updates(parts: Mapping[str, nn.Module], read: Mapping[str, AdapterFiles]) -> dict[str, list[str]]:
    """Put updates that were read on a pipeline's parts; see ``load_lora``."""
    for part, files in read.items():
        if part not in parts:
            what, fix = f"the file brings updates of '{part}', which this pipeline lacks", "load it with its own base"
            raise UserError(what, str(files.path), fix)
    named = {
        part: replace(files, updates={_name_in_model(part, parts[part], n): t for n, t in files.updates.items()})
        for part, files in read.items()
    }
    for part, files in named.items():  # all of them, before any part changes
        check_fits(parts[part], files)
    return {part: load_adapter(parts[part], files) for part, files in named.items()}


def updates_of(parts: Mapping[str, nn.Module]) -> dict[str, dict[str, LoraLinear]]:
    """The low-rank layers of each part that has some, by name.

    Raises:
        UserError: An update on a text encoder that is no CLIP: pipelines load none there.
    """
    found = {
        part: {name: layer for name, layer in module.named_modules() if isinstance(layer, LoraLinear)}
        for part, module in parts.items()
    }
    found = {part: layers for part, layers in found.items() if layers}
    if not found:
        raise ValueError("the pipeline has no updates to save")
    for part in found:
        if part == DENOISER:
            continue
        kind = type(parts[part]).__name__
        if part not in TEXT_ENCODERS or not kind.startswith("CLIP"):
            what = f"pipelines load no LoRA on {part}, a {kind}"
            raise UserError(what, part, "train the adapter on the denoiser and the CLIP text encoders only")
    return found


def name_in_file(part: str, name: str) -> str:
    """A layer's name as files have it: a CLIP's layers stand under ``text_model.``.

    transformers 5 took that level out of ``CLIPTextModel``. Files, kohya's scripts, ComfyUI and older stacks have it,
    and diffusers drops it on loading where the model does.
    """
    bare = part == DENOISER or name.startswith((_TEXT_MODEL, "text_projection"))
    return name if bare else f"{_TEXT_MODEL}{name}"


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the header of a safetensors file.

    Raises:
        UserError: A file that is missing or broken.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        fix = "name the file or folder that a LoRA was saved in; only safetensors files are read"
        raise UserError(f"there is no {path.name}", where=str(path.parent), fix=fix)
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except SafetensorError as error:
        raise UserError(f"{path.name} is broken: {error}", str(path), "save the LoRA again") from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> None:
    """Write a safetensors file; equal tensors make equal bytes.

    safetensors puts what a file says of itself in another order each time.

    Args:
        path: Where to write; its folder is made if need be.
        tensors: By name.
        header: What the file says of itself.
    """
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {key: tensors[key].detach().cpu().contiguous().clone() for key in sorted(tensors)}
    save_file(whole, path, metadata={"format": "pt", **header})
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        read = json.loads(file.read(length))
        read["__metadata__"] = dict(sorted(read["__metadata__"].items()))
        text = json.dumps(read, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) <= length:
            file.seek(8)
            file.write(text.ljust(length))


def _prefix(part: str, module: nn.Module) -> str:
    """The part's name in a pipeline."""
    if part != DENOISER:
        return part
    kind = type(module).__name__
    if kind.startswith("UNet"):
        return "unet"
    if "Transformer" in kind:
        return "transformer"
    raise UserError(
        f"no pipeline of diffusers has a {kind} for its denoiser", part, "use a UNet or a transformer of it"
    )


def _name_in_model(part: str, module: nn.Module, name: str) -> str:
    """A layer's name in this version of the model."""
    name = name_in_file(part, name)
    return name if part == DENOISER or hasattr(module, "text_model") else name.removeprefix(_TEXT_MODEL)


def _settings(part: str, module: nn.Module, layers: Mapping[str, LoraLinear]) -> dict[str, Any]:
    """The settings of a part in peft's names; a reader's ``LoraConfig`` has a default for each one that is not here."""
    kinds = {(layer.rslora, layer.lora_magnitude_vector is not None) for layer in layers.values()}
    if len(kinds) > 1:
        raise ValueError(f"the updates of {part} are of several kinds (rslora, dora): {sorted(kinds)}")
    rslora, dora = kinds.pop()
    r = Counter(layer.r for layer in layers.values()).most_common(1)[0][0]
    alpha = Counter(layer.alpha for layer in layers.values()).most_common(1)[0][0]
    return {
        "peft_type": "LORA",
        "r": r,
        "lora_alpha": _whole_number(alpha),
        "rank_pattern": {_pattern(part, name): a.r for name, a in layers.items() if a.r != r},
        "alpha_pattern": {_pattern(part, n): _whole_number(a.alpha) for n, a in layers.items() if a.alpha != alpha},
        "target_modules": _targets(module, layers),
        # diffusers 0.42 leaves the dropout of what it loads switched on, also in a pipeline that only draws.
        "lora_dropout": 0.0,
        "use_rslora": rslora,
        "use_dora": dora,
        "bias": "none",
    }


def _pattern(part: str, name: str) -> str:
    """What means this layer alone in peft's patterns, which match the end of a name."""
    return f"^{name}" if part == DENOISER else name.removeprefix(_TEXT_MODEL)


def _targets(module: nn.Module, names: Collection[str]) -> list[str] | str:
    """The shortest ends of the names that mean these layers and no others; a regular expression where none does."""
    every = Counter(end for name, _ in module.named_modules() for end in _ends(name))
    own = Counter(end for name in names for end in _ends(name))
    ends = {next((end for end in _ends(name) if own[end] == every[end]), None) for name in names}
    if None in ends:
        return "|".join(re.escape(name) for name in sorted(names))
    return sorted(end for end in ends if end is not None)


def _ends(name: str) -> Iterator[str]:
    """``c``, ``b.c``, ``a.b.c`` of ``a.b.c``."""
    pieces = name.split(".")
    for start in reversed(range(len(pieces))):
        yield ".".join(pieces[start:])


def _whole_number(value: float) -> float:
    return int(value) if float(value).is_integer() else value


def _written_settings(header: Mapping[str, str], path: Path) -> dict[str, Any]:
    """Every part's settings from a file's header; none where it has none."""
    try:
        written = json.loads(header.get(METADATA_KEY) or "{}")
    except ValueError as error:
        raise UserError(f"{METADATA_KEY} is not JSON: {error}", str(path), "save the LoRA again") from error
    if not isinstance(written, dict):
        raise UserError(f"{METADATA_KEY} holds no settings by name", str(path), "save the LoRA again")
    return written


def _read_settings(
    part: str, written: Mapping[str, Any], layers: Mapping[str, Mapping[str, Tensor]], path: Path
) -> dict[str, Any]:
    """A part's settings; where the file has none, alpha is the rank, as diffusers takes it."""
    prefixes = [part] if part != DENOISER else list(_DENOISERS)
    found = {
        key.removeprefix(f"{prefix}."): value
        for prefix in prefixes
        for key, value in written.items()
        if key.startswith(f"{prefix}.")
    }
    dora = any("lora_magnitude_vector" in tensors for tensors in layers.values())
    wanted = {"lora_A", "lora_B"} | ({"lora_magnitude_vector"} if dora else set())
    for name, tensors in layers.items():
        if set(tensors) != wanted:
            what = f"the update of '{name}' has {', '.join(sorted(tensors))}, not {', '.join(sorted(wanted))}"
            raise UserError(what, str(path), "save the LoRA again")
    if not found:
        return {"alpha_pattern": {_pattern(part, name): len(tensors["lora_A"]) for name, tensors in layers.items()}}
    peft_format.check_settings(found, path)
    if part != DENOISER:
        patterns: Mapping[str, float] = found.get("alpha_pattern") or {}
        found["alpha_pattern"] = {key.replace(_TEXT_MODEL, ""): value for key, value in patterns.items()}
    return found
