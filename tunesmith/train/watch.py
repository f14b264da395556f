"""The watchers: they see every event of a run and may ask it to stop, to save or to evaluate.

They know no model, no optimizer and no torch, and never touch a number: a run with and without them computes the same.
What they remember is JSON-able and goes into the checkpoint, so that a resumed run decides as an unbroken one would.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, Literal, Protocol

from tunesmith.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from tunesmith.run import Run

FIRST, LAST, TIMES = 20, 10, 10.0


@dataclass(frozen=True)
class Ask:
    """What a watcher asks for, and why: ``stop`` ends the stage, ``save`` and ``evaluate`` happen after the step."""

    kind: Literal["stop", "save", "evaluate"]
    reason: str


class Watcher(Protocol):
    """Sees the events of a run, as they stand in ``events.jsonl``."""

    def see(self, event: Mapping[str, Any]) -> Ask | None:
        """Look at one event; a raised `UserError` ends the run."""

    def state(self) -> dict[str, Any]:
        """What it remembers, JSON-able, for a checkpoint."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Remember what `state` gave before the run was interrupted."""


class Plateau:
    """Asks to end a stage after ``patience`` evaluations in a row without a better score than the stage's best.

    Args:
        patience: Evaluations without improvement, at least 1: one number for all stages, or one for each (None: never).
        higher_is_better: Direction of the score.
        metric: Name among the event's scores; None takes the only one there, or the event's own ``score``.
    """

    def __init__(
        self, patience: int | Sequence[int | None], higher_is_better: bool = True, metric: str | None = None
    ) -> None:
        self.patience, self.higher_is_better, self.metric = patience, higher_is_better, metric
        given = [patience] if isinstance(patience, int) else [p for p in patience if p is not None]
        if any(p < 1 for p in given):
            raise ValueError(f"patience is at least 1, not {min(given)}")
        self.stage: int | None = None
        self.best: float | None = None
        self.waited = 0

    def see(self, event: Mapping[str, Any]) -> Ask | None:
        """Count an evaluation; a new stage starts anew, a resumed one does not."""
        if event.get("kind") == "stage" and event.get("event") == "start" and event.get("stage") != self.stage:
            self.stage, self.best, self.waited = event.get("stage"), None, 0
        if event.get("kind") != "eval":
            return None
        score = self._score(event)
        # A score that is not a number is never an improvement, whichever way the metric points.
        better = math.isfinite(score) and (
            self.best is None or (score > self.best if self.higher_is_better else score < self.best)
        )
        self.best, self.waited = (score, 0) if better else (self.best, self.waited + 1)
        limit = self.patience if isinstance(self.patience, int) else self.patience[self.stage or 0]
        if limit is None or self.waited < limit:
            return None
        best = "no score at all" if self.best is None else f"best {self.best:.4g}"
        return Ask("stop", f"plateau: no better score in {self.waited} evaluations ({best})")

    def _score(self, event: Mapping[str, Any]) -> float:
        scores = event.get("scores", {})
        if self.metric is not None:
            return float(scores[self.metric])
        if "score" in event:
            return float(event["score"])
        if len(scores) != 1:
            raise ValueError(f"name the metric to watch, one of {', '.join(scores)}")
        return float(next(iter(scores.values())))

    def state(self) -> dict[str, Any]:
        """Stage, best score and evaluations waited."""
        return {"stage": self.stage, "best": self.best, "waited": self.waited}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on counting where `state` was taken."""
        self.stage, self.best, self.waited = state["stage"], state["best"], state["waited"]


class Explosion:
    """Ends the run when the loss is not finite, or when it explodes.

    It explodes when the median of the last 10 losses is over 10 times the median of the run's first 20: medians, so
    that one bad batch does not end a run. Gradient norms are the loop's affair: a loss scaler meets infinite ones.
    """

    def __init__(self) -> None:
        self.first: list[float] = []
        self.last: deque[float] = deque(maxlen=LAST)

    def see(self, event: Mapping[str, Any]) -> Ask | None:
        """Judge a step.

        Raises:
            UserError: The loss is not finite or has exploded; the message names the step.
        """
        if event.get("kind") != "step":
            return None
        # None is how a number that is not finite comes back from JSON.
        loss = math.nan if event["loss"] is None else float(event["loss"])
        fix = "lower the stage's lr, clip harder (optimizer.clip), or look at the rows of that step"
        if not math.isfinite(loss):
            raise UserError("the loss is not finite", f"step {event['step']}", fix)
        if len(self.first) < FIRST:
            self.first.append(loss)
            return None
        self.last.append(loss)
        start, now = median(self.first), median(self.last)
        if len(self.last) == LAST and 0 < start * TIMES < now:
            what = f"the loss exploded: {now:.4g} over the last {LAST} steps, {start:.4g} over the first {FIRST}"
            raise UserError(what, f"step {event['step']}", fix)
        return None

    def state(self) -> dict[str, Any]:
        """The first and the last losses."""
        return {"first": list(self.first), "last": list(self.last)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Remember the losses of the interrupted run."""
        self.first, self.last = list(state["first"]), deque(state["last"], maxlen=LAST)


class EventsFile:
    """Writes every event into the run's ``events.jsonl``."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def see(self, event: Mapping[str, Any]) -> Ask | None:
        """Append the event."""
        self.run.append_event(event)
        return None

    def state(self) -> dict[str, Any]:
        """Nothing: the file is its memory."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing to remember."""


