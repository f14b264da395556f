"""Preferences: of two answers to a prompt, the better one becomes more likely. It knows no loop and no file format."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from tunesmith.language.findings import length_findings
from tunesmith.language.panels import preference_panels
from tunesmith.language.rows import ConversationShape, sides_of
from tunesmith.language.task import SURVEYED_ROWS, DecoderOptions, DecoderTask
from tunesmith.language.template import Rendered, coloured, cut
from tunesmith.model.decoder import collate_tokens, sums_by_text, token_losses
from tunesmith.task import TaskOptions
from tunesmith.types import Batch, Counts, Example, Facts, Finding, Preview, Row, Scores, Sums


class PreferenceOptions(DecoderOptions):
    """Settings of preference learning."""

    method: Literal["dpo", "orpo"] = Field(
        "dpo",
        description="dpo (arXiv:2305.18290) holds the model to what it was before, orpo (arXiv:2403.07691) needs no "
        "reference and learns the chosen answers, too.",
    )
    beta: float = Field(
        0.1, gt=0, description="dpo: how strongly the reference holds; orpo: the weight of the odds ratio."
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=0.5, description="Share of pairs that are taken to be the wrong way round (dpo)."
    )


class Preference(DecoderTask):
    """Pairs of a chosen and a rejected answer, with any transformers decoder."""

    name = "preference"
    columns = {"messages": list, "chosen": list, "rejected": list}  # noqa: RUF012
    goal = "preference_accuracy"
    Options = PreferenceOptions
    audited = ("text", "answers")
    finding_codes = ("truncated", "answer-cut", "nothing-learned", "little-learned", "equal-answers")
    options: PreferenceOptions
    rates = (5e-5, 1e-6)
    not_by_row = ("at", "targets", "owner", "attention_mask")

    def __init__(self, options: TaskOptions, source: Any, facts: Facts | None = None) -> None:
        super().__init__(options, source, facts)
        self.reference_width = 2 if self.options.method == "dpo" else 0

    @classmethod
    def row_shape(cls, options: Any, *, answered: bool = True) -> ConversationShape:
        """Prompt, chosen and rejected, in any of their spellings."""
        return ConversationShape("preference", want_answer=answered)

    def _rendered(self, row: Row) -> list[Rendered]:
        """The prompt with the chosen answer, and with the rejected one."""
        return self.renderers["answers"].many(sides_of(row))

    def survey(self, rows: Sequence[Row]) -> Facts:
        """Lengths of both sides."""
        step = max(1, len(rows) // SURVEYED_ROWS)
        found = [side for i in range(0, len(rows), step) for side in self._rendered(rows[i])]
        return self.length_facts(rows, self.renderers["answers"], found)

    def audit(self, train: Sequence[Row], held_out: Sequence[Row]) -> Iterable[Finding]:
        """Sides that are cut or teach nothing, and pairs whose answers are the same."""
        rows = [*train, *held_out]
        sides = [(row, side) for row in rows for side in self._rendered(row)]
        limit = self.facts.values["max_length"]
        yield from length_findings([row for row, _ in sides], (side for _, side in sides), limit)
        equal = [str(row["id"]) for row in rows if row["chosen"] == row["rejected"]]
        if equal:
            yield Finding(
                "equal-answers",
                "error" if len(equal) > 0.05 * len(rows) else "warning",
                f"{len(equal):,} rows have the same answer as chosen and as rejected",
                "chosen",
                "leave these rows out: there is nothing to prefer",
                tuple(equal[:5]),
                len(equal) / len(rows),
            )

    def preview(self, rows: Sequence[Row]) -> list[Preview]:
        """Both sides of each row with what is compared."""
        limit = self.facts.values["max_length"]
        return [
            Preview(str(row["id"]), tuple(coloured(self.tokenizer, cut(side, limit))), name)
            for row in rows
            for name, side in zip(("chosen", "rejected"), self._rendered(row), strict=True)
        ]

    # Rows to sums

    def encode(self, row: Row, rng: np.random.Generator | None = None) -> Example:
        """Token ids of both sides, and which of them are compared."""
        sides = [cut(side, self.facts.values["max_length"]) for side in self._rendered(row)]
        return {
            "texts": [torch.tensor(side.ids) for side in sides],
            "learned": [torch.tensor(side.learned, dtype=torch.bool) for side in sides],
        }

    def length(self, example: Example) -> int:
        """Tokens of both sides; of the longer one twice where sides are padded."""
        lengths = [len(text) for text in example["texts"]]
        return sum(lengths) if self.packed else 2 * max(lengths)

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Chosen and rejected, pair after pair."""
        texts = [text for example in examples for text in example["texts"]]
        learned = [mask for example in examples for mask in example["learned"]]
        return collate_tokens(texts, learned, end_to_end=self.packed, pad=self.pad) | {"pairs": len(examples)}

    def count(self, batch: Batch) -> Counts:
        """Pairs; and for orpo the tokens of the chosen answers."""
        pairs = {"pairs": float(batch["pairs"])}
        if self.options.method == "dpo":
            return pairs
        return pairs | {"tokens": float((batch["owner"].cpu() % 2 == 0).sum())}

    def loss(self, model: nn.Module, batch: Batch) -> Sums:
        """Of dpo the pairs that are told apart too little, of orpo that and the chosen answers themselves."""
        nats, tokens = self._sides(model, batch)
        if self.options.method == "orpo":
            # log odds = log p - log(1 - p), of the mean probability of a token (equation 4).
            mean = -nats / tokens
            odds = mean - torch.log1p(-mean.exp().clamp(max=1 - 1e-6))
            apart = F.logsigmoid(odds[:, 0] - odds[:, 1])
            return {"chosen/tokens": nats[:, 0].sum(), "odds/pairs": -self.options.beta * apart.sum()}
        return {"pairs": self._held(nats, batch["reference"]).sum()}

    def _held(self, nats: Tensor, reference: Tensor) -> Tensor:
        """What dpo loses on each pair, from its nats and what the model said before it learned, [pairs]."""
        moved = -nats - reference.to(nats.device)
        margin = self.options.beta * (moved[:, 0] - moved[:, 1])
        smooth = self.options.label_smoothing
        return -((1 - smooth) * F.logsigmoid(margin) + smooth * F.logsigmoid(-margin))

    def _sides(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Nats of each side's answer [pairs, 2], and how many tokens it has."""
        texts = 2 * batch["pairs"]
        nats = sums_by_text(token_losses(model, batch), batch["owner"], texts)
        tokens = sums_by_text(torch.ones_like(batch["owner"], dtype=nats.dtype), batch["owner"], texts)
        return nats.view(-1, 2), tokens.view(-1, 2).clamp(min=1)

    def reference(self, model: nn.Module, batch: Batch) -> Tensor:
        """Log-likelihood of both answers before anything is learned."""
        return -self._sides(model, batch)[0]

    # Judging

    def validate(self, model: nn.Module, batch: Batch) -> list[Any]:
        """Nats and tokens of both answers, and of dpo the loss of each pair where its reference is known."""
        nats, tokens = self._sides(model, batch)
        found = self._told(nats, tokens)
        if self.options.method != "dpo" or "reference" not in batch:
            return found
        return [
            p | {"loss": loss} for p, loss in zip(found, self._held(nats, batch["reference"]).tolist(), strict=True)
        ]

    def predict(self, model: nn.Module, batch: Batch) -> list[Any]:
        """Nats and tokens of both answers."""
        return self._told(*self._sides(model, batch))

    def _told(self, *sides: Tensor) -> list[Any]:
        nats, tokens = (side.tolist() for side in sides)
        names = ("chosen", "rejected", "chosen_tokens", "rejected_tokens")
        return [dict(zip(names, [*n, *map(int, t)], strict=True)) for n, t in zip(nats, tokens, strict=True)]

    def score(self, predictions: Sequence[Any], rows: Sequence[Row]) -> Scores:
        """How often the chosen answer is the likelier one (by token, and as a whole), and its perplexity."""
        chosen, rejected, of_chosen, of_rejected = _columns(predictions)
        return {
            "preference_accuracy": float(_right(predictions).mean()),
            "whole_accuracy": float((chosen < rejected).mean()),
            "margin": float((rejected / of_rejected - chosen / of_chosen).mean()),
            "perplexity": float(np.exp(min(700.0, chosen.sum() / of_chosen.sum()))),
            **({"loss": float(np.mean([p["loss"] for p in predictions]))} if "loss" in predictions[0] else {}),
        }

    def tally(self, predictions: Sequence[Any], rows: Sequence[Row]) -> np.ndarray:
        """Right pairs and pairs, [rows, 2]."""
        right = _right(predictions)
        return np.stack([right, np.ones_like(right)], axis=1)

    def goal_of(self, totals: np.ndarray) -> np.ndarray:
        """The share of right pairs."""
        found: np.ndarray = totals[:, 0] / np.maximum(totals[:, 1], 1e-12)
        return found

    def show(self, rows: Sequence[Row], base: Sequence[Any] | None, tuned: Sequence[Any]) -> list[dict[str, Any]]:
        """Scores side by side, pairs that are still told apart wrongly, what is compared of a row."""
        before = self.score(base, rows) if base is not None else None
        return preference_panels(rows, before, self.score(tuned, rows), _right(tuned).tolist(), self.preview(rows[:2]))


def _columns(predictions: Sequence[Any]) -> np.ndarray:
    """Nats of chosen and rejected, tokens of chosen and rejected: [4, rows]."""
    names = ("chosen", "rejected", "chosen_tokens", "rejected_tokens")
    return np.array([[p[name] for p in predictions] for name in names], dtype=np.float64)


def _right(predictions: Sequence[Any]) -> np.ndarray:
    """1 where a token of the chosen answer is likelier on average than one of the rejected, 0.5 where they are even."""
    chosen, rejected, of_chosen, of_rejected = _columns(predictions)
    a, b = chosen / of_chosen, rejected / of_rejected
    return np.where(a < b, 1.0, np.where(a == b, 0.5, 0.0))
