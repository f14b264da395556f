"""Google Drive: every file of the account and of its shared drives, or all below one folder, shortcuts followed.

Documents are exported: texts as Markdown, spreadsheets with all of their sheets (CSV would hold the first alone),
slides with their notes. What holds no text, or may not be downloaded, is named. Comments are not read.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Unpack

from tunesmith.connectors.connector import Asking, Connector, version_of
from tunesmith.connectors.content import Content, whole, without_pictures
from tunesmith.connectors.drive_api import DriveApi, Json, asks_to_wait
from tunesmith.connectors.google_token import SERVER, google_token
from tunesmith.connectors.receipt import Parts, Receipt
from tunesmith.connectors.resume import Entry, Fetched
from tunesmith.errors import UserError
from tunesmith.retrieval.document import Document, Unread
from tunesmith.retrieval.kinds import kind_of, refusal
from tunesmith.retrieval.limits import Limits as Cost
from tunesmith.retrieval.limits import size_fault
from tunesmith.web.http import Authorize, Limits
from tunesmith.web.replies import HttpFault

API = "https://www.googleapis.com"
GOOGLE = "application/vnd.google-apps."
OFFICE = "application/vnd.openxmlformats-officedocument."
FOLDER, SHORTCUT = GOOGLE + "folder", GOOGLE + "shortcut"
EXPORTS = {
    "document": ("text/markdown", "markdown"),
    "spreadsheet": (OFFICE + "spreadsheetml.sheet", "xlsx"),
    "presentation": (OFFICE + "presentationml.presentation", "pptx"),
    "script": (GOOGLE + "script+json", "json"),
}
"""Of documents of Google's own: the format that loses least, and its kind."""
MIMES = {
    "application/pdf": "pdf",
    OFFICE + "wordprocessingml.document": "docx",
    OFFICE + "presentationml.presentation": "pptx",
    OFFICE + "spreadsheetml.sheet": "xlsx",
    "message/rfc822": "eml",
    "text/html": "html",
    "text/markdown": "markdown",
    "text/x-markdown": "markdown",
    "text/csv": "csv",
    "text/tab-separated-values": "tsv",
    "application/json": "json",
}
# Drive allows thousands a minute; an export takes seconds, and more at once bring 403s.
LIMITS = Limits(rate=8.0, burst=8)


