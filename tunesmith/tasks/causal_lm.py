"""Language models: the style and structure of answers, learned from conversations. It knows no loop and no file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import copy
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from tunesmith.data.digest import canonical_json, digest_number
from tunesmith.data.source import read_rows
from tunesmith.language.answers import Scorer, find_scorer, finding_codes
from tunesmith.language.findings import length_findings
from tunesmith.language.panels import answer_panels
from tunesmith.language.rows import ConversationShape, answer_of, is_text
from tunesmith.language.shots import Shown, in_order, with_shots
from tunesmith.language.task import SURVEYED_ROWS, DecoderOptions, DecoderTask
from tunesmith.language.template import Rendered, Renderer, coloured, cut
from tunesmith.model.decoder import collate_tokens, room_for_right, summed_losses, sums_by_text, token_losses
from tunesmith.model.generation import READ_TOGETHER, WRITTEN_TOGETHER, answering_bytes, answers
from tunesmith.retrieval.grounded import Grounded, GroundedShape
from tunesmith.task import TaskOptions
from tunesmith.types import Batch, Counts, Example, Facts, Finding, Preview, Row, Scores, Sums

GENERAL = Path(__file__).parent.parent / "language" / "general.jsonl"
"""Short texts about many things, for the forgetting probe."""


class LanguageOptions(DecoderOptions):
    """Settings of causal language modelling."""

    learn: Literal["answers", "last", "all"] = Field(
        "answers", description="What is learned: every answer of the assistant, the last one only, or all tokens."
    )
    metric: Literal["exact", "sql", "call", "json", "code", "overlap", "perplexity"] = Field(
        "exact",
        description="How answers to held-out rows are judged, which the verdict is about: exact match, SQL execution, "
        "API calls by parsed arguments, JSON Schema, Python tests, ROUGE-L and chrF, or perplexity, which writes none.",
    )
    max_new_tokens: Annotated[int, Field(gt=0)] | Literal["auto"] = Field(
        "auto",
        description="Most tokens of an answer; auto takes a quarter more than the longest training answers have.",
    )
    shots: list[Annotated[int, Field(gt=0, le=64)]] = Field(
        [1, 2, 4, 8],
        description="Numbers of training examples in the prompt that are tried as the base, beside none at all.",
    )
    run_code: bool = Field(False, description="Let metric: code run what the model writes, shut in a process.")
    grounded: Grounded | None = Field(
        None,
        description="Rows have a gold passage, and are learned as questions that are answered from passages with "
        "quotes, as tunesmith ask puts them (RAFT); null: rows as they are.",
    )
    forgetting: str | None = Field(
        "general",
        description="Texts on which base and tuned are compared for what was forgotten: general (a small set that "
        "comes along), a file of texts, or null.",
    )


class CausalLM(DecoderTask):
    """A conversation to its answers, with any transformers decoder."""

    name = "causal-lm"
    columns = {"messages": list}  # noqa: RUF012
    one_pass = False
    validation_goal = "perplexity"
    validation_higher = False
    base_rows = 24
    Options = LanguageOptions
    audited = ("text", "answers")
    finding_codes = ("truncated", "answer-cut", "nothing-learned", "little-learned", "nothing-asked", *finding_codes())
    options: LanguageOptions

    def __init__(self, options: TaskOptions, source: Any, facts: Facts | None = None) -> None:
        assert isinstance(options, LanguageOptions)
        self.scorer: Scorer | None = None
        if options.metric != "perplexity":
            self.scorer = find_scorer(options.metric, run_code=options.run_code)
        self.goal = self.scorer.goal if self.scorer else "perplexity"
        self.higher_is_better = self.scorer is not None
        self._judged: dict[tuple[int, str], dict[str, float]] = {}
        self._scripts: dict[Path, str] = {}
        super().__init__(options, source, facts)

    @classmethod
    def row_shape(cls, options: Any, *, answered: bool = True) -> ConversationShape | GroundedShape:
        """Messages, Alpaca, ShareGPT, prompt and completion, raw text: each row by itself; or with passages."""
        if options.grounded is not None:
            return GroundedShape(options.grounded, answered=answered)
        return ConversationShape("conversation", want_answer=answered)

    @property
    def _renderer(self) -> Renderer:
        return self.renderers[self.options.learn]

    def survey(self, rows: Sequence[Row]) -> Facts:
        """Lengths, what share of the tokens is learned, which tokens end an answer."""
        found = self._renderer.many([rows[i] for i in range(0, len(rows), max(1, len(rows) // SURVEYED_ROWS))])
        facts = self.length_facts(rows, self._renderer, found)
        of_answers = [len(r.ids) - r.prompt for r in found]
        most = self.options.max_new_tokens
        usual = int(-(-1.25 * np.percentile(of_answers, 99.5) // 8) * 8)
        shown = max(self.options.shots, default=0) * float(np.mean([len(r.ids) for r in found]))
        longest = int(max(r.prompt for r in found) + shown)
        values = facts.values | {"max_new_tokens": most if isinstance(most, int) else max(16, usual)}
        values["longest_prompt"] = longest
        return Facts(values, facts.lines)

    def audit(self, train: Sequence[Row], held_out: Sequence[Row]) -> Iterable[Finding]:
        """Rows that are cut, rows without anything to learn, and held-out rows that can't be judged."""
        rows = [*train, *held_out]
        yield from length_findings(rows, self._renderer.many(rows), self.facts.values["max_length"])
        self.probes(held_out)  # a file of texts that can't be read is better said now than after an hour
        if self.scorer is not None:
            texts = [str(row["id"]) for row in held_out if is_text(row)]
            if texts:
                yield Finding(
                    "nothing-asked",
                    "error",
                    f"{len(texts):,} held-out rows are raw text: there is no question that could be answered",
                    "text",
                    "write options: {metric: perplexity}, which judges how likely the texts are",
                    tuple(texts[:5]),
                    len(texts) / len(held_out),
                )
                return
            judged = [self._placed(row) for row in held_out]
            yield from self.scorer.findings(judged, [answer_of(row) for row in judged])

    def of_validation(self) -> CausalLM:
        """Judging by perplexity."""
        other = copy(self)
        other.scorer, other.goal, other.higher_is_better = None, "perplexity", False
        return other

    def probes(self, held_out: Sequence[Row]) -> dict[str, list[Row]]:
        """Texts of other kinds, for what was forgotten."""
        named = self.options.forgetting
        if named is None:
            return {}
        place = GENERAL if named == "general" else self._found(named)
        rows = read_rows(str(place), shape=ConversationShape("conversation"))
        return {"forgetting": [rows[i] for i in range(len(rows))]}

    def preview(self, rows: Sequence[Row]) -> list[Preview]:
        """Conversations with what is learned of them."""
        found = []
        for row in rows:
            whole = self._renderer(row)
            kept = cut(whole, self.facts.values["max_length"])
            note = f"{len(kept.ids)} tokens, {sum(kept.learned)} learned"
            note += f", {len(whole.ids) - len(kept.ids)} cut" if len(kept.ids) < len(whole.ids) else ""
            found.append(Preview(str(row["id"]), tuple(coloured(self.tokenizer, kept)), note))
        return found

    def evaluation_bytes(self, model: nn.Module, rows: int) -> int:
        """Keys and values of the answers that are written together, with all examples in their prompts."""
        if self.scorer is None:
            return 0
        values = self.facts.values
        return answering_bytes(model, values["longest_prompt"], values["max_new_tokens"], min(rows, WRITTEN_TOGETHER))

    # Rows to sums

    def encode(self, row: Row, rng: np.random.Generator | None = None) -> Example:
        """Token ids, which of them are learned, and how many stand before the last answer."""
        return self._example(row, self._renderer(row), self.facts.values["max_length"])

    def encode_many(self, rows: Sequence[Row]) -> list[Example]:
        """The same for many rows: the tokenizer takes them together."""
        limit = self.facts.values["max_length"]
        return [self._example(row, one, limit) for row, one in zip(rows, self._renderer.many(rows), strict=True)]

    def _example(self, row: Row, rendered: Rendered, limit: int) -> Example:
        kept = cut(rendered, limit)
        return {
            "input_ids": torch.tensor(kept.ids),
            "learned": torch.tensor(kept.learned, dtype=torch.bool),
            # What is asked is never cut: an answer to half a question proves nothing.
            "prompt": torch.tensor(rendered.ids[: rendered.prompt]),
            "shown": Shown(row),
        }

    def length(self, example: Example) -> int:
        """Tokens."""
        return len(example["input_ids"])

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Conversations end to end, or padded where the model can't keep them apart."""
        texts = [example["input_ids"] for example in examples]
        batch = collate_tokens(texts, [e["learned"] for e in examples], end_to_end=self.packed, pad=self.pad)
        return batch | {"prompts": [e["prompt"] for e in examples], "shown": [e["shown"] for e in examples]}

    def count(self, batch: Batch) -> Counts:
        """Learned tokens."""
        return {"tokens": float(len(batch["targets"]))}

    def loss(self, model: nn.Module, batch: Batch) -> Sums:
        """Cross-entropy, summed over learned tokens."""
        right = room_for_right(batch, summed=True)
        loss = summed_losses(model, batch, right)
        self.noted = {} if right is None else {"token_accuracy/tokens": right.sum()}
        return {"tokens": loss}

    # Answers

    def validate(self, model: nn.Module, batch: Batch) -> list[Any]:
        """How likely the reference answers are, and how many of their tokens the model takes to be the likeliest."""
        right = room_for_right(batch)
        assert right is not None
        found = self._likelihoods(model, batch, right)
        texts = len(batch["prompts"])
        told = torch.bincount(batch["owner"][right], minlength=texts).tolist()
        return [one | {"right": count} for one, count in zip(found, told, strict=True)]

    def _likelihoods(self, model: nn.Module, batch: Batch, right: Tensor | None = None) -> list[Any]:
        """How likely the reference answers are: nats, and of how many tokens."""
        texts = len(batch["prompts"])
        losses = token_losses(model, batch, right)
        nats = sums_by_text(losses, batch["owner"], texts).tolist()
        learned = torch.bincount(batch["owner"], minlength=texts).tolist()
        return [{"nats": n, "learned": count} for n, count in zip(nats, learned, strict=True)]

    def predict(self, model: nn.Module, batch: Batch) -> list[Any]:
        """How likely the reference answers are, and the answer that the model writes to each prompt."""
        found = self._likelihoods(model, batch)
        if self.scorer is None and not self.for_person:
            return found
        written = answers(
            model,
            batch["prompts"],
            stop=self.facts.values["stop"],
            most=self.facts.values["max_new_tokens"],
            pad=self.pad,
            longest=self.longest,
        )
        texts = self.tokenizer.batch_decode([a.tokens for a in written], skip_special_tokens=True)
        return [
            one | {"answer": text, "ended": a.ended, "tokens": len(a.tokens)}
            for one, text, a in zip(found, texts, written, strict=True)
        ]

    def bases(self, model: nn.Module, train: Sequence[Row]) -> dict[str, Callable[[nn.Module, Batch], list[Any]]]:
        """The model as it came, and with examples in its prompt."""
        found: dict[str, Callable[[nn.Module, Batch], list[Any]]] = {"zero-shot": self.predict}
        if self.scorer is None:
            return found
        for count in self.options.shots:
            if count < len(train):
                found[f"{count} example{'s' if count > 1 else ''} in the prompt"] = self._with_examples(train, count)
        return found

    def _with_examples(self, train: Sequence[Row], count: int) -> Callable[[nn.Module, Batch], list[Any]]:
        longest = (self.longest or 1 << 30) - self.facts.values["max_new_tokens"]
        chosen = in_order([row for row in train if not is_text(row)], count + 1)

        def predict(model: nn.Module, batch: Batch) -> list[Any]:
            examples = []
            for shown in batch["shown"]:
                for shots in range(count, -1, -1):
                    row = with_shots(shown.row, chosen, shots)
                    rendered = self.renderers["last"](row)
                    if len(rendered.ids) <= longest:
                        break
                examples.append(self._example(row, rendered, longest))
            device, found = batch["input_ids"].device, []
            # Prompts with examples are many times as long as rows: as many at a time as take no more memory.
            most = max(1, READ_TOGETHER // max(len(e["input_ids"]) for e in examples))
            for start in range(0, len(examples), most):
                again = self.collate(examples[start : start + most])
                moved = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in again.items()}
                found += self.predict(model, moved | {"prompts": [p.to(device) for p in again["prompts"]]})
            return found

        return predict

    # Judging

    def _found(self, named: str) -> Path:
        """A file that a row or the recipe names, beside the data or from here."""
        return next((folder / named for folder in self.folders if (folder / named).is_file()), Path(named))

    def can_judge(self, row: Row) -> bool:
        """Raw text asks nothing that could be answered."""
        return self.scorer is None or not is_text(row)

    def _placed(self, row: Row) -> Row:
        """The row with its database where it lies: a file of SQLite, or the script of a .sql file."""
        named = row.get("database")
        if not isinstance(named, str):
            return row
        try:
            place = self._found(named)
            if place.suffix != ".sql" or not place.is_file():
                return {**row, "database": str(place)}
            if place not in self._scripts:
                self._scripts[place] = place.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return row  # what can't be a file's name, or is no text, the scorer finds and names
        return {**{k: v for k, v in row.items() if k != "database"}, "schema": self._scripts[place]}

    def _judge(self, prediction: Any, row: Row) -> dict[str, float]:
        assert self.scorer is not None
        # By content: ids of two sources may be the same.
        key = (digest_number(canonical_json({k: v for k, v in row.items() if k != "id"})), prediction["answer"])
        if key not in self._judged:
            self._judged[key] = self.scorer.one(prediction["answer"], answer_of(row), self._placed(row))
        return self._judged[key]

    def score(self, predictions: Sequence[Any], rows: Sequence[Row]) -> Scores:
        """Perplexity of the reference answers; of written ones what the metric says, and how many ended alone."""
        nats, learned = sum(p["nats"] for p in predictions), sum(p["learned"] for p in predictions)
        scores = {"perplexity": float(np.exp(min(700.0, nats / max(1, learned))))}
        if predictions and "right" in predictions[0]:
            scores["token_accuracy"] = sum(p["right"] for p in predictions) / max(1, learned)
        if self.scorer is None or not predictions or "answer" not in predictions[0]:
            return scores
        judged = [self._judge(p, row) for p, row in zip(predictions, rows, strict=True)]
        means = {name: float(np.mean([one[name] for one in judged])) for name in judged[0]}
        return {
            **means,
            **scores,
            "stop_rate": float(np.mean([p["ended"] for p in predictions])),
            "answer_tokens": float(np.mean([p["tokens"] for p in predictions])),
        }

    def tally(self, predictions: Sequence[Any], rows: Sequence[Row]) -> np.ndarray:
        """Numerator and denominator of the goal, [rows, 2]."""
        if self.scorer is None:
            return np.array([[p["nats"], p["learned"]] for p in predictions], dtype=np.float64)
        judged = [self._judge(p, row)[self.goal] for p, row in zip(predictions, rows, strict=True)]
        return np.array([[value, 1.0] for value in judged], dtype=np.float64)

    def goal_of(self, totals: np.ndarray) -> np.ndarray:
        """A mean, or the perplexity."""
        means: np.ndarray = totals[:, 0] / np.maximum(totals[:, 1], 1e-12)
        return means if self.scorer is not None else np.exp(np.minimum(means, 700.0))

    def show(self, rows: Sequence[Row], base: Sequence[Any] | None, tuned: Sequence[Any]) -> list[dict[str, Any]]:
        """The metrics side by side, answers mended and broken, what is learned of a row."""
        before = self.score(base, rows) if base is not None else None
        right = None
        if self.scorer is not None:
            judged = [
                [self._judge(p, r)[self.goal] for p, r in zip(of, rows, strict=True)]
                for of in (base or (), tuned)
                if of
            ]
            right = (judged[0] if base else None, judged[-1])
        return answer_panels(rows, base, tuned, before, self.score(tuned, rows), right, self.preview(rows[:4]))
