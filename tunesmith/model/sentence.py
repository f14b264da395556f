"""A sentence encoder, alone or with a linear head, and its layout on disk: that of the sentence-transformers library.

Mean pooling over tokens is what such encoders were trained with; the pooler of a BERT-type classifier is not. It knows
no task and no data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tunesmith.errors import UserError

POOLING_FILE = Path("1_Pooling", "config.json")
HEAD_FOLDER = Path("2_Dense")
NORMALIZE_FOLDER = Path("2_Normalize")
PROMPTS_FILE = "config_sentence_transformers.json"
Prompts: TypeAlias = Mapping[str, str]
_MODES = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "lasttoken",
}

POOLINGS = tuple(_MODES.values())
_TUNED_STEPS = ("Transformer", "Pooling", "Normalize")


def pooling_of(folder: Path) -> str | None:
    """How a sentence encoder's folder says its tokens are pooled: one of ``POOLINGS``; None if it is no such folder.

    Raises:
        UserError: It says another one, or several.
    """
    file = folder / POOLING_FILE
    if not file.is_file():
        return None
    settings = json.loads(file.read_text(encoding="utf-8"))
    chosen = [key for key, on in settings.items() if key.startswith("pooling_mode_") and on is True]
    modes = [_MODES.get(key, key.removeprefix("pooling_mode_")) for key in chosen]
    said = str(settings["pooling_mode"]) if "pooling_mode" in settings else " and ".join(modes)
    if said not in POOLINGS:
        raise UserError(
            f"model: this sentence encoder pools its tokens by {said or 'nothing'}, which is not known here",
            str(file),
            f"choose one yourself: options: {{pooling: {POOLINGS[0]}}}, or {', '.join(POOLINGS[1:])}, model",
        )
    return said


def prompts_of(folder: Path) -> dict[str, str]:
    """What an encoder's folder says stands before a query and before a document; empty where it says nothing."""
    file = folder / PROMPTS_FILE
    settings = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    said: Mapping[str, str] = settings.get("prompts") or {}
    document = next((said[name] for name in ("document", "passage", "corpus") if said.get(name)), "")
    return {"query": said.get("query") or "", "document": document}


def check_steps(folder: Path) -> None:
    """See that an encoder is nothing but a transformer and its pooling, which is what can be tuned.

    Raises:
        UserError: It has further layers, which would be lost.
    """
    file = folder / "modules.json"
    steps = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    others = [kind for step in steps if (kind := str(step["type"]).rsplit(".", 1)[-1]) not in _TUNED_STEPS]
    if others:
        raise UserError(
            f"model: this sentence encoder has a step {others[0]}, which can't be tuned here",
            str(file),
            f"take an encoder of {', '.join(_TUNED_STEPS)} alone",
        )


