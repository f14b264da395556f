"""The file of an index: documents, chunks, the words of BM25, where all came from, and what is gone.

One SQLite file, ``index.sqlite``. The text of a document is kept once; a chunk is a span of its bytes. It knows no
encoder, and of vectors only the slot that a chunk's vector has in the vector file.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError
from tunesmith.retrieval.document import Chunk, Document, Passage, Unread
from tunesmith.retrieval.words import VERSION as WORDS_VERSION
from tunesmith.retrieval.words import words_of

FILE = "index.sqlite"
FORMAT = 1
_TABLES = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE documents (
  number INTEGER PRIMARY KEY, origin TEXT NOT NULL, local TEXT NOT NULL, id TEXT NOT NULL UNIQUE, source TEXT NOT NULL,
  title TEXT NOT NULL, kind TEXT NOT NULL, version TEXT NOT NULL, changed TEXT NOT NULL, labels TEXT NOT NULL,
  notes TEXT NOT NULL, unfamiliar REAL NOT NULL, ready INTEGER NOT NULL, indexed TEXT NOT NULL, parts TEXT NOT NULL,
  text BLOB NOT NULL,
  UNIQUE (origin, local)
);
CREATE INDEX not_ready ON documents (number) WHERE ready = 0;
CREATE TABLE labels (
  name TEXT NOT NULL, value TEXT NOT NULL, document INTEGER NOT NULL, PRIMARY KEY (name, value, document)
) WITHOUT ROWID;
CREATE INDEX labels_of ON labels (document);
CREATE TABLE chunks (
  id INTEGER PRIMARY KEY AUTOINCREMENT, document INTEGER NOT NULL, number INTEGER NOT NULL, start INTEGER NOT NULL,
  stop INTEGER NOT NULL, path TEXT NOT NULL, tokens INTEGER NOT NULL, words INTEGER NOT NULL,
  digest BLOB NOT NULL, slot INTEGER UNIQUE
);
CREATE INDEX chunks_of ON chunks (document, number);
CREATE INDEX chunks_like ON chunks (digest);
CREATE TABLE gone (id TEXT PRIMARY KEY, origin TEXT NOT NULL, version TEXT NOT NULL, at TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE unread (
  origin TEXT NOT NULL, source TEXT NOT NULL, reason TEXT NOT NULL, fix TEXT NOT NULL, PRIMARY KEY (origin, source)
) WITHOUT ROWID;
CREATE VIRTUAL TABLE words USING fts5 (body, headings, content = '', tokenize = "ascii tokenchars '_'");
"""
_VIEWS = """
CREATE VIRTUAL TABLE temp.word_counts USING fts5vocab (main, words, row);
CREATE VIRTUAL TABLE temp.word_places USING fts5vocab (main, words, instance);
"""


@dataclass(frozen=True)
class Kept:
    """A document as the index has it.

    Args:
        number: In the index.
        document: It.
        origin: Name of the source that it came from.
        indexed: When, in ISO 8601.
    """

    number: int
    document: Document
    origin: str
    indexed: str


@dataclass(frozen=True)
class Part:
    """A chunk about to be kept.

    Args:
        chunk: It.
        digest: Of what its vector is made from.
        slot: Its place in the vector file; None in an index without vectors.
    """

    chunk: Chunk
    digest: bytes
    slot: int | None


