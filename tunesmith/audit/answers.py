"""What is wrong with the answers that a model is to learn, in one pass over the rows.

Each answer by itself (refusals, copies, loops, roles), beside the other answers (short, cut, no JSON, in another
language), and beside those to the same question. Of a preference the chosen answer is judged: a rejected one may be
bad.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tunesmith.audit.answer_faults import copies, ending, looped, open_fence, other_role, own_role, refusal, words_of
from tunesmith.audit.answer_groups import contradiction_findings, place_of, preference_findings
from tunesmith.audit.data import AuditData
from tunesmith.audit.found import Found, SideName, Skipped, View
from tunesmith.audit.gathered import Fault, Gathered
from tunesmith.audit.languages import language_of
from tunesmith.audit.row_texts import excerpt, is_conversation, rewritten
from tunesmith.language.rows import prompt_of
from tunesmith.types import Row

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PROGRESS_ROWS = 2_000
LEAST_ANSWERS = 20
"""Answers from which the rest can be held against what most do."""
MOSTLY, NEARLY_ALL, FEW = 0.8, 0.9, 0.2
LONG_MEDIAN, SHORT_SHARE = 15, 0.05
_MASK = 2**64 - 1
_LANGUAGES = (
    r"(?:english|german|french|spanish|italian|portuguese|dutch|russian|chinese|japanese|korean|arabic|deutsch|"
    r"englisch|español|inglés|français|anglais)"
)
_TRANSLATES = re.compile(
    r"\btranslat|\bübersetz|\btradu|\bvertaal|\böversätt|\btłumacz|перев[её]д|перевод|翻译|翻訳|"
    rf"\b(?:in|into|to|auf|en) {_LANGUAGES}\b|\b{_LANGUAGES} (?:word|phrase|version|sentence)",
    re.IGNORECASE,
)
_ONE_WORD = re.compile(
    r"\b(?:yes or no|true or false|one word|single word|ja oder nein|oui ou non|sí o no|classify|choose|which of)\b|"
    r"[A-D]\)",
    re.IGNORECASE,
)

FAULTS: dict[str, Fault] = {
    "refusals": Fault(
        "have an answer that refuses, or that says an AI speaks",
        "leave them out, unless the model is meant to refuse such questions",
        warning=0.005,
        remedy="drop",
    ),
    "copied-question": Fault(
        "have an answer that says the question again",
        "give the answer alone, or leave these rows out",
        warning=0.005,
        error=0.5,
        remedy="drop",
    ),
    "looping-answers": Fault(
        "have an answer that says the same over and over",
        "leave these rows out: a model learns to loop from few of them",
        warning=0.001,
        error=0.2,
        remedy="drop",
    ),
    "role-labels": Fault(
        "have an answer that begins with the name of its own role",
        "take the name out (--fix does): the chat template says who speaks",
        warning=0.001,
        remedy="change",
    ),
    "role-mix-up": Fault(
        "have an answer in which somebody else speaks",
        "cut the answer where the other begins, or leave these rows out",
        warning=0.001,
        error=0.3,
        remedy="drop",
    ),
    "broken-code": Fault(
        "have an answer whose block of code is never closed",
        "close it, or leave these rows out; the answer may have been cut",
        warning=0.005,
        remedy="drop",
    ),
    "short-answers": Fault(
        "have an answer that is empty, or a single word where most are long",
        "write these answers out, or leave the rows out",
        warning=0.005,
        error=0.3,
        remedy="drop",
    ),
    "cut-answers": Fault(
        "have an answer that ends in the midst of a sentence",
        "take the whole answer, or leave these rows out: the model learns to stop anywhere",
        warning=0.005,
        error=0.5,
        remedy="drop",
    ),
    "invalid-json": Fault(
        "have an answer that is no valid JSON, where most are",
        "write valid JSON, or leave these rows out",
        warning=0.0,
        error=0.1,
        remedy="drop",
    ),
    "answer-language": Fault(
        "have an answer in another language than the question, where most have not",
        "answer in the language of the question, or leave these rows out",
        warning=0.005,
        remedy="drop",
    ),
}


@dataclass
class Answers:
    """Numbers of every row of both sides, the held-out ones after the others, a few bytes each.

    Args:
        questions, chosen, rejected: Hashes of the whole prompt, and of the answers; 0 where there is none.
        words, other_words: Of the answer, and of the rejected one.
        endings: As `ending` has it.
        valid: 0 no text, 1 valid JSON (an object or a list), 2 anything else.
        spoken: Language of the question and of the answer, two numbers a row.
    """

    questions: array[int] = field(default_factory=lambda: array("Q"))
    chosen: array[int] = field(default_factory=lambda: array("Q"))
    rejected: array[int] = field(default_factory=lambda: array("Q"))
    words: array[int] = field(default_factory=lambda: array("i"))
    other_words: array[int] = field(default_factory=lambda: array("i"))
    endings: array[int] = field(default_factory=lambda: array("B"))
    valid: array[int] = field(default_factory=lambda: array("B"))
    spoken: array[int] = field(default_factory=lambda: array("B"))
    names: dict[str | None, int] = field(default_factory=lambda: {None: 0})

    def language(self, text: str) -> int:
        """The number of a text's language; 0 where it can't be told."""
        return self.names.setdefault(language_of(text), len(self.names))


def answer_findings(data: AuditData) -> Iterator[Found | View | Skipped]:
    """Everything that is the matter with answers."""
    if not is_conversation(data):
        yield Skipped("answers", "the rows are no conversations")
        return
    answers, gathered = Answers(), Gathered(data, FAULTS)
    total, number = sum(map(len, data.sides.values())), 0
    for side, rows in data.sides.items():
        for row in rows:
            if number % PROGRESS_ROWS == 0:
                data.progress("reading answers", number, total)
            _look(answers, gathered, side, row)
            number += 1
    data.progress("reading answers", number, total)
    _beside_others(data, answers, gathered)
    yield from gathered.findings()
    yield from contradiction_findings(data, answers.questions, answers.chosen)
    if any(answers.rejected):
        yield from preference_findings(data, answers)


def _text_of(message: Any) -> str:
    """What a message says; the text of a call where it calls a tool."""
    return str(message.get("content") or "") or ("tool call" if message.get("tool_calls") else "")


def hash_of(*parts: str) -> int:
    """A number of 64 bits for texts, the same within this process."""
    return hash(parts) & _MASK


def _look(answers: Answers, gathered: Gathered, side: SideName, row: Row) -> None:
    """One row: numbers of its last answer, and the faults of every answer in it."""
    messages = row["messages"]
    chosen = (row.get("chosen") or messages)[-1]
    rejected = row["rejected"][-1] if row.get("rejected") else None
    said = _text_of(chosen) if chosen["role"] == "assistant" else None
    prompt = prompt_of(row)
    asked = next((m["content"] for m in reversed(prompt) if m["role"] == "user"), "")
    answers.questions.append(
        hash_of(*(part for m in prompt for part in (m["role"], str(m["content"])))) if asked else 0
    )
    answers.chosen.append(hash_of(said) if said else 0)
    answers.rejected.append(hash_of(_text_of(rejected)) if rejected else 0)
    answers.words.append(-1 if said is None else len(said.split()))
    answers.other_words.append(len(_text_of(rejected).split()) if rejected else -1)
    plain = said if said and not chosen.get("tool_calls") else ""
    answers.endings.append(ending(plain) if plain else 0)
    answers.valid.append(_json_state(plain))
    both = plain and asked and not _TRANSLATES.search(asked[:400])
    answers.spoken.append(answers.language(asked) if both else 0)
    answers.spoken.append(answers.language(plain) if both else 0)
    _faults(gathered, side, row, prompt)


def _json_state(text: str) -> int:
    if not text:
        return 0
    if text.lstrip()[:1] not in ("{", "["):
        return 2
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return 2
    return 1


def _faults(gathered: Gathered, side: SideName, row: Row, prompt: list[Any]) -> None:
    """The faults of each answer of the assistant that is learned, the first of each code."""
    column, messages = ("chosen", row["chosen"]) if row.get("chosen") else ("messages", row["messages"])
    asked = "" if column == "messages" else next((m["content"] for m in reversed(prompt) if m["role"] == "user"), "")
    met: set[str] = set()

    def add(code: str, fault: tuple[str, float] | None, change: dict[str, Any] | None = None) -> None:
        if fault and code not in met:
            met.add(code)
            gathered.add(code, side, str(row["id"]), excerpt(fault[0]), fault[1], change)

    for number, message in enumerate(messages):
        text = message.get("content")
        if message["role"] != "assistant":
            asked = text if message["role"] == "user" and text else asked
            continue
        if message.get("weight") == 0 or message.get("tool_calls") or not text:
            continue
        add("refusals", refusal(text))
        add("looping-answers", looped(text))
        add("role-mix-up", other_role(text, asked))
        if ":" in text[:40] and (rest := own_role(text)) is not None:
            add("role-labels", (text[: len(text) - len(rest)].strip(), 0.95), rewritten(row, {(column, number): rest}))
        if open_fence(text):
            add("broken-code", ("a block of code is never closed", 0.9))
        # An answer far shorter than its question can't say it again; one far longer can.
        if asked and len(text) >= 0.8 * len(asked) and text[:1].lower() == asked[:1].lower():
            add("copied-question", copies(words_of(asked), words_of(text)))


def _beside_others(data: AuditData, answers: Answers, gathered: Gathered) -> None:
    """Faults that only the other answers tell: short, cut, no JSON, in another language."""
    import numpy as np

    words = np.frombuffer(answers.words, np.int32)
    ends = np.frombuffer(answers.endings, np.uint8)
    valid = np.frombuffer(answers.valid, np.uint8)
    spoken = np.frombuffer(answers.spoken, np.uint8).reshape(-1, 2)
    names = list(answers.names)
    for place in _short(words):
        side, row = place_of(data, place)
        if words[place] == 0 or not _ONE_WORD.search(_question(row)):
            note = "empty" if words[place] == 0 else "one word"
            gathered.add("short-answers", side, str(row["id"]), note, 1.0 if note == "empty" else 0.7)
    for place in _cut(ends):
        side, row = place_of(data, place)
        last = str((row.get("chosen") or row["messages"])[-1]["content"]).rstrip()
        sure = 0.95 if ends[place] == 3 else 0.7
        note = f"... {excerpt(last, max(0, len(last) - 40), len(last))}"
        gathered.add("cut-answers", side, str(row["id"]), note, sure)
    texts = valid > 0
    if texts.sum() >= LEAST_ANSWERS and MOSTLY * texts.sum() <= (valid == 1).sum():
        for place in np.flatnonzero(valid == 2).tolist():
            side, row = place_of(data, place)
            last = str((row.get("chosen") or row["messages"])[-1]["content"])
            gathered.add("invalid-json", side, str(row["id"]), _why_no_json(last), 0.95)
    told = (spoken > 0).all(axis=1)
    apart = told & (spoken[:, 0] != spoken[:, 1])
    if apart.sum() <= FEW * told.sum():
        for place in np.flatnonzero(apart).tolist():
            side, row = place_of(data, place)
            note = f"asked in {names[spoken[place, 0]]}, answered in {names[spoken[place, 1]]}"
            gathered.add("answer-language", side, str(row["id"]), note, 0.8)


def _short(words: NDArray[np.int32]) -> list[int]:
    """Empty answers, and those of one word where most answers are long and next to none is so short."""
    import numpy as np

    answered = words >= 0
    short = words == 0
    usual = words[words > 0]
    if len(usual) >= LEAST_ANSWERS and np.median(usual) >= LONG_MEDIAN and (usual == 1).mean() <= SHORT_SHARE:
        short = answered & (words <= 1)
    return np.flatnonzero(short).tolist()


def _cut(ends: NDArray[np.uint8]) -> list[int]:
    """Answers cut where nearly all end as a sentence does; else those that can't be whole, where they are few."""
    import numpy as np

    whole, judged, sure = (ends == 1).sum(), (ends > 0).sum(), ends == 3
    if judged >= LEAST_ANSWERS and whole >= NEARLY_ALL * judged:
        return np.flatnonzero(ends >= 2).tolist()
    return np.flatnonzero(sure).tolist() if sure.sum() <= FEW * judged else []


def _why_no_json(text: str) -> str:
    try:
        json.loads(text)
    except RecursionError:
        return "nested too deeply"
    except ValueError as error:
        return str(error)[:60]
    return "a bare value, no object or list"


def _question(row: Row) -> str:
    return next((str(m["content"]) for m in reversed(prompt_of(row)) if m["role"] == "user"), "")
