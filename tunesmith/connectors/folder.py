"""A folder that a source is synced into: its documents as Markdown, what each is, and the receipt. It asks no service.

The folder is a source itself, so that an index is made from what was synced without asking again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tunesmith.connectors.receipt import Receipt
from tunesmith.errors import UserError
from tunesmith.retrieval.document import Document, Source, Unread
from tunesmith.run import write_whole

MANIFEST, DOCUMENTS, KEPT = "sync.json", "documents", ".sync"
FORMAT = 1
Tell = Callable[[str, int, int], None]


class SyncedFolder:
    """What a sync left, as a source.

    Args:
        path: The folder.

    Raises:
        UserError: No sync has written there, or its list is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, str(path)
        self._manifest = _manifest(path)
        if self._manifest is None:
            raise UserError(
                f"{path} holds no sync", str(path / MANIFEST), "make one: tunesmith sync SOURCE --into FOLDER"
            )

    def documents(self, known: Mapping[str, str]) -> Iterator[Document | Unread | str]:
        """Every document that was synced, by its id."""
        for id, told in sorted((self._manifest or {})["documents"].items()):
            if known.get(id) == told["version"]:
                yield id
                continue
            try:
                text = (self.path / DOCUMENTS / told["file"]).read_bytes().decode("utf-8", "surrogatepass")
            except (OSError, UnicodeDecodeError) as fault:
                yield Unread(told["source"], f"its file {told['file']} can't be read ({fault})", "sync again")
                continue
            more = {name: _tuples(told[name]) for name in ("notes", "parts")}
            plain = {name: told[name] for name in ("source", "title", "kind", "version", "changed", "labels")}
            yield Document(id=id, text=text, **plain, **more)


def is_synced(path: Path) -> bool:
    """Whether a sync has written here."""
    return (path / MANIFEST).is_file()


def kept_in(folder: Path) -> Path:
    """Where a sync into this folder keeps its resume file."""
    return folder / KEPT


def sync_into(source: Source, folder: Path, tell: Tell | None = None) -> Receipt:
    """Bring a folder up to date with a source. One that is stopped keeps what it has; the next goes on from there.

    Args:
        source: A connector made with `kept_in` this folder, or any other source.
        folder: Made if it is not there.
        tell: Given the name, how many documents so far, and how many at least there will be.

    Raises:
        UserError: The folder holds another source's documents, or the sync can't go on.
    """
    kept = _manifest(folder) or {"source": source.name, "documents": {}}
    if kept["source"] != source.name:
        raise UserError(
            f"{folder} holds documents of {kept['source']}, not of {source.name}", str(folder), "choose another folder"
        )
    # From here on the folder is this source's, whatever becomes of the sync.
    _list(folder, source.name, kept["documents"], Receipt(source.name))
    before: dict[str, Any] = kept["documents"]
    after: dict[str, Any] = {}
    known = {id: told["version"] for id, told in before.items()}
    receipt: Receipt | None = getattr(source, "receipt", None)
    own = receipt is None
    receipt = receipt or Receipt(source.name)
    unread: set[str] = set()
    try:
        for item in source.documents(known):
            if isinstance(item, Unread):
                unread.add(item.source)
            elif isinstance(item, str):
                after[item] = before[item]
            else:
                after[item.id] = _written(item, folder)
            if own:
                _count(receipt, item)
            if tell is not None:
                tell(f"sync {source.name}", len(after), max(len(before), receipt.listed, len(after)))
        receipt.finished = True
    except BaseException:
        # What was read is kept under its name; what was not reached stays as it was.
        _close(folder, source.name, {**before, **after}, receipt)
        raise
    # What could not be read this time may be there still.
    after |= {id: told for id, told in before.items() if id not in after and told["source"] in unread}
    _close(folder, source.name, after, receipt)
    return receipt


def _count(receipt: Receipt, item: Document | Unread | str) -> None:
    """Account for what a source without a receipt gives."""
    receipt.listed += 1
    if isinstance(item, Unread):
        receipt.skipped.append(item)
    elif isinstance(item, str):
        receipt.unchanged += 1
    else:
        receipt.fetched += 1
        receipt.parts.see(item.kind)
        if not item.text.strip():
            receipt.empty.append(item.source)


def _written(document: Document, folder: Path) -> dict[str, Any]:
    """Write a document; what the manifest says of it. Another version has another file, so that none is half new."""
    digest = hashlib.sha256(f"{document.id}\n{document.version}\n{document.text}".encode("utf-8", "surrogatepass"))
    words = re.sub(r"[^\w-]+", "-", document.title).strip("-")[:60]
    name = f"{words or 'document'}-{digest.hexdigest()[:12]}.md"
    file = folder / DOCUMENTS / name
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, document.text.encode("utf-8", "surrogatepass"))
    told = asdict(document)
    return {"file": name, **{key: value for key, value in told.items() if key not in {"id", "text"}}}


def _close(folder: Path, name: str, documents: Mapping[str, Any], receipt: Receipt) -> None:
    """Write the list, then remove files that it names no more."""
    _list(folder, name, documents, receipt)
    wanted = {told["file"] for told in documents.values()}
    for file in (folder / DOCUMENTS).glob("*.md"):
        if file.name not in wanted:
            file.unlink()


def _list(folder: Path, name: str, documents: Mapping[str, Any], receipt: Receipt) -> None:
    """Write what the folder holds."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = {"format": FORMAT, "source": name, "documents": documents, "receipt": receipt.plain()}
    write_whole(folder / MANIFEST, json.dumps(listed, ensure_ascii=False, indent=1).encode("utf-8", "surrogatepass"))


def _manifest(folder: Path) -> dict[str, Any] | None:
    """The list of a folder; None if there is none.

    Raises:
        UserError: It is damaged, or of another format.
    """
    file = folder / MANIFEST
    if not file.exists():
        if folder.exists() and (not folder.is_dir() or any(one.name != KEPT for one in folder.iterdir())):
            fix = "choose a folder that is empty or not there"
            raise UserError(f"{folder} holds something else than a sync", str(folder), fix)
        return None
    try:
        listed = json.loads(file.read_bytes())
        if listed["format"] == FORMAT and isinstance(listed["documents"], dict) and isinstance(listed["source"], str):
            return dict(listed)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise UserError(f"{file.name} is damaged or of another version", str(file), "sync into a new folder")


def _tuples(value: Any) -> Any:
    return tuple(_tuples(inner) for inner in value) if isinstance(value, list) else value
