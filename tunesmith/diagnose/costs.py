"""What each way of asking costs a call, and after how many calls fine-tuning is cheaper. It knows no price list."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tunesmith.diagnose.found import Evidence, Probe
from tunesmith.diagnose.ladder import SHOTS, TOGETHER
from tunesmith.diagnose.pilot import epochs_of

LARGER = "larger"
PRICED = ("as-is", "instructions", "constrained", *SHOTS, "retrieved", TOGETHER, LARGER)
"""Probes that are a way of answering; the tuned model is held against them. Of the examples only the best."""
PILOTS = ("pilot-100", "pilot-50", "pilot-25")
TUNED_TOO = "pilot-and-passages"


@dataclass(frozen=True)
class Prices:
    """What a person pays; 0 is not known.

    Args:
        prompt: Of a million prompt tokens.
        reply: Of a million tokens of replies.
        hour: Of the machine that tunes, an hour.
        currency: Its sign.
        larger_prompt: Of a million prompt tokens of the larger model.
        larger_reply: Of a million tokens of its replies.
    """

    prompt: float = 0.0
    reply: float = 0.0
    hour: float = 0.0
    currency: str = ""
    larger_prompt: float = 0.0
    larger_reply: float = 0.0

    def of(self, probe: str) -> tuple[float, float] | None:
        """Of a million prompt tokens, and of a million of replies, for the model of a probe; None if not known."""
        pair = (self.larger_prompt, self.larger_reply) if probe == LARGER else (self.prompt, self.reply)
        return pair if any(pair) else None


@dataclass(frozen=True)
class Cost:
    """Of one call of a probe.

    Args:
        probe: Its name.
        calls: That the figures are means of.
        prompt_tokens: A call.
        reply_tokens: A call.
        seconds: A call, as it was measured.
        price: A call, by the `Prices` of the model that was asked; None if it is not known.
        break_even: Calls after which tuning was cheaper than asking this way; None: never.
        of: What the break-even is counted in: ``price``, or ``seconds`` where a price is not known.
    """

    probe: str
    calls: int
    prompt_tokens: float
    reply_tokens: float
    seconds: float
    price: float | None = None
    break_even: int | None = None
    of: str = "seconds"


@dataclass(frozen=True)
class Costs:
    """Costs of a diagnosis.

    Args:
        each: Of every way of asking, in the order of the ladder, the tuned model last.
        tuning_seconds: That tuning on all rows takes, by the pilot; None if none was tuned.
        tuned_rows: How many these are.
        tuning_price: By `Prices`; None if it is not known.
        currency: Of the prices.
        unpriced: Ways of asking whose price is not known, though that of others is.
    """

    each: tuple[Cost, ...]
    tuning_seconds: float | None = None
    tuned_rows: int = 0
    tuning_price: float | None = None
    currency: str = ""
    unpriced: tuple[str, ...] = ()


def costs_of(evidence: Evidence, prices: Prices | None = None) -> Costs:
    """Costs a call from what the probes counted, and the break-even of each against the tuned model.

    Tuning is paid once. A call of the tuned model costs what its own probe did; whatever a call saves beside another
    way of asking pays it back. The larger model has prices of its own. Where the pilot learned a share of the rows, its
    seconds are scaled to all of them, and to how often these are read.
    """
    prices = prices or Prices()
    tuned = next((evidence.probes[name] for name in PILOTS if name in evidence.probes), None)
    seconds, rows = _tuning(tuned)
    price = None if seconds is None or not prices.hour else seconds / 3600 * prices.hour
    each = []
    best = max(
        (name for name in SHOTS if name in evidence.probes), key=lambda n: _right(evidence.probes[n]), default=""
    )
    for name in PRICED:
        if name in SHOTS and name != best:
            continue
        if name in evidence.probes and evidence.probes[name].calls:
            each.append(_cost(evidence.probes[name], prices, tuned, seconds, price))
    with_passages = evidence.probes.get(TUNED_TOO)
    each += [_cost(one, prices) for one in (tuned, with_passages) if one is not None and one.calls]
    priced = any(one.price is not None for one in each)
    unpriced = tuple(one.probe for one in each if priced and one.price is None)
    return Costs(tuple(each), seconds, rows, price, prices.currency, unpriced)


def _right(probe: Probe) -> int:
    return sum(one.right for one in probe.judged.values())


def _tuning(tuned: Probe | None) -> tuple[float | None, int]:
    """Seconds of tuning on all rows, and how many these are."""
    if tuned is None:
        return None, 0
    learned, share = int(tuned.extra.get("rows", 0)), int(tuned.name.rpartition("-")[2]) / 100
    rows = round(learned / share)
    if not tuned.extra.get("training_seconds"):
        return None, rows
    reads = rows * epochs_of(rows) / (learned * epochs_of(learned)) if learned else 1 / share
    return float(tuned.extra["training_seconds"]) * reads, rows


def _cost(
    probe: Probe,
    prices: Prices,
    tuned: Probe | None = None,
    tuning_seconds: float | None = None,
    tuning_price: float | None = None,
) -> Cost:
    calls = probe.calls
    price = _price(probe, prices)
    even, of = None, "seconds"
    if tuned is not None and tuned.calls:
        theirs = _price(tuned, prices)
        if tuning_price is not None and price is not None and theirs is not None:
            even, of = _even(tuning_price, price - theirs), "price"
        elif tuning_seconds is not None:
            even = _even(tuning_seconds, probe.seconds / calls - tuned.seconds / tuned.calls)
    return Cost(
        probe.name,
        calls,
        probe.prompt_tokens / calls,
        probe.reply_tokens / calls,
        probe.seconds / calls,
        price,
        even,
        of,
    )


def _price(probe: Probe, prices: Prices) -> float | None:
    pair = prices.of(probe.name)
    if pair is None or not probe.calls:
        return None
    return (probe.prompt_tokens * pair[0] + probe.reply_tokens * pair[1]) / 1e6 / probe.calls


def _even(once: float, saved: float) -> int | None:
    return math.ceil(once / saved) if saved > 0 else None
