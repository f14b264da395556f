"""Which facts a model knows: rows asked with several few-shot prompts, greedily and by draws (SliCK, arXiv:2405.05904).

A row is ``highly-known`` if every prompt brings its answer greedily, ``maybe-known`` if some do, ``weakly-known`` if
only draws do, and ``unknown`` if nothing does. To learn unknown ones teaches a model to invent. Only what is recalled
counts as a fact: an answer that stands in its question, a choice, a query or a call is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tunesmith.asking.model import Prompt
from tunesmith.diagnose.content import holds, judge_content
from tunesmith.diagnose.found import Item, NotTested
from tunesmith.diagnose.inquiry import Inquiry

SHOTS = 4
TEMPERATURE = 0.7
LEAST_ROWS = 5
NAME = "known-facts"


@dataclass(frozen=True)
class Facts:
    """How well rows are known.

    Args:
        levels: By row id.
        calls: Prompts that were asked.
        of: ``training rows`` or ``items``.
    """

    levels: dict[str, str] = field(default_factory=dict)
    calls: int = 0
    of: str = "items"

    @property
    def unknown(self) -> tuple[int, int]:
        """How many are unknown, and how many were asked."""
        return sum(level == "unknown" for level in self.levels.values()), len(self.levels)


def known_facts(inquiry: Inquiry) -> Facts | NotTested:
    """Ask for the facts of the training rows, or of the items where there are none."""
    wanted, wishes = inquiry.wanted, inquiry.wishes
    if not wishes.fact_rows or not wishes.fact_prompts:
        return NotTested(NAME, "no rows were to be asked (--fact-rows)")
    rows = list(inquiry.train or inquiry.items)
    recalled = [row for row in rows if _recalled(row, inquiry)]
    if len(recalled) < LEAST_ROWS:
        why = "the answers are made from the question, not recalled" if rows else "there are no rows"
        return NotTested(NAME, f"{why} ({wanted.content})")
    if len(inquiry.shown) <= SHOTS:
        return NotTested(NAME, f"{len(inquiry.shown)} rows are too few to show {SHOTS} of them")
    rng = np.random.default_rng(wishes.seed)
    chosen = [recalled[place] for place in sorted(rng.permutation(len(recalled))[: wishes.fact_rows])]
    greedy = _asked(chosen, inquiry, draws=[0], temperature=0.0)
    never = [row for row in chosen if not any(greedy[row.id])]
    drawn = _asked(never, inquiry, draws=range(1, wishes.fact_draws + 1), temperature=TEMPERATURE)
    levels = {}
    for row in chosen:
        right = greedy[row.id]
        level = "highly-known" if right and all(right) else "maybe-known" if any(right) else None
        levels[row.id] = level or ("weakly-known" if any(drawn.get(row.id, ())) else "unknown")
    calls = sum(map(len, greedy.values())) + sum(map(len, drawn.values()))
    return Facts(levels, calls, "training rows" if inquiry.train else "items")


def _recalled(row: Item, inquiry: Inquiry) -> bool:
    # What can't be looked for in a text is no fact either: a choice, a query, a call.
    asked = "\n".join(str(message["content"]) for message in row.messages)
    return holds(asked, row, inquiry.wanted) is False


def _asked(
    rows: Sequence[Item], inquiry: Inquiry, *, draws: Sequence[int] | range, temperature: float
) -> dict[str, list[bool]]:
    """Whether each prompt and draw brings a row's answer, by row id."""
    prompts: list[Prompt] = []
    owners: list[Item] = []
    for row in rows:
        for number in range(inquiry.wishes.fact_prompts):
            prompt = inquiry.shot_prompt(row, SHOTS, near=False, draw=number + 1)
            if prompt is not None:
                prompts += [replace(prompt, temperature=temperature, seed=draw) for draw in draws]
                owners += [row] * len(draws)
    found: dict[str, list[bool]] = {row.id: [] for row in rows}
    for row, reply in zip(owners, inquiry.ask(NAME, prompts), strict=True):
        found[row.id].append(judge_content(reply.text, row, inquiry.wanted).right)
    return found
