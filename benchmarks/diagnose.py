"""The diagnosis on worlds whose cause is known by construction: how often it names it, beside a rubric.

    python benchmarks/diagnose.py [--quick] [--json] [--cases planted,smollm2,whole]

``planted``: every world of `diagnose_worlds`, with a strength and slips of its own for each seed, asked by `gather` and
judged by `decide` as ``tunesmith diagnose`` does; models are functions of their prompts. A verdict is right if it names
the planted cures and no other, and of 40 items also where it says that they are too few. Beside it a rubric, as
checklists have it: content fails, so retrieve; form fails, so fine-tune. ``smollm2``: the same with a real model of 135
million parameters as the reader of invented facts, with a search that works and one that is broken. What such a reader
does with several passages is no one's plan: that it is misled by them may be said in a world with good documents if the
items of the other seeds show it, which the verdict has not seen. ``as_planted`` counts without that. ``whole``: every
probe with SmolLM2 and three pilots, to the end, on tickets in an odd form whose content stands in the question.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.diagnose_worlds import PURE_KNOWLEDGE, WORLDS, Shelf, World, world
from benchmarks.harness import command
from tunesmith.diagnose.climbing import LEAST_GAIN
from tunesmith.diagnose.found import Evidence, Item, Verdict
from tunesmith.diagnose.rule import decide
from tunesmith.diagnose.running import Wishes, gather
from tunesmith.diagnose.statistics import LEVEL, mcnemar

SEEDS = {200: 10, 40: 20}
"""Worlds of each kind, by their number of items."""
QUICK = {200: 1, 40: 1}
GOALS = {200: 0.95, 40: 0.90}
ALARMS = 0.05
REAL_ITEMS, REAL_SEEDS = 40, 2
TICKETS, TICKET_ROWS, TICKET_TOKENS = 32, 32, 16
REAL_PROBES = ("instructions", "few-shot-2", "few-shot-4", "gold", "gold-and-distractors", "retrieved")


@dataclass(frozen=True)
class Judged:
    """One world's outcome."""

    world: World
    verdict: Verdict
    rubric: frozenset[str]
    seconds: float

    @property
    def right(self) -> bool:
        """Whether the planted cures were named, and no others."""
        return self.verdict.kind != "inconclusive" and frozenset(self.verdict.cures) in (
            self.world.truth,
            *self.world.also,
        )

    @property
    def unsure(self) -> bool:
        """Whether it says that more items are needed."""
        return self.verdict.kind == "inconclusive"


def rubric(evidence: Evidence) -> frozenset[str]:
    """What a checklist says of the answers as they are: what is missing decides, and nothing is tried."""
    judged = list(evidence.probes["as-is"].judged.values())
    content = sum(not one.content for one in judged) >= 0.1 * len(judged)
    form = sum(not one.form for one in judged) >= 0.1 * len(judged)
    return frozenset(name for name, fails in (("retrieval", content), ("fine-tune", form)) if fails)


def judged(one: World) -> Judged:
    """Ask and decide."""
    began = time.perf_counter()
    evidence = gather(one.items, one.model, one.wishes)
    verdict = decide(evidence)
    return Judged(one, verdict, rubric(evidence), time.perf_counter() - began)


def _row(case: str, good: int, of: int, goal: float | None, *, most: bool = False, **more: Any) -> dict[str, Any]:
    share = good / of if of else 0.0
    holds = None if goal is None else (share <= goal if most else share >= goal)
    return {
        "case": case,
        "ours": round(share, 4),
        "peer": None,
        "peer_name": None,
        "unit": f"of {of}",
        "ratio": None,
        "goal": goal,
        "holds": holds,
        **more,
    }


def _told(some: Iterable[Judged]) -> dict[str, int]:
    """Wrong verdicts by what was said."""
    return dict(
        Counter(
            f"{one.world.name}: {one.verdict.kind} {' + '.join(one.verdict.cures) or 'nothing'}"
            for one in some
            if not one.right
        )
    )


def planted(quick: bool) -> list[dict[str, Any]]:
    """All worlds, by their number of items."""
    rows = []
    for count, seeds in (QUICK if quick else SEEDS).items():
        done = []
        for name in WORLDS:
            for seed in range(seeds):
                done.append(judged(world(name, count, seed)))
                sys.stderr.write(f"\r{count} items: {name} {seed + 1}/{seeds}".ljust(78))
        sys.stderr.write("\r".ljust(79) + "\r")
        rows += _rows(count, done)
    return rows


