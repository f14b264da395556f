"""The text-to-SQL example is what its script writes, its answers say something, and what is held out is new."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples" / "text-to-sql"
SCRIPT = ROOT / "scripts" / "make_text_to_sql.py"
SHARED_COLUMNS = {"id", "name"}
"""The only columns that a held-out schema and one to learn from may both have."""


def rows_of(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / name).read_text(encoding="utf-8").splitlines()]


TRAIN, EVAL = rows_of("train.jsonl"), rows_of("eval.jsonl")


def gold(row: dict[str, Any]) -> str:
    return str(row["messages"][-1]["content"])


def question(row: dict[str, Any]) -> str:
    return str(row["messages"][1]["content"]).split("\n\n")[1]


@pytest.fixture(scope="module")
def databases() -> Iterator[dict[str, sqlite3.Connection]]:
    opened = {}
    for row in TRAIN + EVAL:
        if row["database"] not in opened:
            opened[row["database"]] = sqlite3.connect(":memory:")
            opened[row["database"]].executescript((FOLDER / row["database"]).read_text(encoding="utf-8"))
    yield opened
    for connection in opened.values():
        connection.close()


@pytest.fixture(scope="module")
def workshop() -> Iterator[SimpleNamespace]:
    """The generator's own rooms, which no package installs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPT.parent))
        from text_to_sql import database, draw, query, schema, wording

        yield SimpleNamespace(database=database, draw=draw, query=query, schema=schema, wording=wording)


