"""Trains a small Stable Diffusion from nothing on captioned emoji, and writes it as diffusers expects it.

    OUT/model_index.json, scheduler/, text_encoder/, tokenizer/, unet/, vae/     a StableDiffusionPipeline, float16
    OUT/clip/                                                                    the CLIP that its words come from
    OUT/README.md, samples.png                                                   the model card, with what was measured

Pictures are 64 x 64: one emoji on a coloured background, with a caption that says so. A CLIP, an autoencoder and the
diffusion model learn one after the other, on a processor. Stopped with Ctrl-C it goes on where it was; with more steps
for a part it learns on. Some emoji are held out of everything: `make_emoji_subject.py` makes DreamBooth data of them.

The emoji come from FOLDER, or from one npm package that is fetched once into the cache (TUNESMITH_CACHE, else
~/.cache/tunesmith). It knows nothing of Tunesmith: it needs torch, diffusers, transformers and Pillow. A seed gives the
same weights again on the same machine with the same versions.

    python scripts/make_emoji_diffusion.py [OUT] [--emoji FOLDER] [--work FOLDER] [--unet-steps N] [--quick]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from emoji_diffusion import autoencoder, card, clip, measure, unet
from emoji_diffusion.compose import Look, Pool, caption, compose
from emoji_diffusion.loop import Place, Plan, faster_in_bfloat16, keep, say, threads
from emoji_diffusion.source import Source, cache_folder, find, stop
from emoji_diffusion.subjects import Subject, core, every_subject, held_out, learned
from transformers import CLIPTextModel

SHOWN = 24


@dataclass(frozen=True)
class Sizes:
    """How large the parts are, how long they learn, and from how much."""

    subjects: int | None
    views: int
    autoencoder_widths: tuple[int, ...]
    unet_widths: tuple[int, ...]
    vae: Plan
    clip: Plan
    unet: Plan
    measured: int


STANDARD = Sizes(
    subjects=None,
    views=16,
    autoencoder_widths=(16, 32, 64),
    unet_widths=(64, 128, 160),
    vae=Plan(steps=2600, batch=16, lr=2e-3, ema=0.998),
    clip=Plan(steps=700, batch=128, lr=1e-3, weight_decay=0.05),
    unet=Plan(steps=4500, batch=32, lr=1e-3, ema=0.999),
    measured=128,
)
QUICK = Sizes(
    subjects=16,
    views=12,
    autoencoder_widths=(8, 16, 16),
    unet_widths=(32, 32),
    vae=Plan(steps=12, batch=8, lr=2e-3),
    clip=Plan(steps=6, batch=16, lr=1e-3),
    unet=Plan(steps=6, batch=8, lr=1e-3, ema=0.9),
    measured=8,
)
"""A model of the same form that has learned nothing to speak of, in less than a minute: for tests."""


@dataclass(frozen=True)
class Data:
    """The emoji and the pictures composed of them."""

    source: Source
    learned: list[Subject]
    core: list[Subject]
    held_out: list[Subject]
    pool: Pool
    words: list[str]


def gather(given: Path | None, sizes: Sizes, seed: int) -> Data:
    """Find the emoji and compose the pictures that are learned from."""
    source = find(given)
    emoji = source.folder / "emoji.json"
    subjects = every_subject(emoji)
    known = learned(subjects)[: sizes.subjects]
    words = [entry["name"].lower() for entry in json.loads(emoji.read_text(encoding="utf-8"))]
    pool = compose(source, known, sizes.views, seed)
    say(
        f"{source.name}: {len(known)} emoji to learn, {len(held_out(subjects))} held out, {len(pool.captions)} pictures"
    )
    return Data(source, known, core(known), held_out(subjects), pool, words)


@dataclass(frozen=True)
class Parts:
    """The trained parts and what the training reported of each."""

    scorer: Any
    tokenizer: Any
    encoder: Any
    vae: Any
    unet: Any
    numbers: dict[str, dict[str, float]]

    def pipeline(self) -> StableDiffusionPipeline:
        """All that makes pictures of texts."""
        return _pipeline(self.vae, self.encoder, self.tokenizer, self.unet)


def _pipeline(vae: Any, encoder: Any, tokenizer: Any, model: Any) -> StableDiffusionPipeline:
    made = StableDiffusionPipeline(
        vae=vae, text_encoder=encoder, tokenizer=tokenizer, unet=model, scheduler=unet.schedule(), safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    made.set_progress_bar_config(disable=True)
    return made


def prompts(subjects: list[Subject], count: int, seed: int) -> list[str]:
    """Captions of known subjects on backgrounds by chance."""
    return [caption(subjects[index].name, look) for index, look in measure.wishes(subjects, count, seed)]


def _latents(data: Data, sizes: Sizes, place: Place, vae: Any, encoder: Any, tokenizer: Any) -> unet.Latents:
    """What the diffusion model learns from, kept in the work folder: a resumed run need not compute it again."""
    path, told = place.work / "latents.pt", f"{place.told} {sizes.vae} {sizes.clip}"
    texts, order = np.unique(np.asarray(["", *data.pool.captions]), return_inverse=True)
    state = torch.load(path, weights_only=True) if path.is_file() else {}
    if state.get("told") != told:
        values = autoencoder.encode(vae, data.pool.pictures) * vae.config.scaling_factor
        state = {"told": told, "values": values, "states": clip.states(encoder, tokenizer, list(texts)).half()}
        keep(state, path)
        say(f"latents: {len(values)}, states of {len(texts)} texts")
    wanted = [index for index, subject in enumerate(data.learned) if subject in data.core]
    return unet.Latents(
        state["values"], state["states"], order[1:], np.flatnonzero(np.isin(data.pool.subjects, wanted))
    )


def train(data: Data, sizes: Sizes, place: Place) -> Parts:
    """Train the three parts, each from where an earlier run left it."""
    vae, of_vae = autoencoder.train(data.pool, sizes.vae, place, sizes.autoencoder_widths)
    tokenizer = clip.learn_tokens([*sorted(set(data.pool.captions)), *data.words])
    scorer, of_clip = clip.train(data.pool, tokenizer, sizes.clip, place)
    with tempfile.TemporaryDirectory() as folder:
        scorer.save_pretrained(folder)
        encoder = CLIPTextModel.from_pretrained(folder).eval()
    latents = _latents(data, sizes, place, vae, encoder, tokenizer)
    shown = prompts(data.core, SHOWN, place.seed)

    def look(model: UNet2DConditionModel, step: int) -> None:
        drawn = measure.draw(_pipeline(vae, encoder, tokenizer, model), shown, place.seed, steps=20)
        path = place.work / f"samples-{step:06d}.png"
        measure.sheet(drawn, 8).save(path)
        say(f"unet: {path}")

    model, of_unet = unet.train(latents, sizes.unet, place, sizes.unet_widths, look)
    return Parts(scorer, tokenizer, encoder, vae, model, {"vae": of_vae, "clip": of_clip, "unet": of_unet})


def score(data: Data, sizes: Sizes, parts: Parts, seed: int) -> tuple[dict[str, Any], Any]:
    """Measure the whole model, and draw the sheet of samples that the card shows."""
    unseen = compose(data.source, data.held_out, 4, seed + 1)
    asked = measure.wishes(data.core, sizes.measured, seed + 1)
    real = _real(data, asked)
    drawn = measure.draw(parts.pipeline(), [caption(data.core[at].name, look) for at, look in asked], seed)
    known = (
        parts.scorer,
        parts.tokenizer,
        data.learned,
        [(data.learned.index(data.core[at]), look) for at, look in asked],
    )
    found = {
        "rebuilt_db": measure.rebuilt(parts.vae, data.pool, unseen),
        "samples": measure.fidelity(*known, drawn),
        "real": measure.fidelity(*known, real),
    }
    return found, measure.sheet(drawn[: 8 * 6], 12)


def _real(data: Data, asked: list[tuple[int, Look]]) -> np.ndarray:
    """The true pictures of what is asked for."""
    from emoji_diffusion.compose import open_emoji, paste

    return np.stack([paste(open_emoji(data.source, data.core[index]), look) for index, look in asked])


def write(out: Path, data: Data, sizes: Sizes, parts: Parts, told: dict[str, Any]) -> None:
    """Write the model in float16, and put it where an earlier one may be."""
    found, samples = score(data, sizes, parts, told["seed"])
    counts = {name: sum(weight.numel() for weight in part.parameters())
              for name, part in (("vae", parts.vae), ("clip", parts.scorer), ("unet", parts.unet))}  # fmt: skip
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as place:
        made = Path(place) / "made"
        parts.pipeline().to(torch.float16).save_pretrained(made, safe_serialization=True)
        clip.save(parts.scorer.half(), parts.tokenizer, made / "clip")
        samples.save(made / "samples.png")
        facts = {**told, **found, "sizes": asdict(sizes), "wide_steps": min(unet.WIDE_STEPS, sizes.unet.steps)}
        text = card.write(data.source.name, data.learned, data.core, data.held_out, facts, counts, parts.numbers)
        (made / card.README).write_text(text, encoding="utf-8", newline="\n")
        if out.exists():
            shutil.rmtree(out)
        made.rename(out)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    say(f"{out}: {size / 1e6:.1f} MB; " + json.dumps(found))


def main() -> None:
    """Read the arguments, train the parts, measure and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?", default=Path("examples/emoji-diffusion"), metavar="OUT")
    parser.add_argument("--emoji", type=Path, help="the unpacked npm package", metavar="FOLDER")
    parser.add_argument("--work", type=Path, help="where states go; by default into the cache", metavar="FOLDER")
    parser.add_argument("--vae-steps", type=int, metavar="N")
    parser.add_argument("--clip-steps", type=int, metavar="N")
    parser.add_argument("--unet-steps", type=int, metavar="N")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="of matrix products")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a tiny model that has learned nothing, for tests")
    arguments = parser.parse_args()
    if arguments.out.exists() and not card.ours(arguments.out):
        stop(f"{arguments.out} is there, and this script has not written it", "name another folder")
    sizes = QUICK if arguments.quick else STANDARD
    for part in ("vae", "clip", "unet"):
        steps = getattr(arguments, f"{part}_steps")
        if steps is not None:
            sizes = replace(sizes, **{part: replace(getattr(sizes, part), steps=steps)})
    torch.set_num_threads(threads())
    bfloat16 = faster_in_bfloat16() if arguments.precision == "auto" else arguments.precision == "bf16"
    data = gather(arguments.emoji, sizes, arguments.seed)
    work = arguments.work or cache_folder().parent / ("emoji-diffusion-quick" if arguments.quick else "emoji-diffusion")
    work.mkdir(parents=True, exist_ok=True)
    told = {"seed": arguments.seed, "bfloat16": bfloat16, "quick": arguments.quick}
    digest = hashlib.blake2b("\n".join(data.pool.captions).encode(), digest_size=8).hexdigest()
    place = Place(work, arguments.seed, bfloat16, json.dumps({**told, "captions": digest}))
    try:
        parts = train(data, sizes, place)
    except KeyboardInterrupt:
        stop(f"stopped; states up to the last save are in {work}", "the same command goes on from there")
    write(arguments.out, data, sizes, parts, told)


if __name__ == "__main__":
    main()
