"""Files and folders as a source of documents: which there are, which did not change, which cannot be read and why.

It knows no index. Whatever is not read is named; nothing is left out in silence but hidden files.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tunesmith.retrieval.converting import Converter
from tunesmith.retrieval.document import Document, Unread
from tunesmith.retrieval.files import Found, found_files
from tunesmith.retrieval.kinds import TEXT_KINDS, kind_of, refusal
from tunesmith.retrieval.limits import Limits, size_fault
from tunesmith.retrieval.mailboxes import messages
from tunesmith.retrieval.plain import Converted, Refused, read_plain, title_of

READER_VERSION = "1"
"""Part of every version: documents that an older reader converted are read again by one that converts otherwise."""
BLOCK_BYTES = 2**20


@dataclass
class FolderSource:
    """A file, or all files below a folder.

    Text, Markdown, HTML, CSV, TSV, JSON, JSONL, PDF, DOCX, PPTX, XLSX and e-mail (.eml, .mbox) become documents, and
    so does what is attached to a message; every other file is named with the reason. An id is the path relative to the
    folder, with ``/`` between its parts; one inside a file follows it after a ``#``.

    Args:
        path: A file or a folder.
        limits: What one document may cost.
        name: Of the source in an index; the path as it was named.
    """

    path: Path
    limits: Limits = field(default_factory=Limits)
    name: str = ""

    def __post_init__(self) -> None:
        self.name = self.name or str(self.path)
        self.path = Path(self.path).expanduser()

    def documents(self, known: Mapping[str, str]) -> Iterator[Document | Unread | str]:
        """Every document, in the order of its id; one whose version is known as its id alone.

        Raises:
            UserError: The path is not there or not readable, or the folder holds no file.
        """
        found = found_files(self.path, self.name)
        inside: dict[str, list[str]] = {}
        for id in known:
            inside.setdefault(id.partition("#")[0], []).append(id)
        with Converter(self.limits) as converter:
            for file in found:
                if isinstance(file, Unread):
                    yield file
                    continue
                try:
                    yield from self._of(file, known, inside.get(file.id, ()), converter)
                except OSError as error:
                    yield Unread(
                        file.source, f"it cannot be opened ({error.strerror or error})", "check its permissions"
                    )

    def _of(
        self, file: Found, known: Mapping[str, str], inside: list[str] | tuple[str, ...], converter: Converter
    ) -> Iterator[Document | Unread | str]:
        """The documents of one file."""
        kind = kind_of(file.path.name)
        if not kind:
            yield Unread(file.source, *refusal(file.path.name))
            return
        size = file.path.stat().st_size
        if kind == "mbox":
            yield from self._mailbox(file, known, converter)
            return
        if fault := size_fault(size, self.limits):
            yield Unread(file.source, fault, "split it, or give it as text of several files")
            return
        version = _version(file.path)
        if known.get(file.id) == version:
            yield from (id for id in inside if known[id] == version)
            return
        read = read_plain(file.path, file.source, kind) if kind in TEXT_KINDS else converter.convert(file.path, kind)
        changed = datetime.fromtimestamp(file.path.stat().st_mtime, UTC).isoformat(timespec="seconds")
        yield from _given(file.id, file.source, title_of(file.id), read, kind, version, changed)

    def _mailbox(
        self, file: Found, known: Mapping[str, str], converter: Converter
    ) -> Iterator[Document | Unread | str]:
        """A document a message: a mailbox that grew is not read again."""
        held: dict[str, list[str]] = {}
        for id in known:
            if id.startswith(f"{file.id}#"):
                held.setdefault("#".join(id.split("#")[: file.id.count("#") + 2]), []).append(id)
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "message.eml"
            count = 0
            for name, content in messages(file.path, self.limits.file_bytes):
                count += 1
                id, source = f"{file.id}#{name}", f"{file.source}#{name}"
                if content is None:
                    yield Unread(source, f"the message has more than {self.limits.file_bytes:,} bytes", "save it apart")
                    continue
                version = _digest(content)
                if known.get(id) == version:
                    yield from (other for other in held.get(id, ()) if known[other] == version)
                    continue
                place.write_bytes(content)
                yield from _given(id, source, name, converter.convert(place, "eml"), "eml", version, "")
            if not count:
                yield Unread(file.source, "it holds no message", "a mailbox begins with a line 'From '")


def _given(
    id: str, source: str, name: str, read: Converted | Refused, kind: str, version: str, changed: str
) -> Iterator[Document | Unread]:
    """A converted document and those inside it."""
    if isinstance(read, Refused):
        yield Unread(source, read.reason, read.fix)
        return
    yield Document(
        id=id,
        source=source,
        title=read.title or name,
        text=read.text,
        kind=kind,
        version=version,
        changed=read.changed or changed,
        labels={"kind": kind, **dict(read.labels)},
        notes=read.notes,
        parts=read.parts,
    )
    for inner, document in read.inside:
        about = (inner, document, kind_of(inner) or "text", version, read.changed or changed)
        yield from _given(f"{id}#{inner}", f"{source}#{inner}", *about)


def _version(path: Path) -> str:
    digest = hashlib.blake2b(READER_VERSION.encode(), digest_size=16)
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _digest(content: bytes) -> str:
    return hashlib.blake2b(READER_VERSION.encode() + content, digest_size=16).hexdigest()
