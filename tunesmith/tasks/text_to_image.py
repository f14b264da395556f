"""Pictures from prompts: a latent diffusion model learns one subject (DreamBooth) or captioned pictures.

It knows Stable Diffusion's families and what they are told; no loop, no stage and no file layout of adapters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from tunesmith.diffusion.buckets import buckets_for
from tunesmith.diffusion.pictures import Feeding
from tunesmith.diffusion.prompts import Prompts
from tunesmith.diffusion.task import GenerationTask
from tunesmith.diffusion.tokens import Vocabulary
from tunesmith.errors import UserError
from tunesmith.model.diffusion_noise import Draw, Schedule, draw
from tunesmith.model.diffusion_sampling import Sampling, sample
from tunesmith.model.generation import WRITTEN_TOGETHER
from tunesmith.model.latent_diffusion import (
    LatentDiffusion,
    Told,
    by_size,
    load_pipeline,
    pipeline_shape,
)
from tunesmith.model.pipeline_folder import PipelineFolder
from tunesmith.model.textual_inversion import EMBEDDING_FILE
from tunesmith.types import Batch, Counts, Example, Facts, Row, Sums

FIXED_PLACES = (0.125, 0.375, 0.625, 0.875)
"""Where in time a picture's loss is measured, always with the same noise."""
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
CLIP_ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")
WIDEST = 2.0
"""The largest ratio of a bucket's sides."""


