"""A sentence encoder ready to use: texts to vectors of length 1, whatever it needs in front of a query and a document.

It reads the layout of the sentence-transformers library and gives the vectors that library gives. It knows no index.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from functools import cached_property
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from tunesmith.errors import UserError
from tunesmith.machine import pick_device, pick_precision
from tunesmith.model.lean_encoder import LeanEncoder, lean_encoder
from tunesmith.model.pretrained import load_config, load_model, load_tokenizer
from tunesmith.model.sentence import SentenceEncoder, pooling_of, prompts_of
from tunesmith.model.weights import Weights, resolve, weights_digest
from tunesmith.recipe.sections import ModelSection

STARTER = "starter:minilm-l6"
Progress = Callable[[str, int, int], None]

BATCH_TOKENS = {"cpu": 1024}
MANY_TOKENS = 32_768
"""Tokens computed at once, padding included: as many as stay in a processor's cache; on a GPU many."""
SAMPLED = 4_000
SIGNS = 3_000
"""So many tokens with a sign of a script without blanks are there in a vocabulary that was made for it; BERT's English
one has about a thousand."""
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_ACTIVATIONS = {"Identity": nn.Identity, "Tanh": nn.Tanh, "GELU": nn.GELU, "ReLU": nn.ReLU}
_STEPS = ("Transformer", "Pooling", "Normalize", "Dense", "Dropout")


