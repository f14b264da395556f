"""A site by its sitemap: every page that it lists, of that site alone, as its robots.txt allows.

Links in pages are not followed. A page whose ``lastmod`` did not change is not read again, so a site that does not keep
it is only read anew into a new folder.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Unpack
from urllib.parse import urljoin, urlsplit
from urllib.robotparser import RobotFileParser
from xml.parsers import expat

from tunesmith.connectors.connector import Asking, Connector, version_of
from tunesmith.connectors.content import Content, whole
from tunesmith.connectors.receipt import Parts, Receipt
from tunesmith.connectors.resume import Entry, Fetched
from tunesmith.errors import UserError
from tunesmith.retrieval.document import Document, Unread
from tunesmith.retrieval.kinds import kind_of
from tunesmith.web.addresses import origin_of
from tunesmith.web.http import Limits
from tunesmith.web.replies import MIB, HttpFault, Reply, bare

AGENT = "tunesmith"
LIMITS = Limits(rate=2.0, burst=4)
# What the protocol allows of one file.
MOST_UNPACKED = 50 * MIB
DEEPEST = 4
SETTLED_SECONDS = {"day": 2 * 86_400.0, "moment": 120.0}
KINDS = {
    "text/html": "html",
    "application/xhtml+xml": "html",
    "text/plain": "text",
    "text/markdown": "markdown",
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/json": "json",
}


class Sitemap(Connector):
    """The pages that a sitemap lists.

    Args:
        place: Address of the sitemap, or of the site: its robots.txt or /sitemap.xml then names it.
        kept: Folder of the resume file.
        content: Converts what is no plain text; one of its own if None.
        asking: How the service is asked.

    Raises:
        UserError: It is no address.
    """

    def __init__(
        self,
        place: str,
        kept: Path | None = None,
        *,
        content: Content | None = None,
        **asking: Unpack[Asking],
    ) -> None:
        super().__init__(f"sitemap:{place}", Receipt(f"sitemap:{place}"), kept)
        self._origin = origin_of(place)
        self._place = place
        self.client = self.client_of(str(self._origin), LIMITS, asking)
        self._content, self._robots = content or Content(), RobotFileParser()

    def entries(self, known: Mapping[str, str]) -> Iterator[Entry | Unread | str]:
        """Every page listed, in the order of addresses."""
        sitemaps = self._read_robots()
        if urlsplit(self._place).path not in {"", "/"}:
            sitemaps = [self._place]
        found: dict[str, str] = {}
        seen: set[str] = set()
        for address in sitemaps or [urljoin(self._place, "/sitemap.xml")]:
            yield from self._listed(address, found, seen, 1)
        if not found:
            raise UserError("the sitemap lists no page", self._place, "name the address of the sitemap itself")
        for address in sorted(found):
            yield self._entry(address, found[address])

    def look(self, id: str) -> Entry | Unread | None:
        """A page that the sitemap names no more is gone."""
        return None

    def fetch(self, entry: Entry) -> Fetched:
        """A page as text."""
        reply = self.client.download(entry.source)
        if not self._same_site(reply.address):
            raise HttpFault(f"it leads to another site, {origin_of(reply.address)}", entry.source, reason="redirect")
        kind, body = _kind_of(reply)
        if not kind:
            told = reply.headers.get("content-type", "nothing")
            raise HttpFault(f"pages of type {told} are not read", entry.source, reason="type")
        parts = Parts()
        read = self._content.read(body, entry.source, kind)
        parts.see(kind)
        text, title = whole(read), read.title or entry.source
        changed = entry.changed or read.changed
        document = Document(
            entry.id,
            entry.source,
            title,
            text,
            kind,
            version_of(entry.mark, text, title),
            changed,
            {"service": "sitemap", "site": self._origin.host, **dict(read.labels)},
            tuple(read.notes),
        )
        return Fetched(document, parts)

    def _read_robots(self) -> list[str]:
        """Learn what may be read; the sitemaps that it names."""
        try:
            said = self.client.download("/robots.txt", most=MIB).body.decode("utf-8", "replace")
        except HttpFault as fault:
            if fault.stops:
                raise
            # By the rule (RFC 9309, 2.3.1.3) a site without the file may be read.
            said = ""
        self._robots.parse(said.splitlines())
        return list(self._robots.site_maps() or [])

    def _listed(self, address: str, found: dict[str, str], seen: set[str], depth: int) -> Iterator[Unread]:
        """Note the pages of a sitemap and of those that it lists."""
        if address in seen:
            return
        seen.add(address)
        if depth > DEEPEST or not self._same_site(address):
            reason = "sitemaps are nested too deeply" if depth > DEEPEST else "it is of another site"
            yield Unread(address, reason)
            return
        try:
            index, places = _parsed(_unpacked(self.client.download(address, most=MOST_UNPACKED)), address)
        except HttpFault as fault:
            if fault.stops:
                raise
            yield Unread(address, fault.what, fault.fix)
            return
        for place, changed in places:
            if index:
                yield from self._listed(place, found, seen, depth + 1)
            else:
                found[place.partition("#")[0]] = changed

    def _entry(self, address: str, changed: str) -> Entry | Unread:
        if not self._same_site(address):
            return Unread(address, "the sitemap lists a page of another site", "name that site's sitemap, too")
        if not self._robots.can_fetch(AGENT, address):
            return Unread(address, "the site's robots.txt does not allow it")
        mark = changed if _settled(changed, self.client.now()) else ""
        return Entry(f"sitemap:{address}", address, address, mark, changed)

    def _same_site(self, address: str) -> bool:
        try:
            origin = origin_of(address)
        except UserError:
            return False
        # The same name over https, or with and without www, is the same site.
        same_host = origin.host.removeprefix("www.") == self._origin.host.removeprefix("www.")
        return origin == self._origin or (same_host and (origin.scheme, origin.port) in {("https", 443), ("http", 80)})


def _unpacked(reply: Reply) -> bytes:
    """A sitemap that is kept packed, unpacked."""
    if not reply.body.startswith(b"\x1f\x8b"):
        return reply.body
    unpacking = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        body = unpacking.decompress(reply.body, MOST_UNPACKED)
    except zlib.error as fault:
        raise HttpFault(f"the sitemap can't be unpacked: {fault}", bare(reply.address), reason="damaged") from fault
    if unpacking.unconsumed_tail or not unpacking.eof:
        raise HttpFault("the sitemap is cut off, or unpacks to more than 50 MiB", bare(reply.address), reason="size")
    return body


def _parsed(body: bytes, source: str) -> tuple[bool, list[tuple[str, str]]]:
    """Whether it is a list of sitemaps, and the addresses with their ``lastmod``; a plain list has one a line.

    Raises:
        HttpFault: It is no sitemap.
    """
    if not body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        lines = body.decode("utf-8-sig", "replace").splitlines()
        return False, [(line.strip(), "") for line in lines if "://" in line]
    reading = _Reading()
    try:
        reading.parser.Parse(body, True)
    except (expat.ExpatError, ValueError) as fault:
        raise HttpFault(f"the sitemap is no sound XML: {fault}", source, reason="damaged") from fault
    if reading.root not in {"urlset", "sitemapindex"}:
        raise HttpFault(f"it is no sitemap but a <{reading.root}>", source, reason="damaged")
    return reading.root == "sitemapindex", reading.places


class _Reading:
    """Reads ``loc`` and ``lastmod`` as they come. A document type is refused: entities in it can grow without bound."""

    def __init__(self) -> None:
        self.root, self.places = "", list[tuple[str, str]]()
        self._path: list[str] = []
        self._text: dict[str, str] = {}
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._data
        self.parser.StartDoctypeDeclHandler = self._refuse

    def _start(self, name: str, _: Any) -> None:
        self._path.append(name.rpartition(":")[2])
        self.root = self.root or self._path[0]

    def _data(self, text: str) -> None:
        if len(self._path) == 3:
            self._text[self._path[2]] = self._text.get(self._path[2], "") + text

    def _end(self, _: str) -> None:
        self._path.pop()
        if len(self._path) == 1:
            place = self._text.get("loc", "").strip()
            if place:
                self.places.append((place, self._text.get("lastmod", "").strip()))
            self._text = {}

    def _refuse(self, *_: Any) -> None:
        raise ValueError("it has a document type")


def _kind_of(reply: Reply) -> tuple[str, bytes]:
    """What a page is, and its bytes; what the header tells of its encoding is written into them."""
    told = reply.headers.get("content-type", "")
    media, _, rest = told.partition(";")
    kind = KINDS.get(media.strip().lower(), "")
    if not kind and not media.strip():
        kind = kind_of(urlsplit(reply.address).path)
    charset = rest.lower().partition("charset=")[2].strip(" \"';")
    if charset and charset not in {"utf-8", "utf8"} and kind in {"html", "text", "markdown", "csv"}:
        try:
            return kind, b"\xef\xbb\xbf" + reply.body.decode(charset, "replace").encode()
        except LookupError:
            pass
    return kind, reply.body


def _settled(changed: str, now: float) -> bool:
    """Whether a later change would be seen: a day may hold several."""
    try:
        at = datetime.fromisoformat(changed)
    except ValueError:
        return False
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return now - at.timestamp() > SETTLED_SECONDS["day" if len(changed) <= 10 else "moment"]