class TextToImage(GenerationTask):
    """Stable Diffusion 1, 2, XL and 3, and what is laid out like them."""

    name = "text-to-image"
    holds: ClassVar[tuple[str, ...]] = ("fp32", "bf16", "fp16")
    cpu_rows: ClassVar[int | None] = 16
    exports: ClassVar[Mapping[str, str]] = {"kohya": ".safetensors"}
    adapter_exports = ("kohya",)
    planning = False
    """Whether shapes alone are asked for, before class pictures are made."""

    # What is known before the weights are loaded

    @cached_property
    def folder(self) -> PipelineFolder:
        """The pretrained pipeline."""
        return PipelineFolder.read(Path(self.source.folder))

    @cached_property
    def factor(self) -> int:
        """Pixels a side of a latent."""
        return int(2 ** (len(self.folder.config("vae")["block_out_channels"]) - 1))

    @cached_property
    def feeding(self) -> Feeding:
        """How pictures lie in buckets."""
        config = self.folder.config(self.folder.denoiser)
        side = self.options.size
        if side == "auto":
            side = int(self.facts.values.get("size") or int(config.get("sample_size", 64)) * self.factor)
        # A denoiser halves its latents between its blocks; sides must go through that without a remainder.
        halvings = int(config.get("patch_size", 1)) * 2 ** max(0, len(config.get("block_out_channels", ())) - 1)
        multiple = self.factor * halvings
        buckets = buckets_for(side, multiple, WIDEST if self.options.buckets else 1.0)
        return Feeding(buckets, side, multiple)

    @cached_property
    def schedule(self) -> Schedule:
        """How latents are made noisy."""
        return Schedule.of(self.folder.config("scheduler"), str(self.folder.folder / "scheduler"))

    @cached_property
    def prompts(self) -> Prompts:
        """What the text encoders read of prompts."""
        new = self.options.token if self.options.learn_token else None
        return Prompts(self.folder, new, self.options.subject)

    @property
    def tokenizers(self) -> dict[str, Any]:
        """Of every text encoder, with the new token where one is learned."""
        return self.prompts.tokenizers

    @property
    def longest(self) -> dict[str, int]:
        """How many tokens each text encoder reads."""
        return self.prompts.longest

    @property
    def vocabulary(self) -> Vocabulary:
        """Of the first encoder, with its vectors."""
        return self.prompts.vocabulary

    def survey(self, rows: Sequence[Row]) -> Facts:
        """How pictures lie in buckets, what the token is, what the denoiser answers."""
        self.folder.check_fit()
        values, lines = self.data_facts(rows)
        if self.options.steps > self.schedule.steps:
            what = (
                f"options.steps: {self.options.steps:,} is more than the {self.schedule.steps:,} times of the scheduler"
            )
            raise UserError(what, "recipe: options.steps", "write 20 to 50")
        self.prompts.check_new(rows)
        told = f"the denoiser answers {self.schedule.kind.replace('_', ' ')}, as its scheduler says"
        return Facts(values | {"family": self.folder.family}, (*lines, told, *self.folder.notes()))

    def further_rows(self) -> list[Row]:
        """Class pictures, which the pretrained model makes."""
        from tunesmith.diffusion.prior import prior_rows

        if self.options.prior is None:
            return []
        return prior_rows(self.options, self.source, self.feeding.side)

    def make_further(self, rows: Sequence[Row], predicted: Callable[[Sequence[Row]], list[Any]]) -> None:
        """Generate the class pictures that do not exist yet."""
        from tunesmith.diffusion.prior import missing, write_prior

        if wanted := missing(rows):
            write_prior(predicted, wanted)

    # The model

    def load(self) -> nn.Module:
        """The pipeline's parts as one module."""
        from tunesmith.model.pretrained import torch_dtype

        self.planning = False
        return self._with_token(load_pipeline(Path(self.source.folder), dtype=torch_dtype(self.held)))

    def skeleton(self) -> nn.Module:
        """Its shape on the meta device."""
        self.planning = True
        return self._with_token(pipeline_shape(Path(self.source.folder)))

    def _with_token(self, model: LatentDiffusion) -> LatentDiffusion:
        from tunesmith.model.new_tokens import add_rows, layers_of

        self.fresh = frozenset()
        if self.options.learn_token:
            for name, encoder in model.texts.encoders().items():
                ids, pieces = self.prompts.added.get(name, ([], []))
                if ids:
                    add_rows(encoder, ids, pieces)
            self.fresh = frozenset(f"{name}.rows" for name in layers_of(model))
        return model

    def layers(self, model: nn.Module) -> Any:
        """VAE, text encoders, the denoiser's blocks."""
        assert isinstance(model, LatentDiffusion)
        return model.layers(self.fresh, texts_learn=self.options.text_encoder)

    def stages(self, blocks: int) -> list[Any]:
        """The token's vector first, then the adapter or the whole denoiser."""
        from tunesmith.recipe import Stage

        rest = Stage(train="adapter", epochs=50, lr=1e-4) if self.adapted else Stage(train="all", epochs=20, lr=1e-5)
        if self.options.learn_token:
            return [Stage(train="head", epochs=50, lr=5e-3), rest]
        return [rest]

    @classmethod
    def default_adapter(cls, options: Any) -> Any:
        """LoRA on the attention of the denoiser, and of the text encoders where these learn."""
        from tunesmith.recipe import AdapterSection

        return AdapterSection(r=16, targets=[*ATTENTION, *(CLIP_ATTENTION if options.text_encoder else ())])

    def check_adapter(self, model: nn.Module) -> None:
        """Text encoders that are to learn have updates, and only those that pipelines load them on."""
        from tunesmith.model.lora import LoraLinear

        assert isinstance(model, LatentDiffusion)
        adapted = {
            name
            for name, one in model.texts.encoders().items()
            if any(isinstance(m, LoraLinear) for m in one.modules())
        }
        if self.options.text_encoder and not adapted:
            what = "options.text_encoder: adapter.targets name no layer of the text encoders, so nothing there learns"
            fix = f"add {', '.join(CLIP_ATTENTION)} to adapter.targets, or leave options.text_encoder out"
            raise UserError(what, "recipe: adapter.targets", fix)
        if "text_encoder_3" in adapted:
            what = "adapter.targets reach text_encoder_3 (T5), and pipelines load no LoRA there"
            fix = f"name layers of the CLIP encoders and the denoiser: {', '.join((*ATTENTION, *CLIP_ATTENTION))}"
            raise UserError(what, "recipe: adapter.targets", fix)

    # Rows to sums

    def encode(self, row: Row, rng: np.random.Generator | None = None) -> Example:
        """A picture as bytes [3, height, width] in its bucket, and its prompt's tokens, [tokens] by encoder."""
        text = str(row["text"])
        if rng is not None and self.random and rng.random() < self.options.caption_dropout and not row.get("prior"):
            text = ""
        drawn = rng if self.random else None
        how: dict[str, Any] = {"crop": self.options.crop, "flip": self.options.flip, "planning": self.planning}
        image, micro = self.feeding.fed(row, self.folders, drawn, **how)
        weight = self.options.prior.weight if self.options.prior and row.get("prior") else 1.0
        pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        return {
            "pixels": pixels,
            "size": tuple(pixels.shape[1:]),
            "tokens": self.token_ids(text),
            "micro": torch.tensor(micro, dtype=torch.float32),
            "weight": torch.tensor(weight),
            "given": bool(row.get("image")),
        }

    def token_ids(self, text: str) -> dict[str, Tensor]:
        """A prompt's tokens by encoder, padded: int64 [tokens]; one that a person gives is not cut."""
        return self.prompts.ids(text, whole=self.for_person)

    def length(self, example: Example) -> int:
        """Positions of its latents."""
        height, width = example["size"]
        return int(height * width) // self.factor**2

    def row_length(self, row: Row) -> int | None:
        """The same from the picture's size."""
        size = self.feeding.size_of(row)
        return None if size is None else size[0] * size[1] // self.factor**2

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Pictures of several sizes as a list; the rest stacked."""
        names = examples[0]["tokens"]
        return {
            "pixels": [e["pixels"] for e in examples],
            "size": [e["size"] for e in examples],
            "given": [e["given"] for e in examples],
            "tokens": {name: torch.stack([e["tokens"][name] for e in examples]) for name in names},
            "micro": torch.stack([e["micro"] for e in examples]),
            "weight": torch.stack([e["weight"] for e in examples]),
        }

    def count(self, batch: Batch) -> Counts:
        """Pictures."""
        return {"pictures": float(len(batch["pixels"]))}

    def loss(self, model: nn.Module, batch: Batch) -> Sums:
        """The squared error of the denoiser, averaged over a latent, weighted by time, summed over pictures."""
        assert isinstance(model, LatentDiffusion)
        moments, states, pooled = model.conditions(batch["pixels"], batch["tokens"])
        told = Told(states, pooled, batch["micro"])
        seeds = [0] * len(batch["size"]) if batch["seed"].is_meta else batch["seed"].tolist()
        total = states.new_zeros((), dtype=torch.float32)
        for size, rows in by_size(batch["size"]).items():
            drawn = draw([seeds[i] for i in rows], self._latent(model, size), self.options.noise_offset)
            some = moments[rows, : size[0] * size[1] // self.factor**2]
            errors, times = self._errors(model, some, told.rows(rows), size, drawn)
            weights = self.schedule.weights(times, self.options.min_snr) if not times.is_meta else 1.0
            total = total + (errors * weights * batch["weight"][rows]).sum()
        return {"pictures": total}

    def _latent(self, model: LatentDiffusion, size: tuple[int, int]) -> tuple[int, int, int]:
        return model.latents.channels, size[0] // self.factor, size[1] // self.factor

    def _errors(
        self, model: LatentDiffusion, moments: Tensor, told: Told, size: tuple[int, int], drawn: Draw
    ) -> tuple[Tensor, Tensor]:
        """Mean squared errors of rows of one size, [rows], and their times."""
        shape, device = self._latent(model, size), moments.device
        flat = moments.float().transpose(1, 2)
        mean, spread = flat.reshape(*flat.shape[:2], *shape[1:]).chunk(2, dim=1)
        # The VAE's own bounds.
        spread = (0.5 * spread.clamp(-30.0, 20.0)).exp()
        clean = model.latents.known(mean + spread * drawn.posterior.to(device))
        noise, times = drawn.noise.to(device), self.schedule.times(drawn.place).to(device)
        if device.type == "meta":
            noisy = target = clean
        else:
            noisy, target = self.schedule.noisy(clean, noise, times), self.schedule.target(clean, noise, times)
        said = model.denoised(noisy, self.schedule.model_times(times), told)
        return (said.float() - target).square().flatten(1).mean(1), times

    # Answers

    def validate(self, model: nn.Module, batch: Batch) -> list[Any]:
        """The loss of each picture at fixed times and noise; of a prompt without one that of a black one, apart."""
        assert isinstance(model, LatentDiffusion)
        moments, states, pooled = model.conditions(batch["pixels"], batch["tokens"])
        told = Told(states, pooled, batch["micro"])
        found: list[Any] = [{} for _ in batch["size"]]
        for size, rows in by_size(batch["size"]).items():
            some = moments[rows, : size[0] * size[1] // self.factor**2]
            errors = []
            for number, place in enumerate(FIXED_PLACES):
                drawn = draw([int(batch["seed"][i]) + number for i in rows], self._latent(model, size))
                fixed = Draw(drawn.posterior, drawn.noise, torch.full((len(rows),), place))
                errors.append(self._errors(model, some, told.rows(rows), size, fixed)[0])
            for row, loss in zip(rows, torch.stack(errors).mean(0).tolist(), strict=True):
                found[row] = {"loss" if batch["given"][row] else "probe": loss}
        return found

    def predict(self, model: nn.Module, batch: Batch) -> list[Any]:
        """A picture of each prompt, PNG in base64, and the loss of the row's own picture."""
        from tunesmith.diffusion.scores import pack_picture

        assert isinstance(model, LatentDiffusion)
        device = batch["micro"].device
        sizes = [(int(h), int(w)) for h, w in batch["size"]]
        micro = torch.tensor([[h, w, 0, 0, h, w] for h, w in sizes], dtype=torch.float32, device=device)
        states, pooled = model.texts(batch["tokens"])
        told = Told(states, pooled, micro)
        without = self._unconditional(model, micro) if self.options.guidance > 1 else None
        seeds = [(seed + 7919 * self.options.seed) % (1 << 62) for seed in batch["seed"].tolist()]
        how = Sampling.of(Path(self.source.folder), self.options.steps, self.options.guidance)
        pictures = sample(model, told, without, seeds, sizes, how)
        losses = [{}] * len(sizes) if self.for_person or not any(batch["given"]) else self.validate(model, batch)
        found = zip(pictures, losses, strict=True)
        return [pack_picture(p.permute(1, 2, 0).cpu().numpy()) | loss for p, loss in found]

    def _unconditional(self, model: LatentDiffusion, micro: Tensor) -> Told:
        """What the empty prompt says."""
        ids = {name: one[None].to(micro.device) for name, one in self.token_ids("").items()}
        states, pooled = model.texts(ids)
        if self.folder.zeros_for_empty:
            states, pooled = torch.zeros_like(states), torch.zeros_like(pooled)
        rows = len(micro)
        return Told(states.expand(rows, -1, -1), pooled.expand(rows, -1), micro)

    def bases(self, model: nn.Module, train: Sequence[Row]) -> dict[str, Callable[[nn.Module, Batch], list[Any]]]:
        """The pipeline as it came."""
        return {"pretrained pipeline": self.predict}

    # Files

    def save(self, model: nn.Module, folder: Path) -> None:
        """A pipeline in diffusers' layout, and a learned token's vectors beside it."""
        from tunesmith.model.pipeline_saving import save_pipeline, save_token

        assert isinstance(model, LatentDiffusion)
        save_pipeline(model, Path(self.source.folder), folder, self.tokenizers)
        save_token(model, folder, self.options.token if self.options.learn_token else None)

    def save_processor(self, folder: Path) -> None:
        """Nothing: tokenizers and scheduler lie in the pipeline beneath."""

    def save_adapter(self, model: nn.Module, folder: Path) -> list[Path]:
        """As diffusers loads it: ``load_lora_weights``, ``load_textual_inversion``."""
        from tunesmith.model.pipeline_saving import save_adapter_files

        assert isinstance(model, LatentDiffusion)
        return save_adapter_files(model, folder, self.options.token if self.options.learn_token else None)

    def export(self, format: str, model: nn.Module, rows: Sequence[Row], file: Path) -> dict[str, Any]:
        """The adapter in kohya's layout, read back and compared."""
        from tunesmith.model.pipeline_saving import export_kohya

        assert isinstance(model, LatentDiffusion)
        if not self.adapted:
            what = "this run has no adapter, and kohya's layout holds nothing else"
            raise UserError(what, "command line", "use the run's model folder, which diffusers loads as it is")
        made = export_kohya(model, file)
        if self.options.learn_token:
            made["note"] = f"the vectors of {self.options.token} are not in it: model/{EMBEDDING_FILE} holds them"
        return made

    def evaluation_bytes(self, model: nn.Module, rows: int) -> int:
        """What a batch of pictures takes while it is made: twice the rows through the denoiser, then the VAE."""
        from tunesmith.model.memory import passing_bytes

        assert isinstance(model, LatentDiffusion)
        side = self.feeding.side
        rows = min(rows, WRITTEN_TOGETHER)
        tokens = {name: ids[None].expand(rows, -1).to("meta") for name, ids in self.token_ids("").items()}
        latents = torch.zeros(rows, *self._latent(model, (side, side)), device="meta")
        times = torch.zeros(rows, dtype=torch.int64, device="meta")

        def run() -> Any:
            states, pooled = model.texts(tokens)
            told = Told(states, pooled, torch.zeros(rows, 6, device="meta"))
            model.denoised(latents, times, told)
            return model.latents.decoded(latents)

        with torch.no_grad():
            return passing_bytes(model, run)

    def load_snippet(self, folder: str) -> str:
        """Python that loads the result with diffusers."""
        from tunesmith.model.pipeline_saving import loading_lines

        token = self.options.token if self.options.learn_token else None
        lines = loading_lines(self.folder, folder, base=self.source.name if self.adapted else None, token=token)
        asked = f'"{self.options.prompt or "a picture"}", num_inference_steps={self.options.steps}'
        return "\n".join([*lines, f"picture = pipeline({asked}, guidance_scale={self.options.guidance:g}).images[0]"])
