"""Worlds whose cause is known by construction: items, documents, rows to learn from, and models that are functions.

A model of these reads its prompt as a real one does: it finds the question, passages before it, examples, instructions
about the form, and answers by what it knows, what it can read and which form it keeps to. Nothing tells a probe which
world it is in. Each answer slips with a small chance, drawn from the prompt.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from tunesmith.asking.model import Progress, Prompt, Reply
from tunesmith.diagnose.found import Item
from tunesmith.diagnose.running import Pilot, Wishes
from tunesmith.retrieval.bm25 import Bm25
from tunesmith.retrieval.document import Chunk, Passage

SLIP = 0.02
"""Chance that an answer's content slips, and that its form does."""
STRENGTH = (0.25, 0.95)
"""Least and largest share of the items that have a planted fault, drawn for each world and fault."""
SYLLABLES = (
    "ba",
    "dor",
    "el",
    "fen",
    "gar",
    "hul",
    "is",
    "jor",
    "kan",
    "lim",
    "mor",
    "nes",
    "ol",
    "pra",
    "quin",
    "ros",
)
KINDS = ("archive", "mill", "harbour", "chapel", "foundry", "orchard")
TRADES = ("keeper", "founder", "steward", "architect")
_NUMBERED = re.compile(r"^\[\d+\] (.+?)(?=\n\n\[\d+\] |\n\nQuestion: |\Z)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class World:
    """One planted cause.

    Args:
        name: Of the world.
        truth: Rungs that are its cure; ``labels`` alone where labels come first.
        items: What is asked.
        model: That is diagnosed.
        wishes: Documents, rows, a larger model, tuning.
        also: Other sets of rungs that are right, too.
    """

    name: str
    truth: frozenset[str]
    items: Sequence[Item]
    model: Person
    wishes: Wishes
    also: tuple[frozenset[str], ...] = ()


@dataclass(frozen=True)
class Habits:
    """What a model does.

    Args:
        knows: Questions whose answer it knows by heart.
        reads: Whether it finds an answer in passages.
        misled: Chance that it takes another passage where there are several.
        form: Share of the questions at which its answers have the wanted form anyway.
        follows: Whether it does what instructions say of the form.
        imitates: How many examples it needs before it writes as they do; 0: it never does.
        copies: How many examples before its content follows them as well (a rule that examples show); 0: never.
    """

    knows: frozenset[str] = frozenset()
    reads: bool = True
    misled: float = 0.0
    form: float = 1.0
    follows: bool = False
    imitates: int = 0
    copies: int = 0


@dataclass
class Person:
    """A model of this kind.

    Args:
        name: Also its identity.
        habits: What it does.
        truths: Answer by question, as it is wanted.
        facts: Bare answer by question.
        wrong: Other answers, to be wrong with.
        wrap: A bare answer as it is wanted.
        spoil: A wanted answer as somebody writes it who does not keep to the form.
        seed: Of its slips.
    """

    name: str
    habits: Habits
    truths: Mapping[str, str]
    facts: Mapping[str, str]
    wrong: Sequence[str]
    wrap: Callable[[str], str]
    spoil: Callable[[str], str]
    seed: int
    constrains: bool = True
    context: int = 100_000
    identity: str = field(init=False)

    def __post_init__(self) -> None:
        self.identity = f"{self.name}-{self.seed}-{self.habits}"[:200]

    def answer(self, prompts: Sequence[Prompt], progress: Progress | None = None) -> list[Reply]:
        """A reply to each prompt."""
        out = []
        for prompt in prompts:
            text = self._reply(prompt)
            length = sum(self.count(str(message["content"])) for message in prompt.messages)
            out.append(Reply(text, length, self.count(text), 1e-4 * length + 1e-2 * self.count(text)))
        if progress is not None:
            progress("answering", len(out), len(out))
        return out

    def count(self, text: str) -> int:
        """Words and signs."""
        return _length(text)

    def _chance(self, *parts: object) -> float:
        digest = hashlib.blake2b(repr((self.seed, self.name, *parts)).encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64

    def _reply(self, prompt: Prompt) -> str:
        last = str(prompt.messages[-1]["content"])
        before, _, asked = last.rpartition("Question: ")
        question = next((line for line in asked.splitlines() if line in self.truths), asked.splitlines()[0])
        told = asked.partition(question)[2].strip() != ""
        shots = sum(message["role"] == "assistant" for message in prompt.messages)
        passages = [text.strip() for text in _NUMBERED.findall(before)]
        fact = self._content(question, passages, shots, last)
        return self._written(question, fact, told, shots, prompt)

    def _content(self, question: str, passages: Sequence[str], shots: int, seen: str) -> str:
        """The bare answer that it gives."""
        habits = self.habits
        known = question in habits.knows or (habits.copies and shots >= habits.copies)
        fact = self.facts.get(question, "")
        if not known and habits.reads and passages:
            held = [fact in passage and fact != "" for passage in passages]
            known = any(held) and not (len(passages) > 1 and self._chance("misled", question) < habits.misled)
        if known and self._chance("slip", seen) >= SLIP:
            return fact
        others = [one for one in self.wrong if one != fact]
        return others[int(self._chance("wrong", question) * len(others))]

    def _written(self, question: str, fact: str, told: bool, shots: int, prompt: Prompt) -> str:
        habits, seen = self.habits, str(prompt.messages[-1]["content"])
        anyway = self._chance("keeps", question) < habits.form
        keeps = anyway or (told and habits.follows) or bool(habits.imitates and shots >= habits.imitates)
        if prompt.schema is not None or prompt.choices:
            # Decoding that is held to the form can't leave it.
            return self.wrap(fact)
        if keeps and self._chance("form", seen) >= SLIP:
            return self.wrap(fact)
        return self.spoil(self.wrap(fact))


@lru_cache(maxsize=100_000)
def _length(text: str) -> int:
    return len(re.findall(r"\w+|[^\w\s]", text))


class Shelf:
    """Passages that are searched by their words, or by a search that brings the wrong ones."""

    def __init__(self, texts: Sequence[str], *, broken: bool = False, seed: int = 0) -> None:
        self.texts, self.broken, self.seed = list(texts), broken, seed
        self.by_words = Bm25(self.texts)

    def search(self, query: str, k: int = 5, *, labels: Mapping[str, str] | None = None) -> list[Passage]:
        """The k best passages."""
        del labels
        if self.broken:
            # It matches how a text is written, not what it is about.
            order = random.Random(f"{self.seed} {len(query)}").sample(range(len(self.texts)), min(k, len(self.texts)))
        else:
            order = self.by_words.best(query, k)
        return [self._passage(number, rank) for rank, number in enumerate(order, 1)]

    def _passage(self, number: int, rank: int) -> Passage:
        text = self.texts[number]
        chunk = Chunk(f"d{number}", "1", 0, 0, len(text.encode()), (), text, len(text.split()))
        return Passage(chunk, f"d{number}.md", f"d{number}", 1 / rank, {"bm25": rank})


# Makings


def _name(draw: random.Random, used: set[str]) -> str:
    while True:
        name = "".join(draw.choice(SYLLABLES) for _ in range(4)).capitalize()
        if name not in used:
            used.add(name)
            return name


def _beside(draw: random.Random, used: set[str], place: str, kind: str) -> str:
    """A sentence that answers nothing."""
    words = [_name(draw, used) for _ in range(3)]
    made = (
        f"In {draw.randint(1500, 1990)} it was moved from {words[0]} to {words[1]} by the council of {words[2]}.",
        f"Travellers from {words[0]} reach {place} by the {words[1]} road, or by boat over the {words[2]}.",
        f"Its walls are of {words[0]} stone, {draw.randint(2, 90)} paces long, and its roof of {words[1]} slate.",
        f"The {kind} holds the papers of {words[0]}, the seal of {words[1]} and {draw.randint(20, 900)} maps.",
        f"A fire of {draw.randint(1500, 1990)} took the west wing, which {words[0]} {words[1]} built up again.",
        f"Every {draw.randint(2, 9)} years the people of {words[0]} bring {words[1]} bread to the gate.",
    )
    return draw.choice(made)


@dataclass(frozen=True)
class Facts:
    """Questions with their answers, and a passage for each."""

    questions: tuple[str, ...]
    answers: tuple[str, ...]
    passages: tuple[str, ...]


def facts(count: int, seed: int) -> Facts:
    """Invented facts: who keeps which place."""
    draw, used = random.Random(seed), set[str]()
    questions, answers, passages = [], [], []
    for _ in range(count):
        place, who = _name(draw, used), f"{_name(draw, used)} {_name(draw, used)}"
        kind, trade = draw.choice(KINDS), draw.choice(TRADES)
        questions.append(f"Who is the {trade} of the {place} {kind}?")
        answers.append(who)
        sentences = [_beside(draw, used, place, kind) for _ in range(3)]
        sentences.insert(draw.randrange(4), f"The {trade} of the {place} {kind} is {who}.")
        passages.append(" ".join(sentences))
    return Facts(tuple(questions), tuple(answers), tuple(passages))


def _item(number: int, question: str, reference: str, gold: str = "", kind: str = "i") -> Item:
    messages = ({"role": "user", "content": question},)
    return Item(f"{kind}{number}", question, (reference,), gold, "", messages, number + 1)


def plain(text: str) -> str:
    """The answer alone."""
    return text


def chatty(text: str) -> str:
    """The same answer as an assistant says it."""
    return f"That is a good question! As far as I can tell, it would be {text}, though you may want to check it."


def ticket(text: str) -> str:
    """An odd form."""
    return f"<<{text}>> // end of record"


def as_json(text: str) -> str:
    """JSON with one field."""
    return json.dumps({"name": text, "sure": True})


def fenced(text: str) -> str:
    """The same in a fence with talk around it."""
    return f"Sure! Here is what you asked for:\n```json\n{text}\n```\nLet me know if you need more."


@dataclass(frozen=True)
class Plan:
    """What a world is made from.

    Args:
        truth: Its cures.
        known: Share of the facts that the model knows; below a half it is drawn by ``STRENGTH`` for each world.
        base: Habits of the model; where it never keeps to the form, how often it does is drawn, too.
        tuned: What tuning on all rows changes.
        larger: What a larger model changes; None: there is none.
        larger_knows: Share that the larger one knows.
        wrap: The wanted form.
        spoil: How the model breaks it.
        documents: ``good``, ``broken`` (a search that brings others), ``beside`` (texts without the facts) or none.
        learns_facts: Whether rows say the items' facts in other words, so that tuning brings them.
        also: Other right sets of cures.
    """

    truth: frozenset[str]
    known: float = 0.99
    base: Habits = Habits()
    tuned: Mapping[str, Any] = field(default_factory=dict)
    larger: Mapping[str, Any] | None = None
    larger_knows: float = 0.3
    wrap: Callable[[str], str] = plain
    spoil: Callable[[str], str] = chatty
    documents: str = "good"
    learns_facts: bool = False
    also: tuple[frozenset[str], ...] = ()


def _cures(*rungs: str) -> frozenset[str]:
    return frozenset(rungs)


ODD = {"wrap": ticket, "base": Habits(form=0.0), "tuned": {"form": 1.0}}
PLANS: dict[str, Plan] = {
    "invented facts": Plan(_cures("retrieval"), known=0.05, larger={}, larger_knows=0.1),
    "invented facts, rows say them": Plan(_cures("retrieval"), known=0.05, learns_facts=True),
    "known facts, odd format": Plan(_cures("fine-tune"), **ODD),
    "format that instructions give": Plan(
        _cures("instructions"), base=Habits(form=0.0, follows=True, imitates=2), tuned={"form": 1.0}
    ),
    "format that a schema gives": Plan(
        _cures("constraint"), wrap=as_json, spoil=fenced, base=Habits(form=0.0), tuned={"form": 1.0}
    ),
    "style that examples give": Plan(
        _cures("few-shot"), base=Habits(form=0.0, imitates=4), tuned={"form": 1.0}, wrap=ticket
    ),
    "broken retriever": Plan(_cures("retriever"), known=0.05, documents="broken"),
    "reader misled by distractors": Plan(_cures("reader"), known=0.05, base=Habits(misled=0.8)),
    "too hard": Plan(_cures(), known=0.1, base=Habits(reads=False), documents="beside"),
    "too hard, not for a larger model": Plan(
        _cures("larger-model"), known=0.1, base=Habits(reads=False), documents="beside", larger={}, larger_knows=0.9
    ),
    "nothing wrong": Plan(_cures(), known=1.0, larger={}, larger_knows=1.0),
    "facts and format by instructions": Plan(
        _cures("instructions", "retrieval"), known=0.05, base=Habits(form=0.0, follows=True), tuned={"form": 1.0}
    ),
    "facts and odd format": Plan(_cures("retrieval", "fine-tune"), known=0.05, **ODD),
    "broken retriever and examples' style": Plan(
        _cures("few-shot", "retriever"),
        known=0.05,
        documents="broken",
        wrap=ticket,
        base=Habits(form=0.0, imitates=2),
        tuned={"form": 1.0},
    ),
    "misled reader and odd format": Plan(
        _cures("reader", "fine-tune"),
        known=0.05,
        wrap=ticket,
        base=Habits(form=0.0, misled=0.8),
        tuned={"form": 1.0},
    ),
}
PURE_KNOWLEDGE = ("invented facts", "invented facts, rows say them", "broken retriever", "reader misled by distractors")
"""Worlds where fine-tuning must never be the verdict."""


def world(name: str, count: int, seed: int) -> World:
    """A world of so many items."""
    if name in LABELLED:
        return LABELLED[name](name, count, seed)
    plan = PLANS[name]
    made = facts(count * 2, seed)
    draw = random.Random(seed + 1)
    asked, learned = range(count), range(count, 2 * count)
    wanted = {made.questions[n]: plan.wrap(made.answers[n]) for n in range(2 * count)}
    bare = dict(zip(made.questions, made.answers, strict=True))
    hard = {question: draw.random() for question in made.questions}
    known = plan.known if plan.known > 0.5 else 1 - draw.uniform(*STRENGTH)
    base = replace(plan.base, form=plan.base.form or 1 - draw.uniform(*STRENGTH))
    larger_knows = max(plan.larger_knows, known)

    def person(title: str, habits: Habits, share: float, extra: frozenset[str] = frozenset()) -> Person:
        knows = frozenset(question for question, place in hard.items() if place < share) | extra
        return Person(title, replace(habits, knows=knows), wanted, bare, made.answers, plan.wrap, plan.spoil, seed)

    items = [
        _item(n, made.questions[n], wanted[made.questions[n]], made.passages[n] if plan.documents != "beside" else "")
        for n in asked
    ]
    train = [_item(n, made.questions[n], wanted[made.questions[n]], kind="t") for n in learned]
    more = facts(count, seed + 5)
    shelf = [*(() if plan.documents == "beside" else made.passages), *more.passages]

    def tune(rows: Sequence[Item], items: Sequence[Item], share: float) -> Pilot:
        learned_now = frozenset(row.input for row in rows[: round(share * len(rows))])
        if plan.learns_facts:
            learned_now |= frozenset(item.input for item in items[: round(share * len(items))])
        habits = replace(base, **(plan.tuned if share > 0.4 else {}))
        return Pilot(person(f"tuned-{share}", habits, known, learned_now), round(share * len(rows)), 60.0 * share)

    larger = None
    if plan.larger is not None:
        larger = person("larger", replace(base, **plan.larger), larger_knows)
    wishes = Wishes(
        train=train,
        searcher=Shelf(shelf, broken=plan.documents == "broken", seed=seed),
        larger=larger,
        tune=tune,
        seed=seed,
        fact_rows=40,
    )
    return World(name, plan.truth, items, person("base", base, known), wishes, plan.also)


# Worlds of choices


DEPARTMENTS = ("billing", "delivery", "returns")


def _choices(name: str, count: int, seed: int, *, flipped: float, habits: Habits, truth: frozenset[str]) -> World:
    """Messages for departments; a third of them asked twice, as where two people label the same."""
    draw = random.Random(seed)
    used: set[str] = set()
    rule = {}
    for _ in range(count * 2):
        who, thing = _name(draw, used), _name(draw, used)
        rule[f"Message of {who} about the {thing} {draw.choice(KINDS)}. Which department?"] = draw.choice(DEPARTMENTS)
    questions = list(rule)
    asked, learned = questions[:count], questions[count:]
    twice = count // 3 // 2
    asked = [*asked[: count - twice], *asked[:twice]]

    def label(question: str) -> str:
        right = rule[question]
        return draw.choice([one for one in DEPARTMENTS if one != right]) if draw.random() < flipped else right

    items = [_item(n, question, label(question)) for n, question in enumerate(asked)]
    train = [_item(n, question, label(question), kind="t") for n, question in enumerate(learned)]
    known = frozenset(question for question in questions if draw.random() < (0.99 if flipped else 0.3))

    def person(title: str, own: Habits, knows: frozenset[str]) -> Person:
        return Person(title, replace(own, knows=knows), rule, rule, DEPARTMENTS, plain, chatty, seed)

    def tune(rows: Sequence[Item], items: Sequence[Item], share: float) -> Pilot:
        generalises = frozenset(questions) if share > 0.4 and truth == _cures("fine-tune") else known
        return Pilot(person(f"tuned-{share}", replace(habits, form=1.0), generalises), len(rows), 60.0 * share)

    return World(name, truth, items, person("base", habits, known), Wishes(train=train, tune=tune, seed=seed))


def _flipped(name: str, count: int, seed: int) -> World:
    return _choices(name, count, seed, flipped=0.3, habits=Habits(), truth=_cures("labels"))


def _flipped_and_chatty(name: str, count: int, seed: int) -> World:
    habits = Habits(form=0.0, follows=True)
    return _choices(name, count, seed, flipped=0.3, habits=habits, truth=_cures("labels"))


def _in_house(name: str, count: int, seed: int) -> World:
    """A rule that nobody outside knows and that rows show."""
    habits = Habits(form=0.0, follows=True)
    return _choices(name, count, seed, flipped=0.0, habits=habits, truth=_cures("fine-tune"))


LABELLED: dict[str, Callable[[str, int, int], World]] = {
    "30 % flipped labels": _flipped,
    "30 % flipped labels and format": _flipped_and_chatty,
    "a rule that rows show": _in_house,
}
WORLDS = (*PLANS, *LABELLED)
