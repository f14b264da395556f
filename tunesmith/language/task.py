"""What tasks on a decoder have in common: its tokenizer and template, its weights, its layers, how it is saved.

It knows no loss and no rows of a kind.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from torch import nn

from tunesmith.language.defaults import ensure_template
from tunesmith.language.serving import check_serving
from tunesmith.language.template import Learn, Rendered, Renderer
from tunesmith.model.decoder import check_decoder
from tunesmith.model.layers import HEAD, NECK, LayerGroups
from tunesmith.model.lean_norm import lean_norms
from tunesmith.model.new_tokens import add_rows, add_tokens, folded
from tunesmith.model.packing import can_pack
from tunesmith.model.pretrained import (
    chosen_length,
    decoder_shape,
    load_config,
    load_decoder,
    load_tokenizer,
    longest_input,
)
from tunesmith.recipe import AdapterSection, Stage, Top
from tunesmith.task import Task, TaskOptions
from tunesmith.traits import DataReference
from tunesmith.types import Facts, Row

SURVEYED_ROWS = 20_000


class DecoderOptions(TaskOptions):
    """Settings of every task on a decoder."""

    max_length: Annotated[int, Field(gt=0)] | Literal["auto"] = Field(
        "auto",
        description="Most tokens of a conversation; auto takes the 99.5th percentile, bounded by the model. Cuts are "
        "counted.",
    )
    template: str = Field(
        "auto",
        min_length=1,
        description="Chat template: auto takes the tokenizer's own, else plain; plain, chatml or a .jinja file replace "
        "it; none puts prompt and completion end to end as they are.",
    )
    new_tokens: list[Annotated[str, Field(min_length=1)]] = Field(
        [], description="Tokens to add; only their vectors are trained and stored, those of all others stay."
    )
    packing: bool = Field(
        True, description="Rows travel end to end, without padding, where the model's attention can keep them apart."
    )


class DecoderTask(Task):
    """A task on a transformers decoder with a language head. Abstract: it has neither loss nor predictions."""

    low_precision = True
    holds = ("fp32", "bf16", "fp16", "nf4")
    not_by_row: ClassVar[tuple[str, ...]] = ("at", "targets", "owner")
    adapter_type = "CAUSAL_LM"
    pipeline_tag = "text-generation"
    references: ClassVar[Sequence[DataReference]] = (
        DataReference("Llama-2 7B", 1_000, 7_000_000_000),
        DataReference("Falcon 40B", 50_000, 40_000_000_000),
    )
    options: DecoderOptions
    rates = (2e-4, 2e-5)
    """Peak rates of the default stages: of an adapter, and of pretrained weights."""
    _said: str | None = None
    _new: tuple[list[int], list[list[int]]] = ([], [])

    @classmethod
    def default_adapter(cls, options: Any) -> AdapterSection:
        """LoRA on all linear layers."""
        return AdapterSection()

    def stages(self, blocks: int) -> list[Stage]:
        """Three epochs of the adapter, or of the top third where the recipe says there is none."""
        if self.adapted:
            return [Stage(train="adapter", epochs=3, lr=self.rates[0])]
        return [Stage(train=Top(top=max(1, blocks // 3)) if blocks else "all", epochs=3, lr=self.rates[1])]

    @property
    def key_columns(self) -> tuple[str, ...]:
        """Tools are written into the conversation, too."""
        return (*self.inputs, "tools", "plain")

    # The tokenizer and the template

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer, with its chat template or the one that the recipe names."""
        tokenizer = load_tokenizer(self.source)
        own = self.saved if self.source.remote_code is None else None
        if own is None and not self.plain:
            self._said = ensure_template(tokenizer, self.options.template)
        self._new = add_tokens(tokenizer, self.options.new_tokens)
        # A run's own carries the template that it learned with, wherever the file of that is now.
        return tokenizer if own is None else load_tokenizer(replace(self.source, folder=own))

    @property
    def new_tokens(self) -> tuple[list[int], list[list[int]]]:
        """Ids of the tokens that the recipe adds, and for each the old tokens of its text."""
        assert self.tokenizer is not None
        return self._new

    @property
    def plain(self) -> bool:
        """Whether prompt and completion stand end to end, without a template."""
        return self.options.template == "none"

    @cached_property
    def renderers(self) -> dict[Learn, Renderer]:
        """Rows to tokens, by what is learned of them."""
        kinds: tuple[Learn, ...] = ("answers", "last", "all")
        return {kind: Renderer(self.tokenizer, learn=kind, concatenate=self.plain) for kind in kinds}

    @property
    def pad(self) -> int:
        """Id that fills up shorter texts; it is never learned by its place, so it may equal the end token."""
        return int(self.tokenizer.pad_token_id)

    def limit(self, lengths: Any) -> int:
        """Most tokens of a conversation.

        Raises:
            UserError: The recipe wants more than the model takes.
        """
        return chosen_length(self.source, self.tokenizer, self.options.max_length, lengths)

    @cached_property
    def longest(self) -> int | None:
        """Most tokens that the model takes, prompt and answer together; None where nothing bounds them."""
        return longest_input(load_config(self.source), self.tokenizer)

    def length_facts(self, rows: Sequence[Row], renderer: Renderer, rendered: Sequence[Rendered]) -> Facts:
        """What every such task learns from its rows: the limit, what is cut and learned, which tokens end an answer.

        Args:
            rows: Training rows, some of which are held against what a server would feed.
            renderer: What made the conversations.
            rendered: The conversations of the rows surveyed.

        Raises:
            UserError: A server would feed other tokens.
        """
        served = check_serving(self.tokenizer, rows, concatenate=self.plain)
        lengths = np.array([len(one.ids) for one in rendered])
        limit = self.limit(lengths)
        share = sum(sum(one.learned) for one in rendered) / max(1, int(lengths.sum()))
        stop = sorted(
            {*renderer.stops, *([self.tokenizer.eos_token_id] if self.tokenizer.eos_token_id is not None else [])}
        )
        ends = ", ".join(repr(self.tokenizer.decode([i])) for i in stop)
        cut = float((lengths > limit).mean())
        lines = [
            f"lengths in tokens: median {np.median(lengths):.0f}, "
            f"99.5th percentile {np.percentile(lengths, 99.5):.0f}, longest {lengths.max()}",
            f"max_length {limit} ({'auto' if self.options.max_length == 'auto' else 'recipe'}): "
            f"{cut:.2%} of the training rows are cut",
            f"{share:.1%} of the tokens are learned; an answer ends with {ends}",
        ]
        values = {"max_length": limit, "learned_share": share, "truncated_share": cut, "stop": stop}
        template = self.tokenizer.chat_template or ""
        # A file that the recipe names may change while the options do not: what is cached must know.
        values["template"] = blake2b(json.dumps(template).encode(), digest_size=8).hexdigest()
        return Facts(values, tuple([*([self._said] if self._said else []), *renderer.notes(), *lines, *served]))

    # The model

    def load(self) -> nn.Module:
        """The decoder, frozen parts held as the plan says."""
        model, fresh = load_decoder(self.source, load_config(self.source), self.held)
        self._finish(model, fresh)
        check_decoder(model, end_to_end=self.packed)
        return model  # type: ignore[no-any-return]

    def skeleton(self) -> nn.Module:
        """Its shape."""
        model = decoder_shape(load_config(self.source), self.held)
        self._finish(model, frozenset())
        return model  # type: ignore[no-any-return]

    def _finish(self, model: nn.Module, fresh: frozenset[str]) -> None:
        # A block that is computed again would look for the texts' lengths where they no longer stand.
        self.packed = self.options.packing and can_pack(model) is None and not self.recomputed
        lean_norms(model)
        ids, pieces = self.new_tokens
        self.fresh = frozenset({*fresh, *add_rows(model, ids, pieces)}) if ids else fresh

    def layers(self, model: nn.Module) -> LayerGroups:
        """Blocks with what stands below and above them; the output layer is pretrained, so it is no head."""
        found = LayerGroups.of(model, fresh=self.fresh)
        groups = dict(found.groups)
        outer = groups.get(HEAD, ())
        groups[NECK] = (*groups.get(NECK, ()), *(name for name in outer if name not in self.fresh))
        groups[HEAD] = tuple(name for name in outer if name in self.fresh)
        return LayerGroups(found.model, found.trunk, found.blocks, {k: v for k, v in groups.items() if v or k == HEAD})

    # Saving

    def save(self, model: nn.Module, folder: Path) -> None:
        """A transformers folder that stops where an answer ends."""
        settings: Any = getattr(model, "generation_config", None)
        if settings is not None:
            settings.eos_token_id, settings.pad_token_id = list(self.facts.values["stop"]), self.pad
        with folded(model):
            super().save(model, folder)

    def save_processor(self, folder: Path) -> None:
        """The tokenizer with its chat template; beside an adapter also where an answer ends."""
        self.tokenizer.save_pretrained(folder)
        if self.adapted:
            self.generation_settings().save_pretrained(folder)

    def generation_settings(self) -> Any:
        """Greedy answers that end where those of the training rows end."""
        from tunesmith.model.pretrained import generation_config

        return generation_config(self.facts.values["stop"], self.pad)

    def load_snippet(self, folder: str) -> str:
        """Loading without this project."""
        if self.adapted:
            load = f'model = AutoPeftModelForCausalLM.from_pretrained("{folder}")\n'
            load += f'model.generation_config = GenerationConfig.from_pretrained("{folder}")'
            first = (
                "from peft import AutoPeftModelForCausalLM\nfrom transformers import AutoTokenizer, GenerationConfig"
            )
        else:
            load = f'model = AutoModelForCausalLM.from_pretrained("{folder}")'
            first = "from transformers import AutoModelForCausalLM, AutoTokenizer"
        return (
            f'{first}\n\n{load}\ntokenizer = AutoTokenizer.from_pretrained("{folder}")\n'
            'chat = [{"role": "user", "content": "..."}]\n'
            "inputs = tokenizer.apply_chat_template(\n"
            '    chat, add_generation_prompt=True, return_dict=True, return_tensors="pt"\n)\n'
            "print(tokenizer.decode(model.generate(**inputs, max_new_tokens=200)[0]))"
        )
