"""The probes: each asks the same items in one way, or says why it can't. They decide nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from tunesmith.asking.constrained import grammar_of
from tunesmith.asking.model import Prompt
from tunesmith.diagnose.found import Item, NotTested, Probe
from tunesmith.diagnose.inquiry import Inquiry
from tunesmith.diagnose.items import asked_words, majority_answer
from tunesmith.diagnose.passages import Passages, texts_of
from tunesmith.errors import Interrupted, UserError

LEAST_GAIN = 0.05
"""What a cure has to gain at least; where less is left, dear ones are not asked."""
NEAREST = 4
"""Examples in the prompt of all cures together."""
Ask = Callable[[Inquiry, Passages], "Probe | NotTested"]


def as_is(inquiry: Inquiry, _passages: Passages) -> Probe:
    """The items as they are asked today."""
    return inquiry.probe("as-is", inquiry.prompt)


def shuffled(inquiry: Inquiry, _passages: Passages) -> Probe | NotTested:
    """Control: each item gets the answer that was given to another. What a lenient judge gives for nothing.

    A model that is asked anew would say the same, so that no call is made.
    """
    items, given = list(inquiry.items), inquiry.probes["as-is"].outputs
    order = np.random.default_rng(inquiry.wishes.seed).permutation(len(items))
    other: dict[str, str] = {}
    for place, number in enumerate(order):
        for step in range(1, len(items)):
            candidate = items[order[(place + step) % len(items)]]
            if asked_words(candidate) != asked_words(items[number]):
                other[items[number].id] = candidate.id
                break
    if not other:
        return NotTested("shuffled", "all items ask the same")
    outputs = {name: given[of] for name, of in other.items()}
    judged = {item.id: inquiry.judge(item, outputs[item.id]) for item in items if item.id in outputs}
    return Probe("shuffled", outputs, judged, extra={"of": other})


def majority(inquiry: Inquiry, _passages: Passages) -> Probe:
    """Control: the commonest reference as the answer to everything."""
    answer = majority_answer(inquiry.items)
    judged = {item.id: inquiry.judge(item, answer) for item in inquiry.items}
    return Probe("majority", dict.fromkeys(judged, answer), judged, extra={"answer": answer})


def instructions(inquiry: Inquiry, _passages: Passages) -> Probe | NotTested:
    """With the form in words."""
    if not any(map(inquiry.wanted.instructions_of, inquiry.items)):
        return NotTested("instructions", "there are no words for the form")

    def prompt(item: Item) -> Prompt:
        return inquiry.prompt(item, instructions=inquiry.wanted.instructions_of(item))

    return inquiry.probe("instructions", prompt, instructions=inquiry.wanted.instructions)


def cannot_constrain(inquiry: Inquiry) -> str:
    """Why replies can't be kept to the form while they are written; empty where they can."""
    if not inquiry.model.constrains:
        return f"{inquiry.model.name} can't be held to a schema or to choices"
    constraints = [inquiry.wanted.constraint(item) for item in inquiry.items]
    if not all(constraints):
        return f"the form ({inquiry.wanted.form}) is neither a JSON Schema nor one of a few choices"
    if any("grammar" in one for one in constraints) and not getattr(inquiry.model, "grammars", False):
        return f"{inquiry.model.name} can be held to a schema or to choices, but not to a grammar"
    if getattr(inquiry.model, "grammars", False):
        try:
            for one in constraints:
                grammar_of(Prompt((), **one))
        except UserError as fault:
            return fault.what
    return ""


def constrained(inquiry: Inquiry, _passages: Passages) -> Probe | NotTested:
    """With the form in words, and decoding held to it."""
    if reason := cannot_constrain(inquiry):
        return NotTested("constrained", reason)

    def prompt(item: Item) -> Prompt:
        wanted = inquiry.wanted
        return inquiry.prompt(item, instructions=wanted.instructions_of(item), constraint=wanted.constraint(item))

    shown = inquiry.wanted.constraint(inquiry.items[0])
    return inquiry.probe("constrained", prompt, **{name: value for name, value in shown.items() if value})


