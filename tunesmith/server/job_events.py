"""A run's events as the API tells them: followed as they are written, and as the table of a job's result file.

It knows no store and no process.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

READ_BYTES = 1 << 20
COLUMNS = ("step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy")
"""Of ``step_metrics.csv``, in the hosted API's order and by its names."""


@dataclass(frozen=True)
class Told:
    """An event for a client.

    Args:
        key: Of two with one key the first counts: what is done again after a restart is told once.
        message: For a person.
        level: ``info`` or ``warn``.
        kind: ``message`` or ``metrics``.
        data: Numbers.
    """

    key: str
    message: str
    level: str = "info"
    kind: str = "message"
    data: Mapping[str, Any] = field(default_factory=dict)


class Tail:
    """Whole new lines of an events file that a worker writes, and at times replaces by a shorter one.

    A resumed run cuts its log back by putting another file in its place. The file that was read stays open here, so
    that the system can't give its number to the new one, which is then read from its start.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open: int | None = None
        self._at = 0

    def read(self) -> list[dict[str, Any]]:
        """The events that are new since the last call; after a replacement some come again."""
        with suppress(FileNotFoundError):
            there = self.path.stat()
            if self._open is None or os.fstat(self._open).st_ino != there.st_ino:
                self.close()
                self._open = os.open(self.path, os.O_RDONLY)
        if self._open is None:
            return []
        data = b""
        while piece := os.pread(self._open, READ_BYTES, self._at + len(data)):
            data += piece
        whole = data[: data.rfind(b"\n") + 1]
        self._at += len(whole)
        return list(_parsed(whole.splitlines()))

    def close(self) -> None:
        """Let the file go; the next `read` begins anew."""
        if self._open is not None:
            os.close(self._open)
        self._open, self._at = None, 0


def _parsed(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        # A line that a loss of power has damaged: the run itself says so when it goes on.
        with suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict):
                yield event


def told_of(event: Mapping[str, Any], total: int | None) -> Told | None:
    """A run's event as a client sees it; None where it is none of its affair.

    Args:
        event: As ``events.jsonl`` has it.
        total: Steps of the whole job, where they are known.
    """
    kind = event.get("kind")
    if kind == "step":
        data = {"step": event["step"], **train_metrics(event), "total_steps": total}
        of = f"/{total}" if total else ""
        return Told(f"step-{event['step']}", f"Step {event['step']}{of}: training loss={_shown(data['train_loss'])}",
                    kind="metrics", data=data)  # fmt: skip
    if kind == "eval":
        found = valid_metrics(event)
        data = {"step": event["step"], **found, "total_steps": total}
        text = f"Step {event['step']}: full validation loss={_shown(found['full_valid_loss'])}"
        return Told(f"eval-{event['step']}", text, kind="metrics", data=data)
    if kind == "stage" and event.get("event") == "start":
        return Told("begun", f"Training begins: {event['steps']} steps")
    if kind == "resume":
        return Told(f"resume-{event['step']}", f"Going on from step {event['step']}")
    if kind == "warning":
        return Told(f"warning-{event['text']}", str(event["text"]), level="warn")
    return None


def train_metrics(event: Mapping[str, Any]) -> dict[str, Any]:
    """What a step says: its loss, and the share of its tokens that were predicted rightly (null where not told)."""
    return {
        "train_loss": event.get("loss"),
        "train_mean_token_accuracy": (event.get("noted") or {}).get("token_accuracy"),
    }


def valid_metrics(event: Mapping[str, Any]) -> dict[str, Any]:
    """What a scoring of the validation rows says; a preference has its accuracy by pairs instead of by tokens."""
    scores: Mapping[str, Any] = event.get("scores") or {}
    if "preference_accuracy" in scores:
        loss, accuracy = scores.get("loss"), None
    else:
        perplexity = scores.get("perplexity")
        loss = math.log(perplexity) if perplexity else None
        accuracy = scores.get("token_accuracy")
    found = {
        "valid_loss": loss,
        "valid_mean_token_accuracy": accuracy,
        "full_valid_loss": loss,
        "full_valid_mean_token_accuracy": accuracy,
    }
    if "preference_accuracy" in scores:
        found["full_valid_preference_accuracy"] = scores["preference_accuracy"]
    return found


def metrics_table(events: Iterable[Mapping[str, Any]]) -> str:
    """``step_metrics.csv``: a line a step, and what the validation rows said after it where they were scored."""
    steps: dict[int, dict[str, Any]] = {}
    for event in events:
        if event.get("kind") == "step":
            told = train_metrics(event)
            row = {"step": event["step"], "train_loss": told["train_loss"]}
            steps[event["step"]] = row | {"train_accuracy": told["train_mean_token_accuracy"]}
        elif event.get("kind") == "eval" and event["step"] in steps:
            steps[event["step"]] |= valid_metrics(event)
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: "" if row.get(name) is None else row[name] for name in COLUMNS} for row in steps.values())
    return file.getvalue()


def trained_tokens(events: Iterable[Mapping[str, Any]]) -> int | None:
    """Tokens that were learned, all epochs together; None where the method counts pairs."""
    counted = [event["counts"].get("tokens") for event in events if event.get("kind") == "step"]
    return None if None in counted else round(sum(counted))


def _shown(value: Any) -> str:
    return "not finite" if value is None else f"{value:.4f}"
