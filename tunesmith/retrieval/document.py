"""What retrieval speaks of: documents, chunks of them, passages found. It reads no file and no index."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class Document:
    """One text that answers can cite.

    Args:
        id: Stable over versions and unique in an index: a path relative to its source, or ``notion:PAGE``.
        source: Where a person finds it: a path or an address.
        title: For a person.
        text: Plain text or Markdown as converted. Offsets count its UTF-8 bytes, not those of the original file.
        kind: How it was written: ``markdown``, ``html``, ``pdf``, ...
        version: Digest of what was read; another content has another version.
        changed: When the source says that it was last edited, in ISO 8601; empty if it does not say.
        labels: What a search may filter by: owner, space, language, who may read it.
        notes: What was lost or odd in converting, for a person.
        parts: Byte at which each page or record begins, and its name: ``((0, "page 1"), (940, "page 2"))``.
    """

    id: str
    source: str
    title: str
    text: str
    kind: str
    version: str
    changed: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    parts: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class Unread:
    """A document that could not be read, and why.

    Args:
        source: Where it is.
        reason: What is wrong with it.
        fix: What to do.
    """

    source: str
    reason: str
    fix: str = ""


@dataclass(frozen=True)
class Chunk:
    """A part of a document that fits a prompt.

    Args:
        document: Its id.
        version: Of the document.
        number: From 0, in the order of the text.
        start: First byte in the document's text.
        end: Behind its last byte; ``text.encode()[start:end]`` is the chunk's text.
        path: Headings above it, from the title down.
        text: As it stands in the document.
        tokens: How long it is, by the tokenizer that cut it.
    """

    document: str
    version: str
    number: int
    start: int
    end: int
    path: tuple[str, ...]
    text: str
    tokens: int


@dataclass(frozen=True)
class Passage:
    """A chunk that a search found.

    Args:
        chunk: It.
        source: Of its document.
        title: Of its document.
        score: By which the passages are ordered, highest first.
        ranks: Rank from 1 by each method that found it: ``bm25``, ``vectors``, ``reranker``.
        labels: Of its document.
    """

    chunk: Chunk
    source: str
    title: str
    score: float
    ranks: Mapping[str, int] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


class Source(Protocol):
    """What an index can be made from.

    Args:
        name: Unique in an index: which documents came from here, so that those that are gone can be told.
    """

    name: str

    def documents(self, known: Mapping[str, str]) -> Iterator[Document | Unread | str]:
        """Everything that is there now, in a stable order.

        Args:
            known: Version of each document id that the index holds; one that is unchanged may be given as its id alone.
        """
        ...


class Searcher(Protocol):
    """What finds passages: an index, or anything that behaves as one."""

    def search(self, query: str, k: int = 5, *, labels: Mapping[str, str] | None = None) -> list[Passage]:
        """The ``k`` best passages, best first."""
        ...
