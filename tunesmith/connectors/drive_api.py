"""What Google Drive is asked, and how its lists end: shared drives, files, changes, exports. It writes no text.

A list over all drives at once may end early (``incompleteSearch``), so each drive is listed by itself. Fields that are
not asked for are not given. An export larger than 10 MB is refused; the file's own export links know no such bound.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from tunesmith.web.addresses import origin_of
from tunesmith.web.http import Client
from tunesmith.web.replies import HttpFault, Reply, bare
from tunesmith.web.waiting import step

Json = dict[str, Any]
FIELDS = (
    "id,name,mimeType,parents,driveId,modifiedTime,md5Checksum,size,trashed,webViewLink,resourceKey,shortcutDetails,"
    "capabilities/canDownload,owners/displayName,ownedByMe"
)
EVERYWHERE = {"supportsAllDrives": "true", "includeItemsFromAllDrives": "true"}
SLOWER = {"rateLimitExceeded", "userRateLimitExceeded", "sharingRateLimitExceeded"}
"""Reasons by which a 403 asks to wait."""
AT_AN_END = {"dailyLimitExceeded", "quotaExceeded", "accessNotConfigured", "insufficientPermissions"}
"""Reasons by which a 403 is about no single file."""
ERROR_PAGES = {"text/html", "application/json"}
RESTARTS, TRIES = 3, 4


def asks_to_wait(reply: Reply) -> bool:
    """Whether a 403 is a 429."""
    return reply.status == 403 and reason_of(reply) in SLOWER


def reason_of(reply: Reply) -> str:
    """Google's word for an error; empty if it has none."""
    try:
        return str(reply.json()["error"]["errors"][0]["reason"])
    except (ValueError, KeyError, IndexError, TypeError):
        return ""


