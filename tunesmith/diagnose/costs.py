"""What each way of asking costs a call, and after how many calls fine-tuning is cheaper. It knows no price list."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tunesmith.diagnose.found import Evidence, Probe
from tunesmith.diagnose.ladder import SHOTS, TOGETHER

PRICED = ("as-is", "instructions", "constrained", *SHOTS, "retrieved", TOGETHER, "larger")
"""Probes that are a way of answering; the tuned model is held against them. Of the examples only the best."""
PILOTS = ("pilot-100", "pilot-50", "pilot-25")


@dataclass(frozen=True)
class Prices:
    """What a person pays; 0 is not known.

    Args:
        prompt: Of a million prompt tokens.
        reply: Of a million tokens of replies.
        hour: Of the machine that tunes, an hour.
        currency: Its sign.
    """

    prompt: float = 0.0
    reply: float = 0.0
    hour: float = 0.0
    currency: str = ""

    @property
    def known(self) -> bool:
        """Whether a call has a price."""
        return self.prompt > 0 or self.reply > 0


@dataclass(frozen=True)
class Cost:
    """Of one call of a probe.

    Args:
        probe: Its name.
        calls: That the figures are means of.
        prompt_tokens: A call.
        reply_tokens: A call.
        seconds: A call, as it was measured.
        price: A call, by `Prices`; None if it is not known.
        break_even: Calls after which tuning was cheaper than asking this way; None: never.
        of: What the break-even is counted in: ``price``, ``seconds``, or ``tokens`` where no seconds were measured.
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
        tuning_seconds: That the pilot took; None if none was tuned.
        tuned_rows: That it learned.
        tuning_price: By `Prices`; None if it is not known.
        currency: Of the prices.
    """

    each: tuple[Cost, ...]
    tuning_seconds: float | None = None
    tuned_rows: int = 0
    tuning_price: float | None = None
    currency: str = ""


def costs_of(evidence: Evidence, prices: Prices | None = None) -> Costs:
    """Costs a call from what the probes counted, and the break-even of each against the tuned model.

    Tuning is paid once. A call of the tuned model costs what its own probe did; whatever a call saves beside another
    way of asking pays it back. The pilot learned a share of the rows: its seconds are scaled to all of them.
    """
    prices = prices or Prices()
    tuned = next((evidence.probes[name] for name in PILOTS if name in evidence.probes), None)
    seconds = _tuning_seconds(tuned)
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
    if tuned is not None and tuned.calls:
        each.append(_cost(tuned, prices))
    rows = int(tuned.extra.get("rows", 0)) if tuned is not None else 0
    return Costs(tuple(each), seconds, rows, price, prices.currency)


def _right(probe: Probe) -> int:
    return sum(one.right for one in probe.judged.values())


def _tuning_seconds(tuned: Probe | None) -> float | None:
    if tuned is None or not tuned.extra.get("training_seconds"):
        return None
    share = int(tuned.name.rpartition("-")[2]) / 100
    return float(tuned.extra["training_seconds"]) / share


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
    if not prices.known or not probe.calls:
        return None
    return (probe.prompt_tokens * prices.prompt + probe.reply_tokens * prices.reply) / 1e6 / probe.calls


def _even(once: float, saved: float) -> int | None:
    return math.ceil(once / saved) if saved > 0 else None
