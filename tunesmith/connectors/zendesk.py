"""Zendesk: tickets with all of their comments by the incremental export, and every translation of the help centre.

The export names each ticket that changed since a cursor, those put away in the archive too, and those deleted. Comments
are not in it: they are read ticket by ticket, by cursor, for pages by number end at 10,000. It knows no index.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

from tunesmith.connectors.connector import Asking, Connector, version_of
from tunesmith.connectors.content import Content
from tunesmith.connectors.receipt import Parts, Receipt
from tunesmith.connectors.resume import Entry, Fetched
from tunesmith.errors import UserError
from tunesmith.retrieval.document import Document, Unread
from tunesmith.web.http import Limits, credential
from tunesmith.web.replies import HttpFault

PAGE = 100
EXPORT_PAGE = 1000
# The export may be asked 10 times a minute, all else several times a second; a 429 says when it was too often.
LIMITS = Limits(rate=5.0, burst=5)
GONE = "deleted"
SPOKEN = "VoiceComment"
Json = dict[str, Any]


class Zendesk(Connector):
    """Tickets and articles of one Zendesk.

    Args:
        place: Subdomain: ``example`` of ``example.zendesk.com``; ``ZENDESK_SUBDOMAIN`` if empty.
        kept: Folder of the resume file and the cursor.
        base: Address instead of the subdomain's; ``ZENDESK_BASE_URL`` if None.
        token: ``ZENDESK_TOKEN`` if None: an API token if there is an e-mail address, else one of OAuth.
        email: Whose API token it is; ``ZENDESK_EMAIL`` if None.
        page_size: Of all lists, at most 100.
        export_page_size: Of the export, at most 1,000.
        content: Converts what is no plain text; one of its own if None.
        asking: How the service is asked.

    Raises:
        UserError: No token, or no subdomain.
    """

    def __init__(
        self,
        place: str = "",
        kept: Path | None = None,
        *,
        base: str | None = None,
        token: str | None = None,
        email: str | None = None,
        page_size: int = PAGE,
        export_page_size: int = EXPORT_PAGE,
        content: Content | None = None,
        **asking: Unpack[Asking],
    ) -> None:
        place = place or os.environ.get("ZENDESK_SUBDOMAIN", "").strip()
        base = base or os.environ.get("ZENDESK_BASE_URL", "").strip()
        if not re.fullmatch(r"[A-Za-z0-9-]*", place) or not (place or base):
            fix = "write zendesk:SUBDOMAIN, or set ZENDESK_SUBDOMAIN"
            raise UserError("Zendesk needs its subdomain", f"the source zendesk:{place}", fix)
        name = f"zendesk:{place}" if place else "zendesk"
        super().__init__(name, Receipt(name), kept)
        how = "make an API token in the Admin Center (Apps and integrations), set ZENDESK_EMAIL to whose it is"
        secret = token or credential("ZENDESK_TOKEN", "Zendesk", how)
        person = os.environ.get("ZENDESK_EMAIL", "").strip() if email is None else email
        basic = base64.b64encode(f"{person}/token:{secret}".encode()).decode()
        headers = {"Authorization": f"Basic {basic}" if person else f"Bearer {secret}"}
        self.client = self.client_of(base or f"https://{place}.zendesk.com", LIMITS, asking, headers=headers)
        self._page, self._export_page = page_size, export_page_size
        self._content = content or Content()
        self._people: dict[int, str] = {}
        self._fields: dict[int, str] | None = None

    def entries(self, known: Mapping[str, str]) -> Iterator[Entry | Unread | str]:
        """Tickets that changed since the last sync, the others by their ids, and all articles."""
        resumed = bool(self.cursor)
        # The export is read to its end before the first ticket is: one that is edited while others are read lies
        # behind the cursor and comes with the next sync.
        changed, gone, cursor = self._export(self.cursor)
        yield from changed.values()
        if resumed:
            kept = (id for id in sorted(known) if id.startswith("zendesk:ticket/"))
            yield from (id for id in kept if id not in changed and id not in gone)
        yield from self._articles(known)
        self.cursor = cursor

    def fetch(self, entry: Entry) -> Fetched:
        """Read one ticket's comments, or convert an article."""
        return self._ticket(entry) if "ticket" in entry.more else self._article(entry)

    def _export(self, cursor: str) -> tuple[dict[str, Entry], set[str], str]:
        """Tickets changed since a cursor, the last state of each; ids of those deleted; where the export ended."""
        start = {"cursor": cursor} if cursor else {"start_time": "0"}
        changed: dict[str, Entry] = {}
        gone: set[str] = set()

        def ask(after: str | None) -> Any:
            given = {"cursor": after} if after else start
            return self.client.get("api/v2/incremental/tickets/cursor.json", {**given, "per_page": self._export_page})

        def following(reply: Any) -> str | None:
            return None if reply["end_of_stream"] else str(reply["after_cursor"])

        for reply in self.client.pages(ask, following):
            # A page begins with what the one before ended with, and a ticket stands anew where it changed.
            for ticket in reply["tickets"]:
                id = f"zendesk:ticket/{ticket['id']}"
                changed.pop(id, None)
                gone.discard(id)
                if ticket["status"] == GONE:
                    gone.add(id)
                else:
                    changed[id] = self._ticket_entry(id, ticket)
            cursor = reply["after_cursor"] or cursor
        return changed, gone, cursor

    def _ticket_entry(self, id: str, ticket: Json) -> Entry:
        """What the export tells of a ticket."""
        needed = ("id", "status", "priority", "type", "tags", "requester_id", "custom_fields", "created_at")
        labels = {"kind": "ticket", "status": str(ticket["status"])}
        return Entry(
            id,
            f"{self.client.base}/agent/tickets/{ticket['id']}",
            str(ticket.get("subject") or f"Ticket {ticket['id']}"),
            # The time of the last change by anyone; updated_at knows nothing of the system's own.
            mark=f"{ticket.get('generated_timestamp', '')} {ticket['updated_at']}",
            changed=str(ticket["updated_at"]),
            labels=labels,
            more={"ticket": {name: ticket[name] for name in needed if ticket.get(name)}},
        )

    def _ticket(self, entry: Entry) -> Fetched:
        """A ticket with all of its comments, in their order."""
        ticket: Mapping[str, Any] = entry.more["ticket"]
        comments = list(self._list(f"api/v2/tickets/{ticket['id']}/comments.json", "comments"))
        self._meet([ticket.get("requester_id"), *(comment.get("author_id") for comment in comments)])
        parts = Parts()
        lines = [f"# {entry.title}", "", *self._facts(ticket), ""]
        for comment in comments:
            parts.see(str(comment["type"]))
            lines += [self._head(comment), "", _said(comment), ""]
            for file in comment.get("attachments") or ():
                parts.see("attachment", rendered=False)
                lines += [f"Attachment: {file['file_name']} ({file.get('content_type', '')})", ""]
        text = "\n".join(lines).strip() + "\n"
        notes = tuple(f"{count} {kind}: named, not read" for kind, count in parts.not_rendered.items())
        return Fetched(_document(entry, text, "zendesk ticket", notes), parts)

    def _facts(self, ticket: Mapping[str, Any]) -> list[str]:
        """Lines of what a ticket's fields say."""
        person = self._people.get(ticket.get("requester_id", 0), "")
        told = {
            "Requester": person,
            "Status": ticket.get("status"),
            "Priority": ticket.get("priority"),
            "Type": ticket.get("type"),
            "Tags": ", ".join(ticket.get("tags", ())),
        }
        lines = [f"- {name}: {value}" for name, value in told.items() if value]
        for field in ticket.get("custom_fields", ()):
            value = field["value"]
            if value not in (None, "", [], False):
                said = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
                lines.append(f"- {self._titles().get(field['id'], field['id'])}: {said}")
        return lines

    def _head(self, comment: Json) -> str:
        """Who wrote a comment and when, as a heading."""
        person = self._people.get(comment.get("author_id", 0)) or "Somebody"
        inside = "" if comment.get("public", True) else " (internal note)"
        return f"## {person}, {comment['created_at']}{inside}"

    def _articles(self, known: Mapping[str, str]) -> Iterator[Entry | Unread | str]:
        """Every translation of every article of the help centre, if there is one."""
        try:
            sections = {item["id"]: item for item in self._list("api/v2/help_center/sections.json", "sections")}
            categories = {item["id"]: item for item in self._list("api/v2/help_center/categories.json", "categories")}
        except HttpFault as fault:
            if fault.stops or fault.status not in {403, 404}:
                raise
            if fault.status == 403:
                yield Unread(f"{self.client.base}/hc", fault.what, "give the token's owner access to the help centre")
                # That it may not be seen does not mean that it is gone.
                yield from (id for id in sorted(known) if id.startswith("zendesk:article/"))
            else:
                self.receipt.notes.append("this Zendesk has no help centre")
            return
        for article in self._list("api/v2/help_center/articles.json", "articles", include="translations"):
            section = sections.get(article["section_id"], {})
            category = categories.get(section.get("category_id"), {})
            path = " / ".join(filter(None, (category.get("name"), section.get("name"))))
            translations = article.get("translations")
            if translations is None:
                place = f"api/v2/help_center/articles/{article['id']}/translations.json"
                translations = list(self._list(place, "translations"))
            for written in translations:
                yield _article_entry(article, written, path)

    def _article(self, entry: Entry) -> Fetched:
        parts = Parts()
        parts.see("article")
        body = self._content.markdown(entry.more["body"], entry.source, parts)
        text = f"# {entry.title}\n\n{body}".strip() + "\n" if body else ""
        return Fetched(_document(entry, text, "html", ()), parts)

    def _list(self, path: str, name: str, **params: str) -> Iterator[Json]:
        """Items of a list by cursor: by number, the pages end at 100."""

        def ask(after: str | None) -> Any:
            return self.client.get(path, {"page[size]": self._page, "page[after]": after, **params})

        def following(reply: Any) -> str | None:
            meta = reply.get("meta")
            if meta is None and reply.get("next_page"):
                said = f"{path} gives its pages by number alone, which end before the list does"
                raise HttpFault(said, self.client.base, reason="no cursor", stops=True)
            return str(meta["after_cursor"]) if meta and meta["has_more"] else None

        for reply in self.client.pages(ask, following):
            yield from reply[name]

    def _meet(self, ids: Sequence[int | None]) -> None:
        """Learn the names of people not met yet."""
        new = sorted({id for id in ids if id and id > 0} - set(self._people))
        for start in range(0, len(new), PAGE):
            some = new[start : start + PAGE]
            reply = self.client.get("api/v2/users/show_many.json", {"ids": ",".join(map(str, some))})
            self._people |= {id: "" for id in some} | {user["id"]: str(user["name"]) for user in reply["users"]}

    def _titles(self) -> dict[int, str]:
        """Titles of the custom fields; none where the token may not see them."""
        if self._fields is None:
            try:
                listed = list(self._list("api/v2/ticket_fields.json", "ticket_fields"))
            except HttpFault as fault:
                if fault.stops:
                    raise
                self.receipt.notes.append(f"custom fields stand by their numbers: {fault.what}")
                listed = []
            self._fields = {field["id"]: str(field["title"]) for field in listed}
        return self._fields


