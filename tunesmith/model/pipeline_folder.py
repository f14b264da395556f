"""A diffusion pipeline as diffusers lays it out: model_index.json, and a folder for each part.

It knows files and the names of classes; no tensor and no task.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tunesmith.errors import UserError

INDEX = "model_index.json"
Family = Literal["sd", "sdxl", "sd3"]
ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")
DENOISERS = ("unet", "transformer")
WEIGHTED = (*DENOISERS, *ENCODERS, "vae")
"""Parts that have weights which are needed; a safety checker or an image encoder is not."""
LEAST: Mapping[Family, tuple[str, ...]] = {
    "sd": ("unet", "vae", "text_encoder", "tokenizer", "scheduler"),
    "sdxl": ("unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler"),
    "sd3": ("transformer", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler"),
}


@dataclass(frozen=True)
class PipelineFolder:
    """What a pipeline's folder holds.

    Args:
        folder: Where.
        family: ``sd`` (Stable Diffusion 1 and 2), ``sdxl`` or ``sd3``.
        parts: Part name to (library, class), those that are there.
    """

    folder: Path
    family: Family
    parts: Mapping[str, tuple[str, str]]

    @classmethod
    def read(cls, folder: Path) -> PipelineFolder:
        """Read the index and see that what it needs is there.

        Raises:
            UserError: No pipeline, one of a kind that can't be fine-tuned here, or one with parts missing.
        """
        file = folder / INDEX
        if not file.is_file():
            fix = "name a folder in diffusers' layout (model_index.json, unet/, vae/, text_encoder/, ...)"
            raise UserError(f"there is no {INDEX}: this is no diffusion pipeline", str(folder), fix)
        index = _json(file)
        named = {k: v for k, v in index.items() if isinstance(v, list) and len(v) == 2 and all(v)}
        parts = {name: (str(library), str(kind)) for name, (library, kind) in named.items()}
        family = _family(parts, str(index.get("_class_name")), file)
        for name in LEAST[family]:
            if name not in parts or not (folder / name).is_dir():
                told = "names it, but there is no such folder" if name in parts else "does not name it"
                raise UserError(f"the pipeline has no {name}: {INDEX} {told}", str(folder), "fetch the model again")
        return cls(folder, family, parts)

    @property
    def denoiser(self) -> str:
        """The name of its denoiser: ``unet`` or ``transformer``."""
        return next(name for name in DENOISERS if name in self.parts)

    @property
    def encoders(self) -> tuple[str, ...]:
        """The names of its text encoders, in order."""
        return tuple(name for name in ENCODERS if name in self.parts and (self.folder / name).is_dir())

    @property
    def absent(self) -> tuple[str, ...]:
        """Parts that diffusers must be told are none, or it does not load the pipeline."""
        third = ("text_encoder_3", "tokenizer_3")
        return tuple(name for name in third if self.family == "sd3" and name not in self.parts)

    def index_of_parts(self) -> str:
        """The index with the parts that are there: one whose folder is missing (a safety checker) is written as none.

        diffusers does not load a pipeline whose index names what is not there.
        """
        index = _json(self.folder / INDEX)
        for name in self.parts:
            if not (self.folder / name).is_dir():
                index[name] = [None, None]
                index |= {"requires_safety_checker": False} if name == "safety_checker" else {}
        return json.dumps(index, indent=2, sort_keys=True) + "\n"

    def config(self, part: str) -> dict[str, Any]:
        """The configuration of a part."""
        for name in ("config.json", "scheduler_config.json"):
            if (self.folder / part / name).is_file():
                return _json(self.folder / part / name)
        raise UserError(f"{part} has no config.json", str(self.folder / part), "fetch the model again")

    @property
    def zeros_for_empty(self) -> bool:
        """Whether no prompt is told as zeros (SDXL), not as the states of an empty one."""
        return bool(_json(self.folder / INDEX).get("force_zeros_for_empty_prompt", False))

    def check_fit(self) -> None:
        """Whether VAE and denoiser speak of the same latents.

        Raises:
            UserError: They do not: the VAE is of another model.
        """
        vae, denoiser = self.config("vae"), self.config(self.denoiser)
        has, wants = vae.get("latent_channels"), denoiser.get("in_channels")
        if has is not None and wants is not None and has != wants:
            what = f"the VAE makes latents of {has} channels, and the {self.denoiser} takes {wants}"
            fix = "put the VAE of the same model there; a denoiser for inpainting can't be fine-tuned here"
            raise UserError(f"{what}: they are of different models", str(self.folder / "vae"), fix)

    def notes(self) -> list[str]:
        """What a person should know of it."""
        missing = [
            f"the folder has no {name.replace('_', ' ')}: nothing checks what is generated"
            for name in ("safety_checker",)
            if name not in self.parts or not (self.folder / name).is_dir()
        ]
        return missing if self.family == "sd" else []


def is_pipeline(folder: Path) -> bool:
    """Whether a folder holds a diffusion pipeline."""
    return (folder / INDEX).is_file()


def _family(parts: Mapping[str, Any], kind: str, file: Path) -> Family:
    denoisers = {parts[name][1] for name in DENOISERS if name in parts}
    if denoisers == {"UNet2DConditionModel"}:
        return "sdxl" if "text_encoder_2" in parts else "sd"
    if denoisers == {"SD3Transformer2DModel"}:
        return "sd3"
    raise UserError(
        f"a pipeline of class {kind} can't be fine-tuned here",
        str(file),
        "name Stable Diffusion 1.x, 2.x, XL or 3 (its denoiser is a UNet2DConditionModel or an SD3Transformer2DModel)",
    )


def _json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise UserError(f"{file.name} can't be read: {fault}", str(file), "fetch the model again") from None
    if not isinstance(value, dict):
        raise UserError(f"{file.name} is no JSON object", str(file), "fetch the model again")
    return value


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of the parts that are needed: of several precisions the full one.

    Raises:
        UserError: A part has none.
    """
    found: list[Path] = []
    for part in PipelineFolder.read(folder).parts:
        if part not in WEIGHTED or not (folder / part).is_dir():
            continue
        files = sorted((folder / part).glob("*.safetensors"))
        # diffusers writes "model.fp16.safetensors" beside "model.safetensors".
        whole = [file for file in files if "." not in file.name.removesuffix(".safetensors")]
        if not whole:
            fix = "take the copy of the model in full precision that holds safetensors files"
            raise UserError(f"{part} has no safetensors weights", str(folder / part), fix)
        found += whole
    return found


def hub_patterns() -> tuple[list[str], list[str]]:
    """What of a pipeline is fetched from a hub, and what of it is not: other precisions, checkers, single files."""
    side = ["*.json", "*.txt", "*.model", "README.md", "LICENSE*"]
    wanted = [*side, *(f"{part}/*.safetensors" for part in WEIGHTED)]
    return wanted, ["*.fp16.*", "*.non_ema.*", "safety_checker/*", "*/flax_model*", "*/openvino_model*"]
