"""How well transcripts fit their recordings, to the recipe's own weights before they learn: losses and what is heard.

It judges none. Every recording is heard once: the loss of its transcript stands beside that of a few others of about
the same length, and each text is tried on a few other recordings, so that neither hard words nor a bad line count.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tunesmith.audit.found import SideName
from tunesmith.audit.sounds import key_of
from tunesmith.data.digest import canonical_json
from tunesmith.speech.audio import AUDIO_RATE
from tunesmith.speech.heard import part_of
from tunesmith.speech.measures import sounds
from tunesmith.types import Row

if TYPE_CHECKING:
    from tunesmith.audit.data import AuditData

OTHERS = 4
"""Transcripts of other rows that each recording is tried with."""
TOGETHER = 32
"""Recordings that are measured before the clock is looked at."""
MOST_SECONDS = 1800.0


@dataclass(frozen=True)
class Judged:
    """A row whose transcript is judged."""

    side: SideName
    number: int
    id: str
    text: str
    language: str | None


@dataclass(frozen=True)
class Fitted:
    """How well a row's transcript fits, and how well some others do.

    Args:
        mean: Nats a token of its own.
        parts: Nats of each token; none where the model reads them all at once.
        end: Nats of the end where the transcript ends; None where the model writes none.
        no_speech: The chance that nobody speaks, where the model says so.
        others: Nats a token of the others.
    """

    mean: float
    parts: tuple[float, ...]
    end: float | None
    no_speech: float | None
    others: tuple[float, ...]


class Listener:
    """The recipe's weights, asked about recordings; what they said is kept.

    Args:
        data: With weights.
    """

    def __init__(self, data: AuditData) -> None:
        from tunesmith.linear_probe import frozen_of
        from tunesmith.model.weights import weights_digest

        self.data = data
        self.task: Any = frozen_of(data.prepared).task
        self.weights = weights_digest(self.task.source)[:16]
        self.rows = sorted(self._judged(), key=lambda one: (one.language or "", len(one.text), _digest(one.text)))

    def row(self, one: Judged) -> Row:
        """The row as read."""
        return self.data.sides[one.side][one.number]

    def _judged(self) -> Iterator[Judged]:
        for side, rows in self.data.sides.items():
            for number, row in enumerate(rows):
                text = str(row.get("text") or "").strip()
                if text:
                    yield Judged(side, number, str(row["id"]), text, self.task.language_of(row))

    @cached_property
    def model(self) -> Any:
        """The weights, loaded when first asked for."""
        from tunesmith.machine import pick_device

        return self.task.load().eval().to(pick_device())

    def others_of(self, at: int) -> list[int]:
        """Places of rows of about the same length in the same language whose texts a recording is tried with."""
        own, found, step = self.rows[at], list[int](), 0
        while len(found) < OTHERS and step < 4 * OTHERS and step + 1 < len(self.rows):
            step += 1
            other = self.rows[(at + step) % len(self.rows)]
            if other.text.lower() != own.text.lower() and other.language == own.language:
                found.append((at + step) % len(self.rows))
        return found

    def fitted(self, most_seconds: float) -> list[Fitted | None]:
        """How well each transcript fits, in the order of ``rows``; None of rows that could not or were not asked about.

        Args:
            most_seconds: How long to go on with what is not known yet; at random places, so that the rest is a sample.
        """
        found: list[Fitted | None] = [None] * len(self.rows)
        order = np.random.default_rng(0).permutation(len(self.rows))
        began, self.left_out = time.perf_counter(), 0
        for start in range(0, len(order), TOGETHER):
            some = order[start : start + TOGETHER].tolist()
            if time.perf_counter() - began > most_seconds:
                self.left_out = len(order) - start
                break
            self._fit_some(some, found)
            self.data.progress("hearing transcripts", min(len(order), start + TOGETHER), len(order))
        return found

    def _fit_some(self, some: Sequence[int], found: list[Fitted | None]) -> None:
        others = [self.others_of(at) for at in some]
        texts = [
            [self.rows[at].text, *(self.rows[n].text for n in beside)] for at, beside in zip(some, others, strict=True)
        ]
        keys = [self._key(at, given) for at, given in zip(some, texts, strict=True)]

        def measure(positions: Sequence[int]) -> Iterator[Any]:
            for i in positions:
                yield self.ask(self.rows[some[i]], texts[i])

        values = self.data.kept.measured(f"transcript-fit-1-{self.weights}", keys, measure)
        for at, value in zip(some, values, strict=True):
            if value is not None:
                found[at] = Fitted(value[0], tuple(value[1]), value[2], value[3], tuple(value[4]))

    def _key(self, at: int, texts: Sequence[str]) -> str:
        one = self.rows[at]
        return _digest([key_of(part_of(self.row(one))), one.language, list(texts)])

    def ask(self, one: Judged, texts: Sequence[str]) -> Any:
        """How well texts fit a recording: the first one in detail, of the others the nats a token; None: can't tell."""
        row = {**self.row(one), "language": one.language}
        if not self.task.readable(row) or not sounds(self.task.wave(row), AUDIO_RATE).any():
            return None
        fits = self.task.fits(self.model, row, texts)
        if not fits:
            return None
        own = fits[0]
        parts = [round(nats, 2) for nats in own.parts]
        return [round(own.mean, 4), parts, own.end, own.no_speech, [round(fit.mean, 4) for fit in fits[1:]]]

    def heard(self, asked: Sequence[int]) -> list[str | None]:
        """What the model itself writes of some recordings, by places in ``rows``; None where it can't."""
        keys = [_digest([key_of(part_of(self.row(self.rows[at]))), self.rows[at].language]) for at in asked]

        def measure(positions: Sequence[int]) -> Iterator[str | None]:
            for i in positions:
                one = self.rows[asked[i]]
                row = {**self.row(one), "language": one.language}
                said = self.task.transcripts(self.model, [row]) if self.task.readable(row) else []
                yield str(said[0]["text"]) if said else None

        return self.data.kept.measured(
            f"transcript-heard-1-{self.weights}",
            keys,
            measure,
            lambda done, total: self.data.progress("transcribing what does not fit", done, total),
        )

    def tried(self, at: int, texts: Sequence[str]) -> list[float] | None:
        """Nats a token of a recording's own transcript and of some texts; None where nobody can tell."""
        one = self.rows[at]
        given = [one.text, *texts]
        value = self.data.kept.measured(
            f"transcript-fit-1-{self.weights}",
            [self._key(at, given)],
            lambda positions: (self.ask(one, given) for _ in positions),
        )[0]
        return None if value is None else [value[0], *value[4]]