class RateMeter:
    """Amount a second over the last seconds, from ticks.

    Args:
        seconds: Length of the window looked back on.
        clock: Gives the time in seconds.
    """

    def __init__(self, seconds: float = 30.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds, self.clock = seconds, clock
        self._ticks: deque[tuple[float, float]] = deque([(clock(), 0.0)])

    def tick(self, amount: float) -> None:
        """Count an amount that was done since the last tick."""
        now = self.clock()
        self._ticks.append((now, amount))
        # At least one tick stays inside the window, or slow work would have no rate at all.
        while len(self._ticks) > 2 and now - self._ticks[1][0] > self.seconds:
            self._ticks.popleft()

    def rest(self) -> None:
        """Start anew: time that passed without work (an evaluation) is not counted."""
        self._ticks = deque([(self.clock(), 0.0)])

    @property
    def per_second(self) -> float | None:
        """The rate, or None before anything was counted."""
        passed = self._ticks[-1][0] - self._ticks[0][0]
        return sum(amount for _, amount in list(self._ticks)[1:]) / passed if passed > 0 else None


class Progress:
    """A progress bar of the stage on a terminal, else a plain line every ten seconds: loss, rate, time left.

    Use it in a ``with`` block, so that the terminal is given back whatever happens.

    Args:
        console: Where to write; None is standard error, so that ``--json`` on standard output stays clean.
        clock: Gives the time in seconds.
        every: Seconds between plain lines.
    """

    def __init__(
        self, console: Console | None = None, clock: Callable[[], float] = time.monotonic, every: float = 10.0
    ) -> None:
        if console is None:
            from rich.console import Console

            console = Console(stderr=True)
        self.console, self.clock, self.every = console, clock, every
        self.name, self.total, self.done = "", 0, 0
        self.rows, self.steps = RateMeter(clock=clock), RateMeter(clock=clock)
        # Work that ends within the first seconds needs no line.
        self._said = clock()
        self._bar: Bar | None = None
        self._stage: TaskID | None = None
        self._works: dict[str, TaskID] = {}

    def __enter__(self) -> Progress:
        if self.console.is_terminal:
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bar

            columns = (
                TextColumn("{task.fields[name]}", markup=False),
                # It takes what the words leave, so that the time left is never cut.
                BarColumn(bar_width=None),
                TextColumn("{task.fields[amount]}", markup=False),
                TextColumn("{task.description}", markup=False),
            )
            self._bar = Bar(*columns, console=self.console)
            self._bar.start()
        return self

    def __exit__(self, *failure: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._stage = None

    def see(self, event: Mapping[str, Any]) -> Ask | None:
        """Show a stage's start and end, steps, evaluations and warnings."""
        kind = event.get("kind")
        if kind == "stage" and event.get("event") == "start":
            self._begin(event)
        elif kind == "step":
            self._step(event)
        elif kind == "stage":
            self.say(f"{self.name}: done in {clock_time(event.get('seconds') or 0.0)}")
        elif kind == "eval":
            scores = ", ".join(f"{name} {value:.4g}" for name, value in event.get("scores", {}).items())
            self.say(f"{self.name} step {event['step']}: {scores}{' (best so far)' if event.get('best') else ''}")
        elif kind == "warning":
            self.say(f"warning: {event['text']}")
        elif kind == "resume":
            self.say(f"going on from step {event['step']}")
        if kind in {"stage", "eval", "cache", "lr-finder"}:
            self.rows.rest()
            self.steps.rest()
        return None

    def work(self, what: str, done: int, total: int) -> None:
        """Show work beside the steps (reading, recording, scoring): a bar that goes when it is done, or a line."""
        share = f"{done / total:.0%}" if total else ""
        if self._bar is not None:
            if what not in self._works:
                self._works[what] = self._bar.add_task(what, total=total, name="", amount=share)
            self._bar.update(self._works[what], completed=done, total=total, amount=share)
            if done >= total:
                self._bar.remove_task(self._works.pop(what))
        elif self.clock() - self._said >= self.every and done < total:
            self._said = self.clock()
            self.say(f"{what}: {share}")

    def state(self) -> dict[str, Any]:
        """Nothing: a resumed run measures its own rate."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing to remember."""

    def _begin(self, event: Mapping[str, Any]) -> None:
        self.name, self.total = str(event.get("name", "")), int(event.get("steps") or 0)
        self.done, self._said = int(event.get("done") or 0), -math.inf
        if self._bar is not None:
            if self._stage is not None:
                self._bar.stop_task(self._stage)
            self._stage = self._bar.add_task(
                "", total=self.total or None, completed=self.done, name=self.name, amount=self._amount
            )

    def _step(self, event: Mapping[str, Any]) -> None:
        self.done += 1
        self.steps.tick(1)
        self.rows.tick(event.get("rows_per_second", 0.0) * event.get("seconds", 0.0))
        line = self._line(event)
        if self._bar is not None and self._stage is not None:
            self._bar.update(self._stage, completed=self.done, description=line, amount=self._amount)
        elif self.clock() - self._said >= self.every or self.done == self.total:
            self._said = self.clock()
            self.say(f"{self.name} {self._amount}  {line}")

    @property
    def _amount(self) -> str:
        return f"{self.done}/{self.total or '?'}"

    def _line(self, event: Mapping[str, Any]) -> str:
        loss, rates = event.get("loss"), [rate for rate in (event.get("lr") or {}).values() if rate is not None]
        parts = ["loss not finite" if loss is None else f"loss {loss:.4f}"]
        if self.rows.per_second is not None:
            parts.append(f"{self.rows.per_second:,.0f} rows/s")
        if rates:
            parts.append(f"lr {max(rates):.1e}")
        if self.total and self.steps.per_second:
            parts.append(f"{clock_time((self.total - self.done) / self.steps.per_second)} left")
        return "  ".join(parts)

    def say(self, text: str) -> None:
        """A line above the bar."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


def clock_time(seconds: float) -> str:
    """Seconds for a person: ``8 s``, ``3:05``, ``1:02:03``."""
    whole = max(0, round(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}" if minutes else f"{rest} s"
