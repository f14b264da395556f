"""An index holds what its sources hold, whatever happens in between, and finds it by words, by vectors and by both."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fixtures.word_encoder import Texts, WordEncoder
from tunesmith.errors import UserError
from tunesmith.retrieval import indexing
from tunesmith.retrieval.encoder import NONE
from tunesmith.retrieval.fusion import FUSED, LEAST, LEAST_DEVIATION, WORDS, best_spread, fuse, spread, summed
from tunesmith.retrieval.indexing import build_index
from tunesmith.retrieval.search import METHODS, Index, open_index
from tunesmith.retrieval.words import words_of

ROOT = Path(__file__).resolve().parents[2]
GARDEN = {
    "apples": "# Apples\n\nApple trees are cut in late winter, before the buds open.\n",
    "roses": "# Roses\n\nRoses are cut when the forsythia blooms.\n",
    "soil": "# Soil\n\nCompost feeds the soil. A clay soil wants sand, a sandy one wants compost.\n",
}


def long_text(words: int, seed: int) -> str:
    rng = np.random.default_rng(seed)
    known = [f"word{i}" for i in range(400)]
    return "\n\n".join(" ".join(known[i] for i in rng.integers(400, size=40)) + "." for _ in range(words // 40))


def content(folder: Path, encoder: WordEncoder | str = NONE) -> list[tuple[Any, ...]]:
    """All that an index holds, without numbers that depend on how it came to be."""
    with open_index(folder, encoder=encoder) as index:
        slots = {chunk: slot for slot, chunk in index.store.slots()}
        rows = index.store.rows(
            "SELECT d.origin, d.id, d.version, d.text, d.ready, c.number, c.start, c.stop, c.path, c.words, c.id "
            "FROM documents d LEFT JOIN chunks c ON c.document = d.number ORDER BY d.origin, d.id, c.number"
        )
        vectors = index.vectors.rows(len(index._chunks)) if slots else None
        held = [
            (*row[:-1], None if vectors is None else vectors[slots[row[-1]]].tobytes()) for row in rows
        ]  # fmt: skip
        index.store.db.execute("INSERT INTO words (words) VALUES ('integrity-check')")
        places = index.store.rows("SELECT term, doc FROM temp.word_places")
        chunks = {row[-1]: row[:8] for row in rows}
        # Every word of BM25 belongs to a chunk that is there.
        return [*held, *sorted((term, chunks[doc][1], chunks[doc][5]) for term, doc in places)]


@pytest.fixture
def garden(tmp_path: Path) -> Path:
    build_index(tmp_path / "garden", [Texts(GARDEN, labels={"roses": {"kind": "flower"}})], encoder=WordEncoder())
    return tmp_path / "garden"


def test_words_have_no_case_and_no_accents_and_unspaced_scripts_become_pairs() -> None:
    assert words_of("Café CAFÉ cafe naïve_x") == ["cafe", "cafe", "cafe", "naive_x"]
    assert words_of("東京都の天気 ok") == ["東京", "京都", "都の", "の天", "天気", "ok"]
    assert words_of("한국어 हिन्दी") == ["한국어", "हिन्दी"]
    assert [len(word) for word in words_of("a" * 200)] == [64]


def test_each_method_finds_and_says_its_rank(garden: Path) -> None:
    with open_index(garden, encoder=WordEncoder()) as index:
        for method in METHODS:
            best = index.search("when are apple trees cut", 1, method=method)[0]
            assert best.chunk.document == "apples"
            assert best.ranks == ({method: 1} if method in ("bm25", "vectors") else {"bm25": 1, "vectors": 1})
        by_ranks = index.search("when are apple trees cut", 1, method="ranks")[0]
        assert by_ranks.score == pytest.approx(3 / (FUSED + 1))
        assert [passage.chunk.document for passage in index.search("cut", 9, labels={"kind": "flower"})] == ["roses"]
        assert index.search("cut", 9, labels={"kind": "tree"}) == []
        assert index.search("nonsense", 3, method="bm25") == []


def test_a_passage_resolves_to_its_document_version_and_bytes(garden: Path) -> None:
    with open_index(garden, encoder=WordEncoder()) as index:
        for passage in index.search("soil compost sand roses", 9):
            kept = index.document(passage.chunk.document)
            span = kept.document.text.encode()[passage.chunk.start : passage.chunk.end]
            assert span.decode() == passage.chunk.text
            assert kept.document.version == passage.chunk.version
            assert (kept.origin, kept.document.source) == ("texts", passage.source)


def test_bm25_is_the_one_of_fts5(tmp_path: Path) -> None:
    build_index(tmp_path, [Texts({f"d{i}": long_text(400, i) for i in range(30)})], encoder=NONE)
    with open_index(tmp_path) as index:
        for query in ("word1 word2 word3", "word7", "word9 word9 word10 nothing", "D3 word11"):
            match = " OR ".join(f'"{word}"' for word in words_of(query))
            theirs = index.store.rows(
                "SELECT rowid, round(-bm25(words), 9) AS score FROM words WHERE words MATCH ? "
                "ORDER BY score DESC, rowid LIMIT 20",
                (match,),
            )
            ours = index._words.best(query, 20)
            assert len(theirs) >= 8
            assert [at for at, _ in ours] == [at for at, _ in theirs]
            assert [score for _, score in ours] == pytest.approx([score for _, score in theirs], rel=1e-5)


def test_fusion_sums_inverted_ranks() -> None:
    found = fuse({"bm25": [7, 8], "vectors": [8, 9]}, {"vectors": 3.0})
    expected = {8: 1 / (FUSED + 2) + 3 / (FUSED + 1), 9: 3 / (FUSED + 2), 7: 1 / (FUSED + 1)}
    assert dict(found) == pytest.approx(expected)
    assert [at for at, _ in found] == [8, 9, 7]


def test_a_sum_does_not_depend_on_what_else_was_found() -> None:
    usual = np.array([0.0, 0.1, 0.2])
    alone = summed(np.array([0.5]), usual, np.array([0.4]))
    among = summed(np.array([0.9, 0.5, -0.2]), usual, np.array([0.0, 0.4, 1.0]))
    assert alone[0] == among[1] == pytest.approx((0.5 - 0.1) / usual.std() + 0.4 * WORDS, abs=1e-5)
    # All vectors alike: words decide.
    flat = summed(np.array([0.5001, 0.5]), np.full(9, 0.5), np.array([0.0, 0.5]))
    assert flat.tolist() == pytest.approx([1e-4 / LEAST_DEVIATION, 0.5 * WORDS], abs=1e-4)


def test_the_first_of_a_spread_are_those_of_the_whole() -> None:
    drawn = np.random.default_rng(4)
    for _ in range(50):
        order = [(i, float(score)) for i, score in enumerate(-np.sort(-drawn.normal(1, 1, 60)))]
        sections = {i: int(drawn.integers(6)) for i in range(60)}
        asked: set[int] = set()

        def known(ids: Any, sections: Any = sections, asked: set[int] = asked) -> Any:
            asked.update(ids)
            return {at: sections[at] for at in ids}

        for count in (1, 5, 60):
            assert best_spread(order, count, known) == spread(order, sections)[:count]


def test_further_chunks_of_a_section_count_less_and_none_is_lost() -> None:
    order = [(1, 1.0), (2, 0.9), (3, 0.85), (4, 0.7), (5, 0.6)]
    found = spread(order, {1: "a", 2: "a", 3: "a", 4: "b", 5: "a"})
    assert found == [
        (1, 1.0),
        (2, pytest.approx(0.72)),
        (4, 0.7),
        (3, pytest.approx(0.544)),
        (5, pytest.approx(0.3072)),
    ]
    long = spread([(i, 1.0) for i in range(50)], dict.fromkeys(range(50), "a"))
    assert [at for at, _ in long] == list(range(50))
    assert long[-1][1] == LEAST


def test_a_second_run_encodes_what_changed_and_takes_out_what_is_gone(garden: Path) -> None:
    encoder = WordEncoder()
    again = build_index(garden, [Texts(GARDEN)], encoder=encoder)
    assert (again.unchanged, again.encoded, encoder.calls) == (3, 0, 0)
    changed = {"apples": GARDEN["apples"], "soil": GARDEN["soil"].replace("sand", "gravel"), "herbs": "Thyme is dry."}
    report = build_index(garden, [Texts(changed)], encoder=encoder)
    assert (report.added, report.changed, report.unchanged, report.removed) == (1, 1, 1, ["roses"])
    assert report.encoded == 2
    with open_index(garden, encoder=encoder) as index:
        assert index.search("forsythia", method="bm25") == []
        assert index.search("gravel", 1, method="bm25")[0].chunk.document == "soil"
        with pytest.raises(UserError, match=r"'roses', it was taken out on 20\d\d-"):
            index.document("roses")
    back = build_index(garden, [Texts({**changed, "roses": GARDEN["roses"]})], encoder=encoder)
    assert back.added == 1
    with open_index(garden, encoder=encoder) as index:
        assert index.document("roses").document.text == GARDEN["roses"]


def test_equal_chunks_are_encoded_once(tmp_path: Path) -> None:
    encoder = WordEncoder()
    text = long_text(2000, 1)
    first = build_index(tmp_path, [Texts({"a": text})], encoder=encoder)
    more = build_index(
        tmp_path, [Texts({"a": text + "\n\nA last line, about something else altogether."})], encoder=encoder
    )
    assert first.encoded == first.chunks > 10
    assert more.changed == 1
    assert more.encoded <= 3


def test_what_cannot_be_read_now_stays_and_is_named(garden: Path) -> None:
    report = build_index(garden, [Texts({**GARDEN, "soil": None})], encoder=WordEncoder())
    assert (report.stale, report.removed) == (["soil"], [])
    assert [(one.source, one.reason) for one in report.unread] == [("texts:soil", "it is locked")]
    with open_index(garden, encoder=WordEncoder()) as index:
        assert index.search("compost", 1, method="bm25")[0].chunk.document == "soil"
        assert [one.source for one in index.store.unread()] == ["texts:soil"]


def test_a_source_that_fails_midway_takes_nothing_out(garden: Path) -> None:
    with pytest.raises(ConnectionError):
        build_index(garden, [Texts({"roses": GARDEN["roses"], "more": "x"}, fails_after=1)], encoder=WordEncoder())
    with open_index(garden, encoder=WordEncoder()) as index:
        assert sorted(kept.document.id for kept in index.store.documents()) == ["apples", "roses", "soil"]


def test_sources_keep_apart_and_one_can_be_forgotten(garden: Path) -> None:
    build_index(garden, [Texts({"roses": "Roses of another house."}, name="house")], encoder=WordEncoder())
    with open_index(garden, encoder=WordEncoder()) as index:
        assert index.document("roses").origin == "texts"
        assert index.document("house/roses").document.text == "Roses of another house."
    report = build_index(garden, forget=["house"], encoder=WordEncoder())
    assert (report.removed, report.documents) == (["house/roses"], 3)
    with pytest.raises(UserError, match="nothing from a source 'hous'") as caught:
        build_index(garden, forget=["hous"], encoder=WordEncoder())
    assert "write one of: texts" in caught.value.fix
    with pytest.raises(UserError, match="named twice"):
        build_index(garden, [Texts(GARDEN), Texts(GARDEN)], encoder=WordEncoder())


def test_an_id_that_comes_twice_is_said(tmp_path: Path) -> None:
    class Twice(Texts):
        def documents(self, known: Any) -> Any:
            yield from super().documents(known)
            yield from super().documents(known)

    report = build_index(tmp_path, [Twice(GARDEN)], encoder=NONE)
    assert (report.added, report.repeated) == (3, ["apples", "roses", "soil"])


def test_an_index_without_vectors_needs_no_encoder(tmp_path: Path) -> None:
    report = build_index(tmp_path, [Texts(GARDEN)], encoder=NONE)
    assert (report.encoder, report.encoded) == ("none", 0)
    code = (
        "import sys; from tunesmith.retrieval.search import open_index;"
        "from tunesmith.retrieval.indexing import build_index;"
        f"build_index({str(tmp_path)!r}); found = open_index({str(tmp_path)!r}).search('when are roses cut');"
        "sys.exit(' '.join(m for m in ('torch', 'transformers') if m in sys.modules) or found[0].chunk.document)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == "roses\n"
    with open_index(tmp_path) as index, pytest.raises(UserError, match="no vectors"):
        index.search("roses", method="vectors")


def test_another_encoder_is_refused_until_the_index_is_rebuilt(garden: Path) -> None:
    other = WordEncoder(width=32, identity="other")
    for attempt in (
        lambda: build_index(garden, [Texts(GARDEN)], encoder=other),
        lambda: open_index(garden, encoder=other),
    ):
        with pytest.raises(UserError, match=r"made with the encoder 'test:words', and not with 'test:other'") as caught:
            attempt()
        assert f"tunesmith index --into {garden} --encoder test:other --rebuild" in caught.value.fix
    other.name = "test:words"
    with pytest.raises(UserError, match="its files have changed"):
        open_index(garden, encoder=other)
    other.name = "test:other"
    report = build_index(garden, encoder=other, rebuild=True)
    assert (report.documents, report.encoded, report.encoder) == (3, 3, "test:other")
    with open_index(garden, encoder=other) as index:
        assert index.search("compost for soil", 1)[0].chunk.document == "soil"
    assert [file.name for file in garden.glob("vectors-*")] == ["vectors-2.f16"]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(st.lists(st.dictionaries(st.sampled_from("abcde"), st.integers(0, 5), max_size=5), min_size=1, max_size=5))
def test_after_any_history_an_index_holds_what_a_new_one_would(
    tmp_path_factory: pytest.TempPathFactory, history: list[dict[str, int]]
) -> None:
    folder, encoder = tmp_path_factory.mktemp("history"), WordEncoder(16)
    for state in history:
        texts = {"always": "here", **{name: long_text(120 * seed, seed) or "short" for name, seed in state.items()}}
        build_index(folder / "grown", [Texts(texts)], encoder=encoder)
    build_index(folder / "new", [Texts(texts)], encoder=encoder)
    assert content(folder / "grown", encoder) == content(folder / "new", encoder)


def test_deleted_vectors_give_their_room_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "BATCH_CHUNKS", 8)
    encoder = WordEncoder()
    texts = {f"d{i}": long_text(400, i) for i in range(12)}
    build_index(tmp_path, [Texts(texts)], encoder=encoder)
    fewer = {name: text for name, text in texts.items() if int(name[1:]) % 3 == 0}
    report = build_index(tmp_path, [Texts(fewer)], encoder=encoder)
    (file,) = tmp_path.glob("vectors-*")
    assert file.name == "vectors-2.f16"
    assert file.stat().st_size == report.chunks * encoder.width * 2
    build_index(tmp_path / "new", [Texts(fewer)], encoder=encoder)
    assert content(tmp_path, encoder) == content(tmp_path / "new", encoder)


KILLED = """
import sys
from tests.fixtures.word_encoder import Texts, WordEncoder
from tests.retrieval.test_index import long_text
from tunesmith.retrieval import indexing, vectors
indexing.BATCH_CHUNKS = 6
folder, call, rebuild = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "rebuild"
encoder = WordEncoder(16, identity="new" if rebuild else "words", dies_at=call)
sources = [] if rebuild else [Texts({f"d{i}": long_text(200, i + 40) for i in range(12)})]
if call < 0:
    # After the vectors were written and before the transaction that names them.
    written, calls = vectors.VectorFile.write, []
    def write(self, slot, rows):
        written(self, slot, rows)
        calls.append(slot)
        if len(calls) == -call:
            import os, signal
            os.kill(os.getpid(), signal.SIGKILL)
    vectors.VectorFile.write = write