def few_shot(inquiry: Inquiry, _passages: Passages, *, count: int, near: bool) -> Probe | NotTested:
    """With other rows and their answers before the question, drawn or the nearest by BM25."""
    name = f"few-shot-near-{count}" if near else f"few-shot-{count}"
    if len(inquiry.shown) <= count:
        return NotTested(name, f"there are {len(inquiry.shown)} rows to show {count} from")
    found = inquiry.probe(
        name,
        lambda item: inquiry.shot_prompt(item, count, near=near),
        shots=count,
        nearest=near,
        shown_from=inquiry.shown_from,
    )
    return found if found.judged else NotTested(name, "no prompt with an example fits in the model's context")


def gold(inquiry: Inquiry, passages: Passages) -> Probe | NotTested:
    """With the passage that holds the answer."""
    found = inquiry.probe(
        "gold",
        lambda item: inquiry.prompt(item, passages=[passages.gold(item)]) if passages.gold(item) else None,
    )
    if not found.judged:
        return NotTested("gold", _no_gold(inquiry))
    return _with(found, looked_for=sorted(passages.found_gold))


def gold_and_distractors(inquiry: Inquiry, passages: Passages) -> Probe | NotTested:
    """With that passage among others that do not hold it."""
    count = inquiry.wishes.distractors
    if not any(map(passages.gold, inquiry.items)):
        return NotTested("gold-and-distractors", _no_gold(inquiry))

    def prompt(item: Item) -> Prompt | None:
        among = passages.crowded(item, count)
        return inquiry.prompt(item, passages=among) if among else None

    found = inquiry.probe("gold-and-distractors", prompt, distractors=count)
    return found if found.judged else NotTested("gold-and-distractors", "there are no other passages to put beside it")


def _no_gold(inquiry: Inquiry) -> str:
    if inquiry.wishes.searcher is None:
        return "no item has a gold passage, and there are no documents to look for one (--documents)"
    return "no item has a gold passage, and none that holds an answer was found in the documents"


def retrieved(inquiry: Inquiry, passages: Passages) -> Probe | NotTested:
    """With the passages that a search really brings, and whether they hold what is needed."""
    if inquiry.wishes.searcher is None:
        return NotTested("retrieved", "there are no documents to search (--documents)")
    sources = {item.id: [one.source for one in passages.retrieved(item)] for item in inquiry.items}
    recall = {item.id: passages.recalled(item) for item in inquiry.items}

    def prompt(item: Item) -> Prompt | None:
        return inquiry.prompt(item, passages=texts_of(passages.retrieved(item))) if sources[item.id] else None

    found = inquiry.probe(
        "retrieved",
        prompt,
        k=inquiry.wishes.k,
        recall={name: held for name, held in recall.items() if held is not None},
        sources=sources,
    )
    return found if found.judged else NotTested("retrieved", "the search found no passage for any item")


def all_together(inquiry: Inquiry, passages: Passages) -> Probe | NotTested:
    """All cheap cures at once: instructions, constraint, the nearest examples, passages."""
    rungs = ["instructions"] if any(map(inquiry.wanted.instructions_of, inquiry.items)) else []
    rungs += [] if cannot_constrain(inquiry) else ["constraint"]
    rungs += ["few-shot"] if len(inquiry.shown) > NEAREST else []
    searched = inquiry.wishes.searcher is not None
    rungs += ["retrieval"] if searched or any(map(passages.gold, inquiry.items)) else []
    if len(rungs) < 2:
        return NotTested("all-together", "there are no two cures to put together")

    def prompt(item: Item) -> Prompt | None:
        put_in: dict[str, Any] = {"instructions": inquiry.wanted.instructions_of(item)}
        if "constraint" in rungs:
            put_in["constraint"] = inquiry.wanted.constraint(item)
        if "retrieval" in rungs:
            put_in["passages"] = _best_passages(item, inquiry, passages)
        found = inquiry.shot_prompt(item, NEAREST, near=True, **put_in) if "few-shot" in rungs else None
        return found or inquiry.prompt(item, **put_in)

    brought = ("retrieved" if searched else "gold and distractors") if "retrieval" in rungs else None
    return inquiry.probe("all-together", prompt, rungs=rungs, passages=brought)


