"""A small CLIP: its words steer the diffusion model, the whole of it scores pictures. It knows captions and pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer
from transformers.utils import logging

from emoji_diffusion.autoencoder import pixels
from emoji_diffusion.compose import SIDE, Pool
from emoji_diffusion.loop import Place, Plan, learn

START, END = "<|startoftext|>", "<|endoftext|>"
LENGTH, VOCABULARY = 32, 2048
logging.set_verbosity_error()


def learn_tokens(texts: list[str]) -> CLIPTokenizer:
    """Byte pairs of CLIP's own kind, learned from texts; every byte has a token, so no word is unknown."""
    plain = CLIPTokenizer({START: 0, END: 1}, [])
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.normalizer = plain.backend_tokenizer.normalizer
    learner.pre_tokenizer = plain.backend_tokenizer.pre_tokenizer
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False
    )
    learner.train_from_iterator(texts, trainer)
    found = sorted(learner.get_vocab().items(), key=lambda pair: pair[1])
    single = {*alphabet, *(f"{letter}</w>" for letter in alphabet)}
    tokens = [
        *alphabet,
        *(f"{letter}</w>" for letter in alphabet),
        *(token for token, _ in found if token not in single),
    ]
    vocabulary = {token: index for index, token in enumerate([*tokens, START, END])}
    return CLIPTokenizer(vocabulary, _merges(learner), model_max_length=LENGTH)


def _merges(learner: Tokenizer) -> list[tuple[str, str]]:
    """The merges of a tokenizer, in their order."""
    import json

    pairs = json.loads(learner.to_str())["model"]["merges"]
    return [tuple(pair) if isinstance(pair, list) else tuple(pair.split(" ")) for pair in pairs]


def tokens_of(tokenizer: CLIPTokenizer, texts: list[str]) -> torch.Tensor:
    """Token ids [texts, LENGTH], filled up as Stable Diffusion does."""
    made = tokenizer(texts, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt")
    ids: torch.Tensor = made["input_ids"]
    return ids


def build(tokenizer: CLIPTokenizer, width: int = 192) -> CLIPModel:
    """An untrained CLIP for pictures of 64 x 64; the words have the given width."""
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
           "pad_token_id": tokenizer.pad_token_id}  # fmt: skip
    return CLIPModel(
        CLIPConfig(
            text_config={"vocab_size": len(tokenizer), "hidden_size": width, "intermediate_size": 3 * width,
                         "num_hidden_layers": 4, "num_attention_heads": 4, "max_position_embeddings": LENGTH,
                         "projection_dim": 128, **ids},
            vision_config={"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4,
                           "num_attention_heads": 4, "image_size": SIDE, "patch_size": 8, "projection_dim": 128},
            projection_dim=128,
        )
    )  # fmt: skip


def image_processor() -> CLIPImageProcessor:
    """What turns any picture into the model's input; the same as ``pixels`` for pictures of 64 x 64."""
    half = [0.5, 0.5, 0.5]
    return CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE},
                              image_mean=half, image_std=half)  # fmt: skip


def meaning(caption: str) -> str:
    """The caption without what changes no picture: pictures of one meaning are no counterexamples to each other."""
    return caption.removeprefix("a picture of ").removesuffix(" on a white background")


def train(pool: Pool, tokenizer: CLIPTokenizer, plan: Plan, place: Place) -> tuple[CLIPModel, dict[str, float]]:
    """Learn which caption belongs to which picture.

    A batch has many subjects, each on the same two backgrounds: were there many backgrounds, telling those apart would
    do, and neither words nor pictures would tell one subject from another.
    """
    torch.manual_seed(place.seed)
    model = build(tokenizer)
    ids = tokens_of(tokenizer, pool.captions)
    lengths = (ids == tokenizer.eos_token_id).int().argmax(1) + 1
    said = [meaning(caption) for caption in pool.captions]
    _, meanings = np.unique(said, return_inverse=True)
    grounds, ground = np.unique([text.partition(" on a")[2] for text in said], return_inverse=True)
    places: dict[tuple[int, int], list[int]] = {}
    for index, key in enumerate(zip(pool.subjects.tolist(), ground.tolist(), strict=True)):
        places.setdefault(key, []).append(index)
    subjects = int(pool.subjects.max()) + 1

    def loss(rng: np.random.Generator, step: int) -> tuple[torch.Tensor, dict[str, float]]:
        chosen = rng.choice(subjects, size=min(plan.batch // 2, subjects), replace=False).tolist()
        two = rng.choice(len(grounds), size=2, replace=False).tolist()
        at = np.asarray([rng.choice(places[subject, number]) for number in two for subject in chosen])
        words = ids[at][:, : int(lengths[at].max())]
        out = model(input_ids=words, pixel_values=pixels(pool.pictures[at]))
        same = torch.from_numpy(meanings[at][:, None] == meanings[at][None]).float()
        target = same / same.sum(1, keepdim=True)
        logits = out.logits_per_image.float()
        total = (torch.nn.functional.cross_entropy(logits, target)
                 + torch.nn.functional.cross_entropy(logits.T, target)) / 2  # fmt: skip
        right = same[torch.arange(len(at)), logits.argmax(1)].mean()
        return total, {"loss": total.item(), "right": right.item()}

    return model, learn("clip", model, loss, plan, place)


@torch.no_grad()
def see(model: Any, pictures: np.ndarray, batch: int = 256) -> torch.Tensor:
    """Directions of pictures, float32 [n, width] of length 1."""
    parts = [model.visual_projection(model.vision_model(pixels(pictures[at : at + batch])).pooler_output)
             for at in range(0, len(pictures), batch)]  # fmt: skip
    return torch.nn.functional.normalize(torch.cat(parts).float(), dim=1)


@torch.no_grad()
def read(model: Any, tokenizer: CLIPTokenizer, texts: list[str], batch: int = 256) -> torch.Tensor:
    """Directions of texts, float32 [n, width] of length 1."""
    ids = tokens_of(tokenizer, texts)
    parts = [model.text_projection(model.text_model(ids[at : at + batch]).pooler_output)
             for at in range(0, len(ids), batch)]  # fmt: skip
    return torch.nn.functional.normalize(torch.cat(parts).float(), dim=1)


@torch.no_grad()
def states(encoder: Any, tokenizer: CLIPTokenizer, texts: list[str], batch: int = 256) -> torch.Tensor:
    """What the diffusion model reads: the last states of all tokens, float32 [n, LENGTH, width]."""
    ids = tokens_of(tokenizer, texts)
    return torch.cat([encoder(ids[at : at + batch]).last_hidden_state for at in range(0, len(ids), batch)])


def save(model: CLIPModel, tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Write the whole CLIP with its tokenizer and picture processor."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    image_processor().save_pretrained(folder)
