"""A latent diffusion model as one module: VAE, text encoders, denoiser; its conditions first, so that they can be kept.

Latents are laid out by position, [rows, positions, channels], because pictures of several sizes travel together. It
knows diffusers' parts and how each family reads its texts; no noise, no sampling and no task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tunesmith.errors import UserError
from tunesmith.model.layers import HEAD, NECK, LayerGroups
from tunesmith.model.pipeline_folder import Family, PipelineFolder
from tunesmith.model.pretrained import quiet

Size = tuple[int, int]


class Latents(nn.Module):
    """The VAE. Forward gives the posterior of its latents: mean and log variance, [rows, positions, 2 channels].

    Args:
        vae: diffusers' ``AutoencoderKL``.
        family: The kind of pipeline that it stands in, which decides how its latents are scaled.
    """

    def __init__(self, vae: nn.Module, family: Family = "sd") -> None:
        super().__init__()
        self.vae, self.family = vae, family

    @property
    def config(self) -> Any:
        """The VAE's."""
        return self.vae.config

    @property
    def factor(self) -> int:
        """Pixels a side of a latent."""
        return int(2 ** (len(self.config.block_out_channels) - 1))

    @property
    def channels(self) -> int:
        """Of a latent."""
        return int(self.config.latent_channels)

    def forward(self, pixels: Sequence[Tensor]) -> Tensor:
        """Posteriors of pictures.

        Args:
            pixels: By row, uint8 or float [3, height, width], sides multiples of ``factor``.
        """
        sizes = [(int(p.shape[1]), int(p.shape[2])) for p in pixels]
        longest = max(h * w for h, w in sizes) // self.factor**2
        out: Tensor | None = None
        for size, rows in by_size(sizes).items():
            picked = torch.stack([pixels[i] for i in rows])
            values = scaled(picked).to(next(self.vae.parameters()).dtype)
            with self._wide(values):
                found = self.vae.encode(values).latent_dist.parameters  # type: ignore[operator]
            flat: Tensor = found.flatten(2).transpose(1, 2)
            if len(rows) == len(sizes):
                return flat
            if out is None:
                out = flat.new_zeros(len(sizes), longest, flat.shape[2])
            out[rows, : (size[0] * size[1]) // self.factor**2] = flat
        assert out is not None
        return out

    def decoded(self, latents: Tensor) -> Tensor:
        """Pictures of latents [rows, channels, height, width] as the denoiser knows them: uint8 [rows, 3, H, W]."""
        mean, factor = self._scale(latents)
        values = (latents / factor + mean).to(next(self.vae.parameters()).dtype)
        with self._wide(values):
            pictures: Tensor = self.vae.decode(values).sample.float()  # type: ignore[operator]
        return ((pictures / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)

    def known(self, latents: Tensor) -> Tensor:
        """Latents of the VAE as the denoiser knows them: of unit variance."""
        mean, factor = self._scale(latents)
        found: Tensor = (latents - mean) * factor
        return found

    def _scale(self, like: Tensor) -> tuple[Any, Any]:
        """What is taken off latents, and what they are multiplied with, as each family's pipeline does it."""
        config, factor = self.config, float(self.config.scaling_factor)
        if self.family == "sd3":
            return float(getattr(config, "shift_factor", None) or 0.0), factor
        if self.family == "sdxl" and getattr(config, "latents_mean", None) is not None:
            mean, spread = (
                torch.tensor(v).view(1, -1, 1, 1).to(like) for v in (config.latents_mean, config.latents_std)
            )
            return mean, factor / spread
        return 0.0, factor

    def _wide(self, values: Tensor) -> AbstractContextManager[Any]:
        """SDXL's VAE overflows in fp16, as its configuration says: it runs in the type that its weights are held in."""
        if values.device.type == "meta" or not (self.family == "sdxl" and getattr(self.config, "force_upcast", True)):
            return nullcontext()
        return torch.autocast(values.device.type, enabled=False)


class Texts(nn.Module):
    """The text encoders. Forward gives states, [rows, tokens, width], and pooled states, [rows, width] (or zeros).

    Args:
        family: How states are read off the encoders.
        encoders: By name, ``text_encoder`` first.
        width: Of the states that the denoiser of Stable Diffusion 3 takes; else 0.
        length: Tokens that its absent third encoder would give.
    """

    def __init__(self, family: Family, encoders: Mapping[str, nn.Module], width: int = 0, length: int = 256) -> None:
        super().__init__()
        self.family, self.width, self.length = family, width, length
        for name, encoder in encoders.items():
            self.add_module(name, encoder)

    def encoders(self) -> dict[str, nn.Module]:
        """By name."""
        return dict(self.named_children())

    def forward(self, tokens: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """States of prompts.

        Args:
            tokens: Encoder name to ids, int64 [rows, tokens].
        """
        if self.family == "sd":
            states = self.encoders()["text_encoder"](tokens["text_encoder"])[0]
            return states, states.new_zeros(len(states), 1)
        read = [self.encoders()[n](tokens[n], output_hidden_states=True) for n in ("text_encoder", "text_encoder_2")]
        states = torch.cat([one.hidden_states[-2] for one in read], dim=-1)
        if self.family == "sdxl":
            return states, read[1][0]
        states = nn.functional.pad(states, (0, self.width - states.shape[-1]))
        third = self.encoders().get("text_encoder_3")
        if third is not None:
            more = third(tokens["text_encoder_3"])[0]
        else:
            more = states.new_zeros(len(states), self.length, self.width)
        return torch.cat([states, more], dim=1), torch.cat([one[0] for one in read], dim=-1)


class Joint(nn.Module):
    """What the denoiser is told, in one place: here a frozen model's conditions end, and are recorded."""

    def forward(self, moments: Tensor, states: Tensor, pooled: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same."""
        return moments, states, pooled


@dataclass(frozen=True)
class Told:
    """What the denoiser is told beside noisy latents and time.

    Args:
        states: Of the prompts, [rows, tokens, width].
        pooled: Of the prompts, [rows, width].
        micro: Original size, crop and size of each picture (SDXL, arXiv:2307.01952, section 2.2), [rows, 6], or None.
    """

    states: Tensor
    pooled: Tensor
    micro: Tensor | None = None

    def rows(self, rows: Sequence[int] | Tensor) -> Told:
        """Some of the rows."""
        at = torch.as_tensor(rows, device=self.states.device)
        return Told(self.states[at], self.pooled[at], None if self.micro is None else self.micro[at])


class LatentDiffusion(nn.Module):
    """Everything that a picture and its prompt pass through.

    Args:
        family: The kind of pipeline.
        vae, encoders, denoiser: Its parts.
    """

    def __init__(self, family: Family, vae: nn.Module, encoders: Mapping[str, nn.Module], denoiser: nn.Module) -> None:
        super().__init__()
        self.family = family
        self.latents = Latents(vae, family)
        width = int(denoiser.config.joint_attention_dim) if family == "sd3" else 0  # type: ignore[union-attr,arg-type]
        self.texts = Texts(family, encoders, width)
        self.joint = Joint()
        self.denoiser = denoiser

    def conditions(self, pixels: Sequence[Tensor], tokens: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Posteriors of the latents, states and pooled states of the prompts."""
        told: tuple[Tensor, Tensor, Tensor] = self.joint(self.latents(pixels), *self.texts(tokens))
        return told

    def denoised(self, noisy: Tensor, time: Tensor, told: Told) -> Tensor:
        """What the denoiser says of noisy latents of one size.

        Args:
            noisy: [rows, channels, height, width].
            time: As its scheduler counts, [rows].
            told: Of the same rows.
        """
        noisy = noisy.to(told.states.dtype)
        if self.family == "sd3":
            out = self.denoiser(noisy, encoder_hidden_states=told.states, pooled_projections=told.pooled, timestep=time)
        elif self.family == "sdxl":
            more = {"text_embeds": told.pooled, "time_ids": told.micro}
            out = self.denoiser(noisy, time, encoder_hidden_states=told.states, added_cond_kwargs=more)
        else:
            out = self.denoiser(noisy, time, encoder_hidden_states=told.states)
        found: Tensor = out.sample
        return found

    def layers(self, fresh: frozenset[str], *, texts_learn: bool) -> LayerGroups:
        """VAE, texts, what they join to, then the denoiser's blocks.

        Args:
            fresh: Parameters that the weights did not hold (vectors of new tokens): the head.
            texts_learn: Whether stages that train everything, and adapters, reach the text encoders.
        """
        inner = denoiser_blocks(self.denoiser)
        blocks = (self.latents, self.texts, self.joint, *inner)
        of_block = {id(p): i for i, block in enumerate(blocks) for p in block.parameters()}
        groups: dict[str, list[str]] = {name: [] for name in (*(f"block {i}" for i in range(len(blocks))), NECK, HEAD)}
        for name, parameter in self.named_parameters():
            place = of_block.get(id(parameter))
            if name in fresh:
                groups[HEAD].append(name)
            elif place is not None:
                groups[f"block {place}"].append(name)
            else:
                last = any(part in name for part in ("conv_norm_out", "conv_out", "norm_out", "proj_out"))
                groups[NECK if last else "block 3"].append(name)
        kept = {name: tuple(names) for name, names in groups.items()}
        helpers = (self.latents,) if texts_learn else (self.latents, self.texts)
        return LayerGroups(self, self, blocks, kept, (*helpers, self.joint))


def denoiser_blocks(denoiser: nn.Module) -> list[nn.Module]:
    """Its blocks in the order in which they run: down, middle, up; or those of a transformer."""
    found: list[nn.Module] = []
    for name in ("down_blocks", "mid_block", "up_blocks", "transformer_blocks"):
        part = getattr(denoiser, name, None)
        if isinstance(part, nn.ModuleList):
            found.extend(part)
        elif isinstance(part, nn.Module):
            found.append(part)
    return found


def by_size(sizes: Sequence[Size]) -> dict[Size, list[int]]:
    """Rows by the size of their pictures, in order."""
    found: dict[Size, list[int]] = {}
    for row, size in enumerate(sizes):
        found.setdefault(size, []).append(row)
    return found


def scaled(pixels: Tensor) -> Tensor:
    """Bytes as the VAE takes them: -1 to 1."""
    return pixels.float() / 127.5 - 1.0


def load_pipeline(folder: Path, *, dtype: torch.dtype = torch.float32) -> LatentDiffusion:
    """A pipeline's parts with their weights, on the CPU.

    Args:
        folder: In diffusers' layout.
        dtype: How weights are held.

    Raises:
        UserError: A part is missing or broken, or is of another model.
    """

    def made(kind: Any, where: Path) -> Any:
        narrow = where.name == "vae" and dtype == torch.float16 and PipelineFolder.read(folder).family == "sdxl"
        return kind.from_pretrained(str(where), **_settings(torch.float32 if narrow else dtype))

    return _built(folder, made)


def pipeline_shape(folder: Path) -> LatentDiffusion:
    """The same on the meta device: shapes, no numbers."""

    def made(kind: Any, where: Path) -> Any:
        with torch.device("meta"):
            if hasattr(kind, "from_config"):
                return kind.from_config(kind.load_config(str(where)))
            return kind(kind.config_class.from_pretrained(str(where)))

    return _built(folder, made)


def _settings(dtype: torch.dtype) -> dict[str, Any]:
    return {"torch_dtype": dtype, "use_safetensors": True, "local_files_only": True}


def _built(folder: Path, make: Callable[[Any, Path], Any]) -> LatentDiffusion:
    import transformers

    from tunesmith.model.pretrained import diffusers

    found = PipelineFolder.read(folder)
    found.check_fit()
    rooms = {"diffusers": diffusers(), "transformers": transformers}
    parts: dict[str, nn.Module] = {}
    for name in (found.denoiser, "vae", *found.encoders):
        library, kind = found.parts[name]
        known = getattr(rooms.get(library), kind, None)
        if known is None or (name == "vae" and kind != "AutoencoderKL"):
            what = f"{name} is of class {library}.{kind}, which can't be read here"
            raise UserError(what, str(folder / name), "name a model whose parts are of diffusers and transformers")
        try:
            with quiet():
                parts[name] = make(known, folder / name)
        except (OSError, ValueError, RuntimeError) as fault:
            said = (str(fault).strip().splitlines() or [type(fault).__name__])[0]
            raise UserError(f"{name} can't be loaded: {said}", str(folder / name), "fetch the model again") from fault
    encoders = {name: parts[name] for name in found.encoders}
    model = LatentDiffusion(found.family, parts["vae"], encoders, parts[found.denoiser])
    return model.eval()


def load_tokenizers(folder: Path) -> dict[str, Any]:
    """Text encoder name to its tokenizer.

    Raises:
        UserError: One can't be read.
    """
    from transformers import AutoTokenizer

    found = {}
    for name in PipelineFolder.read(folder).encoders:
        place = folder / name.replace("text_encoder", "tokenizer")
        try:
            with quiet():
                found[name] = AutoTokenizer.from_pretrained(str(place), local_files_only=True)
        except (OSError, ValueError) as fault:
            said = (str(fault).strip().splitlines() or [type(fault).__name__])[0]
            raise UserError(f"the tokenizer can't be read: {said}", str(place), "fetch the model again") from fault
    return found


def token_vectors(folder: Path) -> Any:
    """The vectors of an encoder's tokens, float32 numpy [tokens, width]; None where its file names none."""
    from safetensors import safe_open

    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118
                if name.endswith(("token_embedding.weight", "shared.weight", "embed_tokens.weight")):
                    return opened.get_tensor(name).float().numpy()
    return None
