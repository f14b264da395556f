"""HubSpot: every record of every type of object, also those archived, with all it says and what it belongs to.

It writes texts; `hubspot_api` asks.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack

from tunesmith.connectors.connector import Asking, Connector, version_of
from tunesmith.connectors.content import Content
from tunesmith.connectors.hubspot_api import (
    KINDS,
    HubSpotApi,
    Json,
    Kind,
    Link,
    Property,
    title_of,
    title_properties,
)
from tunesmith.connectors.receipt import Parts, Receipt
from tunesmith.connectors.resume import Entry, Fetched
from tunesmith.errors import UserError
from tunesmith.retrieval.document import Document, Unread
from tunesmith.web.http import Limits, credential
from tunesmith.web.replies import HttpFault

API = "https://api.hubapi.com"
# A private app may ask 100 times in 10 seconds, or more; batches are counted once.
LIMITS = Limits(rate=9.0, burst=20)
SHORT = 80
SCOPE = "give the private app the scope to read them, and this command again"


@dataclass
class Page:
    """Records that are read together, when the first of them is.

    Args:
        kind: Their type.
        archived: Whether they are.
        links: By id of a record those that it belongs to.
        ids: Of those still to be read.
        read: Those read, by id.
    """

    kind: Kind
    archived: bool
    links: dict[str, list[Link]]
    ids: list[str] = field(default_factory=list)
    read: dict[str, Json] = field(default_factory=dict)


class HubSpot(Connector):
    """The CRM of one account.

    Args:
        place: Types of object, with ``,`` between them: ``contacts,notes``; all if empty.
        kept: Folder of the resume file.
        base: Of the API; ``HUBSPOT_BASE_URL`` if None.
        token: Of a private app; ``HUBSPOT_TOKEN`` if None.
        page_size: Of all lists, at most 100.
        content: Converts what is no plain text; one of its own if None.
        asking: How the service is asked.

    Raises:
        UserError: No token.
    """

    def __init__(
        self,
        place: str = "",
        kept: Path | None = None,
        *,
        base: str | None = None,
        token: str | None = None,
        page_size: int = 100,
        content: Content | None = None,
        **asking: Unpack[Asking],
    ) -> None:
        name = f"hubspot:{place}" if place else "hubspot"
        super().__init__(name, Receipt(name), kept)
        secret = token or credential("HUBSPOT_TOKEN", "HubSpot", "make a private app that may read the CRM")
        address = base or os.environ.get("HUBSPOT_BASE_URL") or API
        self.client = self.client_of(address, LIMITS, asking, headers={"Authorization": f"Bearer {secret}"})
        self._api, self._content = HubSpotApi(self.client, page_size), content or Content()
        self._wanted = tuple(filter(None, (part.strip() for part in place.split(","))))
        self._host = self._portal = ""
        self._properties: dict[str, dict[str, Property]] = {}
        self._owners: dict[str, str] = {}
        self._kinds: dict[str, Kind] = {}
        self._titles: dict[tuple[str, str], str] = {}
        self._page: Page | None = None
        self._left_out: Counter[str] = Counter()

    def entries(self, known: Mapping[str, str]) -> Iterator[Entry | Unread | str]:
        """Every record; one that is archived, or fetched back, while the others are listed is not lost."""
        self._host, self._portal = self._api.portal()
        yield from self._learn(known)
        for kind in list(self._kinds.values()):
            if self._wanted and kind.name not in self._wanted:
                continue
            # A record that is archived meanwhile is in the second list; one that comes back, in the third.
            met: set[str] = set()
            for archived in (False, True, False):
                for records in self._api.records(kind, archived=archived):
                    new = [record for record in records if str(record["id"]) not in met]
                    met.update(str(record["id"]) for record in new)
                    yield from self._entries_of(kind, new, known, archived=archived)
        if self._left_out:
            names = ", ".join(sorted(self._left_out))
            self.receipt.notes.append(f"properties that HubSpot fills by itself stand in no text: {names}")

    def _learn(self, known: Mapping[str, str]) -> Iterator[Unread | str]:
        """Types of object, their properties, and who owns records; what the token may not see is told and kept."""
        try:
            self._owners = self._api.owners()
        except HttpFault as fault:
            _go_on(fault)
            self.receipt.notes.append(f"owners stand by their numbers: {fault.what}")
        kinds = list(KINDS)
        try:
            kinds += self._api.own_kinds()
        except HttpFault as fault:
            _go_on(fault)
            if not self._wanted:
                yield Unread("custom objects", fault.what, SCOPE)
                yield from (id for id in sorted(known) if id.startswith("hubspot:2-"))
        self._kinds = {kind.name: kind for kind in kinds}
        unknown = sorted(set(self._wanted) - set(self._kinds))
        if unknown:
            fix = f"name some of {', '.join(self._kinds)}"
            raise UserError(f"HubSpot has no objects named {unknown[0]!r}", "the source hubspot:", fix)
        for kind in kinds:
            if self._wanted and kind.name not in self._wanted and not kind.central:
                del self._kinds[kind.name]
                continue
            try:
                self._properties[kind.name] = self._api.properties(kind)
            except HttpFault as fault:
                _go_on(fault)
                del self._kinds[kind.name]
                if not self._wanted or kind.name in self._wanted:
                    yield Unread(kind.name, fault.what, SCOPE)
                    # That they may not be seen does not mean that they are gone.
                    yield from (id for id in sorted(known) if id.startswith(f"hubspot:{kind.name}/"))

    def _entries_of(
        self, kind: Kind, records: list[Json], known: Mapping[str, str], *, archived: bool
    ) -> Iterator[Entry]:
        """The records of one page of the list, with all that their texts depend on in their marks."""
        ids = [str(record["id"]) for record in records]
        # What is archived has lost its associations.
        page = Page(kind, archived, {} if archived or not ids else self._links(kind, ids))
        entries = []
        for record in records:
            entry = self._entry(kind, record, page)
            if known.get(entry.id, "").partition("#")[0] != entry.mark and self._journal.get(entry) is None:
                page.ids.append(str(record["id"]))
            entries.append(entry)
        self._page = page
        yield from entries

    def _entry(self, kind: Kind, record: Json, page: Page) -> Entry:
        id = str(record["id"])
        links = page.links.get(id, [])
        said = [[link.kind, link.id, list(link.labels), self._titles.get((link.kind, link.id), "")] for link in links]
        # Renamed neighbours, labels and owners change the text, and no time that the list tells.
        depends = [record["updatedAt"], page.archived, said, self._owners, _plain(self._properties[kind.name])]
        mark = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:16]
        return Entry(
            f"hubspot:{kind.name}/{id}",
            f"https://{self._host}/contacts/{self._portal}/record/{kind.type_id}/{id}",
            f"{kind.said} {id}",
            mark=mark,
            changed=str(record["updatedAt"]),
            labels={"kind": kind.name, "status": "archived" if page.archived else "active"},
            more={"kind": kind.name, "id": id},
        )

    def _links(self, kind: Kind, ids: list[str]) -> dict[str, list[Link]]:
        """What the records belong to, and the titles of those."""
        links: dict[str, list[Link]] = {id: [] for id in ids}
        for other in self._kinds.values():
            if not other.central:
                continue
            found = self._api.associations(kind.name, other.name, ids)
            new = sorted(
                {link.id for some in found.values() for link in some if (other.name, link.id) not in self._titles}
            )
            read = self._api.read(other.name, new, title_properties(other), archived=False) if new else {}
            for id in new:
                values = read.get(id, {}).get("properties", {})
                self._titles[other.name, id] = title_of(other, values) or f"{other.said} {id}"
            for id, some in found.items():
                links[id] += some
        return links

    def fetch(self, entry: Entry) -> Fetched:
        """Write down a record; its page is read by the first of it."""
        page, id = self._page, str(entry.more["id"])
        assert page is not None
        kind = page.kind
        if page.ids:
            wanted, page.ids = page.ids, []
            names = sorted(self._properties[kind.name])
            page.read = self._api.read(kind.name, wanted, names, archived=page.archived)
        archived, record = page.archived, page.read.get(id)
        if record is None:
            # It was archived, or fetched back, since it was listed.
            archived = not archived
            record = self._api.read(kind.name, [id], sorted(self._properties[kind.name]), archived=archived).get(id)
        if record is None:
            raise HttpFault("it was deleted while the others were read", entry.source, reason="gone")
        return self._written(entry, kind, record, page.links.get(id, []), archived=archived)

    def _written(self, entry: Entry, kind: Kind, record: Json, links: list[Link], *, archived: bool) -> Fetched:
        """The text of a record: its title, its long texts, its other properties, what it belongs to."""
        values = {name: str(value).strip() for name, value in record["properties"].items() if value not in (None, "")}
        if values.get("hs_email_text"):
            # The same text once more.
            values.pop("hs_email_html", None)
        parts = Parts()
        long: list[str] = []
        short: list[str] = []
        for name in sorted(values):
            known = self._properties[kind.name].get(name) or Property(name, name)
            if known.computed:
                self._left_out[name] += 1
                continue
            parts.see("property")
            said = self._said(known, values[name], entry, parts)
            if not said:
                continue
            if len(said) > SHORT or "\n" in said:
                long += [f"## {known.label}", "", said, ""]
            else:
                short.append(f"- {known.label}: {said}")
        for link in links:
            parts.see("association")
            other = self._kinds[link.kind]
            labels = f" ({', '.join(link.labels)})" if link.labels else ""
            short.append(f"- {other.said}: {self._titles[link.kind, link.id]}{labels}")
        title = title_of(kind, values) or (long[2].splitlines()[0][:SHORT] if long else "") or entry.title
        if not long and not short:
            text = ""
        else:
            gone = ["This record is archived.", ""] if archived else []
            text = "\n".join([f"# {title}", "", *gone, *short, "", *long]).strip() + "\n"
        told = {**entry.labels, "status": "archived" if archived else "active"}
        owner = self._owners.get(values.get("hubspot_owner_id", ""))
        if owner:
            told["owner"] = owner
        version = version_of(entry.mark, text, title)
        document = Document(entry.id, entry.source, title, text, "hubspot", version, entry.changed, told)
        return Fetched(document, parts)

    def _said(self, known: Property, value: str, entry: Entry, parts: Parts) -> str:
        """A value as a person reads it."""
        if known.html:
            return self._content.markdown(value, entry.source, parts)
        if known.owner:
            return self._owners.get(value, value)
        if known.options:
            return ", ".join(known.options.get(part, part) for part in value.split(";"))
        return value


def _go_on(fault: HttpFault) -> None:
    """Raise a fault again, unless it says that the token may not see something."""
    if fault.stops or fault.status != 403:
        raise fault


def _plain(properties: Mapping[str, Property]) -> list[Any]:
    return [[p.name, p.label, p.html, p.owner, p.computed, sorted(p.options.items())] for p in properties.values()]