class DriveApi:
    """Asks Drive.

    Args:
        client: By which it is asked.
        beside: Gives a client for another address of Google's, with the same credentials.
        page: Files a page, at most 1,000.
    """

    def __init__(self, client: Client, beside: Callable[[str], Client], page: int = 1000) -> None:
        self._client, self._beside, self._page = client, beside, page

    def drives(self) -> dict[str, str]:
        """Name of each shared drive by its id."""
        pages = self._pages(
            "drive/v3/drives", {"pageSize": min(self._page, 100), "fields": "nextPageToken,drives(id,name)"}
        )
        return {str(drive["id"]): str(drive["name"]) for reply in pages for drive in reply["drives"]}

    def files(self, drive: str) -> tuple[dict[str, Json], bool]:
        """Everything in a shared drive, or with an empty id all else that the account may read; whether that is all."""
        where = {"corpora": "drive", "driveId": drive} if drive else {"corpora": "user"}
        return self._files({**where, "q": "trashed = false"})

    def children(self, folder: str, key: str = "") -> tuple[dict[str, Json], bool]:
        """Everything right below a folder, and whether that is all."""
        return self._files({"q": f"'{folder}' in parents and trashed = false"}, _keyed(folder, key))

    def _files(
        self, where: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> tuple[dict[str, Json], bool]:
        params = {**where, **EVERYWHERE, "pageSize": self._page}
        params["fields"] = f"nextPageToken,incompleteSearch,files({FIELDS})"
        for left in range(RESTARTS, -1, -1):
            found: dict[str, Json] = {}
            whole = True
            try:
                for reply in self._pages("drive/v3/files", params, headers):
                    whole = whole and not reply.get("incompleteSearch", False)
                    found |= {str(file["id"]): file for file in reply["files"]}
                return found, whole
            except HttpFault as fault:
                # A page token may be refused at any time; the list then begins anew.
                if fault.status != 400 or not left:
                    raise
        raise AssertionError("the loop returns or raises")

    def one(self, id: str, key: str = "", fields: str = FIELDS) -> Json:
        """A file.

        Raises:
            HttpFault: It is not there, or this account may not read it.
        """
        params = {"fields": fields, "supportsAllDrives": "true"}
        return dict(self._ask(f"drive/v3/files/{quote(id, safe='')}", params, _keyed(id, key), wants_json=True).json())

    def now(self, drive: str) -> str:
        """The end of a drive's log of changes."""
        params = {"supportsAllDrives": "true", "driveId": drive or None}
        return str(self._get("drive/v3/changes/startPageToken", params)["startPageToken"])

    def changes(self, drive: str, since: str) -> Iterator[Json]:
        """What changed in a drive since then, in its order."""
        params = {
            **EVERYWHERE,
            "driveId": drive or None,
            "pageSize": self._page,
            "includeRemoved": "true",
            "fields": f"nextPageToken,newStartPageToken,changes(changeType,fileId,removed,file({FIELDS}))",
        }
        for reply in self._pages("drive/v3/changes", {**params, "pageToken": since}):
            yield from reply["changes"]

    def content(self, id: str, key: str = "", digest: str = "") -> bytes:
        """The bytes of a file that is no document of Google's own.

        Args:
            id: Of the file.
            key: Its resource key, if it has one.
            digest: MD5 of its bytes as the listing told it; empty if it did not.

        Raises:
            HttpFault: It can't be downloaded.
        """
        path, params = f"drive/v3/files/{quote(id, safe='')}", {"alt": "media", "supportsAllDrives": "true"}

        def is_whole(reply: Reply) -> bool:
            found = hashlib.md5(reply.body, usedforsecurity=False).hexdigest()
            # It may have been written anew since it was listed.
            return digest in ("", found) or self.one(id, key, "md5Checksum").get("md5Checksum") == found

        return self._whole(lambda: self._ask(path, params, _keyed(id, key)), is_whole)

    def export(self, id: str, mime: str, key: str = "") -> bytes:
        """A document of Google's own in another format, whatever its size.

        Raises:
            HttpFault: It can't be exported.
        """
        path, headers = f"drive/v3/files/{quote(id, safe='')}/export", _keyed(id, key)

        def is_whole(reply: Reply) -> bool:
            told = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
            return told == mime or told not in ERROR_PAGES

        try:
            return self._whole(lambda: self._ask(path, {"mimeType": mime}, headers), is_whole)
        except HttpFault as fault:
            if fault.reason != "exportSizeLimitExceeded":
                raise
            link = self.one(id, key, "exportLinks").get("exportLinks", {}).get(mime, "")
            host = origin_of(link).host if link else ""
            if origin_of(link or self._client.base) != self._client.origin and not host.endswith(".google.com"):
                raise
        client = self._beside(link)
        try:
            return self._whole(lambda: client.ask("GET", link, headers=headers), is_whole)
        finally:
            client.close()

    def _whole(self, ask: Callable[[], Reply], is_whole: Callable[[Reply], bool]) -> bytes:
        """The body of the first reply that is what was asked for: a proxy may put its own page in its place."""
        for attempt in range(1, TRIES + 1):
            reply = ask()
            if is_whole(reply):
                return reply.body
            if attempt < TRIES:
                self._client.tally.repeated["damaged"] += 1
                self._client.tally.waited_seconds += step(attempt)
                self._client.clock.sleep(step(attempt))
        raise HttpFault(
            "what came is not the file", bare(reply.address), "give the same command again", reason="damaged"
        )

    def _get(self, path: str, params: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Any:
        return self._ask(path, params, headers, wants_json=True).json()

    def _ask(
        self,
        path: str,
        params: Mapping[str, Any],
        headers: Mapping[str, str] | None = None,
        *,
        wants_json: bool = False,
    ) -> Reply:
        try:
            return self._client.ask("GET", path, params=params, headers=headers, wants_json=wants_json)
        except HttpFault as fault:
            if fault.reason in AT_AN_END:
                fault.stops = True
            raise

    def _pages(self, path: str, params: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Iterator[Any]:
        def ask(token: str | None) -> Any:
            return self._get(path, {**params, **({"pageToken": token} if token else {})}, headers)

        return self._client.pages(ask, lambda reply: reply.get("nextPageToken"))


def _keyed(id: str, key: str) -> dict[str, str]:
    """Files shared by an old link are found with its key only."""
    return {"X-Goog-Drive-Resource-Keys": f"{id}/{key}"} if key else {}
