"""Notion: every page and database that an integration may read, whole, with all that is nested in it.

What the API does not tell by itself is asked for: pages that its search leaves out are found through the pages and
databases that hold them, rows beyond the 10,000th by windows of time, values beyond the 25th by pages of their own.
Files that Notion keeps are read, too; of pictures, recordings and files elsewhere the name and the caption only. No
comments are read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, Unpack
from uuid import UUID

from tunesmith.connectors.connector import Asking, Connector, version_of
from tunesmith.connectors.content import Content
from tunesmith.connectors.notion_blocks import MEDIA, Rendering, page_address
from tunesmith.connectors.notion_files import Attached
from tunesmith.connectors.notion_text import property_text, text_of, title_of
from tunesmith.connectors.receipt import Parts, Receipt
from tunesmith.connectors.resume import Entry, Fetched
from tunesmith.errors import UserError
from tunesmith.retrieval.document import Document, Unread
from tunesmith.web.http import Limits, credential
from tunesmith.web.replies import HttpFault

Read = TypeVar("Read")
API, VERSION = "https://api.notion.com", "2025-09-03"
# Notion allows three requests a second.
LIMITS = Limits(rate=3.0, burst=3)
TRIES = 4
SETTLED_SECONDS = 120.0
SHORTENED = 25
DEPTH = 100
CHILDREN, MEETINGS = {"child_page", "child_database"}, {"meeting_notes", "transcription"}
MEETING_PARTS = ("summary_block_id", "notes_block_id", "transcript_block_id")
PAGED_PROPERTIES = {"title", "rich_text", "people", "relation"}


class Notion(Connector):
    """Pages and databases of a workspace.

    Args:
        place: A page or a database by its id or address: it and all below it; all that may be read if empty.
        kept: Folder of the resume file.
        base: Of the API; ``NOTION_BASE_URL`` if None.
        token: Of the integration; ``NOTION_TOKEN`` if None.
        page_size: Of all lists, at most 100.
        content: Converts attached files; one of its own if None.
        asking: How the service is asked.

    Raises:
        UserError: No token, or no such place.
    """

    leads = True

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
        self._place = _id_of(place)
        name = f"notion:{self._place}" if self._place else "notion"
        super().__init__(name, Receipt(name), kept)
        how = "make an integration at https://www.notion.so/my-integrations, connect it to the pages it may read"
        secret = token or credential("NOTION_TOKEN", "Notion", how)
        address = base or os.environ.get("NOTION_BASE_URL") or API
        headers = {"Authorization": f"Bearer {secret}", "Notion-Version": VERSION}
        self.client = self.client_of(address, LIMITS, asking, headers=headers)
        self._page_size, self._attached = page_size, Attached(self.client, content)
        # Pages and databases met, as the API gives them.
        self._objects: dict[str, Mapping[str, Any]] = {}
        self._titles: dict[str, str] = {}

    def documents(self, known: Mapping[str, str]) -> Iterator[Document | Unread | str]:
        """Every page and database; see `Connector.documents`."""
        yield from super().documents(known)
        seen = self.receipt.parts.seen
        files = sum(seen[kind] for kind in MEDIA) - seen["attached text"]
        if files:
            note = f"{files} pictures, recordings and files that lie elsewhere are named, their contents are not read"
            self.receipt.notes.append(note)

    def entries(self, known: Mapping[str, str]) -> Iterator[Entry | Unread | str]:
        """What the search knows. All of it is read before the first page is, so that titles of links are known."""
        self._objects.clear()
        cut = False
        for kind in ("page", "data_source"):
            for _ in range(TRIES):
                again, ended_early = self._steady(partial(self._searched, kind))
                cut |= ended_early
                if not again:
                    break
        self._titles = {id: title_of(found) for id, found in self._objects.items()}
        if self._place:
            if (top := self.look(f"notion:{self._place}")) is None:
                fix = "connect the integration to it (its menu, Connections)"
                raise UserError("the integration may not read this page or database", page_address(self._place), fix)
            yield top
            return
        if cut:
            reason = "it ended early; what it leaves out is read if a page or a database that is listed holds it"
            yield Unread(f"{self.client.base}/v1/search", reason, "connect the integration to fewer top pages")
        yield from (self._entry(self._objects[id]) for id in sorted(self._objects))

    def _searched(self, kind: str) -> tuple[bool, bool]:
        """Meet what the search gives; whether it must be asked again, and whether it ended early.

        Sorted by the last edit, a page that is edited meanwhile moves, and others with it: they might be passed over.
        """
        order = {"timestamp": "last_edited_time", "direction": "ascending"}
        sought = {"filter": {"property": "object", "value": kind}, "sort": order}
        began, again, cut = "", False, False
        for reply in self._listed("v1/search", sought):
            for found in reply["results"]:
                again = again or bool(began and str(found["last_edited_time"]) >= began)
                self._meet(found)
            cut = cut or _cut(reply)
            began = began or datetime.fromtimestamp(self.client.now(), UTC).strftime("%Y-%m-%dT%H:%M")
        return again, cut

    def _steady(self, read: Callable[[], Read]) -> Read:
        """What reading a list gives; read again where the cursor was lost with the item that it named."""
        for attempt in range(1, TRIES + 1):
            try:
                return read()
            except HttpFault as fault:
                if fault.status != 400 or attempt == TRIES:
                    raise
        raise AssertionError

    def look(self, id: str) -> Entry | Unread | None:
        """A page or a database that the search does not name."""
        bare = id.removeprefix("notion:")
        if bare == id:
            return None
        if bare in self._objects:
            return self._entry(self._objects[bare])
        for path in (f"v1/pages/{bare}", f"v1/databases/{bare}"):
            try:
                found = self.client.get(path)
            except HttpFault as fault:
                if fault.stops or fault.status not in {400, 403, 404}:
                    raise
                continue
            return None if _gone(found) else self._entry(found)
        return None

    def missed(self, id: str) -> Entry | Unread | None:
        """A page that was known and was not met: it may have left the place that is synced."""
        return None if self._place else self.look(id)

    def fetch(self, entry: Entry) -> Fetched:
        """A page with all its blocks, or a database with its columns; a page that changes meanwhile is read again."""
        if entry.more["object"] == "database":
            return self._database(entry)
        edited = entry.more["edited"]
        for attempt in range(1, TRIES + 1):
            tree, whole = self._tree(entry.more["id"], attempt == TRIES)
            page = self.client.get(f"v1/pages/{entry.more['id']}")
            if _gone(page):
                raise HttpFault("it was moved to the trash during the sync", entry.source, status=404)
            if whole and page["last_edited_time"] == edited:
                return self._page(page, tree, _settled(page["last_edited_time"], self.client.now()))
            edited = page["last_edited_time"]
        return self._page(page, tree, False, "it was edited while it was read; the next sync reads it again")

    def _page(self, page: Mapping[str, Any], tree: list[Any], settled: bool, note: str = "") -> Fetched:
        parts = Parts()
        text = "\n\n".join(filter(None, (self._properties(page, parts), Rendering(self._titles, parts).blocks(tree))))
        found = tuple(
            f"notion:{block['id']}" for block in _flat(tree) if block["type"] in {"child_page", "child_database"}
        )
        # What a copy of a synced block shows changes elsewhere: this page's time of last edit says nothing about it.
        copies = any((block.get("synced_block") or {}).get("synced_from") for block in _flat(tree))
        lost = [f"{count} of type {kind} not rendered" for kind, count in parts.not_rendered.items()]
        notes = tuple(filter(None, (*lost, note)))
        return Fetched(self._document(page, text, settled and not copies, notes), parts, found)

    def _database(self, entry: Entry) -> Fetched:
        """A database: what it is about and its columns; its rows are pages, and are led to."""
        database = self.client.get(f"v1/databases/{entry.more['id']}")
        if _gone(database):
            raise HttpFault("it was moved to the trash during the sync", entry.source, status=404)
        parts, pieces = Parts(), [text_of(database.get("description"))]
        rows: list[str] = []
        for named in database.get("data_sources") or ():
            source = self.client.get(f"v1/data_sources/{named['id']}")
            parts.see("data_source")
            columns = ", ".join(
                f"{name} ({told.get('type')})" for name, told in (source.get("properties") or {}).items()
            )
            pieces += [text_of(source.get("description")), f"Columns of {title_of(source) or 'it'}: {columns}"]
            for row in self._steady(partial(self._rows, named["id"], parts)):
                self._meet(row)
                if not _gone(row):
                    rows.append(f"notion:{row['id']}")
        # Rows come and go without a word in the database's time of last edit, so it is read each time.
        document = self._document(database, "\n\n".join(filter(None, pieces)), False)
        return Fetched(document, parts, tuple(dict.fromkeys(sorted(rows))))

    def _document(self, found: Mapping[str, Any], text: str, settled: bool, notes: tuple[str, ...] = ()) -> Document:
        title, changed = title_of(found) or "untitled", str(found.get("last_edited_time") or "")
        labels = {"service": "notion", "object": str(found["object"])}
        id, source = f"notion:{found['id']}", str(found.get("url") or page_address(found["id"]))
        version = version_of(changed if settled else "", text, title)
        return Document(id, source, title, text, "markdown", version, changed, labels, notes)

    def _properties(self, page: Mapping[str, Any], parts: Parts) -> str:
        """The row of a database that a page is, as a list; the title stands elsewhere."""
        lines = []
        for name, value in (page.get("properties") or {}).items():
            kind = str(value.get("type"))
            text = property_text(self._whole(page["id"], value, kind), self._titles)
            parts.see(f"property {kind}", rendered=text is not None)
            # The time and the author of the last edit change with every visit and say nothing.
            if text and kind not in {"title", "last_edited_time", "last_edited_by"}:
                lines.append(f"- {name}: {text}")
        return "\n".join(lines)

    def _whole(self, page: str, value: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
        """A property with all its values: a page gives the first 25 only."""
        inner = value.get(kind)
        array = (inner or {}).get("array") if kind == "rollup" else inner
        long = kind in PAGED_PROPERTIES | {"rollup"} and isinstance(array, list) and len(array) >= SHORTENED
        if not long and not value.get("has_more"):
            return value
        items: list[Any] = []
        for reply in self._listed(f"v1/pages/{page}/properties/{value['id']}"):
            items += reply["results"]
        if kind == "rollup":
            return {"type": kind, kind: {"type": "array", "array": items}}
        return {"type": kind, kind: [item[kind] for item in items]}

    def _tree(self, page: str, last: bool) -> tuple[list[Any], bool]:
        """All blocks of a page, nested; whether it was read without a contradiction.

        A cursor is a block's id: where that block is deleted between two requests, the list can't be read on.
        """
        try:
            return self._children(page, (page,), last), True
        except HttpFault as fault:
            if fault.stops or fault.status not in {400, 404} or last:
                raise
            return [], False

    def _children(self, block: str, above: tuple[str, ...], last: bool) -> list[Any]:
        found = [child for reply in self._listed(f"v1/blocks/{block}/children") for child in reply["results"]]
        # A block that is moved while the list is read comes twice.
        found = list({child["id"]: child for child in found}.values())
        return [self._nested(child, above, last) for child in found if not _gone(child)]

    def _nested(self, block: Mapping[str, Any], above: tuple[str, ...], last: bool) -> Mapping[str, Any]:
        """A block with what is in it."""
        content = block.get(block["type"]) or {}
        places = [block["id"]] if block.get("has_children") else []
        if block["type"] in CHILDREN:
            places = []
        elif block["type"] in MEETINGS:
            inner = content.get("children") or {}
            places += [
                inner[name] for name in ("summary_block_id", "notes_block_id", "transcript_block_id") if inner.get(name)
            ]
        elif block["type"] == "synced_block" and not places and content.get("synced_from"):
            places = [content["synced_from"]["block_id"]]
        children: list[Any] = []
        lost, attached = False, None
        try:
            attached = self._attached.text(block)
        except HttpFault as fault:
            if fault.stops:
                raise
            attached = ""
        for place in places:
            if place in above or len(above) > DEPTH:
                lost = True
                continue
            try:
                children += self._children(place, (*above, place), last)
            except HttpFault as fault:
                # On the last try a part that can't be had is left out and named; the page is not lost for it.
                if fault.stops or (fault.status in {400, 404} and not last):
                    raise
                lost = True
        children = list({child["id"]: child for child in children}.values())
        return {**block, "children": children, "lost": lost, "attached": attached}

    def _rows(self, source: str, parts: Parts) -> list[Mapping[str, Any]]:
        """Every row of a data source. A query ends at 10,000; the next one starts at the time the last one came to."""
        since: str | None = None
        rows: list[Mapping[str, Any]] = []
        while True:
            asked: dict[str, Any] = {"sorts": [{"timestamp": "created_time", "direction": "ascending"}]}
            if since is not None:
                asked["filter"] = {"timestamp": "created_time", "created_time": {"on_or_after": since}}
            cut, until = False, since
            for reply in self._listed(f"v1/data_sources/{source}/query", asked):
                rows += reply["results"]
                cut = cut or _cut(reply)
                until = max([str(row["created_time"]) for row in reply["results"]], default=until)
            if cut and until == since:
                # More rows of one minute than a query gives: no window of time is narrower.
                parts.see("rows beyond the limit of a query", rendered=False)
            if not cut or until == since:
                return rows
            since = until

    def _listed(self, path: str, body: Mapping[str, Any] | None = None) -> Iterator[Any]:
        """The replies of a list, page by page."""

        def ask(cursor: str | None) -> Any:
            where = {"page_size": self._page_size, **({"start_cursor": cursor} if cursor else {})}
            return self.client.get(path, where) if body is None else self.client.post(path, {**body, **where})

        return self.client.pages(ask, lambda reply: reply["next_cursor"] if reply.get("has_more") else None)

    def _meet(self, found: Mapping[str, Any]) -> None:
        """Remember a page, or the database that a data source is of."""
        if found["object"] == "data_source":
            parent = found.get("parent") or {}
            if parent.get("database_id") and not _gone(found):
                kept = {"object": "database", "id": parent["database_id"], "title": found.get("title") or []}
                self._objects.setdefault(parent["database_id"], kept)
        elif _gone(found):
            self._objects.pop(found["id"], None)
        else:
            self._objects[found["id"]] = found

    def _entry(self, found: Mapping[str, Any]) -> Entry:
        source = str(found.get("url") or page_address(found["id"]))
        edited = str(found.get("last_edited_time") or "")
        more = {"object": found["object"], "id": found["id"], "edited": edited}
        mark = edited if found["object"] == "page" else ""
        return Entry(f"notion:{found['id']}", source, title_of(found), mark, edited, more=more)


def _id_of(place: str) -> str:
    """An id out of an id or an address; empty if nothing is named.

    Raises:
        UserError: It holds no id.
    """
    if not place:
        return ""
    found = re.search(r"([0-9a-f]{32})$", re.sub(r"[?#].*", "", place).replace("-", "").lower())
    if found is None:
        fix = "copy the page's link (its menu, Copy link)"
        raise UserError(f"{place!r} is no id or address of a page", f"notion:{place}", fix)
    return str(UUID(found[1]))


def _gone(found: Mapping[str, Any]) -> bool:
    return bool(found.get("in_trash") or found.get("archived"))


def _cut(reply: Mapping[str, Any]) -> bool:
    return (reply.get("request_status") or {}).get("type") == "incomplete"


def _settled(edited: str, now: float) -> bool:
    """Whether an edit after this one would be seen: Notion tells the minute only."""
    return now - datetime.fromisoformat(edited).timestamp() > SETTLED_SECONDS


def _flat(tree: list[Any]) -> Iterator[Mapping[str, Any]]:
    for block in tree:
        yield block
        yield from _flat(block["children"])
