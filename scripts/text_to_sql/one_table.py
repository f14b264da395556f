"""Questions for rows, counts and totals of one table, each with its query. It knows no second table and no answer."""

from __future__ import annotations

from collections.abc import Callable

from text_to_sql import asking
from text_to_sql.asking import Asked, about
from text_to_sql.conditions import (
    Condition,
    Maker,
    Scene,
    against_average,
    equal,
    usual,
)
from text_to_sql.database import literal
from text_to_sql.groups import aggregate
from text_to_sql.query import Query, Where
from text_to_sql.schema import ORDERED, Column
from text_to_sql.wording import NUMBERS, many, sentence


def select(scene: Scene, *conditions: Condition) -> list[Column]:
    """The columns a question asks for: mostly what rows are called, sometimes more or something else."""
    draw, label = scene.draw, scene.table.label
    known = {one.where.left for one in conditions if one.where.operator in ("=", "IS NULL")}
    others = [c for c in scene.table.columns if c.role not in ("key", "link", "name") and c.name not in known]
    kind = draw.below(10)
    if kind < 6 or not others:
        return [label]
    return [label, draw.choice(others)] if kind < 9 else draw.sample(others, min(len(others), 1 + draw.below(2)))


def _filtered(scene: Scene, *conditions: Condition, either: bool = False) -> Asked:
    columns = select(scene, *conditions)
    rows_of = about(scene.table, *conditions, joint="or" if either else "and")
    question = asking.rows(scene.draw, rows_of, [scene.phrase(c) for c in columns], columns == [scene.table.label])
    where = tuple(one.where for one in conditions)
    return Asked(question, Query(tuple(scene.sql(c) for c in columns), scene.table.name, where, either))


def filtered_by(maker: Maker) -> Callable[[Scene], Asked | None]:
    """A kind of question for rows under one condition."""

    def ask(scene: Scene) -> Asked | None:
        condition = maker(scene)
        return _filtered(scene, condition) if condition else None

    return ask


def listing(scene: Scene) -> Asked | None:
    """Columns of every row."""
    return _filtered(scene)


def both(scene: Scene) -> Asked | None:
    """Two conditions that must hold."""
    one, other = usual(scene), usual(scene)
    if one is None or other is None or one.where.left == other.where.left:
        return None
    return _filtered(scene, one, other)


def either(scene: Scene) -> Asked | None:
    """Two conditions of which one is enough."""
    one, other = usual(scene), usual(scene)
    if one is None or other is None or one.where.left == other.where.left:
        return None
    return _filtered(scene, one, other, either=True)


def lookup(scene: Scene) -> Asked | None:
    """One value of a row that is named."""
    column = scene.column([c for c in scene.table.columns if c.role not in ("key", "link", "name")])
    if column is None:
        return None
    row, phrase, noun = str(scene.draw.choice(scene.values(scene.table.label))), scene.phrase(column), scene.table.noun
    templates = [
        f"What is the {phrase} of {row}?",
        f"What is the {phrase} of the {noun} {row}?",
        f"Give me the {phrase} of {row}.",
        f"Show the {phrase} of the {noun} {row}.",
        f"{row}: what is the {phrase}?",
        f"Look up the {phrase} of {row}.",
    ]
    if column.counted:
        templates += [f"How many {column.counted} does {row} have?"] * 2
    label = scene.table.label.name
    query = Query((column.name,), scene.table.name, (Where(label, "=", literal(row)),))
    return Asked(sentence(scene.draw.choice(templates)), query)


def count(scene: Scene) -> Asked | None:
    """How many rows, mostly under a condition."""
    condition = usual(scene) if scene.draw.chance(92) else None
    rows_of = about(scene.table, *([condition] if condition else []))
    where = (condition.where,) if condition else ()
    return Asked(asking.count(scene.draw, rows_of), Query(("COUNT(*)",), scene.table.name, where))


def summary(scene: Scene) -> Asked | None:
    """An average, a total, the highest or the lowest of a column."""
    column = scene.column(scene.table.of_role("number", "number", *ORDERED, whole=True))
    if column is None:
        return None
    name, word = aggregate(scene, column)
    condition = usual(scene) if scene.draw.chance(60) else None
    if condition and column.name in condition.where.left:
        return None
    rows_of = about(scene.table, *([condition] if condition else []))
    question = asking.value(scene.draw, rows_of, f"{word} {scene.phrase(column)}")
    where = (condition.where,) if condition else ()
    return Asked(question, Query((f"{name}({column.name})",), scene.table.name, where))


