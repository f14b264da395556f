"""Domains, tables and columns: what a database holds and by what words a question names it. It knows no row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Role = Literal["key", "link", "name", "category", "text", "number", "year", "day"]
ORDERED: tuple[Role, ...] = ("number", "year", "day")
"""Roles whose values have a more and a less."""


@dataclass(frozen=True)
class Column:
    """One column: its values and the words for it."""

    name: str
    role: Role
    phrases: tuple[str, ...]
    """Words for the column in a question; the first is the usual one."""
    values: tuple[str, ...] = ()
    """What a text is drawn from."""
    span: tuple[float, float] = (0, 0)
    """Lowest and highest value of a number, first and last year of a date."""
    step: float = 1
    such: str = ""
    """How a value follows the noun, ``from {}``, where the language has such a way."""
    did: str = ""
    """What happened at the time in the column: ``were released``, ``joined``."""
    verb: str = ""
    """What one does with the number: ``cost``, ``last``, ``weigh``."""
    counted: str = ""
    """What the number counts: ``pages``, ``seats``."""
    unit: str = ""
    most: str = ""
    least: str = ""
    sums: bool = False
    """Whether a total over rows means anything."""
    missing: bool = False
    """Whether some rows have no value."""
    refers: str = ""
    """Of a link: the table and its key, ``authors(id)``."""

    @property
    def sql_type(self) -> str:
        """The type in CREATE TABLE."""
        if self.role == "number":
            return "INTEGER" if self.step == int(self.step) else "REAL"
        return "INTEGER" if self.role in ("key", "link", "year") else "TEXT"


@dataclass(frozen=True)
class Table:
    """One table: its columns and the words for one row and for many."""

    name: str
    noun: str
    plural: str
    columns: tuple[Column, ...]
    person: bool
    rows: int
    by: str
    """How a row follows the row it belongs to: books ``by`` authors."""

    def of_role(self, *roles: Role, whole: bool = False) -> list[Column]:
        """The columns of these roles; with ``whole``, only those with a value in every row."""
        return [c for c in self.columns if c.role in roles and not (whole and c.missing)]

    @property
    def key(self) -> Column:
        """What identifies a row."""
        return self.of_role("key")[0]

    @property
    def label(self) -> Column:
        """What people call a row."""
        return self.of_role("name")[0]

    @property
    def link(self) -> Column:
        """What names the row of the other table."""
        return self.of_role("link")[0]

    @property
    def create(self) -> str:
        """The CREATE TABLE statement, on one line."""
        return f"CREATE TABLE {self.name} ({', '.join(_declared(c) for c in self.columns)});"


@dataclass(frozen=True)
class Domain:
    """One database: a table, or two of which the second names rows of the first."""

    name: str
    tables: tuple[Table, ...]

    @property
    def text(self) -> str:
        """The schema as the prompt shows it."""
        return "\n".join(table.create for table in self.tables)


def _declared(column: Column) -> str:
    tail = {"key": " PRIMARY KEY", "link": f" REFERENCES {column.refers}"}.get(column.role, "")
    return f"{column.name} {column.sql_type}{tail}"


# Short words to write the domains with


def split(values: str | tuple[str, ...]) -> tuple[str, ...]:
    """Values written as one text with bars between them."""
    return tuple(values.split("|")) if isinstance(values, str) else values


def _words(name: str, phrases: tuple[str, ...]) -> tuple[str, ...]:
    return phrases or (name.replace("_", " "),)


def name(column: str, values: str | tuple[str, ...], *phrases: str) -> Column:
    """What a row is called; no two rows share it."""
    return Column(column, "name", _words(column, phrases), split(values))


def category(
    column: str, values: str | tuple[str, ...], *phrases: str, such: str = "", missing: bool = False
) -> Column:
    """A text that many rows share."""
    return Column(column, "category", _words(column, phrases), split(values), such=such, missing=missing)


def text(column: str, values: str | tuple[str, ...], *phrases: str, missing: bool = False) -> Column:
    """A text that is a row's own."""
    return Column(column, "text", _words(column, phrases), split(values), missing=missing)


def number(
    column: str,
    low: float,
    high: float,
    *phrases: str,
    step: float = 1,
    verb: str = "",
    counted: str = "",
    unit: str = "",
    most: str = "",
    least: str = "",
    sums: bool = False,
    missing: bool = False,
) -> Column:
    """A number, whole where its step is."""
    words = _words(column, phrases)
    return Column(
        column, "number", words, (), (low, high), step, "", "", verb, counted, unit, most, least, sums, missing
    )


def year(
    column: str,
    low: int,
    high: int,
    *phrases: str,
    did: str = "",
    most: str = "newest",
    least: str = "oldest",
    missing: bool = False,
) -> Column:
    """A year; ``most`` names the row with the latest."""
    words = _words(column, phrases)
    return Column(column, "year", words, span=(low, high), did=did, most=most, least=least, missing=missing)


def day(column: str, first: int, last: int, *phrases: str, did: str = "", missing: bool = False) -> Column:
    """A date, written 2021-03-05, within these years."""
    return Column(column, "day", _words(column, phrases), span=(first, last), did=did, missing=missing)


def link(column: str, table: str, key: str = "id") -> Column:
    """The key of a row of another table."""
    return Column(column, "link", _words(column, ()), refers=f"{table}({key})")


def table(
    name: str,
    noun: str,
    *columns: Column,
    key: str = "id",
    plural: str = "",
    person: bool = False,
    rows: int = 0,
    by: str = "",
) -> Table:
    """A table whose first column is its key."""
    first = Column(key, "key", _words(key, ()))
    has_link = any(c.role == "link" for c in columns)
    return Table(name, noun, plural or f"{noun}s", (first, *columns), person, rows or (18 if has_link else 12), by)


def domain(name: str, *tables: Table) -> Domain:
    """A database of one table, or of two with the one that is referred to first."""
    return Domain(name, tables)
