"""What a sync keeps on disk so that the next one goes on: a journal of documents read, and where the last one ended.

The journal is a file of lines; a line torn by a kill is not read. It knows no service.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tunesmith.connectors.receipt import Parts
from tunesmith.retrieval.document import Document
from tunesmith.run import refusal, write_whole


@dataclass(frozen=True)
class Entry:
    """A document as a service lists it, before it is read.

    Args:
        id: Unique in an index: ``notion:PAGE``.
        source: Where a person finds it.
        title: For a person.
        mark: What changes when the document does, as the listing tells it (its time of last edit); empty where the
            listing can't be trusted to tell, and the document is then read each time.
        changed: When it was last edited, in ISO 8601.
        labels: What a search may filter by.
        more: What reading it needs, as JSON can hold it.
    """

    id: str
    source: str
    title: str
    mark: str = ""
    changed: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Fetched:
    """A document as it was read.

    Args:
        document: It.
        parts: What it is made of.
        found: Ids of documents that it leads to and that a listing may lack.
    """

    document: Document
    parts: Parts = field(default_factory=Parts)
    found: tuple[str, ...] = ()


class Journal:
    """Documents read by a sync that has not ended yet.

    Args:
        file: Where they are kept; None keeps nothing.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._places: dict[str, tuple[str, int]] = {}
        self._cut_at = 0
        if file is not None and file.exists():
            self._read(file)

    def get(self, entry: Entry) -> Fetched | None:
        """What was read of this document, if it is still as it was then; without a mark nobody can tell."""
        mark, place = self._places.get(entry.id, ("", -1))
        if self._file is None or place < 0 or not entry.mark or mark != entry.mark:
            return None
        with self._file.open("rb") as stream:
            stream.seek(place)
            return _unfolded(json.loads(stream.readline()))

    def add(self, entry: Entry, fetched: Fetched) -> None:
        """Keep a document; when this returns, it is on disk.

        Raises:
            UserError: The disk is full, or the place can't be written.
        """
        if self._file is None:
            return
        line = {
            "id": entry.id,
            "mark": entry.mark,
            "document": asdict(fetched.document),
            "seen": dict(fetched.parts.seen),
            "rendered": dict(fetched.parts.rendered),
            "found": list(fetched.found),
        }
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("r+b" if self._file.exists() else "w+b") as stream:
                # What a kill left torn behind the last whole line is written over.
                stream.truncate(self._cut_at)
                stream.seek(self._cut_at)
                stream.write(json.dumps(line, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
                stream.flush()
                os.fsync(stream.fileno())
                self._places[entry.id] = (entry.mark, self._cut_at)
                self._cut_at = stream.tell()
        except OSError as error:
            raise refusal(error, self._file) from error

    def end(self) -> None:
        """Forget all."""
        self._places, self._cut_at = {}, 0
        if self._file is not None:
            self._file.unlink(missing_ok=True)

    def _read(self, file: Path) -> None:
        with file.open("rb") as stream:
            while (line := stream.readline()).endswith(b"\n"):
                try:
                    kept = json.loads(line)
                    self._places[kept["id"]] = (kept["mark"], self._cut_at)
                except (ValueError, KeyError, TypeError):
                    return
                self._cut_at = stream.tell()


class Ended:
    """Where the last sync that came to its end left off: its cursor, the version of each document it gave, what they
    lead to.

    Args:
        file: Where it is kept; None keeps nothing.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._cursor = ""
        self._versions: dict[str, str] = {}
        self._links: dict[str, tuple[str, ...]] = {}
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            kept: dict[str, Any] = json.loads(file.read_bytes()) if file is not None else {}
            links = {id: tuple(found) for id, found in kept["links"].items()}
            self._cursor, self._versions, self._links = str(kept["cursor"]), dict(kept["versions"]), links

    def cursor(self, known: Mapping[str, str]) -> str:
        """Where to go on; empty if all must be listed again.

        A cursor is good only for one who holds what the sync before gave: whoever lost a part of it would never see
        that part again.
        """
        held = all(known.get(document) == version for document, version in self._versions.items())
        return self._cursor if held else ""

    def links(self, id: str) -> tuple[str, ...] | None:
        """What a document leads to; None if that is not known."""
        return self._links.get(id)

    def keep(self, cursor: str, versions: Mapping[str, str], links: Mapping[str, tuple[str, ...]]) -> None:
        """Note that a sync has ended.

        Raises:
            UserError: The place can't be written.
        """
        self._cursor, self._versions, self._links = cursor, dict(versions), dict(links)
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            kept = {"cursor": cursor, "versions": self._versions, "links": self._links}
            write_whole(self._file, json.dumps(kept).encode())


def _unfolded(line: Mapping[str, Any]) -> Fetched:
    """A line of the journal; JSON has lists only where a document has tuples."""
    parts = Parts(Counter(line["seen"]), Counter(line["rendered"]))
    document = {name: _tuples(value) for name, value in line["document"].items()}
    return Fetched(Document(**document), parts, tuple(line["found"]))


def _tuples(value: Any) -> Any:
    return tuple(_tuples(inner) for inner in value) if isinstance(value, list) else value