class Store:
    """An open index file; `transaction` is where all that belongs together is written.

    Args:
        folder: Of the index.
        create: Whether it may be made.

    Raises:
        UserError: There is none, it is damaged, or another version of this software made it.
    """

    def __init__(self, folder: Path, *, create: bool = False) -> None:
        self.folder, self.file = folder, folder / FILE
        if not create and not self.file.is_file():
            what = f"there is no index in {folder}" if folder.is_dir() else f"there is no folder {folder}"
            raise UserError(what, str(folder), f"make one: tunesmith index SOURCE --into {folder}")
        with self._guarded():
            place = self.file.absolute().as_uri() + ("?mode=rwc" if create else "?mode=rw")
            if not create and not os.access(self.file, os.W_OK):
                place = self.file.absolute().as_uri() + "?mode=ro"
            self.db = sqlite3.connect(place, uri=True, timeout=30.0, isolation_level=None, check_same_thread=False)
            self.db.execute("PRAGMA synchronous = FULL")
            self.db.execute("PRAGMA cache_size = -65536")
            if create and not self.db.execute("SELECT 1 FROM sqlite_master WHERE name = 'facts'").fetchone():
                self.db.executescript(f"BEGIN IMMEDIATE; {_TABLES} COMMIT;")
                self.write_facts(format=FORMAT, words=WORDS_VERSION)
            self.db.executescript(_VIEWS)
            known = self.facts()
        if (known.get("format"), known.get("words")) != (FORMAT, WORDS_VERSION):
            what = f"this index has format {known.get('format')}.{known.get('words')}, and {FORMAT}.{WORDS_VERSION}"
            fix = "index the sources again into a new folder"
            raise UserError(f"{what} is read here", str(self.file), fix)

    def close(self) -> None:
        """Let the file go."""
        self.db.close()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Faults of the file as a person may read them."""
        try:
            yield
        except sqlite3.OperationalError as fault:
            fix = "wait until what writes to it ends, free some space, or name another folder"
            raise UserError(f"the index can't be used now: {fault}", str(self.file), fix) from fault
        except sqlite3.DatabaseError as fault:
            fix = "index the sources again into a new folder"
            raise UserError(f"the index is damaged: {fault}", str(self.file), fix) from fault

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is written inside is kept, or nothing."""
        with self._guarded():
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self.db.execute("ROLLBACK")
                raise
            self.db.execute("COMMIT")

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """All that is read inside is of one state, whatever others write meanwhile."""
        with self._guarded():
            self.db.execute("BEGIN")
        try:
            yield
        finally:
            self.db.execute("COMMIT")

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """What a query gives."""
        with self._guarded():
            return self.db.execute(query, values).fetchall()

    def facts(self) -> dict[str, Any]:
        """What the index says of itself."""
        return {name: json.loads(value) for name, value in self.rows("SELECT name, value FROM facts")}

    def write_facts(self, **facts: Any) -> None:
        """Keep facts by name."""
        pairs = [(name, json.dumps(value)) for name, value in facts.items()]
        self.db.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", pairs)

    # Documents

    def versions(self, origin: str) -> dict[str, str]:
        """Version by the id that the source gives, of all documents of a source."""
        return dict(self.rows("SELECT local, version FROM documents WHERE origin = ?", (origin,)))

    def put(self, origin: str, document: Document, parts: Sequence[Part] | None, unfamiliar: float = 0.0) -> None:
        """Keep a document in place of its older version.

        Args:
            origin: Name of the source.
            document: With the id that the source gives; another source's document of that id keeps it, and this one
                gets the source's name in front.
            parts: Its chunks; None where they are still to be made (`pending`).
            unfamiliar: Share of letters that the encoder hardly knows.
        """
        old = self.rows("SELECT number FROM documents WHERE origin = ? AND local = ?", (origin, document.id))
        if old:
            self._remove(old[0][0])
        public = document.id
        if self.rows("SELECT 1 FROM documents WHERE id = ?", (public,)):
            public = f"{origin}/{public}"
        number = old[0][0] if old else None
        self.db.execute("DELETE FROM gone WHERE id = ?", (public,))
        values = (
            number, origin, document.id, public, document.source, document.title, document.kind, document.version,
            document.changed, json.dumps(dict(document.labels), ensure_ascii=False),
            json.dumps(list(document.notes), ensure_ascii=False), unfamiliar, int(parts is not None), _now(),
            json.dumps([list(part) for part in document.parts], ensure_ascii=False), document.text.encode(),
        )  # fmt: skip
        marks = ", ".join("?" * len(values))
        number = self.db.execute(f"INSERT INTO documents VALUES ({marks})", values).lastrowid  # noqa: S608
        assert number is not None, "an insert has a row"
        named = [(name, value, number) for name, value in document.labels.items()]
        self.db.executemany("INSERT INTO labels VALUES (?, ?, ?)", named)
        self._add(number, document, parts or ())

    def finish(self, number: int, document: Document, parts: Sequence[Part], unfamiliar: float) -> None:
        """Give a pending document its chunks."""
        self._add(number, document, parts)
        self.db.execute("UPDATE documents SET ready = 1, unfamiliar = ? WHERE number = ?", (unfamiliar, number))

    def _add(self, number: int, document: Document, parts: Sequence[Part]) -> None:
        for part in parts:
            chunk = part.chunk
            path = json.dumps(list(chunk.path), ensure_ascii=False)
            body, headings = words_of(chunk.text), _heading_words(document.title, chunk.path)
            values = (number, chunk.number, chunk.start, chunk.end, path, chunk.tokens, len(body) + len(headings))
            query = "INSERT INTO chunks VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            added = self.db.execute(query, (*values, part.digest, part.slot))
            query = "INSERT INTO words (rowid, body, headings) VALUES (?, ?, ?)"
            self.db.execute(query, (added.lastrowid, " ".join(body), " ".join(headings)))

    def _remove(self, number: int) -> None:
        """Take a document out, its words too; its vectors stay in their slots, which nothing names any more."""
        (text, title) = self.rows("SELECT text, title FROM documents WHERE number = ?", (number,))[0]
        listed = self.rows("SELECT id, start, stop, path FROM chunks WHERE document = ?", (number,))
        for at, start, stop, path in listed:
            body, headings = words_of(text[start:stop].decode()), _heading_words(title, json.loads(path))
            values = (at, " ".join(body), " ".join(headings))
            self.db.execute("INSERT INTO words (words, rowid, body, headings) VALUES ('delete', ?, ?, ?)", values)
        for table, column in (("chunks", "document"), ("labels", "document"), ("documents", "number")):
            self.db.execute(f"DELETE FROM {table} WHERE {column} = ?", (number,))  # noqa: S608

    def forget(self, origin: str, local: str) -> str:
        """Take a document out that its source has no more, note when, and give its id in the index."""
        query = "SELECT number, id, version FROM documents WHERE origin = ? AND local = ?"
        ((number, public, version),) = self.rows(query, (origin, local))
        self._remove(number)
        self.db.execute("INSERT OR REPLACE INTO gone VALUES (?, ?, ?, ?)", (public, origin, version, _now()))
        return str(public)

    def note_unread(self, origin: str, unread: Sequence[Unread]) -> None:
        """Keep what could not be read, in place of what was noted of the source before."""
        self.db.execute("DELETE FROM unread WHERE origin = ?", (origin,))
        rows = [(origin, one.source, one.reason, one.fix) for one in unread]
        self.db.executemany("INSERT OR REPLACE INTO unread VALUES (?, ?, ?, ?)", rows)

    def unread(self) -> list[Unread]:
        """What the last run over each source could not read."""
        return [Unread(*row) for row in self.rows("SELECT source, reason, fix FROM unread ORDER BY origin, source")]

    def document(self, public: str) -> Kept:
        """A document by its id.

        Raises:
            UserError: There is none; where it was taken out, since when.
        """
        found = list(self.documents("WHERE id = ?", (public,)))
        if found:
            return found[0]
        gone = self.rows("SELECT version, at FROM gone WHERE id = ?", (public,))
        said = f", it was taken out on {gone[0][1]} (version {gone[0][0]})" if gone else ""
        raise UserError(f"the index has no document '{public}'{said}", str(self.folder), "search again")

    def documents(self, where: str = "ORDER BY number", values: Sequence[Any] = ()) -> Iterator[Kept]:
        """Documents, one at a time."""
        columns = "number, origin, indexed, id, source, title, text, kind, version, changed, labels, notes, parts"
        with self._guarded():
            for number, origin, indexed, *rest in self.db.execute(f"SELECT {columns} FROM documents {where}", values):  # noqa: S608
                at, source, title, text, kind, version, changed, labels, notes, parts = rest
                plain = Document(
                    at, source, title, text.decode(), kind, version, changed, json.loads(labels),
                    tuple(json.loads(notes)), tuple((start, name) for start, name in json.loads(parts)),
                )  # fmt: skip
                yield Kept(number, plain, origin, indexed)

    def pending(self) -> list[int]:
        """Numbers of documents whose chunks are still to be made."""
        return [row[0] for row in self.rows("SELECT number FROM documents WHERE ready = 0 ORDER BY number")]

    def start_over(self, **facts: Any) -> None:
        """Drop all chunks, so that every document is pending, and keep new facts."""
        self.db.execute("INSERT INTO words (words) VALUES ('delete-all')")
        self.db.execute("DELETE FROM chunks")
        self.db.execute("UPDATE documents SET ready = 0")
        self.write_facts(**facts)

    # Search

    def count(self) -> int:
        """Chunks in the index."""
        return int(self.rows("SELECT count(*) FROM chunks")[0][0])

    def state(self) -> tuple[int, int]:
        """Another one after every change, whoever made it."""
        return int(self.rows("PRAGMA data_version")[0][0]), self.db.total_changes

    def chunk_ids(self, labels: Mapping[str, str]) -> list[int]:
        """Ids of all chunks whose document has these labels."""
        chosen, values = _labelled(labels)
        return [row[0] for row in self.rows(f"SELECT id FROM chunks WHERE {chosen}", values)]  # noqa: S608

    def sections(self, ids: Sequence[int]) -> dict[int, tuple[int, str]]:
        """The section that each chunk stands in: its document and headings."""
        marks = ", ".join("?" * len(ids))
        found = self.rows(f"SELECT id, document, path FROM chunks WHERE id IN ({marks})", ids)  # noqa: S608
        return {at: (document, path) for at, document, path in found}

    def slots(self, labels: Mapping[str, str] | None = None) -> list[tuple[int, int]]:
        """Slot and chunk id of every chunk that has a vector, and whose document has these labels."""
        chosen, values = _labelled(labels)
        also = f"AND {chosen}" if chosen else ""
        return self.rows(f"SELECT slot, id FROM chunks WHERE slot IS NOT NULL {also} ORDER BY slot", values)  # noqa: S608

    def slot_like(self, digest: bytes) -> int | None:
        """The slot of a chunk whose vector is made from the same text."""
        found = self.rows("SELECT slot FROM chunks WHERE digest = ? AND slot IS NOT NULL LIMIT 1", (digest,))
        return int(found[0][0]) if found else None

    def passages(self, ids: Sequence[int]) -> list[Passage]:
        """Chunks by id, in this order, each with its document; score and ranks are left to the search."""
        marks = ", ".join("?" * len(ids))
        query = (
            "SELECT c.id, d.id, d.version, c.number, c.start, c.stop, c.path, c.tokens, d.source, d.title, d.labels, "  # noqa: S608
            "substr(d.text, c.start + 1, c.stop - c.start) FROM chunks c JOIN documents d ON d.number = c.document "
            f"WHERE c.id IN ({marks})"
        )
        found: dict[int, Passage] = {}
        for at, document, version, number, start, stop, path, tokens, source, title, labels, text in self.rows(
            query, ids
        ):
            chunk = Chunk(document, version, number, start, stop, tuple(json.loads(path)), text.decode(), tokens)
            found[at] = Passage(chunk, source, title, 0.0, {}, json.loads(labels))
        return [found[at] for at in ids]


def _labelled(labels: Mapping[str, str] | None) -> tuple[str, list[str]]:
    """A condition on ``chunks.document`` that its document has all these labels, and the condition's values."""
    one = "document IN (SELECT document FROM labels WHERE name = ? AND value = ?)"
    return " AND ".join([one] * len(labels or {})), [text for pair in (labels or {}).items() for text in pair]


def _heading_words(title: str, path: Sequence[str]) -> list[str]:
    """The words of title and headings, each of these once."""
    return [word for text in dict.fromkeys([title, *path]) for word in words_of(text)]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
