"""A cross-encoder: a query and a text read together give one number, how well the text answers. It knows no index."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tunesmith.errors import UserError
from tunesmith.machine import pick_device
from tunesmith.model.pretrained import load_config, load_model, load_tokenizer, quiet
from tunesmith.model.weights import Weights, resolve
from tunesmith.recipe.sections import ModelSection

BATCH_PAIRS = 16


class CrossEncoder:
    """Pairs of texts to scores.

    Args:
        source: Weights of a sequence classifier with one output.
        device: Where it computes.

    Raises:
        UserError: It has several outputs, or no trained head.
    """

    def __init__(self, source: Weights, device: str = "cpu") -> None:
        from transformers import AutoModelForSequenceClassification

        config = load_config(source)
        self.name, self.device = source.name, torch.device(device)
        if config.num_labels != 1:
            what = f"model: a reranker has one output, and '{source.name}' has {config.num_labels}"
            raise UserError(what, str(source.folder), "take a cross-encoder for ranking")
        model, fresh = load_model(AutoModelForSequenceClassification, source, config)
        if fresh:
            what = f"model: '{source.name}' was not trained to rank: it lacks {sorted(fresh)[0]}"
            raise UserError(what, str(source.folder), "take a cross-encoder for ranking")
        self.model, self.tokenizer = model.eval().to(self.device), load_tokenizer(source)
        places = getattr(config, "max_position_embeddings", 512)
        self.most_tokens = min(self.tokenizer.model_max_length, places, 512)

    def scores(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """How well each text answers the query, [texts]; a text that is too long loses its end."""
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        found = np.zeros(len(texts), np.float32)
        for start in range(0, len(order), BATCH_PAIRS):
            places = order[start : start + BATCH_PAIRS]
            batch = self.tokenizer(
                [query] * len(places),
                [texts[i] for i in places],
                truncation="only_second",
                max_length=self.most_tokens,
                padding=True,
                return_tensors="pt",
            ).to(self.device)
            with torch.inference_mode():
                found[places] = self.model(**batch).logits[:, 0].float().cpu().numpy()
        return found


def open_cross_encoder(name: str, *, where: str = "--rerank") -> CrossEncoder:
    """A cross-encoder by the name of a folder or a hub id.

    Raises:
        UserError: It is not there, or can't rank.
    """
    source = resolve(ModelSection(name=name), where=where)
    if not Path(source.folder, "config.json").is_file():
        raise UserError(f"'{name}' has no config.json", where, "name a cross-encoder")
    with quiet():
        return CrossEncoder(source, pick_device("auto"))
