"""SQL: rows decide, nothing can be written or run away, and gold queries that can't judge are found."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tunesmith.language.answers import sql_process, sqlite_child
from tunesmith.language.answers.sql import SqlScorer
from tunesmith.language.answers.sql_process import Database
from tunesmith.language.answers.sql_rows import same_rows
from tunesmith.language.answers.sql_text import is_ordered, pieces, query_of

SCRIPT = """
PRAGMA foreign_keys = OFF;
BEGIN TRANSACTION;
CREATE TABLE city (id INTEGER PRIMARY KEY, name TEXT, people REAL, capital INTEGER);
INSERT INTO city VALUES (1, 'Oslo', 0.7, 1), (2, 'Bergen', 0.3, 0), (3, 'Tromsø', 0.1, 0), (4, NULL, NULL, 0);
CREATE VIEW big AS SELECT name FROM city WHERE people > 0.2;
COMMIT;
"""
ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"
HEAP = 2**26
ALL = "SELECT id, name, people, capital FROM city"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("databases")
    with closing(sqlite3.connect(folder / "a city?#%20.sqlite")) as connection:
        connection.executescript(SCRIPT)
        connection.execute("CREATE VIRTUAL TABLE notes USING fts5(body)")
        connection.execute("INSERT INTO notes VALUES ('the quick fox')")
        connection.execute("CREATE TABLE odd (x)")
        connection.execute("INSERT INTO odd VALUES (CAST(x'ff41' AS TEXT)), (x'00ff'), (9e999), (1), ('1')")
        connection.commit()
    return folder


@pytest.fixture(scope="module")
def scorer(folder: Path) -> SqlScorer:
    return SqlScorer(folder=folder, seconds=1.0, rows=1_000)


ROWS = {
    "file": {"id": "1", "database": "a city?#%20.sqlite"},
    "script": {"id": "1", "schema": SCRIPT},
}


@pytest.fixture(params=ROWS)
def row(request: pytest.FixtureRequest) -> dict[str, str]:
    return ROWS[request.param]


@pytest.mark.parametrize(
    ("answer", "gold", "right"),
    [
        ("SELECT name FROM city WHERE capital = 1", "SELECT name AS n FROM city WHERE id = 1", 1),
        ("SELECT name FROM city WHERE id < 3", "SELECT name FROM city WHERE id < 3 ORDER BY id DESC", 0),
        ("SELECT name FROM city WHERE id < 3 ORDER BY name", "SELECT name FROM city WHERE id < 3 ORDER BY id DESC", 1),
        ("SELECT name FROM city WHERE id < 3 ORDER BY id DESC", "SELECT name FROM city WHERE id < 3", 1),
        ("SELECT DISTINCT capital FROM city", "SELECT capital FROM city", 0),
        ("SELECT name, id FROM city", "SELECT id, name FROM city", 0),
        ("SELECT sum(people) FROM city", "SELECT 1.1", 1),
        ("SELECT sum(people) FROM city", "SELECT 1.10001", 0),
        ("SELECT count(*) FROM city", "SELECT 4.0", 1),
        ("SELECT '4'", "SELECT 4", 0),
        ("SELECT name FROM big", "SELECT name FROM city WHERE people > 0.2", 1),
        ("SELECT value FROM json_each('[1, 2]')", "SELECT 2 UNION SELECT 1", 1),
        ("SELECT name FROM sqlite_master WHERE name = 'city'", "SELECT 'city'", 1),
        (f"{ENDLESS} SELECT x FROM n LIMIT 3", "VALUES (3), (2), (1)", 1),
        ("SELECT nonsense FROM city", "SELECT 1", 0),
    ],
)
def test_rows_decide(scorer: SqlScorer, row: Any, answer: str, gold: str, right: float) -> None:
    scores = scorer.one(answer, gold, row)
    assert scores["execution_accuracy"] == right
    assert scores["runs"] == float("nonsense" not in answer)
    assert scores["exact_match"] == 0
    assert set(scorer.one(gold, gold, row).values()) == {1.0}


def test_files_may_hold_what_is_no_text_and_full_text_tables(scorer: SqlScorer) -> None:
    row = ROWS["file"]
    assert scorer.one("SELECT body FROM notes WHERE notes MATCH 'fox'", "SELECT 'the quick fox'", row)["runs"] == 1
    gold = "SELECT x FROM odd"
    assert scorer.one("SELECT x FROM odd ORDER BY rowid DESC", gold, row)["execution_accuracy"] == 1
    assert scorer.one("SELECT CAST(x AS TEXT) FROM odd", gold, row)["execution_accuracy"] == 0


WRITES = [
    "DROP TABLE city",
    "DELETE FROM city",
    "INSERT INTO city VALUES (9, 'x', 1, 0)",
    "INSERT INTO city SELECT 9, 'x', 1, 0 RETURNING id",
    "UPDATE city SET name = 'x'",
    "REPLACE INTO city VALUES (1, 'x', 1, 0)",
    "WITH x AS (SELECT 1) DELETE FROM city",
    "CREATE TABLE u (a)",
    "CREATE TEMP TABLE u (a)",
    "CREATE VIEW v AS SELECT 1",
    "ALTER TABLE city ADD COLUMN x",
    "UPDATE sqlite_master SET sql = ''",
    "DELETE FROM sqlite_master",
    "INSERT INTO notes (notes) VALUES ('rebuild')",
    "ATTACH 'other.db' AS other",
    "ATTACH ':memory:' AS other",
    "DETACH main",
    "VACUUM",
    "VACUUM INTO 'copy.db'",
    "PRAGMA writable_schema = 1",
    "PRAGMA query_only = 0",
    "PRAGMA journal_mode = WAL",
    "PRAGMA hard_heap_limit = 1",
    "PRAGMA table_info(city)",
    "SELECT * FROM pragma_journal_mode",
    "BEGIN",
    "SAVEPOINT s",
    "REINDEX",
    "ANALYZE",
    "SELECT load_extension('libm.so.6')",
    "SELECT fts3_tokenizer('simple', x'0000000000000000')",
    "SELECT writefile('x', 'y')",
    "SELECT 1; DROP TABLE city",
    "SELECT ?",
    "SELECT :name",
    "-- nothing",
    "",
]


@pytest.mark.parametrize("statement", WRITES)
def test_nothing_but_reading_runs_and_nothing_is_changed(
    scorer: SqlScorer, folder: Path, row: Any, statement: str
) -> None:
    def state() -> dict[str, Any]:
        return {f.name: (f.read_bytes(), f.stat().st_mtime_ns) for f in folder.iterdir()}

    before, here = state(), set(Path().iterdir())
    scores = scorer.one(f"```sql\n{statement}\n```", ALL, row)
    assert scores == {"execution_accuracy": 0, "runs": 0, "exact_match": 0}
    assert state() == before
    assert set(Path().iterdir()) == here
    untouched = " UNION SELECT ".join(
        ["SELECT 1, 'Oslo', 0.7, 1", "2, 'Bergen', 0.3, 0", "3, 'Tromsø', 0.1, 0", "4, NULL, NULL, 0"]
    )
    assert scorer.one(untouched, ALL, row)["execution_accuracy"] == 1


@pytest.mark.parametrize(
    "script",
    [
        "ATTACH 'stolen.db' AS other",
        "CREATE TABLE t (a); VACUUM INTO 'stolen.db'",
        "CREATE TABLE t (a); VACUUM",
        "SELECT load_extension('libm.so.6')",
        "CREATE TABLE t (a) nonsense",
        f"CREATE TABLE t (a); {ENDLESS} INSERT INTO t SELECT x FROM n",
        "\x00",
    ],
)
def test_a_script_builds_in_memory_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    monkeypatch.chdir(tmp_path)
    scorer = SqlScorer(seconds=0.3)
    row = {"id": "7", "schema": script}
    assert scorer.one("SELECT 1", "SELECT 1", row) == {"execution_accuracy": 0, "runs": 0, "exact_match": 1}
    (found,) = scorer.findings([row], ["SELECT 1"])
    assert (found.code, found.rows, found.where) == ("no-database", ("7",), "column schema")
    assert list(tmp_path.iterdir()) == []


def peak_bytes(process: sql_process.SqlProcess) -> int:
    """The most memory that the process ever held; 0 where the system does not say."""
    assert process._child is not None
    status = Path(f"/proc/{process._child.pid}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        (f"{ENDLESS} SELECT max(x) FROM n", "stopped after 0.3 s"),
        (f"{ENDLESS} SELECT x FROM n", "more than 1,000 rows"),
        ("SELECT hex(zeroblob(8000000)) || '' FROM (VALUES (1), (2), (3))", "MiB"),
        ("SELECT zeroblob(900000000)", "too big"),
        (f"{ENDLESS} SELECT json_group_array(hex(zeroblob(4000000))) FROM n", "memory"),
        (f"{ENDLESS} SELECT count(*) FROM (SELECT DISTINCT x || hex(zeroblob(4000000)) FROM n)", "memory"),
        (f"{ENDLESS} SELECT x FROM n ORDER BY hex(zeroblob(1000000))", "memory"),
        ("SELECT 'a' LIKE hex(zeroblob(10000))", "pattern too complex"),
        ("SELECT " + "1," * 60_000 + "1", ""),
    ],
)
def test_what_runs_away_is_stopped(query: str, says: str) -> None:
    process = sql_process.SqlProcess(0.3 if "0.3 s" in says else 20, 1_000, HEAP)
    start = time.monotonic()
    result = process.run(query, Database(script=SCRIPT))
    assert time.monotonic() - start < 10
    assert (result.rows, result.no_database) == (None, False)
    assert says in result.fault
    assert peak_bytes(process) < HEAP + 2**27
    assert process.run("SELECT name FROM city WHERE id = 1", Database(script=SCRIPT)).rows == [["Oslo"]]
    process.stop()


def test_a_step_that_no_clock_interrupts_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_process, "GRACE_SECONDS", 0.2)
    process = sql_process.SqlProcess(0.2, 10, HEAP)
    # One call that compares eight million bytes at each of eight million places.
    query = "SELECT instr(hex(zeroblob(7000000)), hex(zeroblob(3500000)) || '1')"
    start = time.monotonic()
    assert "it was killed" in process.run(query, Database(script=SCRIPT)).fault
    assert time.monotonic() - start < 6
    assert process.run("SELECT 1", Database(script=SCRIPT)).rows == [[1]]
    process.stop()


def test_a_process_that_died_is_started_anew() -> None:
    process = sql_process.SqlProcess(1, 10, HEAP)
    assert process.run("SELECT 1", Database(script=SCRIPT)).rows == [[1]]
    child = process._child
    assert child is not None
    child.kill()
    child.wait()
    assert process.run("SELECT 2", Database(script=SCRIPT)).rows == [[2]]
    process.stop()


def test_a_scorer_that_is_gone_leaves_no_process() -> None:
    scorer = SqlScorer()
    scorer.one("SELECT 1", "SELECT 2", {"id": "1", "schema": SCRIPT})
    child = scorer._process._child
    assert child is not None
    assert child.poll() is None
    del scorer
    assert child.poll() is not None


@pytest.fixture
def databases() -> Iterator[sqlite_child.Databases]:
    databases = sqlite_child.Databases()
    yield databases
    databases.clear()


def test_built_databases_are_kept_by_their_script_and_only_so_many(databases: sqlite_child.Databases) -> None:
    made = [databases.get(f"CREATE TABLE t{number} (a)", 1) for number in range(sqlite_child.KEPT_DATABASES)]
    assert databases.get("CREATE TABLE t0 (a)", 1) is made[0]
    for name in ("one_more", "and_another"):
        databases.get(f"CREATE TABLE {name} (a)", 1)
    for gone in made[1:3]:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            gone.execute("SELECT 1")
    assert databases.get("CREATE TABLE t0 (a)", 1) is made[0]
    assert databases.get("CREATE TABLE t3 (a)", 1) is made[3]


def test_rows_that_cannot_be_judged_are_found(folder: Path) -> None:
    (folder / "text.sqlite").write_text("name,people\n")
    (folder / "empty.sqlite").touch()
    logged = folder / "logged.sqlite"
    with closing(sqlite3.connect(logged)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (a)")
        connection.commit()
        good = ROWS["file"] | {"id": "good"}
        cases: list[tuple[dict[str, Any], str]] = [
            (good, ALL),
            ({"id": "none"}, ALL),
            ({"id": "gone", "database": "gone.sqlite"}, ALL),
            ({"id": "text", "database": "text.sqlite"}, ALL),
            ({"id": "empty", "database": "empty.sqlite"}, ALL),
            ({"id": "folder", "database": "."}, ALL),
            ({"id": "log", "database": "logged.sqlite"}, ALL),
            ({"id": "null", "database": "a\x00b"}, ALL),
            (good | {"id": "typo"}, "SELECT nme FROM city"),
            (good | {"id": "writes"}, "DELETE FROM city"),
            (good | {"id": "two"}, "```sql\nSELECT 1; SELECT 2\n```"),
            (good | {"id": "huge"}, f"{ENDLESS} SELECT x FROM n"),
            (good | {"id": "dice"}, "SELECT random()"),
            (good | {"id": "nothing"}, "SELECT name FROM city WHERE id = 99"),
        ]
        scorer = SqlScorer(folder=folder, rows=100)
        found = {f.code: f for f in scorer.findings([row for row, _ in cases], [gold for _, gold in cases])}
    assert set(found) == set(scorer.codes)
    assert found["no-database"].rows == ("none", "gone", "text", "empty", "folder")
    assert found["no-database"].what.startswith("7 of 14 rows (50.0%) have no database")
    assert found["gold-sql-fails"].rows == ("typo", "writes", "two", "huge")
    assert "no such column: nme" in found["gold-sql-fails"].what
    assert found["gold-sql-unstable"].rows == ("dice",)
    assert (found["gold-sql-empty"].rows, found["gold-sql-empty"].level) == (("nothing",), "warning")
    assert {f.level for f in found.values() if f.code != "gold-sql-empty"} == {"error"}


@pytest.mark.parametrize(
    ("answer", "query"),
    [
        ("SELECT 1", "SELECT 1"),
        ("  select 1 ;\n", "select 1"),
        ("The query is: SELECT a FROM t; It works.", "SELECT a FROM t"),
        ("Here:\n```sql\nSELECT a\nFROM t;\n```\nDone; SELECT", "SELECT a\nFROM t"),
        ("```\nSELECT 1\n```", "SELECT 1"),
        ("```sql\nDROP TABLE t\n```", "DROP TABLE t"),
        ("SELECT ';' AS a, \";\" FROM t -- x;\n WHERE b; more", "SELECT ';' AS a, \";\" FROM t -- x;\n WHERE b"),
        ("-- select all\n/* select */ SELECT 2", "SELECT 2"),
        ("WITH x AS (SELECT 1) SELECT * FROM x;", "WITH x AS (SELECT 1) SELECT * FROM x"),
        ("with recursive r(n) as (select 1) select 2", "with recursive r(n) as (select 1) select 2"),
        ("With this query you get it: SELECT 3", "SELECT 3"),
        ("<think>SELECT 1?</think>SELECT 4", "SELECT 4"),
        ("I don't know", "I don't know"),
        ("DELETE FROM t", "DELETE FROM t"),
        ("", ""),
    ],
)
def test_the_query_of_an_answer(answer: str, query: str) -> None:
    assert query_of(answer) == query


@pytest.mark.parametrize(
    ("query", "ordered"),
    [
        ("SELECT a FROM t ORDER BY a", True),
        ("select a from t order /* x */\n by a limit 1", True),
        ("WITH x AS (SELECT 1 ORDER BY 1) SELECT * FROM x", False),
        ("SELECT * FROM (SELECT a FROM t ORDER BY a)", False),
        ("SELECT row_number() OVER (ORDER BY a) FROM t", False),
        ("SELECT 'ORDER BY', \"order by\", [order by] FROM t -- ORDER BY a", False),
        ("SELECT '(' FROM t ORDER BY 1", True),
        ("SELECT `order` FROM t", False),
    ],
)
def test_an_order_is_only_that_of_the_whole_query(query: str, ordered: bool) -> None:
    assert is_ordered(query) is ordered
    assert "".join(pieces(query)) == query


@pytest.mark.parametrize(
    ("found", "gold", "same"),
    [
        ([], [], True),
        ([[1]], [], False),
        ([[1, 2]], [[1]], False),
        ([[1], [1], [2]], [[2], [1], [1]], True),
        ([[1], [1], [2]], [[1], [2], [2]], False),
        ([[0.1 + 0.2]], [[0.3]], True),
        ([[1.000_000_5]], [[1.0]], True),
        ([[1.000_002]], [[1.0]], False),
        ([[5e-17]], [[0]], True),
        ([[1]], [[1.0]], True),
        ([[1_000_000_001]], [[1_000_000_002]], False),
        ([[float("inf")]], [[float("inf")]], True),
        ([["1"]], [[1]], False),
        ([[b"1"]], [["1"]], False),
        ([[None]], [[0.0]], False),
        ([[None], [0.5]], [[0.5], [None]], True),
        ([[1.0 + 1e-9, "b"], [1.0, "a"]], [[1.0, "b"], [1.0 + 1e-9, "a"]], True),
        ([[1.0 + 1e-9, 3.0], [1.0, 5.0]], [[1.0, 3.0], [1.0 + 1e-9, 5.0]], True),
        ([[1.0, 3.0], [1.0, 3.0]], [[1.0, 3.0], [1.0, 5.0]], False),
    ],
)
def test_results_are_the_same_as_multisets(found: Any, gold: Any, same: bool) -> None:
    assert same_rows(found, gold, ordered=False) is same
    assert same_rows(gold, found, ordered=False) is same
    assert same_rows(found[:1], gold[:1], ordered=True) is same_rows(found[:1], gold[:1], ordered=False)


def test_an_order_counts_where_it_is_asked_for() -> None:
    assert not same_rows([[1], [2]], [[2], [1]], ordered=True)
    assert same_rows([[1], [2.0]], [[1], [2]], ordered=True)


def test_many_rows_are_compared_fast() -> None:
    gold = [[n % 7, f"name {n}", n / 3] for n in range(20_000)]
    start = time.monotonic()
    assert same_rows(gold[::-1], gold, ordered=False)
    assert time.monotonic() - start < 3
