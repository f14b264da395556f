"""Pairs from rows of every shape and from documents, hard negatives, BM25, and how good an order is."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tunesmith.data.source import read_rows
from tunesmith.errors import UserError
from tunesmith.retrieval.bm25 import Bm25
from tunesmith.retrieval.document import Chunk
from tunesmith.retrieval.negatives import same, with_negatives
from tunesmith.retrieval.pairs import PairShape, pairs_of_chunks
from tunesmith.retrieval.ranked import NAMES, Candidates
from tunesmith.retrieval.words import words_of

ROOT = Path(__file__).parents[2]
TEXTS = [
    "A building permit costs money.",
    "A permit for a roof: the roof, the roof.",
    "Hidden defects of a house must be named at once.",
    "Café or cafe, a house is a house.",
    "",
    "The permit takes ten weeks, and the roof another ten.",
]


def test_bm25_is_that_of_sqlite() -> None:
    db = sqlite3.connect(":memory:")
    db.execute("CREATE VIRTUAL TABLE words USING fts5 (body)")
    db.executemany("INSERT INTO words (rowid, body) VALUES (?, ?)",
                   [(i + 1, " ".join(words_of(text))) for i, text in enumerate(TEXTS)])  # fmt: skip
    ours = Bm25(TEXTS)
    for query in ("permit roof", "a house", "cafe", "the weeks of a permit"):
        asked = " OR ".join(f'"{word}"' for word in words_of(query))
        rows = db.execute("SELECT rowid, bm25(words) FROM words WHERE words MATCH ?", (asked,)).fetchall()
        wanted = np.zeros(len(TEXTS))
        for row, score in rows:
            wanted[row - 1] = -score
        np.testing.assert_allclose(ours.scores(query), wanted, rtol=1e-6)
    assert ours.best("roof", 5) == [1, 5]
    assert ours.best("nothing else", 5) == []
    assert Bm25(["", ""]).best("roof", 3) == []


def test_hard_negatives_are_near_and_wrong() -> None:
    permits = ["a permit costs money", "permit: a paper of the town", "permit after ten weeks"]
    asked = ["what is permit", "What is  permit?", "how long until permit"]
    others = ["beech", "oak", "ash", "lime tree", "elm", "fir", "pine", "LIME, tree!"]
    rows = [{"id": str(i), "query": q, "passages": [p]} for i, (q, p) in enumerate(zip(asked, permits, strict=True))]
    rows += [{"id": tree, "query": f"{tree} planted", "passages": [f"planted {tree}"]} for tree in others]
    rows[2]["passages"].append("given already")
    found = {row["id"]: row["passages"] for row in with_negatives(rows, 2)}
    # The first two are one question, so both answers are right.
    assert found["0"] == [permits[0], permits[2]]
    assert found["1"] == [permits[1], permits[2]]
    assert found["2"][:2] == [permits[2], "given already"]
    assert found["2"][2:] in ([permits[0]], [permits[1]])
    # Other case and punctuation make no other passage.
    assert {same(text) for text in found["lime tree"][1:]} & {same("planted lime tree")} == set()
    assert all(len(passages) == 3 for name, passages in found.items() if name not in ("0", "1"))
    assert with_negatives(rows, 0) == rows


@pytest.mark.parametrize(
    "row",
    [
        {"query": "q?", "passages": ["right", "wrong"]},
        {"query": "q?", "positive": "right", "negatives": ["wrong"]},
        {"anchor": "q?", "positive": "right", "negative": "wrong"},
        {"question": "q?", "answer": "right", "negatives": ["wrong"]},
        {"query": "q?", "document": "right", "hard_negatives": ["wrong"]},
    ],
)
def test_rows_of_many_shapes(row: dict[str, Any]) -> None:
    assert PairShape()({"id": "1", "group": "g", **row}) == {
        "id": "1", "group": "g", "query": "q?", "passages": ["right", "wrong"],
    }  # fmt: skip


def test_a_conversation_gives_its_last_question() -> None:
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"},
            {"role": "assistant", "content": "hi"}, {"role": "user", "content": "q?"},
            {"role": "assistant", "content": "right"}]  # fmt: skip
    assert PairShape()({"id": "1", "messages": chat}) == {"id": "1", "query": "q?", "passages": ["right"]}


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"text": "only a text"}, "fits no known shape"),
        ({"query": "q?", "positive": "right", "negatives": [3]}, "negatives that are no texts"),
        ({"query": " ", "positive": "right"}, "fits no known shape"),
    ],
)
def test_rows_that_are_none(row: dict[str, Any], why: str) -> None:
    assert why in str(PairShape()(row))


def test_a_query_alone_is_enough_to_predict() -> None:
    assert PairShape(answered=False)({"id": "1", "query": "q?"}) == {"id": "1", "query": "q?"}
    assert "fits no" in str(PairShape()({"id": "1", "query": "q?"}))


def test_a_file_gets_hard_negatives_and_says_so(tmp_path: Path) -> None:
    shape = PairShape(negatives=2)
    rows = read_rows(ROOT / "examples" / "faq" / "faq.jsonl", shape=shape)
    assert len(rows) == 501
    assert all(len(row["passages"]) == 3 for row in rows)
    assert any("501 pairs, 2.0 wrong passages each" in note for note in shape.notes())
    by_question: dict[str, set[str]] = {}
    for row in rows:
        by_question.setdefault(same(row["query"]), set()).add(same(row["passages"][0]))
    for row in rows:
        assert not by_question[same(row["query"])] & {same(text) for text in row["passages"][1:]}
    assert "messages" not in rows[0]
    assert rows[0]["group"] == "bygglov-001"
    # Columns of other names are read by who knows the names; nothing is lost, and it is said.
    file = tmp_path / "renamed.jsonl"
    file.write_text(
        "".join(json.dumps({"q": f"q {i}?", "a": f"answer {i}"}) + "\n" for i in range(4)), encoding="utf-8"
    )
    shape = PairShape(negatives=2)
    rows = read_rows(file, shape=shape, columns={"query": "q", "positive": "a"})
    assert [row["passages"] for row in rows] == [[f"answer {i}"] for i in range(4)]
    assert "no wrong passages were searched" in shape.notes()[0]


def _chunk(number: int, path: tuple[str, ...], text: str) -> Chunk:
    return Chunk("doc", "1", number, 0, len(text.encode()), path, text, 10)


BODY = "It costs between two and three thousand in most towns of the country."


def test_pairs_from_documents() -> None:
    chunks = [
        _chunk(0, ("Permits", "Fees"), f"## Fees\n\n{BODY}"),
        _chunk(1, ("Permits", "Fees"), f"A further part stands here. {BODY}"),
        _chunk(2, ("Permits", "What does it cost?"), f"## What does it cost?\n{BODY}"),
        _chunk(3, (), f"Nobody named this part. {BODY}"),
        _chunk(4, ("Empty",), "# Empty"),
        _chunk(5, (), "Only one short sentence."),
    ]
    found = pairs_of_chunks(chunks)
    assert [(row["query"], row["passages"]) for row in found] == [
        ("Permits: Fees", [BODY]),
        ("A further part stands here.", [BODY]),
        ("What does it cost?", [BODY]),
        ("Nobody named this part.", [BODY]),
    ]
    assert [row["id"] for row in found] == ["doc#0", "doc#1", "doc#2", "doc#3"]


def test_pairs_from_an_index(tmp_path: Path) -> None:
    from tunesmith.retrieval.indexing import build_index
    from tunesmith.retrieval.reading import FolderSource

    words = ["permit", "roof", "bath", "kitchen"]
    text = "# Guide\n\n" + "\n".join(
        f"## The {word}\n\n{f'The {word} is told of here at length. ' * 40}\n" for word in words
    )
    (tmp_path / "guide.md").write_text(text, encoding="utf-8")
    build_index(tmp_path / "index", [FolderSource(tmp_path / "guide.md")], encoder="none")
    shape = PairShape(negatives=1)
    rows = read_rows(tmp_path / "index", shape=shape)
    assert rows.report.format == "index"
    queries = [row["query"] for row in rows]
    for word in words:
        assert any(query.endswith(f"The {word}") for query in queries), queries
    assert all(len(row["passages"]) == 2 for row in rows)
    (tmp_path / "empty.md").write_text("short", encoding="utf-8")
    build_index(tmp_path / "nothing", [FolderSource(tmp_path / "empty.md")], encoder="none")
    with pytest.raises(UserError, match="no passage under a heading"):
        read_rows(tmp_path / "nothing", shape=PairShape(negatives=1))


# How good an order is


def test_orders_are_judged_as_scikit_learn_does() -> None:
    from sklearn.metrics import ndcg_score

    drawn = np.random.default_rng(0)
    rows = [{"query": f"q{i % 18}", "passages": [f"right {i}", f"wrong {i}"]} for i in range(20)]
    queries = drawn.normal(size=(20, 4)).astype(np.float32)
    queries[18:] = queries[:2]  # two questions are asked twice
    passages = [drawn.normal(size=(2, 4)).astype(np.float32) for _ in rows]
    found = dict(zip(NAMES, Candidates(rows).by_vectors(queries, passages).T, strict=True))
    table = np.concatenate(passages)
    for i in range(20):
        scores = table @ queries[i]
        right = np.zeros(40)
        right[[2 * j for j in range(20) if j % 18 == i % 18]] = 1
        order = np.argsort(-scores)
        ranks = np.flatnonzero(right[order]) + 1
        assert found["ndcg_at_10"][i] == pytest.approx(ndcg_score(right[None], scores[None], k=10))
        assert found["mrr_at_10"][i] == pytest.approx(1 / ranks[0] if ranks[0] <= 10 else 0)
        for depth in (1, 5, 10):
            assert found[f"recall_at_{depth}"][i] == pytest.approx((ranks <= depth).sum() / right.sum())


def test_an_order_by_chance_is_no_merit() -> None:
    rows = [{"query": f"number {i}", "passages": [f"passage {i}"]} for i in range(20)]
    alike = np.ones((20, 3), dtype=np.float32)
    found = dict(zip(NAMES, Candidates(rows).by_vectors(alike, [alike[:1]] * 20).mean(0), strict=True))
    assert found["recall_at_10"] == 0
    assert Candidates(rows).by_words()[:, 0].mean() == 1.0