def _best_passages(item: Item, inquiry: Inquiry, passages: Passages) -> list[str]:
    """Those retrieved where there are documents, else the gold one among distractors."""
    if inquiry.wishes.searcher is not None:
        return texts_of(passages.retrieved(item))
    return passages.crowded(item, inquiry.wishes.distractors)


def larger(inquiry: Inquiry, _passages: Passages) -> Probe | NotTested:
    """Another, larger model, with the form in words."""
    model = inquiry.wishes.larger
    if model is None:
        return NotTested("larger", "no larger model is named (--larger)")
    if reason := nothing_to_gain(inquiry):
        return NotTested("larger", reason)

    def prompt(item: Item) -> Prompt:
        return inquiry.prompt(item, instructions=inquiry.wanted.instructions_of(item))

    return inquiry.probe("larger", prompt, model=model, of=model.name, instructions=inquiry.wanted.instructions)


def nothing_to_gain(inquiry: Inquiry) -> str:
    """Why a dear probe can't count: as it is, too little is wrong."""
    right = inquiry.right("as-is")
    if inquiry.wishes.everything or 1 - right >= LEAST_GAIN:
        return ""
    return f"as they are, {right:.0%} of the items are right: nothing can gain {LEAST_GAIN:.0%} more"


def pilot(inquiry: Inquiry, _passages: Passages, *, percent: int) -> Probe | NotTested:
    """The model after it learned a share of the training rows."""
    name = f"pilot-{percent}"
    if reason := _no_pilot(inquiry):
        return NotTested(name, reason)
    assert inquiry.wishes.tune is not None
    try:
        made = inquiry.wishes.tune(inquiry.train, inquiry.items, percent / 100)
    except Interrupted:
        raise
    except UserError as fault:
        return NotTested(name, f"the pilot could not be tuned: {fault.what}")
    inquiry.pilots[name] = made
    return inquiry.probe(
        name,
        inquiry.prompt,
        model=made.model,
        rows=made.rows,
        training_seconds=made.seconds,
        folder=made.folder,
    )


def _no_pilot(inquiry: Inquiry) -> str:
    if not inquiry.wishes.train:
        return "there are no rows to learn from (--train)"
    if not inquiry.train:
        return "all training rows ask what the items ask"
    if inquiry.wishes.tune is None:
        return f"{inquiry.model.name} can't be tuned here"
    return nothing_to_gain(inquiry)


def pilot_and_passages(inquiry: Inquiry, passages: Passages) -> Probe | NotTested:
    """The tuned model with passages: knowledge from retrieval, form from what it learned."""
    name = "pilot-and-passages"
    made = inquiry.pilots.get("pilot-100")
    if made is None:
        return NotTested(name, _no_pilot(inquiry) or "pilot-100 was not asked")
    if not any(_best_passages(item, inquiry, passages) for item in inquiry.items):
        return NotTested(name, "there are no passages")

    def prompt(item: Item) -> Prompt | None:
        found = _best_passages(item, inquiry, passages)
        return inquiry.prompt(item, passages=found) if found else None

    searched = inquiry.wishes.searcher is not None
    return inquiry.probe(
        name,
        prompt,
        model=made.model,
        rows=made.rows,
        rungs=["retrieval", "fine-tune"],
        passages="retrieved" if searched else "gold and distractors",
    )


def _with(probe: Probe, **extra: Any) -> Probe:
    values = {name: getattr(probe, name) for name in Probe.__dataclass_fields__}
    return Probe(**{**values, "extra": {**probe.extra, **extra}})


ASKED: Mapping[str, Ask] = {
    "as-is": as_is,
    "shuffled": shuffled,
    "majority": majority,
    "instructions": instructions,
    "constrained": constrained,
    **{f"few-shot-{count}": partial(few_shot, count=count, near=False) for count in (2, 4, 8)},
    **{f"few-shot-near-{count}": partial(few_shot, count=count, near=True) for count in (2, 4, 8)},
    "gold": gold,
    "gold-and-distractors": gold_and_distractors,
    "retrieved": retrieved,
    "all-together": all_together,
    "larger": larger,
    **{f"pilot-{percent}": partial(pilot, percent=percent) for percent in (25, 50, 100)},
    "pilot-and-passages": pilot_and_passages,
}
"""Probes in the order in which they are asked: what is cheap first."""
