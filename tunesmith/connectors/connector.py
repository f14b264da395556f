"""How every connector runs: list, leave what is unchanged, read the rest, keep it at once, account for all.

It knows no service: a connector says what a service lists, and how one document is read.
"""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypedDict

from tunesmith.connectors.receipt import Receipt
from tunesmith.connectors.resume import Ended, Entry, Fetched, Journal
from tunesmith.errors import UserError
from tunesmith.retrieval.document import Document, Unread
from tunesmith.web.http import Client, Limits
from tunesmith.web.replies import HttpFault
from tunesmith.web.waiting import Clock


class Asking(TypedDict, total=False):
    """How a service is asked, whichever it is.

    Args:
        limits: How hard; None, as without: what the connector knows that its service allows.
        clock: Whose seconds count.
        say: Told about long waits.
    """

    limits: Limits | None
    clock: Clock | None
    say: Callable[[str], None] | None


class Connector(ABC):
    """A source that is asked over a network (`tunesmith.retrieval.document.Source`).

    Args:
        name: Unique in an index, and a good name for a file: ``notion``.
        receipt: Of the sync; the client counts into it, too.
        kept: Folder of the resume file and the cursor; None keeps nothing, and each sync lists and reads all anew.
    """

    def __init__(self, name: str, receipt: Receipt, kept: Path | None = None) -> None:
        self.name, self.receipt = name, receipt
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", name)
        self._journal = Journal(None if kept is None else kept / f"{stem}.journal.jsonl")
        self._ended = Ended(None if kept is None else kept / f"{stem}.ended.json")
        self._found: deque[str] = deque()
        self.cursor = ""

    leads = False
    """Whether documents lead to others that the listing may lack (`Fetched.found`)."""

    @abstractmethod
    def entries(self, known: Mapping[str, str]) -> Iterator[Entry | Unread | str]:
        """Everything that the service says there is, in a stable order; may give the same document twice.

        ``self.cursor`` is where the last sync ended, empty if all must be listed. One that has a cursor gives the bare
        id of each document in ``known`` that it knows to be unchanged and there, and sets ``self.cursor`` anew.
        """

    @abstractmethod
    def fetch(self, entry: Entry) -> Fetched:
        """Read one document. The document's version is made by `version_of`.

        Raises:
            HttpFault: It can't be read; unless the fault ``stops``, the document is skipped with it as the reason.
        """

    def look(self, id: str) -> Entry | Unread | None:
        """A document that is not listed but was known, or that another leads to. None if it is gone."""
        return None

    def missed(self, id: str) -> Entry | Unread | None:
        """A document that was known and was not met at all. None if it is gone."""
        return self.look(id)

    def documents(self, known: Mapping[str, str]) -> Iterator[Document | Unread | str]:
        """Everything that is there now; what a sync that was killed has read is not asked for again.

        Raises:
            HttpFault: The sync can't go on (``stops``). What was read is kept.
            UserError: All that was known is gone: more likely the right to read it is.
        """
        self.cursor = began = self._ended.cursor(known)
        given: dict[str, str] = {}
        links: dict[str, tuple[str, ...]] = {}
        try:
            for item in self._all(known):
                self.receipt.listed += 1
                if isinstance(item, Unread):
                    self.receipt.skipped.append(item)
                    yield item
                elif isinstance(item, str):
                    self.receipt.unchanged += 1
                    given[item], links[item] = known[item], self._ended.links(item) or ()
                    yield item
                else:
                    yield from self._one(item, known, given, links)
        finally:
            self.close()
        if known and not self.receipt.listed:
            raise UserError(
                f"{self.name} gives nothing any more; before it gave {len(known)} documents, which are kept",
                self.name,
                "look whether its token may still read; to drop them on purpose, delete the folder or use --forget",
            )
        # What was skipped stands before the new cursor: from there, it would never be tried again.
        self._ended.keep(began if self.receipt.skipped else self.cursor, given, links)
        self._journal.end()
        self.receipt.finished = True

    def client_of(self, base: str, limits: Limits, asking: Asking, **how: Any) -> Client:
        """A client that counts into the receipt.

        Args:
            base: Address that it asks.
            limits: How hard, where ``asking`` does not say.
            asking: What the connector was told.
            how: More that the client is to know (`Client`).
        """
        told: dict[str, Any] = {name: value for name, value in asking.items() if value is not None}
        return Client(base, **{"limits": limits, "tally": self.receipt, **how, **told})

    def close(self) -> None:
        """Let connections go; asking opens them again."""
        client = getattr(self, "client", None)
        if isinstance(client, Client):
            client.close()

    def _all(self, known: Mapping[str, str]) -> Iterator[Entry | Unread | str]:
        """Each document once: those listed, those that documents lead to, those known that neither names."""
        met: set[str] = set()
        self._found.clear()
        for item in self.entries(known):
            if isinstance(item, Unread):
                yield item
            else:
                yield from self._new(item, met)
        yield from self._led_to(met)
        for id in sorted(known):
            if id not in met and (entry := self.missed(id)) is not None:
                met.add(id)
                yield entry
                yield from self._led_to(met)

    def _led_to(self, met: set[str]) -> Iterator[Entry | Unread]:
        """What the documents so far lead to, and what that leads to."""
        while self._found:
            id = self._found.popleft()
            if id not in met:
                met.add(id)
                yield self.look(id) or Unread(id, "a document leads to it and the service does not give it")

    @staticmethod
    def _new(item: Entry | str, met: set[str]) -> Iterator[Entry | str]:
        id = item if isinstance(item, str) else item.id
        if id not in met:
            met.add(id)
            yield item

    def _one(
        self, entry: Entry, known: Mapping[str, str], given: dict[str, str], links: dict[str, tuple[str, ...]]
    ) -> Iterator[Document | Unread | str]:
        """One document that is listed: unchanged, kept by a sync that was killed, or read now."""
        held = known.get(entry.id, "")
        fetched = self._journal.get(entry)
        if entry.mark and held.partition("#")[0] == entry.mark:
            # What an unchanged document leads to must be known too, or it would be lost without a word.
            found = fetched.found if fetched is not None else self._ended.links(entry.id)
            if found is not None or not self.leads:
                self.receipt.unchanged += 1
                given[entry.id], links[entry.id] = held, found or ()
                self._found.extend(found or ())
                yield entry.id
                return
        if fetched is not None:
            self.receipt.resumed += 1
        else:
            try:
                fetched = self.fetch(entry)
            except HttpFault as fault:
                if fault.stops:
                    raise
                skipped = Unread(entry.source, fault.what, fault.fix)
                self.receipt.skipped.append(skipped)
                yield skipped
                return
            self._journal.add(entry, fetched)
            self.receipt.fetched += 1
        self._found.extend(fetched.found)
        self.receipt.parts.add(fetched.parts)
        if not fetched.document.text.strip():
            self.receipt.empty.append(fetched.document.source)
        given[entry.id], links[entry.id] = fetched.document.version, fetched.found
        yield entry.id if fetched.document.version == held else fetched.document


def version_of(mark: str, text: str, title: str = "") -> str:
    """A document's version: the listing's mark, by which one that is unchanged is known without reading it, and a
    digest of what was read.
    """
    content = "\0".join((title, text)).encode("utf-8", "surrogatepass")
    return f"{mark}#{hashlib.sha256(content).hexdigest()[:16]}"
