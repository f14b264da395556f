"""Conditions on a table's columns, each in SQL and in words. It knows no whole question."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from text_to_sql.database import Database, Value, literal, shown
from text_to_sql.draw import Draw
from text_to_sql.query import Query, Where
from text_to_sql.schema import ORDERED, Column, Table
from text_to_sql.wording import a, doing, listed, third


@dataclass(frozen=True)
class Condition:
    """One condition in SQL and in the two places it can stand in a question."""

    where: Where
    after: str
    """What follows the noun: (books) ``with a price above 20``."""
    verb: str
    rest: str
    """With the verb, what is said of the noun: (which books) ``have`` ``a price above 20``."""
    past: bool = False
    """Whether the verb is the same for one as for many: ``joined``."""

    @property
    def many(self) -> str:
        """Said of many rows."""
        return f"{self.verb} {self.rest}"

    @property
    def one(self) -> str:
        """Said of one row."""
        return f"{self.verb if self.past else third(self.verb)} {self.rest}"


@dataclass(frozen=True)
class Scene:
    """Where a condition is made: the draw, the rows, the table, and how its columns are written."""

    draw: Draw
    database: Database
    table: Table
    qualified: bool = False

    def sql(self, column: Column) -> str:
        """The column's name in the query."""
        return f"{self.table.name}.{column.name}" if self.qualified else column.name

    def column(self, columns: list[Column]) -> Column | None:
        """One of the columns, where there are any."""
        return self.draw.choice(columns) if columns else None

    def phrase(self, column: Column) -> str:
        """Words for a column, the usual ones mostly."""
        return column.phrases[0] if self.draw.chance(70) else self.draw.choice(column.phrases)

    def values(self, column: Column) -> list[Value]:
        """The column's different values, in order."""
        found = {value for value in self.database.column(self.table, column) if value is not None}
        return sorted(found, key=lambda value: (str(type(value)), value))

    def inner(self, column: Column) -> Value:
        """A value that is neither the lowest nor the highest."""
        values = self.values(column)
        return self.draw.choice(values[1:-1] or values)


_ABOVE = {
    ">": ("above {}", "of more than {}", "over {}", "greater than {}", "higher than {}"),
    "<": ("below {}", "of less than {}", "under {}", "lower than {}"),
    ">=": ("of at least {}", "of {} or more"),
    "<=": ("of at most {}", "of {} or less"),
    "=": ("of {}", "of exactly {}"),
    "BETWEEN": ("between {}",),
}
_IS = {
    ">": ("above {}", "more than {}", "over {}", "greater than {}"),
    "<": ("below {}", "less than {}", "under {}", "smaller than {}"),
    ">=": ("at least {}", "{} or more", "not below {}"),
    "<=": ("at most {}", "{} or less", "not above {}"),
    "=": ("{}", "exactly {}", "equal to {}"),
    "BETWEEN": ("between {}",),
}
_MANY = {
    ">": ("more than {}", "over {}"),
    "<": ("fewer than {}", "less than {}", "under {}"),
    ">=": ("at least {}", "{} or more"),
    "<=": ("at most {}", "no more than {}", "up to {}"),
    "=": ("exactly {}",),
    "BETWEEN": ("between {}",),
}
_YEAR = {
    ">": ("after {}", "later than {}"),
    "<": ("before {}", "earlier than {}"),
    ">=": ("in {} or later", "since {}"),
    "<=": ("in {} or earlier", "up to {}"),
    "=": ("in {}",),
    "BETWEEN": ("between {}",),
}
_DAY = {**_YEAR, ">=": ("on or after {}", "since {}"), "<=": ("on or before {}", "up to {}"), "=": ("on {}",)}
COMPARED = (">", ">", "<", "<", ">=", "<=")


