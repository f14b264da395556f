"""Queries of one style, and the wrong ones next to a right one. It knows no schema and no words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

_OPPOSITE = {
    "=": "!=",
    "!=": "=",
    ">": "<",
    "<": ">",
    ">=": "<=",
    "<=": ">=",
    "IN": "NOT IN",
    "NOT IN": "IN",
    "LIKE": "NOT LIKE",
    "BETWEEN": "NOT BETWEEN",
    "IS NULL": "IS NOT NULL",
    "IS NOT NULL": "IS NULL",
}
_NEIGHBOUR = {">": ">=", ">=": ">", "<": "<=", "<=": "<"}
_OTHER_AGGREGATE = {"AVG": "MAX", "SUM": "AVG", "MAX": "MIN", "MIN": "MAX"}


@dataclass(frozen=True)
class Where:
    """One condition: ``price > 20``."""

    left: str
    operator: str
    right: str = ""

    @property
    def sql(self) -> str:
        """The condition in SQL."""
        return f"{self.left} {self.operator} {self.right}".rstrip()

    def wrong(self) -> Iterator[Where]:
        """The opposite, and the one that differs at the border where a border is exact."""
        yield replace(self, operator=_OPPOSITE[self.operator])
        if self.operator in _NEIGHBOUR and "AVG(" not in self.left + self.right:
            yield replace(self, operator=_NEIGHBOUR[self.operator])


@dataclass(frozen=True)
class Query:
    """A SELECT; every query of the example is one of these, so each thing is written in one way."""

    select: tuple[str, ...]
    source: str
    where: tuple[Where, ...] = ()
    either: bool = False
    """Whether one of the conditions is enough."""
    group: str = ""
    having: Where | None = None
    order: str = ""
    descending: bool = False
    limit: int | None = None
    distinct: bool = False

    @property
    def sql(self) -> str:
        """The query in SQL, on one line."""
        parts = ["SELECT DISTINCT" if self.distinct else "SELECT", ", ".join(self.select), "FROM", self.source]
        if self.where:
            parts += ["WHERE", (" OR " if self.either else " AND ").join(one.sql for one in self.where)]
        if self.group:
            parts += ["GROUP BY", self.group]
        if self.having:
            parts += ["HAVING", self.having.sql]
        if self.order:
            parts += ["ORDER BY", self.order, "DESC" if self.descending else "ASC"]
        if self.limit is not None:
            parts += ["LIMIT", str(self.limit)]
        return " ".join(parts)

    @property
    def keys(self) -> Query:
        """The query for what the rows are ordered by."""
        return replace(self, select=(self.order,), limit=None)

    def wrong(self) -> Iterator[Query]:
        """Queries that say something else: a right answer must differ from the answer of each."""
        for place, condition in enumerate(self.where):
            before, after = self.where[:place], self.where[place + 1 :]
            yield replace(self, where=(*before, *after))
            for other in condition.wrong():
                yield replace(self, where=(*before, other, *after))
        if len(self.where) > 1:
            yield replace(self, either=not self.either)
        if self.having:
            yield replace(self, having=None)
            for other in self.having.wrong():
                yield replace(self, having=other)
        if self.order:
            yield replace(self, descending=not self.descending)
            yield replace(self, order="", limit=self.limit)
        if self.limit is not None:
            yield replace(self, limit=self.limit + 1)
        if self.distinct:
            yield replace(self, distinct=False)
        if other_select := _other_aggregate(self.select):
            yield replace(self, select=other_select)


def _other_aggregate(select: tuple[str, ...]) -> tuple[str, ...]:
    """The same columns with another aggregate; nothing where there is none to change."""
    changed = []
    for column in select:
        aggregate = re.match(r"(AVG|SUM|MAX|MIN)\(", column)
        other = _OTHER_AGGREGATE[aggregate[1]] + column[3:] if aggregate else column
        changed.append(column.replace("DISTINCT ", "") if column.startswith("COUNT(DISTINCT ") else other)
    return tuple(changed) if tuple(changed) != select else ()