def _said(comment: Json) -> str:
    """The text of a comment; of a call, what was said, where it was written down."""
    written = str(comment.get("plain_body") or comment.get("body") or "").strip()
    if comment["type"] == SPOKEN:
        spoken = str((comment.get("data") or {}).get("transcription_text") or "").strip()
        return "\n\n".join(filter(None, (written, spoken)))
    return written


def _article_entry(article: Json, written: Json, path: str) -> Entry:
    """One translation of an article."""
    # What stands in the listing is the whole of it, so its digest is the mark: times may miss a moved section.
    body = str(written.get("body") or "")
    title = str(written.get("title") or article.get("title") or f"Article {article['id']}")
    labels = {
        "kind": "article",
        "language": str(written["locale"]),
        "status": "draft" if written.get("draft") else "published",
        "path": path,
        # Who may read it: everybody, or a segment of users.
        "segment": str(article.get("user_segment_id") or "everyone"),
    }
    digest = hashlib.sha256(json.dumps([title, body, labels], sort_keys=True).encode()).hexdigest()[:16]
    return Entry(
        f"zendesk:article/{article['id']}/{written['locale']}",
        str(written.get("html_url") or article["html_url"]),
        title,
        mark=digest,
        changed=str(written.get("updated_at") or article["updated_at"]),
        labels=labels,
        more={"body": body},
    )


def _document(entry: Entry, text: str, kind: str, notes: tuple[str, ...]) -> Document:
    version = version_of(entry.mark, text, entry.title)
    return Document(entry.id, entry.source, entry.title, text, kind, version, entry.changed, dict(entry.labels), notes)
