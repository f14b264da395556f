"""The completeness receipt: what a sync saw, what came of it, and what did not, with the reason. It reads nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tunesmith.retrieval.document import Unread
from tunesmith.web.tally import Tally

SHOWN = 20


@dataclass
class Parts:
    """What one document is made of, by type: blocks of a page, comments of a ticket, files of a folder.

    Args:
        seen: How many of each type the service gave.
        rendered: How many of them stand in the document's text.
    """

    seen: Counter[str] = field(default_factory=Counter)
    rendered: Counter[str] = field(default_factory=Counter)

    def see(self, kind: str, rendered: bool = True) -> None:
        """Count one part."""
        self.seen[kind] += 1
        if rendered:
            self.rendered[kind] += 1

    def add(self, other: Parts) -> None:
        """Count those of another."""
        self.seen.update(other.seen)
        self.rendered.update(other.rendered)

    @property
    def not_rendered(self) -> dict[str, int]:
        """How many of each type were seen and stand in no text."""
        return {kind: self.seen[kind] - self.rendered[kind] for kind in sorted(self.seen - self.rendered)}


@dataclass
class Receipt(Tally):
    """What a sync leaves behind, to be read by a person; what its requests cost is counted by its client.

    Args:
        source: What was synced.
        listed: Documents that the service says there are.
        fetched: Of them, those read in this sync.
        resumed: Of them, those that an interrupted sync had read and that have not changed since.
        unchanged: Of them, those already held in this version; they were not asked for again.
        empty: Addresses of documents read that hold no text.
        skipped: What could not be read, and why. A document is one of those listed.
        parts: What the documents read are made of.
        notes: What a person should know besides.
        finished: Whether the sync came to its end.
    """

    source: str
    listed: int = 0
    fetched: int = 0
    resumed: int = 0
    unchanged: int = 0
    empty: list[str] = field(default_factory=list)
    skipped: list[Unread] = field(default_factory=list)
    parts: Parts = field(default_factory=Parts)
    notes: list[str] = field(default_factory=list)
    finished: bool = False

    @property
    def unaccounted(self) -> int:
        """Documents listed of which nothing is known; 0 in every sync that ended."""
        return self.listed - self.fetched - self.resumed - self.unchanged - len(self.skipped)

    @property
    def complete(self) -> bool:
        """Whether everything that was listed is held, whole."""
        whole = not self.skipped and not self.parts.not_rendered
        return self.finished and whole and self.unaccounted == 0

    def plain(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "source": self.source,
            "complete": self.complete,
            "finished": self.finished,
            "listed": self.listed,
            "fetched": self.fetched,
            "resumed": self.resumed,
            "unchanged": self.unchanged,
            "unaccounted": self.unaccounted,
            "empty": list(self.empty),
            "skipped": [{"source": u.source, "reason": u.reason, "fix": u.fix} for u in self.skipped],
            "seen": dict(sorted(self.parts.seen.items())),
            "rendered": dict(sorted(self.parts.rendered.items())),
            "not_rendered": self.parts.not_rendered,
            "requests": self.requests,
            "repeated": dict(sorted(self.repeated.items())),
            "waited_seconds": round(self.waited_seconds, 3),
            "bytes": self.bytes,
            "notes": list(self.notes),
        }

    def lines(self) -> list[str]:
        """For a terminal."""
        lost = self.parts.not_rendered
        said = [f"{self.source}: " + ("complete" if self.complete else "NOT complete")]
        counts = [
            f"{self.listed} listed",
            f"{self.fetched} fetched",
            f"{self.resumed} kept from an interrupted sync" if self.resumed else "",
            f"{self.unchanged} unchanged" if self.unchanged else "",
            f"{len(self.empty)} empty" if self.empty else "",
            f"{len(self.skipped)} skipped" if self.skipped else "",
            f"{self.unaccounted} not reached" if self.unaccounted else "",
        ]
        said.append("  documents: " + ", ".join(filter(None, counts)))
        if self.parts.seen:
            seen, rendered = self.parts.seen.total(), self.parts.rendered.total()
            said.append(f"  parts: {seen} seen, {rendered} rendered ({_counts(self.parts.seen)})")
        if lost:
            said.append(f"  not rendered: {_counts(lost)}")
        again = f", {self.repeated.total()} repeated ({_counts(self.repeated)})" if self.repeated else ""
        if self.requests:
            waited = f", waited {self.waited_seconds:.1f} s" if self.waited_seconds else ""
            said.append(f"  requests: {self.requests}{again}{waited}, {self.bytes:,} bytes")
        said += [f"  empty: {source}" for source in self.empty[:SHOWN]]
        said += [f"  skipped: {u.source}: {u.reason}" + (f" ({u.fix})" if u.fix else "") for u in self.skipped[:SHOWN]]
        more = max(0, len(self.empty) - SHOWN) + max(0, len(self.skipped) - SHOWN)
        if more:
            said.append(f"  and {more} more; --json names all")
        return said + [f"  note: {note}" for note in self.notes]


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in sorted(counts.items()))