def _digest(of: Any) -> str:
    return blake2b(canonical_json(of), digest_size=16).hexdigest()


WRONG_MISSED = 0.02
"""The share of wrong transcripts that may look right."""
TELLS = 0.75
LEAST_NATS = 1e-3


@dataclass(frozen=True)
class Ratios:
    """Losses beside what a wrong transcript would have: 1 and about for wrong ones, far less for right ones.

    Args:
        own: Of each row, [rows]; NaN where nobody asked.
        wrong: The same of transcripts that are known to be of other recordings.
    """

    own: NDArray[np.float64]
    wrong: NDArray[np.float64]

    @property
    def middle(self) -> float:
        """Half of all rows have this and less."""
        return float(np.nanmedian(self.own))

    @property
    def limit(self) -> float:
        """From here on a transcript is likely of another recording: nearly all that are known to be lie above."""
        return float(np.quantile(self.wrong, WRONG_MISSED))

    @property
    def tells(self) -> bool:
        """Whether the model tells right transcripts, which most are, from wrong ones."""
        return self.middle < min(self.limit, TELLS)

    def scores(self) -> NDArray[np.float64]:
        """How sure it is that each transcript is a wrong one, [rows]: 0.5 at the limit, 0 where nobody asked."""
        limit = self.limit
        above = 0.5 + 0.5 * (self.own - limit) / max(1e-6, 1 - limit)
        below = 0.5 * self.own / max(1e-6, limit)
        return np.asarray(np.nan_to_num(np.clip(np.where(self.own >= limit, above, below), 0, 1)))


def ratios_of(listener: Listener, fitted: Sequence[Fitted | None]) -> Ratios:
    """Losses divided by what other texts have on the same recording, and the same text on other recordings.

    Args:
        listener: That was asked.
        fitted: What it said.
    """
    elsewhere: list[list[float]] = [[] for _ in fitted]
    for at, one in enumerate(fitted):
        if one is not None:
            for other, nats in zip(listener.others_of(at), one.others, strict=True):
                elsewhere[other].append(nats)
    of_text = np.array([np.median(some) if some else np.nan for some in elsewhere])
    of_sound = np.array([np.median(one.others) if one is not None and one.others else np.nan for one in fitted])
    of_sound = np.maximum(of_sound, LEAST_NATS)
    of_text = np.maximum(np.where(np.isfinite(of_text), of_text, of_sound), LEAST_NATS)
    own, wrong = np.full(len(fitted), np.nan), list[float]()
    for at, one in enumerate(fitted):
        if one is None or not one.others:
            continue
        own[at] = one.mean / np.sqrt(of_sound[at] * of_text[at])
        for other, nats in zip(listener.others_of(at), one.others, strict=True):
            if len(elsewhere[other]) > 1:
                wrong.append(nats / np.sqrt(of_sound[at] * of_text[other]))
    return Ratios(own, np.array(wrong))