indexing.build_index(folder, sources, encoder=encoder, rebuild=rebuild)
"""


@pytest.mark.parametrize(("call", "how"), [(1, "new"), (3, "new"), (-2, "new"), (2, "rebuild"), (-1, "rebuild")])
def test_a_killed_run_goes_on_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int, how: str
) -> None:
    monkeypatch.setattr(indexing, "BATCH_CHUNKS", 6)
    texts = {f"d{i}": long_text(200, i + 40) for i in range(12)}
    # Before: half of the documents, some of an older version.
    before = {name: long_text(160, 99) if name == "d1" else text for name, text in texts.items() if int(name[1:]) < 5}
    folder = tmp_path / "killed"
    build_index(folder, [Texts(before if how == "new" else texts)], encoder=WordEncoder(16))
    arguments = [sys.executable, "-c", KILLED, str(folder), str(call), how]
    done = subprocess.run(arguments, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    encoder = WordEncoder(16, identity="words" if how == "new" else "new")
    with open_index(folder, encoder=encoder) as index:
        assert len(index.search("word1 word2", 3, method="bm25")) <= 3
        assert bool(index.notes("word1 word2")) == (how == "rebuild")
    report = build_index(folder, [Texts(texts)], encoder=encoder)
    assert report.documents == 12
    build_index(tmp_path / "whole", [Texts(texts)], encoder=encoder)
    assert content(folder, encoder) == content(tmp_path / "whole", encoder)
    if how == "new":
        assert 0 < report.unchanged < 12


def test_two_processes_do_not_write_at_once(garden: Path) -> None:
    with (garden / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another process writes"):
            build_index(garden, [Texts(GARDEN)], encoder=WordEncoder())


def test_an_open_index_sees_what_another_run_added(garden: Path) -> None:
    with open_index(garden, encoder=WordEncoder()) as index:
        assert index.search("thyme", method="bm25") == []
        build_index(garden, [Texts({**GARDEN, "herbs": "Thyme likes it dry."})], encoder=WordEncoder())
        for method in ("bm25", "vectors", "fusion"):
            assert index.search("thyme", 1, method=method)[0].chunk.document == "herbs"  # type: ignore[arg-type]


def test_faults_are_said(tmp_path: Path, garden: Path) -> None:
    with pytest.raises(UserError, match="there is no folder"):
        open_index(tmp_path / "nothing")
    with pytest.raises(UserError, match="there is no index in"):
        open_index(tmp_path)
    with pytest.raises(UserError, match="nothing to index"):
        build_index(tmp_path / "new")
    with pytest.raises(UserError, match="no document was found to index; 1 could not be read, the first: it is locked"):
        build_index(tmp_path / "locked", [Texts({"a": None})], encoder=NONE)
    with open_index(garden, encoder=NONE) as index:
        for query, k, method, said in (
            (" ", 1, "bm25", "query is empty"),
            ("a", 0, "bm25", "k is 0"),
            ("a", 1, "magic", "no method 'magic'"),
        ):
            with pytest.raises(UserError, match=said):
                index.search(query, k, method=method)  # type: ignore[arg-type]
    (garden / "vectors-1.f16").write_bytes(b"")
    with Index(garden, encoder=WordEncoder()) as index, pytest.raises(UserError, match="holds 0 of 3 vectors"):
        index.search("soil")
    (garden / "index.sqlite").write_bytes(b"not a database, but long enough to be read as the head of one" * 99)
    with pytest.raises(UserError, match="the index is damaged"):
        open_index(garden)


def test_half_a_character_is_no_text(tmp_path: Path) -> None:
    class Broken(Texts):
        def documents(self, known: Any) -> Any:
            for entry in super().documents(known):
                yield type(entry)(**{**vars(entry), "text": entry.text + "\udce4"}) if entry.id == "soil" else entry

    report = build_index(tmp_path, [Broken(GARDEN)], encoder=NONE)
    assert (report.documents, [one.source for one in report.unread]) == (2, ["texts:soil"])


def test_a_language_that_the_encoder_does_not_know_is_said(tmp_path: Path) -> None:
    texts = {**GARDEN, "greek": "Πού μπορώ να βρω το τιμολόγιο της τελευταίας αγοράς;"}
    report = build_index(tmp_path, [Texts(texts)], encoder=WordEncoder())
    assert report.unfamiliar == ["greek"]
    assert "1 of 4 documents are in a language that the encoder test:words hardly knows (greek)" in report.notes[0]
    with open_index(tmp_path, encoder=WordEncoder()) as index:
        assert "hardly knows the language of this query" in index.notes("Πού μπορώ να βρω το τιμολόγιο;")[0]
        assert index.notes("where do I find the invoice") == []
        assert index.search("το τιμολόγιο", 1)[0].chunk.document == "greek"
