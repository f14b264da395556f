"""Files that Notion keeps for a page, as text. One that lies elsewhere is not fetched because a page names it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunesmith.connectors.content import Content, whole
from tunesmith.connectors.notion_text import file_of
from tunesmith.retrieval.kinds import kind_of
from tunesmith.retrieval.limits import Limits
from tunesmith.web.http import Client
from tunesmith.web.replies import HttpFault

READ = ("pdf", "file")


class Attached:
    """Reads attached files.

    Args:
        client: That asks for them; to the place where they lie it sends no credentials.
        content: Converts them; one of its own if None.
    """

    def __init__(self, client: Client, content: Content | None = None) -> None:
        self._client, self._content = client, content or Content()

    def text(self, block: Mapping[str, Any]) -> str | None:
        """The text of a block's file; None if it is none that is read.

        Raises:
            HttpFault: It can't be had, or can't be read.
        """
        content = block.get(block["type"]) or {}
        if block["type"] not in READ or content.get("type") != "file":
            return None
        name, address = file_of(content)
        kind = kind_of(name) or kind_of(address.rpartition("/")[2])
        if not kind:
            return None
        if kind == "mbox":
            raise HttpFault("a mailbox is not read as an attachment", address, "save its messages as .eml")
        reply = self._client.download(str(content["file"]["url"]), most=Limits().file_bytes)
        return whole(self._content.read(reply.body, address, kind))