class SentenceEncoder(nn.Module):
    """Tokens to one vector per text.

    Args:
        transformer: A transformers encoder; its own pooler, if any, is removed, since nothing reads it.
        pooling: ``mean``, ``cls``, ``max`` or ``lasttoken`` over the tokens; ``cls`` takes the first token that is not
            padding, ``lasttoken`` the last.
    """

    def __init__(self, transformer: nn.Module, pooling: str) -> None:
        super().__init__()
        if getattr(transformer, "pooler", None) is not None:
            transformer.pooler = None  # type: ignore[assignment]
        self.transformer, self.pooling = transformer, pooling

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """[texts, tokens] ids and mask to [texts, width]."""
        states = self.transformer(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        if self.pooling in ("cls", "lasttoken"):
            here = torch.arange(states.shape[1], device=states.device) * attention_mask
            at = attention_mask.argmax(1) if self.pooling == "cls" else here.argmax(1)
            return states[torch.arange(len(states), device=states.device), at]  # type: ignore[no-any-return]
        mask = attention_mask[..., None].to(states.dtype)
        if self.pooling == "max":
            return states.masked_fill(mask == 0, -torch.inf).amax(1)  # type: ignore[no-any-return]
        return (states * mask).sum(1) / mask.sum(1).clamp(min=1)  # type: ignore[no-any-return]

    def save_pretrained(self, folder: Path, max_length: int | None = None, prompts: Prompts | None = None) -> None:
        """Write the folder that ``SentenceTransformer(folder)`` loads; its ``encode`` gives vectors of length one.

        Args:
            folder: Made where it is missing.
            max_length: Most tokens of a text.
            prompts: What stands before a query and before a passage, as ``{"query": ..., "document": ...}``.
        """
        self.write_layout(folder, max_length, ("Normalize", NORMALIZE_FOLDER))
        named = {name: text for name, text in (prompts or {}).items() if text}
        _write(folder / PROMPTS_FILE, {"prompts": named, "similarity_fn_name": "cosine"})

    def write_layout(self, folder: Path, max_length: int | None, *more: tuple[str, Path]) -> None:
        """Write the transformer, its pooling, and the list of modules; ``more``: kind and folder of what follows."""
        folder.mkdir(parents=True, exist_ok=True)
        self.transformer.save_pretrained(folder)  # type: ignore[operator]
        kinds = (("Transformer", Path()), ("Pooling", POOLING_FILE.parent), *more)
        modules = [
            {
                "idx": i,
                "name": str(i),
                "path": "" if path == Path() else path.as_posix(),
                "type": f"sentence_transformers.models.{kind}",
            }
            for i, (kind, path) in enumerate(kinds)
        ]
        _write(folder / "modules.json", modules)
        _write(folder / "sentence_bert_config.json", {"max_seq_length": max_length, "do_lower_case": False})
        width = self.transformer.config.hidden_size  # type: ignore[union-attr]
        modes = {key: mode == self.pooling for key, mode in _MODES.items()}
        _write(folder / POOLING_FILE, {"word_embedding_dimension": width, **modes})


class SentenceClassifier(nn.Module):
    """A sentence encoder and a linear head.

    Args:
        encoder: Texts to vectors.
        labels: Number of classes.
        dropout: Before the head.
    """

    base_model_prefix = "encoder"

    def __init__(self, encoder: SentenceEncoder, labels: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(self.config.hidden_size, labels)
        nn.init.normal_(self.classifier.weight, std=0.02)
        nn.init.zeros_(self.classifier.bias)

    @property
    def config(self) -> Any:
        """The transformer's configuration."""
        return self.encoder.transformer.config

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """[texts, tokens] to logits [texts, labels]."""
        return self.classifier(self.dropout(self.encoder(input_ids, attention_mask)))  # type: ignore[no-any-return]

    def load_head(self, folder: Path) -> bool:
        """Read a head of the same shape from a folder in sentence-transformers' layout; whether there was one."""
        file = folder / HEAD_FOLDER / "model.safetensors"
        if not file.is_file():
            return False
        tensors = {name.removeprefix("linear."): value for name, value in load_file(file).items()}
        if tensors["weight"].shape != self.classifier.weight.shape:
            return False
        self.classifier.load_state_dict(tensors)
        return True

    def save_pretrained(self, folder: Path, max_length: int | None = None) -> None:
        """Write the folder that ``SentenceTransformer(folder)`` loads; its ``encode`` then gives the logits."""
        self.encoder.write_layout(folder, max_length, ("Dense", HEAD_FOLDER))
        width, labels = self.classifier.in_features, self.classifier.out_features
        identity = "torch.nn.modules.linear.Identity"
        head = {"in_features": width, "out_features": labels, "bias": True, "activation_function": identity}
        _write(folder / HEAD_FOLDER / "config.json", head)
        tensors = {f"linear.{name}": value.contiguous() for name, value in self.classifier.state_dict().items()}
        save_file(tensors, folder / HEAD_FOLDER / "model.safetensors")


def _write(file: Path, value: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value, indent=2), encoding="utf-8")
