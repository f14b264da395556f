"""The two sides of ``image_generation.py``: our loop, and the training loop of diffusers' example written out.

A shape is a Stable Diffusion with random weights: how long a step takes and what it holds do not depend on what weights
say. The peer is diffusers' ``train_dreambooth_lora.py`` (and ``train_dreambooth.py`` where all weights learn) step by
step: encode the pictures, sample the latents, make them noisy, encode the prompt, denoise, mean squared error,
backward, clip, AdamW. Nothing is kept from one step to the next there.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.harness import seconds_of

RANK, RATE, CLIP = 4, 1e-4, 1.0
TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]
PROMPT = "a photo of sks dog"


@dataclass(frozen=True)
class Shape:
    """A Stable Diffusion's size.

    Args:
        unet, vae, text: Settings of diffusers' and transformers' configurations.
        side: Of a picture, in pixels.
        tokens: Of a prompt.
    """

    unet: Mapping[str, Any]
    vae: Mapping[str, Any]
    text: Mapping[str, Any]
    side: int
    tokens: int = 77

    @property
    def factor(self) -> int:
        """Pixels a side of a latent."""
        return int(2 ** (len(self.vae["block_out_channels"]) - 1))


def _vae(widths: Sequence[int], **more: Any) -> dict[str, Any]:
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * len(widths)}
    blocks |= {"up_block_types": ("UpDecoderBlock2D",) * len(widths)}
    return {"block_out_channels": tuple(widths), "layers_per_block": 2, "latent_channels": 4, **blocks, **more}


def _text(width: int, layers: int, heads: int, words: int, inner: int = 4) -> dict[str, Any]:
    return {
        "hidden_size": width, "intermediate_size": inner * width, "num_hidden_layers": layers,
        "num_attention_heads": heads, "projection_dim": width, "vocab_size": words,
        "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
    }  # fmt: skip


SD15 = Shape(
    unet={"sample_size": 64, "cross_attention_dim": 768},
    vae=_vae((128, 256, 512, 512)),
    text=_text(768, 12, 12, 49408),
    side=512,
)
"""Stable Diffusion 1.5 as it is."""
QUARTER = Shape(
    unet={
        "sample_size": 16, "cross_attention_dim": 96, "block_out_channels": (80, 160, 320, 320),
        "attention_head_dim": 2, "norm_num_groups": 16,
    },
    vae=_vae((24, 64, 128, 128), norm_num_groups=8),
    text=_text(96, 2, 4, 1000),
    side=128,
)  # fmt: skip
"""The same a quarter as wide, on pictures a quarter as large, its attention heads as wide as they are.

Words are not fewer for it, so that their encoder is smaller still; ``shares`` counts what each part costs in both.
"""
EIGHTH = Shape(
    unet={
        "sample_size": 16, "cross_attention_dim": 48, "block_out_channels": (40, 80, 160, 160),
        "attention_head_dim": 1, "norm_num_groups": 8,
    },
    vae=_vae((16, 32, 64, 64), norm_num_groups=8),
    text=_text(48, 2, 4, 1000),
    side=128,
)  # fmt: skip
"""Half as wide again: for a quick look."""
EMOJI = Shape(
    unet={
        "sample_size": 16, "cross_attention_dim": 192, "block_out_channels": (64, 128, 160), "norm_num_groups": 16,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), "layers_per_block": 1,
        "attention_head_dim": 4,
    },
    vae=_vae((16, 32, 64), norm_num_groups=8, layers_per_block=1, mid_block_add_attention=False),
    text=_text(192, 4, 4, 2048, inner=3),
    side=64,
    tokens=32,
)  # fmt: skip
"""What ``scripts/make_emoji_diffusion.py`` trains."""
TINY = Shape(
    unet={
        "sample_size": 8, "cross_attention_dim": 16, "block_out_channels": (8, 16), "norm_num_groups": 8,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"), "attention_head_dim": 2,
    },
    vae=_vae((8, 8), norm_num_groups=8),
    text=_text(16, 2, 4, 84),
    side=32,
)  # fmt: skip


@dataclass(frozen=True)
class Work:
    """What is trained on what.

    Args:
        shape: Of the model.
        pictures, rows, epochs: How many, how many a step, how often.
        learns: ``lora``: an adapter on the denoiser's attention; ``all``: the whole denoiser.
        device: Where; on a GPU steps run in bf16.
        recompute: Whether the denoiser's activations are computed again in the backward pass, on both sides.
    """

    shape: Shape
    pictures: int
    rows: int
    epochs: int
    learns: str = "lora"
    device: str = "cpu"
    recompute: bool = False

    @property
    def steps(self) -> int:
        """Of the run."""
        return self.epochs * -(-self.pictures // self.rows)


@dataclass
class Ran:
    """What a side's run was.

    Args:
        step: Seconds between the ends of two steps, on average; the first step is not among them.
        whole: Seconds from before the first step, our cache included, to the end of the last.
        recording: Seconds that our cache took to build.
        peak: Most bytes of tensors on the GPU.
        losses: By step.
    """

    step: float
    whole: float
    recording: float = 0.0
    peak: int = 0
    losses: list[float] = field(default_factory=list)


def configured(shape: Shape) -> tuple[Any, Any, Any]:
    """Denoiser, VAE and text encoder with random weights, on the device that is torch's default now."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    text = CLIPTextModel(CLIPTextConfig(max_position_embeddings=shape.tokens, **shape.text))
    vae = AutoencoderKL(sample_size=shape.side, scaling_factor=0.18215, **shape.vae)
    return UNet2DConditionModel(**shape.unet), vae, text


