"""An open index: what is asked finds passages, by their words, by their meaning, and by both together.

Vectors are compared exactly unless the index holds an approximate one. It reads no document and writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tunesmith.errors import UserError
from tunesmith.retrieval.document import Passage
from tunesmith.retrieval.encoder import KEPT, NONE, UNFAMILIAR, Encoder, other_encoder
from tunesmith.retrieval.fusion import STRANGE, WEIGHTS, best_spread, fuse, summed
from tunesmith.retrieval.store import Kept, Store
from tunesmith.retrieval.vectors import VectorFile
from tunesmith.retrieval.word_search import Scored, WordSearch
from tunesmith.retrieval.words import words_of

Method: TypeAlias = Literal["fusion", "ranks", "bm25", "vectors"]
METHODS: tuple[Method, ...] = ("fusion", "ranks", "bm25", "vectors")
"""Both, by what they say or by their ranks alone; and each alone."""

DEPTH = 100
"""Chunks of each method that are fused."""
SAMPLED = 1_000
"""Vectors of the index by which it is told how near a chunk usually is to a query."""
RERANKED = 30
"""Passages that a reranker reads."""


class Reranker(Protocol):
    """What reads a query and a passage together: `tunesmith.model.cross_encoder.CrossEncoder`."""

    def scores(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """How well each text answers the query, [texts]."""
        ...


class Index:
    """An index that can be searched (a `Searcher`). Many threads may not use one at once.

    Args:
        folder: Made by `build_index`.
        encoder: ``kept`` loads what the index was made with when it is first needed; ``none`` searches words alone.
        reranker: Orders the best passages again.

    Raises:
        UserError: There is no index, or it was made with another encoder.
    """

    def __init__(self, folder: str | Path, *, encoder: str | Encoder = KEPT, reranker: Reranker | None = None) -> None:
        self.folder, self.store, self.reranker = Path(folder), Store(Path(folder)), reranker
        self._encoder: Encoder | None = None
        self._wanted, self._words = encoder, WordSearch(self.store)
        self._state: tuple[int, int] | None = None
        self._vectors: VectorFile | None = None
        self._chunks: NDArray[np.int64] = np.zeros(0, np.int64)
        self._slots: NDArray[np.int64] = np.zeros(0, np.int64)
        self._sample: NDArray[np.float32] = np.zeros((0, 0), np.float32)
        self._live: NDArray[np.bool_] | None = None
        kept = self.store.facts().get("encoder")
        if kept is None:
            fix = f"index something: tunesmith index SOURCE --into {folder}"
            raise UserError("this index is empty", str(folder), fix)
        self.made_with: Mapping[str, Any] = kept
        if isinstance(encoder, str):
            if encoder not in (KEPT, NONE, kept["name"]):
                raise other_encoder(kept["name"], encoder, self.folder)
        else:
            self._take(encoder)

    def close(self) -> None:
        """Let the files go."""
        self.store.close()

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    @property
    def encoder(self) -> Encoder | None:
        """What makes a query's vector; None where words alone are searched. Loading takes seconds."""
        if self._encoder is None and self.made_with["name"] != NONE and self._wanted != NONE:
            from tunesmith.model.sentence_encoder import open_encoder

            self._take(open_encoder(self.made_with["name"], where=str(self.folder)))
        return self._encoder

    def _take(self, encoder: Encoder) -> None:
        if encoder.identity != self.made_with["identity"]:
            raise other_encoder(self.made_with["name"], encoder.name, self.folder)
        self._encoder = encoder

    def search(
        self, query: str, k: int = 5, *, labels: Mapping[str, str] | None = None, method: Method = "fusion"
    ) -> list[Passage]:
        """The ``k`` best passages, best first; none where nothing fits.

        Args:
            query: A question, or words.
            k: How many.
            labels: Only documents that have all of these.
            method: ``bm25``, ``vectors``, ``fusion`` of both by what they say (`summed`), or by their ``ranks``
                (`fuse`); an index without vectors has ``bm25`` alone.

        Raises:
            UserError: The query is empty, ``k`` is below 1, or the method is not to be had.
        """
        self._check(query, k, method)
        if method != "bm25":
            _ = self.encoder  # loaded before the index is held, which makes others wait
        with self.store.snapshot():
            return self._search(query, k, labels, method)

    def _search(self, query: str, k: int, labels: Mapping[str, str] | None, method: Method) -> list[Passage]:
        depth, wanted = max(DEPTH, 2 * k), max(k, RERANKED) if self.reranker else k
        ranked: dict[str, list[tuple[int, float]]] = {}
        said = Scored(np.zeros(0), 0.0)
        vector = None
        if method != "vectors":
            said = self._words.scored(query, labels)
            ranked["bm25"] = said.best(depth)
        if method != "bm25" and self.encoder is not None:
            vector = self.encoder.encode([query], query=True)[0]
            ranked["vectors"] = self._by_vectors(vector, depth, labels)
        if vector is None or len(ranked) == 1:
            best = next(iter(ranked.values()))[:wanted]
        else:
            ids = {name: [at for at, _ in found] for name, found in ranked.items()}
            order = fuse(ids, self._weights(query)) if method == "ranks" else self._summed(ids, vector, said)
            best = best_spread(order, wanted, self.store.sections)
        ranks = {name: {at: rank for rank, (at, _) in enumerate(found, 1)} for name, found in ranked.items()}
        found = [
            replace(passage, score=score, ranks={name: known[at] for name, known in ranks.items() if at in known})
            for passage, (at, score) in zip(self.store.passages([at for at, _ in best]), best, strict=True)
        ]
        return self._reranked(query, found)[:k] if self.reranker else found

    def _summed(
        self, found: Mapping[str, Sequence[int]], vector: NDArray[np.float32], said: Scored
    ) -> list[tuple[int, float]]:
        """All chunks that a method found, by what both say of each: what one left out is looked up, and not guessed."""
        ids = np.array(sorted({at for one in found.values() for at in one}), dtype=np.int64)
        products = self.vectors.products(vector, self._slots[ids], len(self._chunks))
        scores = summed(products, self._sample @ vector, said.shares(ids)) if len(ids) else np.zeros(0)
        order = np.lexsort((ids, -scores))
        return list(zip(ids[order].tolist(), scores[order].tolist(), strict=True))

    def _check(self, query: str, k: int, method: str) -> None:
        if not query.strip():
            raise UserError("the query is empty", "query", "ask something")
        if k < 1:
            raise UserError(f"k is {k}", "k", "ask for at least one passage")
        if method not in METHODS:
            raise UserError(f"there is no method '{method}'", "method", f"write one of {', '.join(METHODS)}")
        if method == "vectors" and NONE in (self.made_with["name"], self._wanted):
            fix = f"encode its documents: tunesmith index --into {self.folder} --encoder M --rebuild"
            raise UserError("this index is searched by words alone: it has no vectors", str(self.folder), fix)

    def _by_vectors(
        self, vector: NDArray[np.float32], count: int, labels: Mapping[str, str] | None
    ) -> list[tuple[int, float]]:
        from tunesmith.retrieval.approximate import nearest

        vectors, allowed = self.vectors, self._live
        if not vector.any():
            return []
        if labels:
            allowed = np.zeros(len(self._chunks), np.bool_)
            allowed[[slot for slot, _ in self.store.slots(labels)]] = True
        slots, products = nearest(vectors, vector, count, len(self._chunks), allowed, labels is not None)
        return list(zip(self._chunks[slots].tolist(), products.tolist(), strict=True))

    def _weights(self, query: str) -> dict[str, float]:
        assert self.encoder is not None, "asked only where there is one"
        return {"vectors": float(np.interp(self.encoder.unfamiliar(query), STRANGE, WEIGHTS))}

    @property
    def vectors(self) -> VectorFile:
        """The vectors as they are now: those that another process added since are seen."""
        state = self.store.state()
        if self._vectors is None or state != self._state:
            facts = self.store.facts()
            self._vectors = VectorFile(self.folder, facts["generation"], facts["encoder"]["width"])
            listed = np.array(self.store.slots(), dtype=np.int64).reshape(-1, 2)
            self._chunks = np.zeros(facts["slots"], np.int64)
            self._chunks[listed[:, 0]] = listed[:, 1]
            self._slots = np.zeros(int(listed[:, 1].max(initial=0)) + 1, np.int64)
            self._slots[listed[:, 1]] = listed[:, 0]
            some = listed[np.linspace(0, len(listed) - 1, min(len(listed), SAMPLED)).astype(np.int64), 0]
            self._sample = self._vectors.rows(facts["slots"])[some].astype(np.float32)
            live = self._chunks > 0
            self._live, self._state = (None if live.all() else live), state
        return self._vectors

    def _reranked(self, query: str, found: Sequence[Passage]) -> list[Passage]:
        assert self.reranker is not None, "asked only where there is one"
        if not found:
            return []
        scores = self.reranker.scores(query, [passage.chunk.text for passage in found])
        order = np.argsort(-scores, kind="stable").tolist()
        return [
            replace(found[at], score=float(scores[at]), ranks={**found[at].ranks, "reranker": rank})
            for rank, at in enumerate(order, 1)
        ]

    def notes(self, query: str) -> list[str]:
        """What a person should know: a language that the encoder hardly knows, documents not encoded yet."""
        said = []
        if waiting := len(self.store.pending()):
            what = f"{waiting} documents are not in the index yet: an earlier run was stopped"
            said.append(f"{what}; finish it: tunesmith index --into {self.folder}")
        if self.encoder is not None and self.encoder.unfamiliar(query) >= UNFAMILIAR and len(words_of(query)) > 3:
            said.append(
                f"the encoder {self.made_with['name']} hardly knows the language of this query: what is found has its "
                "words, and its meaning says little"
            )
        return said

    def document(self, id: str) -> Kept:
        """A document by its id, to resolve a citation.

        Raises:
            UserError: There is none (any more).
        """
        return self.store.document(id)


def open_index(folder: str | Path, *, encoder: str | Encoder = KEPT, reranker: Reranker | None = None) -> Index:
    """An index to search; see `Index`.

    Raises:
        UserError: There is no index, or it was made with another encoder.
    """
    return Index(folder, encoder=encoder, reranker=reranker)
