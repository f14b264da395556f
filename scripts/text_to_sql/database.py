"""Seeded rows for a domain's tables, as an SQL script and as a database to ask. It knows no question."""

from __future__ import annotations

import datetime
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from text_to_sql.draw import Draw
from text_to_sql.query import Query
from text_to_sql.schema import Column, Domain, Table

Value = str | int | float | None
Answer = list[tuple[Value, ...]]


@dataclass(frozen=True)
class Database:
    """A domain with its rows, by table and column."""

    domain: Domain
    values: dict[tuple[str, str], list[Value]]

    def column(self, table: Table, column: Column) -> list[Value]:
        """A column's values, row by row."""
        return self.values[table.name, column.name]

    @cached_property
    def script(self) -> str:
        """The statements that make the database."""
        return "\n".join(self._script_of(table) for table in self.domain.tables)

    def _script_of(self, table: Table) -> str:
        rows = zip(*(self.column(table, column) for column in table.columns), strict=True)
        lines = ",\n".join(f"({', '.join(literal(value) for value in row)})" for row in rows)
        return f"{table.create}\nINSERT INTO {table.name} VALUES\n{lines};\n"

    @cached_property
    def connection(self) -> sqlite3.Connection:
        """The database in memory."""
        connection = sqlite3.connect(":memory:")
        connection.executescript(self.script)
        return connection

    def ask(self, sql: str) -> Answer:
        """What a query answers."""
        return self.connection.execute(sql).fetchall()

    def answer(self, query: Query, ordered: bool) -> Answer:
        """What a query answers, to be compared: rows without an order are sorted, sums do not hang on their order."""
        rows = [tuple(round(v, 6) if isinstance(v, float) else v for v in row) for row in self.ask(query.sql)]
        return rows if ordered else sorted(rows, key=repr)

    def has_ties(self, query: Query) -> bool:
        """Whether equal keys leave it open which rows come out, or in which order."""
        keys = self.ask(query.keys.sql)
        asked = keys if query.limit is None else keys[: query.limit + 1]
        return any(one == other for one, other in pairwise(asked))


def literal(value: Value) -> str:
    """A value in SQL."""
    if value is None:
        return "NULL"
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else shown(value)


def shown(value: Value) -> str:
    """A value in a question."""
    if isinstance(value, float) and value == int(value):
        return str(int(value))
    return str(value)


def fill(domain: Domain, seed: int) -> Database:
    """Draw the rows of every table; two rows of the first table stay without a row in the second."""
    values: dict[tuple[str, str], list[Value]] = {}
    for table in domain.tables:
        count = min([table.rows, *(len(c.values) for c in table.of_role("name"))])
        for column in table.columns:
            draw = Draw(seed, "rows", domain.name, table.name, column.name)
            if column.role == "link":
                parents = len(values[domain.tables[0].name, domain.tables[0].key.name])
                drawn = _links(draw, parents, count)
            else:
                drawn = _column(draw, column, count)
            values[table.name, column.name] = _with_gaps(draw, drawn) if column.missing else drawn
    return Database(domain, values)


def _column(draw: Draw, column: Column, count: int) -> list[Value]:
    if column.role == "key":
        return list(range(1, count + 1))
    if column.role == "category":
        every = column.values[:count]
        return draw.shuffled([*every, *(draw.choice(every) for _ in range(count - len(every)))])
    if column.role in ("name", "text"):
        return list(draw.sample(column.values, count))
    low, high = column.span
    if column.role == "day":
        first = datetime.date(int(low), 1, 1).toordinal()
        days = draw.sample(range(first, datetime.date(int(high), 12, 31).toordinal()), count)
        return [datetime.date.fromordinal(one).isoformat() for one in days]
    steps = range(round((high - low) / column.step) + 1)
    drawn = draw.sample(steps, count) if len(steps) > 2 * count else [draw.choice(steps) for _ in range(count)]
    return [_stepped(low, column.step, step) for step in drawn]


def _stepped(low: float, step: float, steps: int) -> int | float:
    value = round(low + step * steps, 2)
    return int(value) if step == int(step) else value


def _links(draw: Draw, parents: int, count: int) -> list[Value]:
    """Skewed, so that some rows of the first table have many and some few."""
    chosen: Sequence[int] = draw.sample(range(1, parents + 1), parents - 2)
    return [chosen[draw.below(draw.below(len(chosen)) + 1)] for _ in range(count)]


def _with_gaps(draw: Draw, values: list[Value]) -> list[Value]:
    gaps = set(draw.sample(range(len(values)), 2 + draw.below(max(1, len(values) // 3 - 1))))
    return [None if row in gaps else value for row, value in enumerate(values)]