class GoogleDrive(Connector):
    """Files of one account.

    Args:
        place: A folder by its id or address; everything that the account may read if empty.
        kept: Folder of the resume file.
        base: Of the API; ``GOOGLE_DRIVE_BASE_URL`` if None.
        token: Gives headers with credentials; from the environment if None (`google_token`).
        page_size: Of all lists, at most 1,000.
        content: Converts what is no plain text; one of its own if None.
        asking: How the service is asked.

    Raises:
        UserError: No credentials.
    """

    def __init__(
        self,
        place: str = "",
        kept: Path | None = None,
        *,
        base: str | None = None,
        token: Authorize | None = None,
        page_size: int = 1000,
        content: Content | None = None,
        **asking: Unpack[Asking],
    ) -> None:
        self._folder = _folder_of(place)
        name = f"drive:{self._folder}" if self._folder else "drive"
        super().__init__(name, Receipt(name), kept)
        named = base or os.environ.get("GOOGLE_DRIVE_BASE_URL", "").strip()
        server = os.environ.get("GOOGLE_TOKEN_URL", "").strip() or SERVER
        credentials = token or google_token(server, self.receipt, asking.get("clock"))
        client_of = partial(self.client_of, limits=LIMITS, asking=asking, authorize=credentials, throttled=asks_to_wait)
        self.client = client_of(named or API)
        self._api = DriveApi(self.client, client_of, page_size)
        self._content, self._cost = content or Content(), Cost()
        self._drives: dict[str, str] = {}
        self._names: dict[str, Json] = {}

    def entries(self, known: Mapping[str, str]) -> Iterator[Entry | Unread | str]:
        """Every file, in the order of ids. All are listed before the first is read."""
        self._names, self._drives = {}, self._api.drives()
        listed = self._below(self._folder) if self._folder else self._everything()
        lost: list[Unread] = []
        files = self._followed(listed, lost)
        yield from lost
        for id in sorted(files):
            if files[id]["mimeType"] not in {FOLDER, SHORTCUT}:
                yield self._entry(files[id])

    def _everything(self) -> dict[str, Json]:
        """The files of all drives; one that moves from a drive to another while they are listed is not lost."""
        since = {drive: self._api.now(drive) for drive in ("", *self._drives)}
        files: dict[str, Json] = {}
        for drive in since:
            found, all_there = self._api.files(drive)
            self._note(all_there, self._drives.get(drive, "My Drive"))
            files |= found
        changed = [change for drive in since for change in self._api.changes(drive, since[drive])]
        for change in changed:
            if change.get("removed") or change.get("file", {}).get("trashed"):
                files.pop(str(change.get("fileId", "")), None)
        # Last, for what leaves one drive's log is new in another's.
        there = [change["file"] for change in changed if change.get("file")]
        return files | {str(file["id"]): file for file in there if not file.get("trashed")}

    def _below(self, folder: str, key: str = "") -> dict[str, Json]:
        """A folder and all below it."""
        try:
            top = self._api.one(folder, key)
        except HttpFault as fault:
            if fault.status != 404 or folder != self._folder:
                raise
            fix = "share the folder with the account whose token this is, or write another one"
            raise UserError("Google Drive has no such folder for this account", f"drive:{folder}", fix) from fault
        files = {str(top["id"]): top}
        ahead = [(folder, key)]
        while ahead:
            id, key = ahead.pop()
            found, all_there = self._api.children(id, key)
            self._note(all_there, id)
            new = {child: file for child, file in found.items() if child not in files}
            files |= new
            folders = sorted(child for child, file in new.items() if file["mimeType"] == FOLDER)
            ahead += [(child, str(new[child].get("resourceKey") or "")) for child in folders]
        return files

    def _followed(self, files: dict[str, Json], lost: list[Unread]) -> dict[str, Json]:
        """The files with those that shortcuts lead to; what a shortcut leads to in vain goes to ``lost``."""
        files = dict(files)
        ahead = sorted(id for id, file in files.items() if file["mimeType"] == SHORTCUT)
        while ahead:
            shortcut = files[ahead.pop()]
            self.receipt.parts.see("shortcut")
            details = shortcut.get("shortcutDetails") or {}
            target, key = str(details.get("targetId") or ""), str(details.get("targetResourceKey") or "")
            if target in files:
                continue
            try:
                is_folder = details.get("targetMimeType") == FOLDER
                found = self._below(target, key) if is_folder else {target: self._api.one(target, key)}
            except HttpFault as fault:
                if fault.stops or fault.status not in {403, 404}:
                    raise
                what = "the shortcut leads to a file that is gone or not shared with this account"
                lost.append(Unread(_address(shortcut), what, "share it with the account whose token this is"))
                continue
            new = {id: file for id, file in found.items() if id not in files and not file.get("trashed")}
            if not new:
                lost.append(
                    Unread(_address(shortcut), "the shortcut leads to a file in the trash", "delete the shortcut")
                )
            files |= new
            ahead += sorted(id for id, file in new.items() if file["mimeType"] == SHORTCUT)
        self._names = {id: file for id, file in files.items() if file["mimeType"] == FOLDER}
        return files

    def _entry(self, file: Json) -> Entry | Unread:
        """A file as an entry; one that gives no text, with the reason."""
        mime, name, source = str(file["mimeType"]), str(file["name"]), _address(file)
        kind, why, fix = _kind(mime, name)
        if not file.get("capabilities", {}).get("canDownload", True):
            why, fix = "its owner does not allow downloading it", "ask the owner to allow it"
        elif fault := size_fault(int(file.get("size") or 0), self._cost):
            why, fix = fault, "split it"
        if why:
            return Unread(source, f"{name}: {why}", fix)
        owners = ", ".join(str(owner.get("displayName", "")) for owner in file.get("owners", ()))
        own = "My Drive" if file.get("ownedByMe", True) else "Shared with me"
        space = self._drives.get(file.get("driveId", ""), "Shared drive") if file.get("driveId") else own
        labels = {"kind": kind, "space": space, "folder": self._path(file)}
        if owners:
            labels["owner"] = owners
        told = [file["modifiedTime"], file.get("md5Checksum", ""), mime, name, labels]
        mark = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
        more = {name: str(file.get(told) or "") for name, told in (("key", "resourceKey"), ("md5", "md5Checksum"))}
        more |= {"mime": mime, "kind": kind}
        return Entry(f"drive:{file['id']}", source, name, mark, str(file["modifiedTime"]), labels, more)

    def fetch(self, entry: Entry) -> Fetched:
        """Export or download a file, and convert it."""
        id, key, kind = entry.id.removeprefix("drive:"), entry.more["key"], entry.more["kind"]
        own = entry.more["mime"].removeprefix(GOOGLE)
        if own in EXPORTS:
            content = self._api.export(id, EXPORTS[own][0], key)
        else:
            content = self._api.content(id, key, entry.more["md5"])
        parts = Parts()
        parts.see(own if own in EXPORTS else kind)
        if own == "document":
            content = without_pictures(content.decode("utf-8", "replace"), parts).encode()
        if not content.strip():
            return Fetched(self._document(entry, "", kind, {}), parts)
        found = self._content.read(content, entry.source, kind)
        more: dict[str, Any] = {"notes": found.notes}
        if found.inside:
            parts.seen["attachment"] += len(found.inside)
            parts.rendered["attachment"] += sum(hasattr(inner, "text") for _, inner in found.inside)
        else:
            more["parts"] = found.parts
        text = whole(found) if found.inside else found.text
        return Fetched(self._document(entry, text, kind, more), parts)

    @staticmethod
    def _document(entry: Entry, text: str, kind: str, more: Mapping[str, Any]) -> Document:
        version = version_of(entry.mark, text, entry.title)
        labels = dict(entry.labels)
        return Document(entry.id, entry.source, entry.title, text, kind, version, entry.changed, labels, **more)

    def _path(self, file: Json) -> str:
        """Names of the folders that a file lies in, as far as this account may see them."""
        names: list[str] = []
        met: set[str] = set()
        parents = file.get("parents") or ()
        while parents and parents[0] in self._names and parents[0] not in met:
            met.add(parents[0])
            folder = self._names[parents[0]]
            names.insert(0, str(folder["name"]))
            parents = folder.get("parents") or ()
        return "/".join(names)

    def _note(self, all_there: bool, where: str) -> None:
        if not all_there:
            what = "Google says that it did not look everywhere (incompleteSearch)"
            raise HttpFault(what, where, "give the same command again", reason="incompleteSearch", stops=True)


