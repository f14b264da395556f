"""Rows that teach a model to answer from documents: one right passage among others, an answer that quotes it (RAFT).

arXiv:2403.10131, Zhang et al. 2024. The prompt and the reply are those of ``tunesmith ask``, so that what is learned is
what will be asked. It knows no tokenizer, no model and no training.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from tunesmith.data.opened import OpenedSource
from tunesmith.data.source import read_rows
from tunesmith.language.rows import ConversationShape, answer_of, is_text, prompt_of
from tunesmith.retrieval.answering import MOST_QUOTES, prompt_for
from tunesmith.retrieval.document import Chunk, Passage
from tunesmith.retrieval.negatives import same, with_negatives
from tunesmith.retrieval.quotes import sentences
from tunesmith.retrieval.words import words_of
from tunesmith.types import Row

GOLD, DISTRACTORS = "gold", "distractors"


class Grounded(BaseModel):
    """How rows with a ``gold`` passage become rows that are answered from documents."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    distractors: Annotated[int, Field(ge=0, le=20)] = Field(
        4,
        description="How many other passages stand beside the right one: of the row's own distractors, else those that "
        "BM25 takes for right.",
    )
    without_gold: float = Field(
        0.2,
        ge=0,
        lt=1,
        description="Share of the rows whose right passage is left out; what is learned there is that the answer is "
        "not in the documents.",
    )


class GroundedShape:
    """Raw rows to conversations in which a question is answered from passages (a `tunesmith.types.RowShape`).

    A row has a question and an answer in any shape that is known, the passage with the answer in ``gold``, and perhaps
    others in ``distractors``. Where the passages stand, and whether the right one is there, follows from the question
    alone, so that a row is always the same.

    Args:
        settings: How many passages, and how often without the right one.
        answered: Whether rows must have an answer and a gold passage.
    """

    def __init__(self, settings: Grounded, *, answered: bool = True) -> None:
        self.settings, self.answered = settings, answered
        self._chat = ConversationShape("conversation", want_answer=answered)
        self._rows = self._without = self._beside = 0
        self._notes: list[str] = []

    def open(self, path: Path, label: str, split: str | None = None) -> OpenedSource | None:
        """A source whose rows lack distractors and get them from each other; None: rows that others read.

        Raises:
            UserError: It can't be read.
        """
        if not self.answered or not self.settings.distractors or path.is_dir():
            return None
        raw = read_rows(path, split=split, broken_rows=1.0)
        full = self._with_distractors(list(raw))
        if raw.report.broken_count or full is None:
            self._notes.append("no distractors were searched by BM25: give the columns the names that are known")
            return None
        records: Iterator[Any] = iter(enumerate(full, 1))
        return OpenedSource(
            format=raw.report.format, records=records, paths=(label,), notes=[], root=path.parent, total=len(full)
        )

    def _with_distractors(self, rows: Sequence[Row]) -> list[dict[str, Any]] | None:
        """The rows with distractors from each other's gold passages where they lack some; None if one is at fault."""
        pairs = []
        for row in rows:
            found = self._pair(row)
            if isinstance(found, str):
                return None
            pairs.append({"query": found[0], "passages": [row[GOLD], *(row.get(DISTRACTORS) or ())]})
        full = with_negatives(pairs, self.settings.distractors)
        return [{**row, DISTRACTORS: pair["passages"][1:]} for row, pair in zip(rows, full, strict=True)]

    def __call__(self, row: Row) -> dict[str, Any] | str:
        """The row as a conversation, or why it is none: words that follow its place in a sentence."""
        pair = self._pair(row)
        if isinstance(pair, str):
            return pair
        question, answer = pair
        gold, others = row.get(GOLD), list(row.get(DISTRACTORS) or ())[: self.settings.distractors]
        rest = {name: value for name, value in self._shaped.items() if name not in (GOLD, DISTRACTORS, "plain")}
        draw = np.random.Generator(np.random.PCG64(_number(question)))
        shown = gold if gold and (not others or draw.random() >= self.settings.without_gold) else None
        passages = [*others, *([shown] if shown else [])]
        if not passages:
            return "has no passage: write it into the column gold"
        order = [int(place) for place in draw.permutation(len(passages))]
        prompt = prompt_for(question, [_passage(passages[place]) for place in order], constrained=False)
        messages = [dict(message) for message in prompt.messages]
        if answer:
            number = order.index(len(others)) + 1 if shown else 0
            messages.append({"role": "assistant", "content": reply_of(question, answer, shown, number)})
        self._rows, self._without = self._rows + 1, self._without + (shown is None)
        self._beside += len(others)
        return {**rest, "messages": messages}

    def notes(self) -> list[str]:
        """How many rows there are, without the right passage, and how many passages stand beside it."""
        if not self._rows:
            return []
        beside = f"{self._beside / self._rows:.1f} other passages each"
        return [
            *self._notes,
            f"{self._rows:,} rows are answered from passages: {beside}, {self._without:,} without the right one",
        ]

    def _pair(self, row: Row) -> tuple[str, str] | str:
        """The question and its answer, or what is wrong with the row."""
        shaped = self._chat({name: value for name, value in row.items() if name not in (GOLD, DISTRACTORS)})
        if isinstance(shaped, str):
            return shaped
        if is_text(shaped):
            return "is raw text: there is no question to answer from a passage"
        self._shaped = shaped
        others = row.get(DISTRACTORS) or ()
        if not isinstance(others, (list, tuple)) or not all(isinstance(text, str) for text in others):
            return "has distractors that are no list of texts"
        gold = row.get(GOLD)
        if (self.answered or gold is not None) and not (isinstance(gold, str) and gold.strip()):
            return "has no gold passage: write the text that holds its answer into the column gold"
        asked = [str(message["content"]) for message in prompt_of(shaped) if message["role"] == "user"]
        answer = answer_of(shaped).strip()
        if not asked or not asked[-1].strip() or (self.answered and not answer):
            return "has a conversation without a question, or without an answer in words"
        return asked[-1].strip(), answer