def _rows(count: int, done: Sequence[Judged]) -> list[dict[str, Any]]:
    right = [one for one in done if one.right]
    fine = [one for one in done if one.world.name == "nothing wrong"]
    knowledge = [one for one in done if one.world.name in PURE_KNOWLEDGE]
    tuned = [one for one in knowledge if one.verdict.kind == "verdict" and "fine-tune" in one.verdict.cures]
    alarms = [one for one in fine if one.verdict.cures]
    accepted = len(right) if count >= 100 else sum(one.right or one.unsure for one in done)
    words = "right" if count >= 100 else "right or inconclusive"
    seconds = sorted(one.seconds for one in done)[len(done) // 2]
    ours = _row(
        f"n={count}/{words}", accepted, len(done), GOALS[count], not_right=_told(done), seconds=round(seconds, 2)
    )
    by_rubric = sum(one.rubric == one.world.truth for one in done) / len(done)
    each = {name: sum(one.right for one in done if one.world.name == name) for name in WORLDS}
    return [
        {**ours, "peer": round(by_rubric, 4), "peer_name": "a rubric", "worlds": each},
        _row(f"n={count}/named at all", len(right), len(done), None),
        _row(f"n={count}/false alarms", len(alarms), len(fine), ALARMS, most=True),
        _row(f"n={count}/fine-tune on pure knowledge", len(tuned), len(knowledge), 0.0, most=True),
    ]


def misled(others: Iterable[Evidence]) -> bool:
    """Whether other passages beside the gold one take the reader's content, by items of other seeds."""
    gained = lost = items = 0
    for evidence in others:
        gold, crowded = (evidence.probes[name].judged for name in ("gold", "gold-and-distractors"))
        both = [(gold[name].content, crowded[name].content) for name in gold if name in crowded]
        gained, lost = gained + sum(a and not b for a, b in both), lost + sum(b and not a for a, b in both)
        items += len(both)
    return bool(items) and gained - lost >= LEAST_GAIN * items and mcnemar(gained, lost) < LEVEL


def smollm2(quick: bool) -> list[dict[str, Any]]:
    """Worlds of invented facts with a real model as the reader; its own knowledge of them is none by construction."""
    from tunesmith.asking.opening import open_model

    model = open_model("starter:smollm2-135m", device="cpu")
    rows = []
    for name, planted_cure in (("invented facts", "retrieval"), ("broken retriever", "retriever")):
        done: list[tuple[Evidence, Verdict, float]] = []
        for seed in range(1 if quick else REAL_SEEDS):
            made = world(name, 12 if quick else REAL_ITEMS, seed)
            wishes = replace(made.wishes, larger=None, tune=None, only=REAL_PROBES, max_tokens=32, fact_rows=8)
            began = time.perf_counter()
            evidence = gather(made.items, model, wishes)
            done.append((evidence, decide(evidence), time.perf_counter() - began))
        literal = [_passages_named(verdict, {planted_cure}) for _, verdict, _ in done]
        fits = []
        for number, (_, verdict, _) in enumerate(done):
            shown = misled(evidence for other, (evidence, _, _) in enumerate(done) if other != number)
            reader = planted_cure == "retrieval" and shown and _passages_named(verdict, {"reader"})
            fits.append(literal[number] or reader)
        rows.append(
            _row(
                f"smollm2/{name}",
                sum(fits),
                len(fits),
                None if quick else 1.0,
                as_planted=sum(literal),
                content_right={
                    probe: [
                        sum(one.content for one in evidence.probes[probe].judged.values()) for evidence, _, _ in done
                    ]
                    for probe in ("gold", "gold-and-distractors", "retrieved")
                },
                said=[verdict.said for _, verdict, _ in done],
                seconds=[round(seconds, 1) for _, _, seconds in done],
            )
        )
    return rows


def _passages_named(verdict: Verdict, wanted: set[str]) -> bool:
    """Whether these cures are named, and beside them none that has nothing to do with passages, form or examples."""
    cures = set(verdict.cures)
    return verdict.kind == "inconclusive" or wanted <= cures <= {*wanted, "reader", "instructions", "few-shot"}


def tickets(count: int) -> list[Item]:
    """Questions that hold their answer, which is wanted in a form that nobody uses."""
    draw, things = random.Random(0), ("lamp", "chair", "book", "clock", "rug", "pot")
    firsts, lasts = ("Mia", "Jon", "Eva", "Tom", "Ida", "Max"), ("Holm", "Berg", "Stone", "Reed", "Hill", "Fox")
    made: dict[str, str] = {}
    while len(made) < count:
        last, number = draw.choice(lasts), draw.randint(2, 40)
        asked = f"Ticket for {draw.choice(firsts)} {last}, {number} {draw.choice(things)}s."
        made[asked] = f"<<{last}: {number}>> // end"
    return [
        Item(f"t{n}", asked, (answer,), messages=({"role": "user", "content": asked},), line=n + 1)
        for n, (asked, answer) in enumerate(made.items())
    ]


def whole(quick: bool) -> list[dict[str, Any]]:
    """A diagnosis with nothing left out, three pilots and all (quick: two probes); examples or tuning are right."""
    from tunesmith.asking.opening import open_model
    from tunesmith.diagnose.opening import tuner_of

    name = "starter:smollm2-135m"
    made = tickets(TICKETS + TICKET_ROWS)
    shelf = Shelf(
        [f"A {thing} is kept on shelf {n} of the store." for n, thing in enumerate(("lamp", "chair", "book"))]
    )
    with tempfile.TemporaryDirectory() as folder:
        wishes = Wishes(
            train=made[TICKETS:],
            searcher=shelf,
            larger=open_model(name, device="cpu"),
            tune=tuner_of(name, Path(folder), device="cpu"),
            k=2,
            max_tokens=TICKET_TOKENS,
            everything=True,
            fact_rows=5,
            only=("few-shot-2", "pilot-25") if quick else (),
        )
        began = time.perf_counter()
        evidence = gather(made[:TICKETS], open_model(name, device="cpu"), wishes)
        seconds = time.perf_counter() - began
    verdict = decide(evidence)
    right = verdict.kind == "verdict" and set(verdict.cures) in ({"few-shot"}, {"fine-tune"})
    answers = {name: sum(one.right for one in probe.judged.values()) for name, probe in evidence.probes.items()}
    return [
        _row(
            "whole/smollm2 with three pilots",
            int(right),
            1,
            None if quick else 1.0,
            said=[verdict.said],
            items=TICKETS,
            rows=TICKET_ROWS,
            right=answers,
            tuning_seconds={
                name: round(probe.extra["training_seconds"], 1)
                for name, probe in evidence.probes.items()
                if "training_seconds" in probe.extra
            },
            not_tested={one.probe: one.reason for one in evidence.not_tested},
            seconds=round(seconds, 1),
        )
    ]


CASES = {"planted": planted, "smollm2": smollm2, "whole": whole}

if __name__ == "__main__":
    command("diagnose", str(__doc__), CASES, ("torch", "transformers"))
