"""Making an index and keeping it up to date: what is new is read, cut, encoded and kept; what is gone is taken out.

Work is kept every few hundred chunks, whole or not at all, so that a run that is killed goes on where it was. It knows
no file format: documents come from sources.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunesmith.errors import UserError
from tunesmith.retrieval.approximate import SLOW_SECONDS, keep_fast
from tunesmith.retrieval.chunks import LEAST_TOKENS, MOST_TOKENS, chunks_of, estimated_tokens
from tunesmith.retrieval.document import Chunk, Document, Source, Unread
from tunesmith.retrieval.encoder import KEPT, NONE, UNFAMILIAR, Encoder, header_tokens, other_encoder, text_to_encode
from tunesmith.retrieval.indexed import IndexReport, one_writer, opened_for_writing
from tunesmith.retrieval.store import FILE, Kept, Part, Store
from tunesmith.retrieval.vectors import VectorFile

Progress = Callable[[str, int, int], None]

BATCH_CHUNKS = 256
"""Chunks encoded and kept together: what a kill loses at most, beside a document that has more."""
FEW = 0.05
"""Share of documents that may seem to be in an unknown language by chance: short ones, names, code."""
DEAD_SHARE = 0.3
"""Share of deleted vectors from which on the vector file is written anew."""


def build_index(
    folder: str | Path,
    sources: Sequence[Source] = (),
    *,
    encoder: str | Encoder = KEPT,
    rebuild: bool = False,
    forget: Sequence[str] = (),
    progress: Progress | None = None,
) -> IndexReport:
    """Make an index in a folder, or bring it up to date with its sources.

    Documents that a source no longer has are taken out, once the source was read to its end; those of sources that are
    not named stay.

    Args:
        folder: Of the index; made where it is missing.
        sources: Whose documents are to be in it.
        encoder: A name (`open_encoder`), an encoder, ``none`` for words alone, or ``kept``: what the index was made
            with, a new one with the starter.
        rebuild: Whether the documents in the index are cut and encoded anew, with another encoder if one is named.
        forget: Names of sources whose documents are taken out.
        progress: Hears what is done, how many and of how many.

    Raises:
        UserError: The index was made with another encoder, another process writes to it, nothing is there to index, or
            a source can't be read.
    """
    place = Path(folder)
    if not sources and not (place / FILE).is_file():
        raise UserError("there is nothing to index", str(place), "name files, folders or other sources")
    with one_writer(place), opened_for_writing(place) as store:
        run = _Run(store, encoder, rebuild, progress)
        for name in forget:
            run.forget(name)
        run.finish_pending()
        seen: set[str] = set()
        for source in sources:
            if source.name in seen:
                raise UserError(f"the source '{source.name}' is named twice", str(place), "name it once")
            seen.add(source.name)
            run.read(source)
        run.tidy()
        keep_fast(run.vectors, int(store.facts()["slots"]), run.report, run.progress, SLOW_SECONDS)
        return run.told()


class _Run:
    """One run over sources."""

    def __init__(self, store: Store, encoder: str | Encoder, rebuild: bool, progress: Progress | None) -> None:
        self.store, self.began = store, time.monotonic()
        self.progress = progress or (lambda _what, _done, _total: None)
        facts = store.facts()
        kept = facts.get("encoder")
        self._wanted = _wanted(encoder, kept)
        name = self._wanted if isinstance(self._wanted, str) else self._wanted.name
        self.report = IndexReport(str(store.folder), name)
        self._encoder: Encoder | None = None if isinstance(self._wanted, str) else self._wanted
        self._kept: Mapping[str, Any] | None = None if rebuild else kept
        if kept is not None and not rebuild and kept["name"] != name:
            raise other_encoder(kept["name"], name, store.folder)
        if kept is None or rebuild:
            self._begin(facts)
        elif self._encoder is not None:
            self._check(self._encoder)

    def _begin(self, facts: Mapping[str, Any]) -> None:
        """A new index, or an old one whose documents are all to be encoded anew."""
        encoder = self.encoder
        width, identity = (0, "") if encoder is None else (encoder.width, encoder.identity)
        kept = {"name": self.report.encoder, "identity": identity, "width": width}
        generation = int(facts.get("generation", 0)) + 1
        with self.store.transaction():
            self.store.start_over(encoder=kept, generation=generation, slots=0)
        self._kept = kept

    def _check(self, encoder: Encoder) -> None:
        """See that an encoder is the one that the index was made with.

        Raises:
            UserError: It is another one.
        """
        if self._kept is not None and self._kept["identity"] != encoder.identity:
            raise other_encoder(self._kept["name"], encoder.name, self.store.folder)

    @property
    def encoder(self) -> Encoder | None:
        """What makes vectors; loaded when it is first needed."""
        if self._encoder is None and self._wanted != NONE:
            from tunesmith.model.sentence_encoder import open_encoder

            self.progress("load the encoder", 0, 1)
            self._encoder = open_encoder(self.report.encoder)
            self.progress("load the encoder", 1, 1)
            self._check(self._encoder)
        return self._encoder

    @property
    def vectors(self) -> VectorFile:
        """The vector file in use."""
        facts = self.store.facts()
        return VectorFile(self.store.folder, facts["generation"], facts["encoder"]["width"])

    def forget(self, origin: str) -> None:
        """Take all documents of a source out.

        Raises:
            UserError: The index knows no such source.
        """
        known = self.store.versions(origin)
        if not known:
            names = [row[0] for row in self.store.rows("SELECT DISTINCT origin FROM documents ORDER BY origin")]
            fix = f"write one of: {', '.join(names)}" if names else "leave it out"
            raise UserError(f"the index has nothing from a source '{origin}'", str(self.store.folder), fix)
        with self.store.transaction():
            self.report.removed += [self.store.forget(origin, local) for local in known]
            self.store.note_unread(origin, ())

    def finish_pending(self) -> None:
        """Give documents that wait for it (of a rebuild, perhaps one that was killed) their chunks."""
        waiting = self.store.pending()
        done = 0

        def kept() -> Iterator[Kept]:
            nonlocal done
            for number in waiting:
                yield next(self.store.documents("WHERE number = ?", (number,)))
                done += 1
                self.progress("encode the documents", done, len(waiting))

        for batch in self._batches((one.document, one) for one in kept()):
            with self._kept_whole(batch) as parts:
                for (document, one, _), own, odd in parts:
                    self.store.finish(one.number, document, own, odd)

    def read(self, source: Source) -> None:
        """Bring the index up to date with one source."""
        known = self.store.versions(source.name)
        seen: set[str] = set()
        unread: list[Unread] = []

        def fresh() -> Iterator[tuple[Document, None]]:
            for entry in source.documents(known):
                if isinstance(entry, Unread):
                    unread.append(entry)
                    continue
                name = entry if isinstance(entry, str) else entry.id
                if name in seen:
                    self.report.repeated.append(name)
                    continue
                seen.add(name)
                self.progress(f"read {source.name}", len(seen), max(len(known), len(seen) + 1))
                if isinstance(entry, str) or known.get(name) == entry.version:
                    self.report.unchanged += 1
                elif fault := _unwritable(entry):
                    unread.append(fault)
                else:
                    yield entry, None

        for batch in self._batches(fresh()):
            with self._kept_whole(batch) as parts:
                for (document, _, _), own, odd in parts:
                    self.store.put(source.name, document, own, odd)
            changed = sum(document.id in known for document, _, _ in batch)
            self.report.changed += changed
            self.report.added += len(batch) - changed
        self._finish(source.name, known.keys() - seen, unread)
        self.progress(f"read {source.name}", 1, 1)

    def _finish(self, origin: str, lacking: set[str], unread: list[Unread]) -> None:
        """Take out what a source has no more; what only could not be read now stays as it was."""
        faulty = {one.source for one in unread}
        rows = self.store.rows("SELECT local, id, source FROM documents WHERE origin = ?", (origin,))
        stale = {local: public for local, public, place in rows if local in lacking and place in faulty}
        with self.store.transaction():
            self.report.removed += [self.store.forget(origin, local) for local in sorted(lacking - stale.keys())]
            self.store.note_unread(origin, unread)
        self.report.stale += sorted(stale.values())
        self.report.unread += unread

    def _batches(self, documents: Iterator[tuple[Document, Any]]) -> Iterator[list[tuple[Document, Any, list[Chunk]]]]:
        """Documents with their chunks, about `BATCH_CHUNKS` together."""
        batch: list[tuple[Document, Any, list[Chunk]]] = []
        size = 0
        for document, more in documents:
            chunks = self._cut(document)
            batch.append((document, more, chunks))
            size += max(1, len(chunks))
            if size >= BATCH_CHUNKS:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def _cut(self, document: Document) -> list[Chunk]:
        encoder = self.encoder
        if encoder is None:
            return chunks_of(document, estimated_tokens)
        most = max(1, min(MOST_TOKENS, encoder.room - header_tokens(encoder)))
        return chunks_of(document, encoder.count, min(LEAST_TOKENS, most // 2), most)

    @contextmanager
    def _kept_whole(
        self, batch: Sequence[tuple[Document, Any, list[Chunk]]]
    ) -> Iterator[list[tuple[tuple[Document, Any, list[Chunk]], list[Part], float]]]:
        """Vectors of a batch on the disk, and a transaction that its documents are to be written in."""
        encoder = self.encoder
        if encoder is None:
            bare = [(one, [Part(chunk, _digest(chunk.text), None) for chunk in one[2]], 0.0) for one in batch]
            with self.store.transaction():
                yield bare
            return
        texts = [[text_to_encode(chunk, encoder) for chunk in chunks] for _, _, chunks in batch]
        digests = [[_digest(text) for text in own] for own in texts]
        slot = self.store.facts()["slots"]
        self.vectors.write(slot, self._vectors([text for own in texts for text in own], slot))
        parts = []
        for one, row in zip(batch, digests, strict=True):
            own = [Part(chunk, digest, slot + i) for i, (chunk, digest) in enumerate(zip(one[2], row, strict=True))]
            parts.append((one, own, encoder.unfamiliar(one[0].text)))
            slot += len(own)
        with self.store.transaction():
            yield parts
            self.store.write_facts(slots=slot)

    def _vectors(self, texts: Sequence[str], slots: int) -> NDArray[np.float32]:
        """A vector a text, [texts, width]: that of an equal text in the first ``slots``, or one made now."""
        vectors, made = self.vectors, {}
        stored = vectors.rows(slots)
        places = {text: self.store.slot_like(_digest(text)) for text in dict.fromkeys(texts)}
        new = [text for text, slot in places.items() if slot is None]
        if new and (encoder := self.encoder) is not None:
            made = dict(zip(new, encoder.encode(new), strict=True))
        self.report.encoded += len(new)
        rows = np.zeros((len(texts), vectors.width), np.float32)
        for at, text in enumerate(texts):
            slot = places[text]
            rows[at] = made[text] if slot is None else stored[slot]
        return rows

    def tidy(self) -> None:
        """Write the vector file anew where many of its vectors are deleted, and remove older files."""
        facts = self.store.facts()
        live = self.store.slots()
        if facts["slots"] - len(live) > max(BATCH_CHUNKS, DEAD_SHARE * facts["slots"]):
            old, new = self.vectors, VectorFile(self.store.folder, facts["generation"] + 1, facts["encoder"]["width"])
            new.path.unlink(missing_ok=True)
            stored = old.rows(facts["slots"])
            slots = np.array([slot for slot, _ in live], dtype=np.int64)
            for start in range(0, len(slots), 10_000):
                new.write(start, stored[slots[start : start + 10_000]].astype(np.float32))
            with self.store.transaction():
                # Rising slots, each to a lower or the same one: none is taken when its turn comes.
                moves = [(at, chunk) for at, (_, chunk) in enumerate(live)]
                self.store.db.executemany("UPDATE chunks SET slot = ? WHERE id = ?", moves)
                self.store.write_facts(generation=new.generation, slots=len(live))
        self.vectors.remove_others()

    def told(self) -> IndexReport:
        """The report.

        Raises:
            UserError: The index holds nothing.
        """
        report, store = self.report, self.store
        report.documents = int(store.rows("SELECT count(*) FROM documents")[0][0])
        report.chunks = store.count()
        report.unfamiliar = [
            row[0] for row in store.rows("SELECT id FROM documents WHERE unfamiliar >= ?", (UNFAMILIAR,))
        ]
        report.seconds = time.monotonic() - self.began
        if not report.documents and not report.removed:
            said = (
                f"; {len(report.unread)} could not be read, the first: {report.unread[0].reason}"
                if report.unread
                else ""
            )
            raise UserError(f"no document was found to index{said}", report.folder, "name files or folders with text")
        if len(report.unfamiliar) > FEW * report.documents:
            report.notes.append(
                f"{len(report.unfamiliar)} of {report.documents} documents are in a language that the encoder "
                f"{report.encoder} hardly knows ({report.unfamiliar[0]}): they are found by their words, and poorly by "
                "their meaning; take an encoder of that language: --encoder M --rebuild"
            )
        return report


def _wanted(encoder: str | Encoder, kept: Mapping[str, Any] | None) -> str | Encoder:
    if encoder != KEPT:
        return encoder
    if kept is not None:
        return str(kept["name"])
    from tunesmith.model.sentence_encoder import STARTER

    return STARTER


def _digest(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=12).digest()


def _unwritable(document: Document) -> Unread | None:
    """Why a document can't be kept, if so."""
    try:
        document.text.encode()
    except UnicodeEncodeError:
        return Unread(document.source, "its text holds half a character (a lone surrogate)", "save it as UTF-8")
    return None
