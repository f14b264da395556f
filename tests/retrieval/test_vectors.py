"""The nearest vectors are exactly the nearest, and an approximate index changes little and misses nothing new."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.fixtures.word_encoder import Texts, WordEncoder
from tests.retrieval.test_index import long_text
from tunesmith.errors import UserError
from tunesmith.retrieval import approximate, indexing
from tunesmith.retrieval.indexing import build_index
from tunesmith.retrieval.search import open_index
from tunesmith.retrieval.vectors import VectorFile


def unit(rows: int, width: int, seed: int = 0) -> NDArray[np.float32]:
    drawn = np.random.default_rng(seed).standard_normal((rows, width)).astype(np.float32)
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), np.float32)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(st.integers(1, 400), st.integers(2, 40), st.integers(1, 30), st.integers(0, 99), st.booleans())
def test_the_search_is_exact(
    tmp_path_factory: pytest.TempPathFactory, rows: int, width: int, k: int, seed: int, near: bool
) -> None:
    vectors = unit(rows, width, seed)
    if near:
        # So near to each other that their products in float16 can't tell them apart.
        vectors = unit(1, width, seed) + 1e-3 * vectors
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    file = VectorFile(tmp_path_factory.mktemp("v"), 1, width)
    file.write(0, vectors)
    query, allowed = unit(1, width, seed + 1)[0], np.random.default_rng(seed).random(rows) < 0.7
    exact = file.rows(rows).astype(np.float32) @ query
    for mask in (None, allowed):
        within = np.flatnonzero(np.ones(rows, bool) if mask is None else mask)
        best = within[np.lexsort((within, -exact[within]))][:k]
        slots, products = file.best(query, k, rows, mask)
        assert products == pytest.approx(exact[best], abs=1e-6)
        assert set(slots.tolist()) <= set(within.tolist())
        # Of equals (products in float32 depend on how rows are grouped) either may come first.
        assert exact[slots] == pytest.approx(exact[best], abs=1e-6)


def test_vectors_are_written_where_their_slot_is(tmp_path: Path) -> None:
    file, vectors = VectorFile(tmp_path, 3, 8), unit(10, 8)
    file.write(0, vectors[:6])
    file.write(4, vectors[4:])
    assert np.array_equal(file.rows(10), vectors.astype(np.float16))
    assert file.path.stat().st_size == 10 * 8 * 2
    with pytest.raises(UserError, match="holds 10 of 11 vectors"):
        file.rows(11)
    assert file.best(vectors[0], 5, 10, np.zeros(10, bool))[0].tolist() == []


def test_a_slow_exact_search_gets_an_approximate_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("usearch")
    encoder = WordEncoder()
    texts = {f"d{i}": long_text(160, i) for i in range(150)}
    build_index(tmp_path, [Texts(texts)], encoder=encoder)
    assert not list(tmp_path.glob("*.usearch"))
    monkeypatch.setattr(indexing, "SLOW_SECONDS", 0.0)
    report = build_index(tmp_path, [Texts(texts)], encoder=encoder)
    assert "an approximate index answers in" in report.notes[0]
    assert [file.name for file in tmp_path.glob("*.usearch")] == ["vectors-1.usearch"]
    queries = [" ".join(text.split()[:8]) for text in texts.values()]
    with open_index(tmp_path, encoder=encoder) as index:
        vectors, count = index.vectors, len(index._chunks)
        same = 0
        for query in encoder.encode(queries[:40]):
            exact = vectors.best(query, 10, count)
            found = approximate.nearest(vectors, query, 10, count, None, False)
            same += len(set(exact[0].tolist()) & set(found[0].tolist()))
            assert (np.diff(found[1]) <= 0).all()
        assert same >= 0.95 * 400

    # What comes later is found at once, and what is gone is not, before the approximate index knows.
    monkeypatch.setattr(indexing, "keep_fast", lambda *_: None)
    del texts["d7"]
    build_index(tmp_path, [Texts({**texts, "new": "zebra giraffe"})], encoder=encoder)
    assert list(tmp_path.glob("*.usearch"))
    with open_index(tmp_path, encoder=encoder) as index:
        assert index.search("zebra giraffe", 1, method="vectors")[0].chunk.document == "new"
        gone = long_text(160, 7)
        assert "d7" not in {one.chunk.document for one in index.search(gone, 50, method="vectors")}
        assert index.search(gone, 50, method="vectors", labels={"a": "b"}) == []


def test_a_fast_enough_search_drops_it_and_a_missing_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    texts = {f"d{i}": long_text(80, i) for i in range(5)}
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    monkeypatch.setattr(indexing, "SLOW_SECONDS", 0.0)
    report = build_index(tmp_path, [Texts(texts)], encoder=WordEncoder())
    assert 'pip install "tunesmith[ann]"' in report.notes[0]
    (tmp_path / "vectors-1.usearch").write_bytes(b"left over")
    monkeypatch.setattr(indexing, "SLOW_SECONDS", 9.0)
    assert build_index(tmp_path, [Texts(texts)], encoder=WordEncoder()).notes == []
    assert not list(tmp_path.glob("*.usearch"))
