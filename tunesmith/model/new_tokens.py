"""New tokens: only their rows of the embedding and of the output layer learn, and only they are stored.

The vectors of all other tokens stay as they are, bit for bit. It knows embeddings and output layers; no text, no
tokenizer and no task. In peft's files such rows are ``trainable_tokens_delta``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from tunesmith.errors import UserError


class TokenRows(nn.Module):
    """An embedding or an output layer of which some rows are learned apart.

    Args:
        base_layer: ``nn.Embedding`` or ``nn.Linear``, frozen.
        ids: Tokens whose rows are learned.
        rows: Their vectors, [tokens, width]; a parameter of another such layer where both are tied.
    """

    def __init__(self, base_layer: nn.Module, ids: Sequence[int], rows: Tensor) -> None:
        super().__init__()
        self.base_layer = base_layer.requires_grad_(False)
        self.rows = rows if isinstance(rows, nn.Parameter) else nn.Parameter(rows.float())
        self.tokens = tuple(ids)
        places = torch.full((self.weight.shape[0],), -1)
        places[list(ids)] = torch.arange(len(ids))
        # On the meta device, too, where the plan runs shapes.
        self.register_buffer("ids", torch.tensor(self.tokens).to(self.weight.device), persistent=False)
        self.register_buffer("places", places.to(self.weight.device), persistent=False)
        self.scale = getattr(base_layer, "embed_scale", None)

    ids: Tensor
    places: Tensor

    @property
    def weight(self) -> Tensor:
        """All rows; those that learn stand in it as they were at first."""
        return cast(Tensor, self.base_layer.weight)

    @property
    def bias(self) -> Tensor | None:
        """The output layer's bias."""
        return cast("Tensor | None", getattr(self.base_layer, "bias", None))

    def forward(self, x: Tensor) -> Tensor:
        """Vectors of token ids, or logits of states."""
        out = cast(Tensor, self.base_layer(x))
        rows = self.rows.to(out.dtype)
        if isinstance(self.base_layer, nn.Embedding):
            place = self.places[x]
            learned = rows[place.clamp(min=0)]
            if self.scale is not None:
                learned = learned * torch.as_tensor(self.scale).to(learned)
            return torch.where((place >= 0)[..., None], learned, out)
        logits = x @ rows.t()
        if self.bias is not None:
            logits = logits + self.bias[self.ids]
        return out.index_copy(-1, self.ids, logits.to(out.dtype))

    def extra_repr(self) -> str:
        """How many rows learn, for ``print(model)``."""
        return f"{len(self.tokens)} rows learn"


def add_rows(model: Any, ids: Sequence[int], pieces: Sequence[Sequence[int]]) -> list[str]:
    """Let the rows of new tokens learn; they start as the mean of the tokens that their text was before.

    Args:
        model: A transformers model with input and output embeddings, grown here to hold the ids.
        ids: The new tokens.
        pieces: For each, the old tokens of its text.

    Returns:
        Names of the new parameters.
    """
    size = max(ids) + 1
    if size > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(size, mean_resizing=False)
    inner, outer = model.get_input_embeddings(), model.get_output_embeddings()
    tied = outer is not None and outer.weight is inner.weight
    wrapped = TokenRows(inner, ids, _means(inner.weight, pieces))
    model.set_input_embeddings(wrapped)
    if outer is not None:
        model.set_output_embeddings(TokenRows(outer, ids, wrapped.rows if tied else _means(outer.weight, pieces)))
    rows = {id(layer.rows) for layer in layers_of(model).values()}
    return [name for name, parameter in model.named_parameters() if id(parameter) in rows]


def _means(weight: Tensor, pieces: Sequence[Sequence[int]]) -> Tensor:
    if weight.is_meta:
        return torch.empty(len(pieces), weight.shape[1], device="meta")
    return torch.stack([weight.detach()[list(one)].float().mean(0) for one in pieces])


def layers_of(model: nn.Module) -> dict[str, TokenRows]:
    """The layers with rows that learn, by name; of tied ones the first."""
    found: dict[str, TokenRows] = {}
    for name, module in model.named_modules():
        if isinstance(module, TokenRows) and all(module.rows is not other.rows for other in found.values()):
            found[name] = module
    return found


@torch.no_grad()
def put_rows(model: nn.Module, read: Mapping[str, tuple[Sequence[int], Tensor]], where: str) -> None:
    """Copy vectors that were read into a model's layers.

    Args:
        model: Has the same new tokens.
        read: Layer name to its tokens and their vectors.
        where: Where they were read, for errors.

    Raises:
        UserError: The model has not these tokens.
    """
    present = layers_of(model)
    for name, (ids, value) in read.items():
        if name not in present or present[name].tokens != tuple(ids):
            what = f"the adapter brings vectors of {len(value)} new tokens for '{name}', which the model lacks"
            raise UserError(what, where, "load it with the task and the tokens it was trained with")
        present[name].rows.copy_(value)


@contextmanager
def folded(model: nn.Module) -> Iterator[None]:
    """A plain model while the context lasts: the rows stand in the layers they belong to."""
    found = [(name, module) for name, module in model.named_modules() if isinstance(module, TokenRows)]
    before = [module.weight[module.ids].clone() for _, module in found]
    with torch.no_grad():
        for name, module in found:
            module.weight[module.ids] = module.rows.to(module.weight.dtype)
            _put(model, name, module.base_layer)
    try:
        yield
    finally:
        with torch.no_grad():
            for (name, module), rows in zip(found, before, strict=True):
                module.weight[module.ids] = rows
                _put(model, name, module)


def _put(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module)


def add_tokens(tokenizer: Any, tokens: Sequence[str]) -> tuple[list[int], list[list[int]]]:
    """Give a tokenizer new tokens.

    Returns:
        Their ids, and for each the old tokens of its text. Tokens that it has already are left out.
    """
    from tokenizers import AddedToken

    known = tokenizer.get_vocab()
    new = [token for token in dict.fromkeys(tokens) if token not in known]
    pieces = [tokenizer(token, add_special_tokens=False)["input_ids"] for token in new]
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in new])
    return [int(i) for i in tokenizer.convert_tokens_to_ids(new)] if new else [], pieces
