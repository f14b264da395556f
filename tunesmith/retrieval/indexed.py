"""What an indexing run tells, and the right to write into an index. It knows no source and no encoder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tunesmith.errors import UserError
from tunesmith.retrieval.document import Unread
from tunesmith.retrieval.store import Store


@dataclass
class IndexReport:
    """What a run over the sources did.

    Args:
        folder: The index.
        encoder: Its name; ``none`` where words alone are searched.
        added: Documents that are new.
        changed: Documents with another version.
        unchanged: Documents as they were.
        removed: Ids of documents that are gone from their source.
        unread: What could not be read.
        stale: Ids of documents that could not be read now, and stay in the index as they were.
        repeated: Ids that a source gave twice; the first counts.
        documents: In the index now.
        chunks: In the index now.
        encoded: Chunks that the encoder read; all others had a vector of the same text.
        unfamiliar: Ids of documents in a language that the encoder hardly knows.
        seconds: That it took.
        notes: For a person.
    """

    folder: str
    encoder: str
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: list[str] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    documents: int = 0
    chunks: int = 0
    encoded: int = 0
    unfamiliar: list[str] = field(default_factory=list)
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)


@contextmanager
def opened_for_writing(folder: Path) -> Iterator[Store]:
    """An index file that is closed at the end; made where it is missing."""
    store = Store(folder, create=True)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def one_writer(folder: Path) -> Iterator[None]:
    """The right to write into an index; it ends with the process, however that dies.

    Raises:
        UserError: Another process has it, or the folder can't be written.
    """
    import fcntl

    from tunesmith.run import refusal

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as fault:
        raise refusal(fault, folder) from fault
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            what = "another process writes to this index"
            raise UserError(what, str(folder), "wait until it ends, or name another folder") from None
        yield
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_UN)