def top(scene: Scene) -> Asked | None:
    """The first one or few rows by a column, sometimes under a condition."""
    column = scene.column(scene.table.of_role(*ORDERED, whole=True))
    if column is None:
        return None
    draw, table, most = scene.draw, scene.table, scene.draw.chance(60)
    condition = equal(scene) if draw.chance(30) else None
    rows_of = about(table, *([condition] if condition else []))
    limit = 1 if draw.chance(55) else draw.choice((2, 3, 3, 4, 5))
    number = "" if limit == 1 else NUMBERS[limit] if draw.chance(50) else str(limit)
    shows = [table.label] if draw.chance(75) else [table.label, column]
    columns = " and ".join(scene.phrase(c) for c in shows)
    adjective = (column.most if most else column.least) if draw.chance(60) else ""
    side = ("highest", "lowest") if column.role == "number" else ("latest", "earliest")
    named = f"with the {side[0 if most else 1]} {scene.phrase(column)}"
    templates: list[str]
    if limit == 1:
        said = f"{adjective} {rows_of.each}" if adjective else f"{rows_of.each} {named}"
        templates = [f"What is the {columns} of the {said}?", f"Give the {columns} of the {said}.", f"Find the {said}."]
        if adjective:
            templates.append(f"Which {rows_of.each} is the {adjective}?")
        else:
            templates.append(f"Which {rows_of.each} has the {side[0 if most else 1]} {scene.phrase(column)}?")
    else:
        said = f"{number} {adjective} {rows_of.all}" if adjective else f"{number} {rows_of.all} {named}"
        templates = [f"What are the {said}?", f"List the {columns} of the {said}.", f"Name the {said}."]
    if len(shows) > 1:
        templates = [one for one in templates if columns in one]
    where = (condition.where,) if condition else ()
    query = Query(tuple(c.name for c in shows), table.name, where, order=column.name, descending=most, limit=limit)
    return Asked(sentence(draw.choice(templates)), query)


def sort(scene: Scene) -> Asked | None:
    """Rows in an order, sometimes under a condition."""
    draw, table = scene.draw, scene.table
    column = scene.column([table.label, *table.of_role(*ORDERED, whole=True)])
    if column is None:
        return None
    down, phrase = draw.chance(55 if column.role != "name" else 25), scene.phrase(column)
    if column.role == "name":
        order = (
            "in reverse alphabetical order" if down else draw.choice(("in alphabetical order", "sorted by " + phrase))
        )
    elif column.role == "number":
        order = f"sorted by {phrase}, " + (("highest first", "lowest first")[not down])
        if draw.chance(60):
            order = f"ordered by {phrase} " + ("from highest to lowest", "from lowest to highest")[not down]
    else:
        order = f"sorted by {phrase}, " + ("latest first", "earliest first")[not down]
    if column.role != "name" and draw.chance(25):
        order = f"by {'descending' if down else 'ascending'} {phrase}"
    condition = usual(scene) if draw.chance(40) else None
    rows_of = about(table, *([condition] if condition else []))
    shows = [table.label] if column is table.label or draw.chance(65) else [table.label, column]
    columns = [scene.phrase(c) for c in shows]
    templates = ("List the {} of {} {}.", "Show the {} of all {} {}.", "Give the {} of the {} {}.")
    question = draw.choice(templates).format(" and ".join(many(c) for c in columns), rows_of.all, order)
    where = (condition.where,) if condition else ()
    query = Query(tuple(c.name for c in shows), table.name, where, order=column.name, descending=down)
    return Asked(sentence(question), query)


def average_row(scene: Scene) -> Asked | None:
    """Rows above or below the average, or how many there are."""
    condition = against_average(scene)
    if condition is None:
        return None
    if scene.draw.chance(70):
        return _filtered(scene, condition)
    query = Query(("COUNT(*)",), scene.table.name, (condition.where,))
    return Asked(asking.count(scene.draw, about(scene.table, condition)), query)