def _kind(mime: str, name: str) -> tuple[str, str, str]:
    """What a file is read as; else why it is not, and the fix."""
    if mime.startswith(GOOGLE):
        own = mime.removeprefix(GOOGLE)
        if own in EXPORTS:
            return EXPORTS[own][1], "", ""
        return "", f"a {own} of Google's holds no text that Drive gives", "export it by hand as PDF, if it holds some"
    kind = MIMES.get(mime) or (kind_of(name) if "." in name else "") or ("text" if mime.startswith("text/") else "")
    if kind == "mbox":
        return "", "mailboxes are not read from Drive", "download it and index the file"
    why, fix = refusal(name) if "." in name else (f"files of the type {mime} are not read", "")
    return (kind, "", "") if kind else ("", why, fix)


def _folder_of(place: str) -> str:
    """The id in what a person wrote: an id or the address of a folder.

    Raises:
        UserError: It is neither.
    """
    found = re.search(r"/folders/([A-Za-z0-9_-]+)", place)
    id = found[1] if found else place.strip()
    if not re.fullmatch(r"[A-Za-z0-9_-]*", id):
        fix = "write drive:FOLDER_ID, as it stands in the folder's address"
        raise UserError(f"{place!r} is no folder of Google Drive", f"drive:{place}", fix)
    return id


def _address(file: Json) -> str:
    return str(file.get("webViewLink") or f"https://drive.google.com/open?id={file['id']}")