def ordered(scene: Scene, column: Column, operator: str, value: str, right: str) -> Condition:
    """A condition on a number, a year or a date; ``value`` is what the question says."""
    draw, where = scene.draw, Where(scene.sql(column), operator, right)
    if column.role in ("year", "day"):
        tail = draw.choice((_YEAR if column.role == "year" else _DAY)[operator]).format(value)
        if column.did and draw.chance(75):
            return happened(scene, column, where, tail)
        phrase = scene.phrase(column)
        return Condition(where, f"with {a(phrase)} {tail}", "have", f"{a(phrase)} {tail}")
    if column.counted:
        rest = f"{draw.choice(_MANY[operator]).format(value)} {column.counted}"
        after = f"whose {scene.phrase(column)} is {draw.choice(_IS[operator]).format(value)}"
        return Condition(where, after if draw.chance(30) else f"with {rest}", "have", rest)
    if column.unit and (column.verb or draw.chance(50)):
        value = f"{value} {column.unit}"
    if column.verb and draw.chance(60):
        rest = draw.choice(_MANY[operator]).format(value).replace("fewer", "less")
        return Condition(where, f"{doing(column.verb)} {rest}", column.verb, rest)
    phrase = scene.phrase(column)
    rest = f"{a(phrase)} {draw.choice(_ABOVE[operator]).format(value)}"
    is_ = draw.choice(_IS[operator]).format(value)
    return Condition(where, f"whose {phrase} is {is_}" if draw.chance(50) else f"with {rest}", "have", rest)


def happened(scene: Scene, column: Column, where: Where, tail: str) -> Condition:
    """A condition on when something happened."""
    verb, _, participle = column.did.partition(" ")
    if verb == "were":
        return Condition(where, f"{participle} {tail}", "were", f"{participle} {tail}")
    return Condition(where, f"{'who' if scene.table.person else 'that'} {column.did} {tail}", column.did, tail, True)


def compare(scene: Scene) -> Condition | None:
    """More, less, at least, at most; the border is a value of the table, so that > and >= differ."""
    column = scene.column(scene.table.of_role(*ORDERED, whole=True))
    if column is None:
        return None
    value = scene.inner(column)
    return ordered(scene, column, scene.draw.choice(COMPARED), shown(value), literal(value))


def exact(scene: Scene) -> Condition | None:
    """A number or year that several rows may share."""
    column = scene.column(scene.table.of_role("number", "year", whole=True))
    if column is None:
        return None
    value = scene.draw.choice(scene.values(column))
    return ordered(scene, column, "=", shown(value), literal(value))


def between(scene: Scene) -> Condition | None:
    """A range of a number, a year or a date."""
    column = scene.column(scene.table.of_role(*ORDERED, whole=True))
    if column is None:
        return None
    values = scene.values(column)
    first = scene.draw.below(max(1, len(values) - 3))
    low, high = values[first], values[min(len(values) - 1, first + 2 + scene.draw.below(4))]
    words = f"{shown(low)} and {shown(high)}"
    return ordered(scene, column, "BETWEEN", words, f"{literal(low)} AND {literal(high)}")


def equal(scene: Scene) -> Condition | None:
    """A text that many rows share."""
    column = scene.column(scene.table.of_role("category"))
    if column is None:
        return None
    value = scene.draw.choice(scene.values(column))
    return _category(scene, column, Where(scene.sql(column), "=", literal(value)), shown(value))


def one_of(scene: Scene) -> Condition | None:
    """One of two or three texts."""
    column = scene.column([c for c in scene.table.of_role("category") if len(c.values) > 2])
    if column is None:
        return None
    known = scene.values(column)
    values = scene.draw.sample(known, 3 if len(known) > 4 and scene.draw.chance(40) else 2)
    right = f"({', '.join(literal(value) for value in values)})"
    return _category(
        scene, column, Where(scene.sql(column), "IN", right), listed([shown(value) for value in values], "or")
    )


def _category(scene: Scene, column: Column, where: Where, value: str) -> Condition:
    draw, phrase = scene.draw, scene.phrase(column)
    if column.such and draw.chance(50):
        return Condition(where, column.such.format(value), "are", column.such.format(value))
    after = draw.choice(("whose {} is {}", "whose {} is {}", "with {} {}", "with the {} {}"))
    return Condition(where, after.format(phrase, value), "have", f"{draw.choice(('', 'the '))}{phrase} {value}")


