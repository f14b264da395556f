"""What a diagnosis speaks of: items, outputs judged by content and form, probes, the verdict. It asks nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

RUNGS = (
    "instructions", "constraint", "few-shot", "retrieval", "retriever", "reader", "larger-model", "fine-tune",
    "labels",
)  # fmt: skip
"""Of the ladder, cheapest first. ``retrieval`` fixes an item with passages really retrieved; ``retriever`` says that
the gold passage fixes it and the retrieved ones do not, for they lack it; ``reader`` that they hold it and distract."""

PROBES = (
    "shuffled", "majority", "as-is", "instructions", "constrained", "few-shot-2", "few-shot-4", "few-shot-8",
    "few-shot-near-2", "few-shot-near-4", "few-shot-near-8", "gold", "gold-and-distractors", "retrieved",
    "all-together", "larger", "pilot-25", "pilot-50", "pilot-100", "pilot-and-passages",
)  # fmt: skip

LEFT_OUT = "it was left out (--only, --skip)"
"""Why a probe was not asked that a person did not want."""
Exit = {"verdict": 0, "could-not-run": 2, "inconclusive": 3, "labels": 4}


@dataclass(frozen=True)
class Item:
    """One question with the answer that is wanted.

    Args:
        id: Unique.
        input: What the model is asked: text, or messages joined by `items.read_items` to messages in ``messages``.
        references: Answers that are right, the first one preferred; at least one.
        gold: The passage that holds the answer, if it is known.
        slice: A group that results are also shown for.
        messages: The input as a chat, system prompt included.
        line: Where it stands in its file.
        row: Its other columns, by which it may be judged: ``json_schema``, ``database``, ``tools``, ``pattern``, ...
    """

    id: str
    input: str
    references: tuple[str, ...]
    gold: str = ""
    slice: str = ""
    messages: tuple[Mapping[str, Any], ...] = ()
    line: int = 0
    row: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Judged:
    """One output, judged twice.

    Args:
        content: Whether what it says is right, whatever its form.
        form: Whether it is written as wanted, whatever it says.
        extracted: What was taken as its content.
        why: What is wrong with it, for a person; empty if nothing.
    """

    content: bool
    form: bool
    extracted: str = ""
    why: str = ""

    @property
    def right(self) -> bool:
        """Both."""
        return self.content and self.form


@dataclass(frozen=True)
class Probe:
    """The same items asked in one way.

    Args:
        name: One of ``PROBES``.
        outputs: By item id.
        judged: By item id; an item may lack where the probe could not ask it (no gold passage).
        prompt_tokens: Sum over its calls.
        reply_tokens: Sum over its calls.
        seconds: Sum over its calls, as they took when they were made.
        calls: How many; more than the items where it asks several times.
        extra: Of this probe: ``recall`` of retrieval at k by item id (``{"recall": {"id": true}, "k": 5}``),
            ``rows`` of a pilot, shots, the schema, ...
    """

    name: str
    outputs: Mapping[str, str]
    judged: Mapping[str, Judged]
    prompt_tokens: int = 0
    reply_tokens: int = 0
    seconds: float = 0.0
    calls: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class NotTested:
    """A probe that was left out, and why."""

    probe: str
    reason: str


@dataclass(frozen=True)
class Evidence:
    """All that the rule decides by. It is plain data, so that a verdict can be made again from a file.

    Args:
        items: All of them.
        probes: By name; ``as-is`` is always there.
        not_tested: The others.
        disagreement: Share of items whose own references, or whose duplicates' references, contradict each other; by
            item id those that do.
        unknown_facts: Share of the training rows (or items) whose answer the model never gives under several few-shot
            prompts, ``(unknown, asked)``; None if it was not measured.
        format_wanted: What form was judged by, for a person.
        facts: How well the model knows each row that was asked for it, by its id: ``highly-known``, ``maybe-known``,
            ``weakly-known`` or ``unknown`` (SliCK, arXiv:2405.05904).
        notes: What a person should know of how this was measured.
        compared: Items whose references could be held against others, which is what the share of ``disagreement`` is
            of; 0: told by which items ask the same.
    """

    items: Sequence[Item]
    probes: Mapping[str, Probe]
    not_tested: Sequence[NotTested] = ()
    disagreement: Mapping[str, str] = field(default_factory=dict)
    unknown_facts: tuple[int, int] | None = None
    format_wanted: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    compared: int = 0


@dataclass(frozen=True)
class Test:
    """A rung against the best that is cheaper, on the same items.

    Args:
        rung: One of ``RUNGS``, or ``all-together``.
        probe: That was measured.
        gained: Items that it fixes.
        lost: Items that it breaks.
        gain: Net share of the items, -1 to 1.
        interval: 95 % of the gain.
        p: Exact McNemar.
        adjusted: By Holm over the rungs tested.
        counts: Whether it counts: adjusted < 0.05 and a net gain of at least 5 points.
        aspect: What was gained: ``content``, ``form`` or ``right`` (both).
        against: The rung that it was held against; ``as-is`` where no cheaper one counted.
        why: Why it does not count although it gains enough; empty otherwise.
    """

    rung: str
    probe: str
    gained: int
    lost: int
    gain: float
    interval: tuple[float, float]
    p: float
    adjusted: float
    counts: bool
    aspect: str = "right"
    against: str = "as-is"
    why: str = ""


@dataclass(frozen=True)
class Verdict:
    """What the cure is.

    Args:
        kind: ``verdict``, ``inconclusive`` or ``labels``.
        cures: Rungs that are advised, together where there are several; empty if nothing is wrong or nothing helps.
        said: One sentence for a person.
        why: Sentences with numbers.
        overturns: What would overturn it.
        tests: Of every rung that was measured.
        causes: Failing items by the first rung that fixes each: rung to item ids; ``none`` holds what nothing fixes.
        more_items: About how many more items would decide it, if inconclusive.
        against_fine_tuning: Why plain fine-tuning on these rows is advised against; empty if it is not.
        effect: The cures together against the items as they are, by answers that are right; None if none is advised.
    """

    kind: Literal["verdict", "inconclusive", "labels"]
    cures: tuple[str, ...]
    said: str
    why: tuple[str, ...] = ()
    overturns: tuple[str, ...] = ()
    tests: tuple[Test, ...] = ()
    causes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    more_items: int = 0
    against_fine_tuning: str = ""
    effect: Test | None = None