def rounded(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """A row whose sums do not hang on the order of what was summed."""
    return tuple(round(value, 6) if isinstance(value, float) else value for value in row)


def tables_of(connection: sqlite3.Connection) -> dict[str, set[str]]:
    names = [str(row[0]) for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {name: {str(row[1]) for row in connection.execute(f"PRAGMA table_info({name})")} for name in names}


# The files


def test_the_script_writes_the_same_bytes_again(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(SCRIPT), "--out", str(tmp_path)], check=True, capture_output=True)
    written = {file.relative_to(tmp_path): file.read_bytes() for file in tmp_path.rglob("*.*")}
    committed = {file.relative_to(FOLDER): file.read_bytes() for file in FOLDER.rglob("*.*")}
    del committed[Path("README.md")]
    assert sorted(written) == sorted(committed)
    assert [str(name) for name in written if written[name] != committed[name]] == []


def test_another_seed_gives_other_rows(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--seed", "1", "--out", str(tmp_path)]
    assert "rows over" in subprocess.run(command, check=True, capture_output=True, text=True).stdout
    other = [json.loads(line) for line in (tmp_path / "eval.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(other) == len(EVAL)
    assert len({question(row) for row in other} & {question(row) for row in EVAL}) < len(EVAL) / 5


def test_sizes() -> None:
    assert 3000 <= len(TRAIN) <= 4000
    assert 180 <= len(EVAL) <= 250
    assert len({row["schema_name"] for row in TRAIN}) >= 60
    assert len({row["schema_name"] for row in EVAL}) >= 15
    assert sum(file.stat().st_size for file in FOLDER.rglob("*") if file.is_file()) < 3_000_000
    assert max(len(row["messages"][1]["content"]) for row in TRAIN + EVAL) < 500
    assert max(len(gold(row)) for row in TRAIN + EVAL) < 260


def test_the_readme_says_what_is_in_the_files() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    for name, rows in (("train", TRAIN), ("eval", EVAL)):
        parts = [row["messages"][1]["content"].split("\n\n") for row in rows]
        texts = ([schema for schema, _ in parts], [asked for _, asked in parts], [gold(row) for row in rows])
        means = " | ".join(str(round(sum(map(len, every)) / len(rows))) for every in texts)
        schemas, joins = len({row["schema_name"] for row in rows}), sum(" JOIN " in gold(row) for row in rows)
        assert f"| {name}.jsonl | {len(rows):,} | {schemas} | {joins} | {means} |" in readme
    assert f"{len({row['kind'] for row in TRAIN})} kinds" in readme


def test_every_row_is_a_conversation_over_a_database() -> None:
    assert len({row["id"] for row in TRAIN + EVAL}) == len(TRAIN) + len(EVAL)
    for row in TRAIN + EVAL:
        assert [message["role"] for message in row["messages"]] == ["system", "user", "assistant"]
        assert all(set(message) == {"role", "content"} and message["content"].strip() for message in row["messages"])
        assert "\n" not in question(row)
        assert question(row)[0] == question(row)[0].upper()
        assert question(row)[-1] in ".?"
        assert "  " not in question(row)
        assert gold(row).startswith("SELECT ")
        assert row["database"] == f"databases/{row['schema_name']}.sql"
        assert (FOLDER / row["database"]).is_file()


def test_the_prompt_shows_the_schema_of_the_database() -> None:
    for row in TRAIN + EVAL:
        shown = row["messages"][1]["content"].split("\n\n")[0].splitlines()
        script = (FOLDER / row["database"]).read_text(encoding="utf-8").splitlines()
        assert shown == [line for line in script if line.startswith("CREATE TABLE ")]


# The answers


def test_every_query_has_an_answer_that_no_trivial_query_gives(databases: dict[str, sqlite3.Connection]) -> None:
    for row in TRAIN + EVAL:
        connection = databases[row["database"]]
        answer = connection.execute(gold(row)).fetchall()
        assert answer, row["id"]
        assert any(value is not None for found in answer for value in found), row["id"]
        for table in tables_of(connection):
            for trivial in (f"SELECT * FROM {table}", f"SELECT COUNT(*) FROM {table}"):
                assert answer != connection.execute(trivial).fetchall(), row["id"]


def test_no_answer_hangs_on_the_order_in_which_rows_are_read(databases: dict[str, sqlite3.Connection]) -> None:
    for row in TRAIN + EVAL:
        connection = databases[row["database"]]
        answers = []
        for reverse in ("OFF", "ON"):
            connection.execute(f"PRAGMA reverse_unordered_selects = {reverse}")
            found = [rounded(one) for one in connection.execute(gold(row))]
            answers.append(found if "ORDER BY" in gold(row) else sorted(found, key=repr))
        assert answers[0] == answers[1], row["id"]


def test_questions_of_a_schema_seldom_share_an_answer(databases: dict[str, sqlite3.Connection]) -> None:
    answers = defaultdict(list)
    for row in EVAL:
        found = databases[row["database"]].execute(gold(row)).fetchall()
        answers[row["schema_name"]].append(repr(sorted(found, key=repr)))
    pairs = sum(len(found) * (len(found) - 1) for found in answers.values())
    same = sum(count * (count - 1) for found in answers.values() for count in Counter(found).values())
    assert same / pairs < 0.02


# What is held out


def test_nothing_of_a_held_out_schema_is_in_one_to_learn_from(databases: dict[str, sqlite3.Connection]) -> None:
    assert not {row["schema_name"] for row in TRAIN} & {row["schema_name"] for row in EVAL}
    learned = [tables_of(databases[name]) for name in {row["database"] for row in TRAIN}]
    held_out = [tables_of(databases[name]) for name in {row["database"] for row in EVAL}]
    assert not {table for tables in learned for table in tables} & {table for tables in held_out for table in tables}
    known = {column for tables in learned for columns in tables.values() for column in columns}
    new = {column for tables in held_out for columns in tables.values() for column in columns}
    assert known & new == SHARED_COLUMNS
    assert all(len(tables) in (1, 2) for tables in learned + held_out)
    assert all(3 <= len(columns) <= 7 for tables in learned + held_out for columns in tables.values())


def test_no_question_and_no_query_is_asked_twice() -> None:
    asked = Counter(question(row).casefold() for row in TRAIN + EVAL)
    assert [text for text, count in asked.items() if count > 1] == []
    queries = Counter((row["schema_name"], gold(row)) for row in TRAIN + EVAL)
    assert [query for query, count in queries.items() if count > 1] == []


def test_all_kinds_are_on_both_sides_and_none_rules() -> None:
    learned, held_out = Counter(row["kind"] for row in TRAIN), Counter(row["kind"] for row in EVAL)
    assert set(learned) == set(held_out)
    assert max(learned.values()) < len(TRAIN) / 10
    assert max(held_out.values()) <= len(EVAL) / 10
    words = ("BETWEEN", "LIKE", "IN (", "IS NULL", "GROUP BY", "HAVING", "DISTINCT", "LIMIT", "JOIN", "AVG(", "NOT IN")
    for word in (*words, "SUM(", "MIN(", "MAX(", "COUNT(", "strftime", " OR ", " AND ", "!="):
        assert any(word in gold(row) for row in EVAL), word
        assert sum(word in gold(row) for row in TRAIN) >= 20, word


# The rooms


def test_a_draw_follows_from_its_address(workshop: SimpleNamespace) -> None:
    draw = workshop.draw.Draw
    assert [draw(0, "a").below(1000) for _ in range(3)] == [draw(0, "a").below(1000)] * 3
    assert draw(0, "a").shuffled(range(50)) != draw(0, "b").shuffled(range(50)) != draw(1, "b").shuffled(range(50))
    assert sorted(draw(0, "a").shuffled(range(50))) == list(range(50))


@pytest.mark.parametrize(
    ("condition", "wrong"),
    [
        (("price", ">", "20"), ["price < 20", "price >= 20"]),
        (("price", "<=", "20"), ["price >= 20", "price < 20"]),
        (("genre", "=", "'Crime'"), ["genre != 'Crime'"]),
        (("rating", "IS NULL"), ["rating IS NOT NULL"]),
        (("price", ">", "(SELECT AVG(price) FROM books)"), ["price < (SELECT AVG(price) FROM books)"]),
    ],
)
def test_a_condition_knows_its_wrong_neighbours(
    workshop: SimpleNamespace, condition: tuple[str, ...], wrong: list[str]
) -> None:
    assert [one.sql for one in workshop.query.Where(*condition).wrong()] == wrong


def test_a_query_knows_its_wrong_neighbours(workshop: SimpleNamespace) -> None:
    query, where = workshop.query.Query, workshop.query.Where
    one = query(("title",), "books", (where("price", ">", "20"),), order="price", descending=True, limit=3)
    assert one.sql == "SELECT title FROM books WHERE price > 20 ORDER BY price DESC LIMIT 3"
    assert [wrong.sql for wrong in one.wrong()] == [
        "SELECT title FROM books ORDER BY price DESC LIMIT 3",
        "SELECT title FROM books WHERE price < 20 ORDER BY price DESC LIMIT 3",
        "SELECT title FROM books WHERE price >= 20 ORDER BY price DESC LIMIT 3",
        "SELECT title FROM books WHERE price > 20 ORDER BY price ASC LIMIT 3",
        "SELECT title FROM books WHERE price > 20 LIMIT 3",
        "SELECT title FROM books WHERE price > 20 ORDER BY price DESC LIMIT 4",
    ]
    total = query(("AVG(price)",), "books JOIN authors ON books.author_id = authors.id")
    assert [wrong.sql for wrong in total.wrong()] == [
        "SELECT MAX(price) FROM books JOIN authors ON books.author_id = authors.id"
    ]


def test_ties_are_seen(workshop: SimpleNamespace) -> None:
    schema, query = workshop.schema, workshop.query.Query
    table = schema.table("books", "book", schema.name("title", "A|B|C"), schema.number("price", 1, 9))
    values = {("books", "id"): [1, 2, 3], ("books", "title"): ["A", "B", "C"], ("books", "price"): [5, 5, 9]}
    database = workshop.database.Database(schema.domain("shop", table), values)
    assert database.ask("SELECT title FROM books WHERE price = 9") == [("C",)]
    assert database.has_ties(query(("title",), "books", order="price", limit=1))
    assert not database.has_ties(query(("title",), "books", order="price", descending=True, limit=1))
    assert database.has_ties(query(("title",), "books", order="price"))


def test_english(workshop: SimpleNamespace) -> None:
    wording = workshop.wording
    assert [wording.a(word) for word in ("price", "age", "unit price", "hourly rate")] == [
        "a price",
        "an age",
        "a unit price",
        "an hourly rate",
    ]
    assert [wording.many(word) for word in ("country", "day", "dish", "number of pages", "winter quarters")] == [
        "countries",
        "days",
        "dishes",
        "numbers of pages",
        "winter quarters",
    ]
    assert wording.listed(["a", "b", "c"], "or") == "a, b or c"
    assert wording.sentence("which books  with a price above 20 ?") == "Which books with a price above 20?"
    assert wording.third("have") == "has"
    assert wording.doing("cost") == "costing"