def unequal(scene: Scene) -> Condition | None:
    """All but one text."""
    column = scene.column(scene.table.of_role("category", whole=True))
    if column is None:
        return None
    value = scene.draw.choice(scene.values(column))
    where, phrase = Where(scene.sql(column), "!=", literal(value)), scene.phrase(column)
    if column.such and scene.draw.chance(50):
        words = f"not {column.such.format(value)}"
        return Condition(where, words, "are", words)
    rest = f"{a(phrase)} other than {value}"
    after = scene.draw.choice((f"with {rest}", f"whose {phrase} is not {value}"))
    return Condition(where, after, "have", rest)


def like(scene: Scene) -> Condition | None:
    """A text that starts with, ends in or contains some letters."""
    column = scene.column(scene.table.of_role("name", "text"))
    if column is None:
        return None
    draw, phrase = scene.draw, scene.phrase(column)
    value = str(draw.choice(scene.values(column)))
    kind = draw.choice(("start", "end", "word"))
    if kind == "start":
        part = value[: 1 + draw.below(3)].strip()
        rest, participle, right = f"starts with '{part}'", f"starting with '{part}'", f"{part}%"
    elif kind == "end":
        part = value[-1 - draw.below(3) :].strip()
        rest, participle, right = f"ends with '{part}'", f"ending in '{part}'", f"%{part}"
    else:
        part = draw.choice(value.replace("-", " ").split())
        rest, participle, right = f"contains '{part}'", f"containing '{part}'", f"%{part}%"
    if "'" in part:
        return None
    where = Where(scene.sql(column), "LIKE", literal(right))
    after = draw.choice((f"whose {phrase} {rest}", f"with {a(phrase)} {participle}"))
    return Condition(where, after, "have", f"{a(phrase)} that {rest}")


def missing(scene: Scene) -> Condition | None:
    """No value, or any."""
    column = scene.column([c for c in scene.table.columns if c.missing])
    if column is None:
        return None
    draw, phrase = scene.draw, scene.phrase(column)
    if draw.chance(65):
        where = Where(scene.sql(column), "IS NULL")
        after = draw.choice((f"without {a(phrase)}", f"with no {phrase}", f"whose {phrase} is missing"))
        return Condition(where, after, "have", f"no {phrase}")
    where, known = Where(scene.sql(column), "IS NOT NULL"), draw.choice(("known", "recorded"))
    return Condition(where, f"with {a(known)} {phrase}", "have", f"{a(known)} {phrase}")


def in_year(scene: Scene) -> Condition | None:
    """A date within a year."""
    column = scene.column(scene.table.of_role("day"))
    if column is None:
        return None
    value = str(scene.draw.choice(scene.values(column)))[:4]
    where = Where(f"strftime('%Y', {scene.sql(column)})", "=", literal(value))
    if column.did and scene.draw.chance(75):
        return happened(scene, column, where, f"in {value}")
    rest = f"{a(scene.phrase(column))} in {value}"
    return Condition(where, f"with {rest}", "have", rest)


def against_average(scene: Scene) -> Condition | None:
    """More or less than the average of all rows."""
    column = scene.column(scene.table.of_role("number", whole=True))
    if column is None:
        return None
    operator, phrase, draw = scene.draw.choice((">", ">", "<")), scene.phrase(column), scene.draw
    side, than = ("above", draw.choice(("more", "higher"))) if operator == ">" else ("below", "lower")
    average = Query((f"AVG({column.name})",), scene.table.name)
    where = Where(scene.sql(column), operator, f"({average.sql})")
    after = draw.choice(
        (
            f"with {a(phrase)} {side} the average",
            f"with {a(side + '-average')} {phrase}",
            f"whose {phrase} is {than.replace('more', 'higher')} than the average {phrase}",
        )
    )
    if column.verb and draw.chance(50):
        return Condition(
            where, after, column.verb, f"{than.replace('lower', 'less').replace('higher', 'more')} than average"
        )
    return Condition(where, after, "have", f"{a(phrase)} {side} average")


Maker = Callable[[Scene], Condition | None]
USUAL: tuple[Maker, ...] = (equal, equal, compare, compare, compare, between, one_of, like, missing, in_year, unequal)
"""What restricts the rows that are counted, summed or joined."""


def usual(scene: Scene) -> Condition | None:
    """A condition of any common kind that the table has columns for."""
    makers = list(USUAL)
    while makers:
        if condition := makers.pop(scene.draw.below(len(makers)))(scene):
            return condition
    return None