class TextEncoder:
    """Texts to vectors.

    Args:
        source: The weights.
        device: Where it computes.
        precision: ``auto``, ``fp32`` or ``bf16``; auto takes bf16 where the processor has units for it: vectors then
            differ from those of fp32 by an angle of less than a degree, and take two fifths of the time.

    Attributes:
        name: As it was asked for.
        width: Numbers in a vector.
        most_tokens: What is longer loses its end; `count` tells.
        identity: Other weights, another pooling or another length have another one.
    """

    def __init__(self, source: Weights, device: str = "cpu", precision: str = "auto") -> None:
        from transformers import AutoModel

        folder = Path(source.folder)
        self.name, self.folder, self.device = source.name, folder, torch.device(device)
        self.precision, _ = pick_precision(precision, device, low=True)
        self.pooling = pooling_of(folder) or "mean"
        self.tokenizer = load_tokenizer(source)
        config = load_config(source)
        model, _ = load_model(AutoModel, source, config)
        self.network = SentenceEncoder(model, self.pooling).eval().to(self.device)
        self.dense = _dense_layers(folder).eval().to(self.device)
        self.most_tokens = most_tokens(folder, self.tokenizer, config)
        self.prompts = prompts_of(folder)
        self.width = _width(self.dense, config)
        said = [weights_digest(source), self.pooling, self.most_tokens, self.prompts, _file_digest(folder)]
        self.identity = blake2b(json.dumps(said, sort_keys=True).encode(), digest_size=12).hexdigest()

    def count(self, text: str) -> int:
        """Tokens of a text, without those that every text gets."""
        return len(self._ids([text], special=False)[0])

    @cached_property
    def room(self) -> int:
        """Most tokens of a document that lose nothing."""
        wrapped = len(self._ids([self.prompts.get("document", "")], special=True)[0])
        return self.most_tokens - wrapped

    def unfamiliar(self, text: str) -> float:
        """Share of a text's letters that stand in unknown tokens or in pieces of a letter or two, 0 to 1.

        A tokenizer leaves most words whole in a language that it was made for, and crumbles those of others. Only the
        first `SAMPLED` characters are looked at.
        """
        text = text[:SAMPLED]
        given = self.tokenizer(text, add_special_tokens=False, verbose=False, return_offsets_mapping=True)
        total = odd = 0
        for token, (start, stop) in zip(given["input_ids"], given["offset_mapping"], strict=True):
            piece = text[start:stop]
            letters = sum(map(str.isalpha, piece))
            total += letters
            if _UNSPACED.search(piece):
                bad = letters == 1 and not self._knows_signs
            else:
                # A whole word may be as short as it likes.
                part = text[max(0, start - 1) : start].isalpha() or text[stop : stop + 1].isalpha()
                bad = letters <= 2 and part
            odd += letters if bad or token == self.tokenizer.unk_token_id else 0
        return odd / total if total else 0.0

    @cached_property
    def _knows_signs(self) -> bool:
        """Whether the vocabulary was made for Chinese, Japanese or Thai: one sign is a whole token there."""
        return sum(bool(_UNSPACED.search(token)) for token in self.tokenizer.get_vocab()) >= SIGNS

    def encode(
        self, texts: Sequence[str], *, query: bool = False, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """Vectors of length 1, [texts, width]; a text without a token has zeros.

        Args:
            texts: Longer ones than ``most_tokens`` lose their end.
            query: Whether they are questions; some encoders want another beginning for those.
            progress: Hears how many are done.
        """
        prompt = self.prompts.get("query" if query else "document", "")
        ids = self._ids([prompt + text for text in texts], special=True, cut=True)
        order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
        found = np.zeros((len(ids), self.width), dtype=np.float32)
        done = 0
        tokens = BATCH_TOKENS.get(self.device.type, MANY_TOKENS)
        low = self.precision == "bf16" and self._lean is None
        # One context for all batches: it keeps the weights in bf16 that the first batch made.
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=low):
            for places in _batches(order, [len(one) for one in ids], tokens):
                found[places] = self._vectors([ids[i] for i in places])
                done += len(places)
                if progress is not None:
                    progress("encode", done, len(ids))
        return found

    @cached_property
    def _lean(self) -> LeanEncoder | None:
        """The same pass without padding, where there is one for this network."""
        if self.device.type != "cpu":
            return None
        return lean_encoder(self.network, torch.bfloat16 if self.precision == "bf16" else torch.float32)

    def _ids(self, texts: Sequence[str], *, special: bool, cut: bool = False) -> list[list[int]]:
        limit = {"truncation": True, "max_length": self.most_tokens} if cut else {}
        given = self.tokenizer(list(texts), add_special_tokens=special, verbose=False, **limit)
        return list(given["input_ids"])

    def _vectors(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """[texts, width] of texts of about the same length, the longest first."""
        lengths = torch.tensor([len(one) for one in ids], device=self.device)
        pooled = self._padded(ids, lengths) if self._lean is None else self._lean(ids)
        with torch.autocast(self.device.type, enabled=False):
            states: Tensor = self.dense(pooled.float())
            unit = F.normalize(states, dim=-1) * (lengths[:, None] > 0)
        return np.asarray(unit.cpu().numpy(), dtype=np.float32)

    def _padded(self, ids: Sequence[Sequence[int]], lengths: Tensor) -> Tensor:
        """Pooled states by the network itself, [texts, width]."""
        longest = max(len(ids[0]), 1)
        pad = self.tokenizer.pad_token_id
        tokens = torch.tensor([[*one, *[pad] * (longest - len(one))] for one in ids], device=self.device)
        mask = (torch.arange(longest, device=self.device) < lengths[:, None]).to(torch.int64)
        pooled: Tensor = self.network(tokens, mask)
        return pooled


def open_encoder(name: str = STARTER, *, where: str = "--encoder") -> TextEncoder:
    """A sentence encoder by the name of a starter, a folder or a hub id.

    Args:
        name: ``starter:minilm-l6``, or any in the layout of sentence-transformers; a bare transformer is averaged.
        where: The place that named it, for errors.

    Raises:
        UserError: It is not there, or holds a step that is not known here.
    """
    from tunesmith.model.pretrained import quiet

    source = resolve(ModelSection(name=name), where=where)
    with quiet():
        return TextEncoder(source, pick_device("auto"))


def _batches(order: Sequence[int], lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Places of texts, the longest first, in batches of about so many tokens."""
    starts, here = [0], 0
    for at, place in enumerate(order):
        longest = max(lengths[order[starts[-1]]], 1)
        if here and (here + 1) * longest > tokens:
            starts.append(at)
            here = 0
        here += 1
        assert lengths[place] <= longest, "the longest comes first"
    return [list(order[a:b]) for a, b in pairwise([*starts, len(order)]) if b > a]


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except ValueError as fault:
        raise UserError(f"model: {file.name} is no JSON ({fault})", str(file), "restore the file") from fault


def most_tokens(folder: Path, tokenizer: Any, config: Any) -> int:
    """Most tokens of a text, special ones included."""
    said = _read(folder / "sentence_bert_config.json").get("max_seq_length")
    places = getattr(config, "max_position_embeddings", None)
    # Positions of RoBERTa and its like begin behind the padding token's number.
    if places and getattr(config, "model_type", "") in ("roberta", "xlm-roberta", "camembert", "mpnet"):
        places -= (config.pad_token_id or 0) + 1
    known = [n for n in (said, places, tokenizer.model_max_length) if isinstance(n, int) and 0 < n < 1_000_000]
    return min(known, default=512)


def _dense_layers(folder: Path) -> nn.Sequential:
    """The layers behind the pooling, if any.

    Raises:
        UserError: A step is not known here.
    """
    layers: list[nn.Module] = []
    for step in _read(folder / "modules.json") or []:
        kind = str(step["type"]).rsplit(".", 1)[-1]
        if kind not in _STEPS:
            what = f"model: this sentence encoder has a step '{kind}', which is not known here"
            raise UserError(what, str(folder / "modules.json"), f"take one of these steps: {', '.join(_STEPS)}")
        if kind == "Dense":
            layers += _dense(folder / step["path"])
    return nn.Sequential(*layers)


def _dense(folder: Path) -> list[nn.Module]:
    settings = _read(folder / "config.json")
    named = str(settings.get("activation_function", "Identity")).rsplit(".", 1)[-1]
    if named not in _ACTIVATIONS or not (folder / "model.safetensors").is_file():
        what = f"model: the dense layer can't be read (activation {named})"
        raise UserError(what, str(folder), f"it needs model.safetensors, and one of {', '.join(_ACTIVATIONS)}")
    layer = nn.Linear(settings["in_features"], settings["out_features"], bias=bool(settings.get("bias", True)))
    tensors = load_file(folder / "model.safetensors")
    layer.load_state_dict({name.removeprefix("linear."): value for name, value in tensors.items()})
    return [layer, _ACTIVATIONS[named]()]


def _width(dense: nn.Sequential, config: Any) -> int:
    linear = [layer for layer in dense if isinstance(layer, nn.Linear)]
    return int(linear[-1].out_features if linear else config.hidden_size)


def _file_digest(folder: Path) -> str:
    """Of what decides beside the weights: the tokenizer and the steps."""
    digest = blake2b(digest_size=12)
    for name in ("tokenizer.json", "vocab.txt", "tokenizer.model", "modules.json"):
        file = folder / name
        digest.update(file.read_bytes() if file.is_file() else b"-")
    for file in sorted(folder.glob("*_Dense/model.safetensors")):
        digest.update(file.read_bytes())
    return digest.hexdigest()