def reply_of(question: str, answer: str, gold: str | None, number: int) -> str:
    """What a model should reply: quotes of the right passage and the answer, or that it is not in the documents.

    Args:
        question: In words.
        answer: To it.
        gold: The passage that holds the answer; None where it was not shown.
        number: Under which it was shown, from 1.
    """
    if gold is None:
        return json.dumps({"quotes": [], "answer": None})
    quotes = [{"source": number, "quote": text} for text in supporting(question, answer, gold)]
    return json.dumps({"quotes": quotes, "answer": answer}, ensure_ascii=False)


def supporting(question: str, answer: str, passage: str) -> list[str]:
    """The sentences of a passage that an answer rests on, as they stand there: those that bring its words.

    Each next sentence must bring words of the answer that the others lack. Where the answer has no word of the passage
    (yes, no), it is the sentence that shares most with the question.
    """
    pieces = [piece.strip() for piece in sentences(passage) if words_of(piece)]
    if not pieces:
        return [passage.strip()]
    asked, lacking = set(words_of(question)), set(words_of(answer))
    chosen: list[int] = []
    while len(chosen) < MOST_QUOTES:
        gains = [(len(lacking & set(words_of(p))), len(asked & set(words_of(p))), -i) for i, p in enumerate(pieces)]
        brings, shares, place = max(gains)
        if (chosen and brings < LEAST_WORDS) or not (brings or shares):
            break
        chosen.append(-place)
        lacking -= set(words_of(pieces[-place]))
    return [pieces[place] for place in sorted(chosen)] or [pieces[0]]


LEAST_WORDS = 2
"""Of an answer that a further sentence must bring: one alone is mostly an article."""


def _number(question: str) -> int:
    return int.from_bytes(blake2b(same(question).encode(), digest_size=8).digest(), "little")


def _passage(text: str) -> Passage:
    chunk = Chunk("", "", 0, 0, len(text.encode()), (), text, 0)
    return Passage(chunk, "", "", 0.0)


def grounded_rows(rows: Sequence[Row], settings: Grounded | None = None) -> list[dict[str, Any]]:
    """Rows in memory as conversations that are answered from passages, as a recipe's ``options: {grounded: {}}`` makes.

    Args:
        rows: Each with a question, an answer, ``gold`` and perhaps ``distractors``.
        settings: How many passages, and how often without the right one.

    Raises:
        ValueError: A row can't be made one.
    """
    shape = GroundedShape(settings or Grounded())
    made: list[dict[str, Any]] = []
    for row in shape._with_distractors(rows) or rows:
        one = shape(row)
        if isinstance(one, str):
            raise ValueError(f"row {row.get('id', len(made) + 1)} {one}")
        made.append(one)
    return made