def write_pipeline(shape: Shape, folder: Path, dtype: str = "float32") -> None:
    """A pipeline in diffusers' layout; its tokenizer knows letters."""
    import torch
    from diffusers import DDPMScheduler, StableDiffusionPipeline
    from transformers import CLIPTokenizer

    torch.manual_seed(0)
    unet, vae, text = (part.to(getattr(torch, dtype)).eval() for part in configured(shape))
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{one}</w>" for one in letters)]
    tokenizer = CLIPTokenizer(vocab={w: i for i, w in enumerate(words)}, merges=[], model_max_length=shape.tokens)
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False)
    StableDiffusionPipeline(
        unet=unet, vae=vae, text_encoder=text, tokenizer=tokenizer, scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip


def write_pictures(folder: Path, count: int, side: int) -> None:
    """Blurred noise with a square."""
    import numpy as np
    from PIL import Image, ImageFilter

    folder.mkdir(parents=True)
    rng = np.random.default_rng(7)
    for index in range(count):
        noise = Image.fromarray(rng.integers(0, 255, (side // 8, side // 8, 3), dtype=np.uint8))
        picture = noise.resize((side, side)).filter(ImageFilter.GaussianBlur(2))
        picture.paste(tuple(int(v) for v in rng.integers(0, 255, 3)), (side // 4, side // 4, side // 2, side // 2))
        picture.save(folder / f"{index:03d}.png")


def written(work: Work, folder: Path) -> None:
    """Model, pictures and the prompt that our loop makes one picture of when it ends, outside every clock."""
    # bf16 is what a GPU holds frozen weights in; those that learn are read as fp32.
    write_pipeline(work.shape, folder / "model", "float32" if work.device == "cpu" else "bfloat16")
    write_pictures(folder / "pictures", work.pictures, work.shape.side)
    (folder / "prompts.jsonl").write_text(json.dumps({"text": PROMPT}) + "\n", encoding="utf-8")
    os.environ["TUNESMITH_CACHE"] = str(folder / "cache")


def recipe_of(work: Work, folder: Path) -> dict[str, Any]:
    """Our recipe with the settings that the example of diffusers has."""
    adapter = {"adapter": {"kind": "lora", "r": RANK, "alpha": RANK, "targets": TARGETS}}
    train = {"train": "adapter"} if work.learns == "lora" else {"train": "all", "within": ["denoiser"]}
    return {
        "task": "text-to-image",
        "model": str(folder / "model"),
        "data": {"train": str(folder / "pictures"), "eval": str(folder / "prompts.jsonl"), "validation": 0.0},
        **(adapter if work.learns == "lora" else {}),
        "stages": [{**train, "epochs": work.epochs, "lr": RATE, "warmup": 0, "schedule": "constant"}],
        "batch": {"rows": work.rows, "micro": work.rows},
        "engine": {
            "device": work.device, "precision": "fp32" if work.device == "cpu" else "bf16",
            "gradient_checkpointing": work.recompute,
        },
        "options": {
            "prompt": PROMPT, "token": "sks", "subject": "dog", "size": work.shape.side, "min_snr": None,
            "samples": {"rows": 0}, "steps": 1, "guidance": 1,
        },
        "run": {"folder": str(folder / "runs"), "name": "ours"},
    }  # fmt: skip


def ready_for(work: Work, folder: Path) -> tuple[Any, Any]:
    """Rows and task of the recipe, and its plan."""
    from tunesmith.plan import make_plan
    from tunesmith.prepare import prepare
    from tunesmith.recipe import read_recipe

    file = folder / "recipe.yaml"
    file.write_text(json.dumps(recipe_of(work, folder)), encoding="utf-8")
    ready = prepare(read_recipe(file))
    ready.raise_errors()
    return ready, make_plan(ready)


def loop_for(work: Work, folder: Path, emit: Callable[[dict[str, Any]], None]) -> Any:
    """Our loop, ready to run."""
    from tunesmith.journey import loop_of
    from tunesmith.run import Run
    from tunesmith.train.signals import StopRequest

    shutil.rmtree(folder / "runs", ignore_errors=True)
    ready, plan = ready_for(work, folder)
    run = Run.open(folder / "runs" / "ours", create=True)

    def told(event: dict[str, Any]) -> None:
        run.append_event(event)
        emit(event)

    return loop_of(ready, plan, StopRequest(), checkpoints=run.checkpoints, emit=told)


def ours(work: Work, folder: Path, last: list[Any]) -> Ran:
    """Our loop from an empty cache; it is left in ``last`` with what its adapter started from.

    The picture that it makes of its held-out prompt and the checkpoint come after the last step: outside the clock.
    """
    shutil.rmtree(folder / "cache" / "activations", ignore_errors=True)
    ends: list[float] = []
    found = Ran(0.0, 0.0)

    def emit(event: dict[str, Any]) -> None:
        if event["kind"] == "cache":
            found.recording = event["seconds"]
        elif event["kind"] == "step":
            ends.append(time.perf_counter())
            found.losses.append(event["loss"])
            found.peak = peak_bytes(work.device)

    loop = loop_for(work, folder, emit)
    last[:] = [loop, start_of(loop.job.model)]
    settle(work.device)
    began = time.perf_counter()
    loop.fit()
    found.step, found.whole = (ends[-1] - ends[0]) / (len(ends) - 1), ends[-1] - began
    return found


def start_of(model: Any) -> dict[str, Any]:
    """What the adapter's parameters are, by their names in peft."""
    from tunesmith.model.adapters import adapter_parameters

    parts = {"lora_A": "lora_A.default.weight", "lora_B": "lora_B.default.weight"}
    found = {}
    for name, parameter in adapter_parameters(model).items():
        layer, _, part = name.removeprefix("denoiser.").rpartition(".")
        found[f"{layer}.{parts[part]}"] = parameter.detach().cpu().clone()
    return found


@dataclass(frozen=True)
class Plan:
    """What the peer is given: pictures and tokens by row in memory, and the rows of every step.

    Args:
        pixels: Float [rows, 3, side, side], -1 to 1.
        tokens: Int64 [rows, tokens].
        steps: The rows of each step.
        seeds: Of those rows' noise with ours; None: noise is drawn as the example draws it.
        start: Values of the adapter by peft's names; None: its own start.
    """

    pixels: Any
    tokens: Any
    steps: list[list[int]]
    seeds: list[list[int]] | None = None
    start: dict[str, Any] | None = None


def plan_from(loop: Any, start: dict[str, Any], work: Work, *, same_noise: bool) -> Plan:
    """Of our loop's rows; with ``same_noise`` also its seeds and what its adapter started from."""
    import torch

    from tunesmith.data.loader import Address

    train = loop.job.sets["train"]
    examples = [train.example(i) for i in range(len(train))]
    pixels = torch.stack([e["pixels"] for e in examples]).float() / 127.5 - 1
    steps, seeds = [], []
    for epoch in range(work.epochs):
        address = Address(loop.job.recipe.run.seed, 0, epoch)
        for rows in train.epoch_steps(work.rows, address, buckets=loop.job.recipe.batch.buckets):
            steps.append([int(row) for row in rows])
            seeds.append(train.batch(rows, address)["seed"].tolist())
    plan = Plan(pixels, torch.stack([e["tokens"]["text_encoder"] for e in examples]), steps)
    return replace(plan, seeds=seeds, start=start) if same_noise else plan


def learners(unet: Any, work: Work, start: Mapping[str, Any] | None) -> list[Any]:
    """Make the denoiser learn as the example does; its parameters."""
    import torch

    if work.learns == "lora":
        from diffusers.training_utils import cast_training_params
        from peft import LoraConfig

        unet.requires_grad_(False)
        unet.add_adapter(
            LoraConfig(r=RANK, lora_alpha=RANK, init_lora_weights="gaussian", target_modules=list(TARGETS))
        )
        cast_training_params(unet, dtype=torch.float32)
        if start is not None:
            named = {name: p for name, p in unet.named_parameters() if p.requires_grad}
            assert named.keys() == start.keys(), sorted(named.keys() ^ start.keys())
            with torch.no_grad():
                for name, parameter in named.items():
                    parameter.copy_(start[name])
    if work.recompute:
        unet.enable_gradient_checkpointing()
    unet.train()
    return [p for p in unet.parameters() if p.requires_grad]


def noise_of(plan: Plan, number: int, shape: Any, device: str, times: int) -> tuple[Any, Any, Any]:
    """Posterior's and latents' noise and times of a step: the example's, or those of our rows' seeds."""
    import torch

    if plan.seeds is None:
        drawn = torch.randn(2, *shape, device=device)
        return drawn[0], drawn[1], torch.randint(0, times, (shape[0],), device=device).long()
    from tunesmith.model.diffusion_noise import draw

    ours = draw(plan.seeds[number], tuple(shape[1:]))
    return ours.posterior.to(device), ours.noise.to(device), (ours.place * times).long().to(device)


def theirs(work: Work, folder: Path, plan: Plan) -> Ran:
    """The example's loop; its pictures are decoded and its prompt is tokenized in advance, and lie in memory."""
    import torch
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel

    place, device = folder / "model", work.device
    frozen = torch.float32 if device == "cpu" else torch.bfloat16
    scheduler = DDPMScheduler.from_pretrained(place, subfolder="scheduler")
    text = CLIPTextModel.from_pretrained(place, subfolder="text_encoder").to(device, frozen).requires_grad_(False)
    vae = AutoencoderKL.from_pretrained(place, subfolder="vae").to(device, frozen).requires_grad_(False)
    held = frozen if work.learns == "lora" else torch.float32
    unet = UNet2DConditionModel.from_pretrained(place, subfolder="unet").to(device, held)
    parameters = learners(unet, work, plan.start)
    optimizer = torch.optim.AdamW(parameters, lr=RATE, betas=(0.9, 0.999), weight_decay=1e-2, eps=1e-8)
    mixed = nullcontext if device == "cpu" else partial(torch.autocast, "cuda", torch.bfloat16)
    ends: list[float] = []
    found = Ran(0.0, 0.0)
    settle(device)
    began = time.perf_counter()
    for number, rows in enumerate(plan.steps):
        with mixed():
            posterior = vae.encode(plan.pixels[rows].to(device, frozen)).latent_dist
            drawn, noise, times = noise_of(plan, number, posterior.mean.shape, device, len(scheduler.betas))
            clean = (posterior.mean + posterior.std * drawn) * vae.config.scaling_factor
            noisy = scheduler.add_noise(clean, noise, times)
            with torch.no_grad():
                states = text(plan.tokens[rows].to(device))[0]
            said = unet(noisy.to(frozen), times, states).sample
            loss = torch.nn.functional.mse_loss(said.float(), noise.float(), reduction="mean")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()
        optimizer.zero_grad()
        # The example logs every step's loss, too; on a GPU it waits for it.
        found.losses.append(loss.detach().item())
        ends.append(time.perf_counter())
    found.step, found.whole = (ends[-1] - ends[0]) / (len(ends) - 1), ends[-1] - began
    found.peak = peak_bytes(device)
    return found


def settle(device: str) -> None:
    """Nothing left of the run before."""
    import torch

    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_bytes(device: str) -> int:
    """Most bytes that tensors held since ``settle``; 0 on a CPU."""
    import torch

    return int(torch.cuda.max_memory_allocated()) if device == "cuda" else 0


def shares(shape: Shape) -> dict[str, float]:
    """Operations of VAE and text encoder beside those of the denoiser's both passes with LoRA, counted on shapes."""
    import torch
    from peft import LoraConfig
    from torch.utils.flop_counter import FlopCounterMode

    def counted(run: Callable[[], object]) -> float:
        with FlopCounterMode(display=False) as counter:
            run()
        return float(counter.get_total_flops())

    with torch.device("meta"):
        unet, vae, text = configured(shape)
        for part in (unet, vae, text):
            part.requires_grad_(False)
        unet.add_adapter(LoraConfig(r=RANK, target_modules=list(TARGETS)))
        side = shape.side // shape.factor
        pixels, latents = torch.zeros(1, 3, shape.side, shape.side), torch.zeros(1, 4, side, side)
        tokens, times = torch.zeros(1, shape.tokens, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)
        states = torch.zeros(1, shape.tokens, int(shape.unet["cross_attention_dim"]))
        both = counted(lambda: unet(latents, times, states).sample.sum().backward())
        parts = {"vae": counted(lambda: vae.encode(pixels)), "text_encoder": counted(lambda: text(tokens))}
    return {name: round(count / both, 4) for name, count in parts.items()}


def part_seconds(work: Work, folder: Path, rounds: int) -> dict[str, float]:
    """Median seconds of a step's VAE and text encoder by themselves."""
    from statistics import median

    import torch
    from diffusers import AutoencoderKL
    from transformers import CLIPTextModel

    vae = AutoencoderKL.from_pretrained(folder / "model", subfolder="vae").requires_grad_(False)
    text = CLIPTextModel.from_pretrained(folder / "model", subfolder="text_encoder").requires_grad_(False)
    pixels = torch.zeros(work.rows, 3, work.shape.side, work.shape.side)
    tokens = torch.zeros(work.rows, work.shape.tokens, dtype=torch.int64)
    runs = {"vae": lambda: vae.encode(pixels), "text_encoder": lambda: text(tokens)}
    return {name: float(f"{median(seconds_of(run) for _ in range(rounds)):.4g}") for name, run in runs.items()}
