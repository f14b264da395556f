"""Questions across two tables, each with its query: joins on the link, and rows without one. It knows no answer."""

from __future__ import annotations

from dataclasses import dataclass, replace

from text_to_sql import asking
from text_to_sql.asking import About, Asked
from text_to_sql.conditions import Condition, Scene, equal, usual
from text_to_sql.database import literal
from text_to_sql.groups import aggregate, than
from text_to_sql.query import Query, Where
from text_to_sql.schema import Column, Table
from text_to_sql.wording import a, many, sentence


@dataclass(frozen=True)
class Pair:
    """The two tables of a domain: rows of ``child`` name a row of ``parent``."""

    parent: Scene
    child: Scene

    @property
    def source(self) -> str:
        """What follows FROM: the join, written in the one way we write it."""
        child, parent = self.child.table, self.parent.table
        link, key = self.child.sql(child.link), self.parent.sql(parent.key)
        return f"{child.name} JOIN {parent.name} ON {link} = {key}"

    @property
    def label(self) -> str:
        """The column with what rows of the parent are called."""
        return self.parent.sql(self.parent.table.label)


def pair(scene: Scene) -> Pair:
    """Both tables of the scene's domain."""
    parent, child = scene.database.domain.tables
    return Pair(replace(scene, table=parent, qualified=True), replace(scene, table=child, qualified=True))


def _belonging(tables: Pair) -> tuple[Where, About] | None:
    """Rows of the child whose parent is restricted: by its name, or by any condition."""
    draw, child, parent = tables.child.draw, tables.child.table, tables.parent.table
    by = child.by
    if draw.chance(35):
        value = draw.choice(tables.parent.values(parent.label))
        where = Where(tables.label, "=", literal(value))
        return where, About(child.noun, child.plural, f"{by} {value}", f"are {by} {value}")
    condition = usual(tables.parent)
    if condition is None:
        return None
    if draw.chance(40):
        words = f"whose {parent.noun} {condition.one}"
        return condition.where, About(child.noun, child.plural, words, f"have {a(parent.noun)} {condition.after}")
    words = f"{by} {parent.plural} {condition.after}"
    return condition.where, About(child.noun, child.plural, words, f"are {words}")


def filtered(scene: Scene) -> Asked | None:
    """Rows of the child by a condition on the parent, sometimes with one of their own."""
    tables = pair(scene)
    found = _belonging(tables)
    if found is None:
        return None
    where: tuple[Where, ...] = (found[0],)
    rows_of = found[1]
    draw, child = scene.draw, tables.child.table
    if draw.chance(20) and (own := equal(tables.child)):
        where = (own.where, *where)
        rows_of = About(child.noun, child.plural, f"{own.after} {rows_of.after}", f"{own.many} and {rows_of.said}")
    columns = [child.label]
    if draw.chance(35):
        columns.append(draw.choice([c for c in child.columns if c.role not in ("key", "link", "name")]))
    phrases = [tables.child.phrase(c) for c in columns]
    question = asking.rows(draw, rows_of, phrases, len(columns) == 1)
    return Asked(question, Query(tuple(tables.child.sql(c) for c in columns), tables.source, where))


def count(scene: Scene) -> Asked | None:
    """How many rows of the child, by a condition on the parent."""
    tables = pair(scene)
    found = _belonging(tables)
    if found is None:
        return None
    return Asked(asking.count(scene.draw, found[1]), Query(("COUNT(*)",), tables.source, (found[0],)))


def summary(scene: Scene) -> Asked | None:
    """An aggregate over rows of the child, by a condition on the parent."""
    tables = pair(scene)
    found, column = _belonging(tables), _number(tables)
    if found is None or column is None:
        return None
    name, word = aggregate(tables.child, column)
    question = asking.value(scene.draw, found[1], f"{word} {tables.child.phrase(column)}")
    return Asked(question, Query((f"{name}({tables.child.sql(column)})",), tables.source, (found[0],)))


def _number(tables: Pair) -> Column | None:
    return tables.child.column(tables.child.table.of_role("number", whole=True))


def listing(scene: Scene) -> Asked | None:
    """What rows of the child are called, each with what its parent is called."""
    tables = pair(scene)
    child, parent, draw = tables.child.table, tables.parent.table, scene.draw
    other = tables.parent.column([c for c in parent.columns if c.role != "key"]) if draw.chance(40) else parent.label
    condition = usual(tables.child) if draw.chance(35) else None
    if other is None:
        return None
    one, two = tables.child.phrase(child.label), tables.parent.phrase(other)
    all_of = f"all {child.plural}" if condition is None else f"{child.plural} {condition.after}"
    each = child.noun if condition is None else f"{child.noun} {condition.after}"
    templates = (
        f"List the {one} of every {each} and the {two} of its {parent.noun}.",
        f"Show the {one} of each {each} together with the {two} of its {parent.noun}.",
        f"Give the {many(one)} of {all_of} with the {two} of their {parent.noun}.",
        f"For each {each}, show its {one} and the {two} of its {parent.noun}.",
    )
    where = (condition.where,) if condition else ()
    select = (tables.child.sql(child.label), tables.parent.sql(other))
    return Asked(_personal(sentence(draw.choice(templates)), child), Query(select, tables.source, where))


def _personal(question: str, table: Table) -> str:
    return question.replace(" its ", " their ") if table.person else question


def lookup(scene: Scene) -> Asked | None:
    """A column of the parent of a row of the child that is named."""
    tables = pair(scene)
    child, parent, draw = tables.child.table, tables.parent.table, scene.draw
    column = tables.parent.column([c for c in parent.columns if c.role != "key"])
    if column is None:
        return None
    row, phrase = draw.choice(tables.child.values(child.label)), tables.parent.phrase(column)
    templates = (
        f"What is the {phrase} of the {parent.noun} of {row}?",
        f"What is the {phrase} of the {parent.noun} of the {child.noun} {row}?",
        f"Give me the {phrase} of the {parent.noun} that {row} belongs to.",
        f"Find the {phrase} of {row}'s {parent.noun}.",
    )
    where = Where(tables.child.sql(child.label), "=", literal(row))
    return Asked(sentence(draw.choice(templates)), Query((tables.parent.sql(column),), tables.source, (where,)))


def parents(scene: Scene) -> Asked | None:
    """Rows of the parent with at least one row of the child under a condition, each once."""
    tables = pair(scene)
    condition: Condition | None = usual(tables.child)
    if condition is None:
        return None
    child, parent = tables.child.table, tables.parent.table
    names, rows_of = many(tables.parent.phrase(parent.label)), f"{child.plural} {condition.after}"
    templates = (
        f"Which {parent.plural} have {rows_of}?",
        f"List the different {names} of {parent.plural} that have {rows_of}.",
        f"Find the {parent.plural} with {rows_of}, each once.",
        f"Show the distinct {names} of the {parent.plural} with {rows_of}.",
    )
    query = Query((tables.label,), tables.source, (condition.where,), distinct=True)
    return Asked(sentence(scene.draw.choice(templates)), query)


def group(scene: Scene) -> Asked | None:
    """How many rows of the child, or which aggregate of them, for each parent or value of a parent's column."""
    tables = pair(scene)
    child, parent, draw = tables.child.table, tables.parent.table, scene.draw
    categories = parent.of_role("category", whole=True)
    by_label = not categories or draw.chance(65)
    column = parent.label if by_label else draw.choice(categories)
    phrase = parent.noun if by_label else f"{parent.noun} {tables.parent.phrase(column)}"
    shown = f"{tables.parent.phrase(column)} of each {parent.noun}" if by_label else f"each {phrase}"
    number = _number(tables)
    if number is None or draw.chance(60):
        value, measure = "COUNT(*)", f"number of {child.plural}"
        templates = [f"How many {child.plural} are there for each {phrase}?", f"Count the {child.plural} per {phrase}."]
        if by_label:
            templates.append(f"How many {child.plural} does each {parent.noun} have?")
    else:
        name, word = aggregate(tables.child, number)
        value, measure = f"{name}({tables.child.sql(number)})", f"{word} {tables.child.phrase(number)}"
        templates = [f"What is the {measure} of the {child.plural} for each {phrase}?"]
    templates += [
        f"Show the {shown} with the {measure} of its {child.plural}.".replace(f" of its {child.plural}", "")
        if value == "COUNT(*)"
        else f"Show the {shown} with the {measure} of its {child.plural}.",
        f"For each {phrase}, give the {measure}.",
        f"List the {measure} per {phrase}.",
    ]
    query = Query((tables.parent.sql(column), value), tables.source, group=tables.parent.sql(column))
    return Asked(_personal(sentence(draw.choice(templates).replace("the each", "each")), parent), query)


def having(scene: Scene) -> Asked | None:
    """Rows of the parent with many rows of the child."""
    tables = pair(scene)
    child, parent, draw = tables.child.table, tables.parent.table, scene.draw
    grouped = Query(("COUNT(*)",), tables.source, group=tables.label)
    count_of = draw.choice(sorted(int(str(row[0])) for row in scene.database.ask(grouped.sql)))
    condition = Where("COUNT(*)", draw.choice((">", ">", ">=")), str(count_of))
    said = than(condition.operator, condition.right, child.noun, child.plural)
    names = many(tables.parent.phrase(parent.label))
    templates = (
        f"Which {parent.plural} have {said}?",
        f"List the {names} of {parent.plural} with {said}.",
        f"Find the {parent.plural} that have {said}.",
        f"Name every {parent.noun} with {said}.",
    )
    query = Query((tables.label,), tables.source, group=tables.label, having=condition)
    return Asked(sentence(draw.choice(templates)), query)


def top(scene: Scene) -> Asked | None:
    """The parent with the most rows of the child, or of the first row of the child by a column."""
    tables = pair(scene)
    child, parent, draw = tables.child.table, tables.parent.table, scene.draw
    name = tables.parent.phrase(parent.label)
    column = _number(tables)
    if column is None or draw.chance(55):
        most = draw.chance(75)
        said = f"{'most' if most else 'fewest'} {child.plural}"
        templates = [
            f"Which {parent.noun} has the {said}?",
            f"What is the {name} of the {parent.noun} with the {said}?",
            f"Find the {parent.noun} with the {said}.",
        ]
        query = Query((tables.label,), tables.source, group=tables.label, order="COUNT(*)", descending=most, limit=1)
        return Asked(sentence(draw.choice(templates)), query)
    most = draw.chance(60)
    adjective = column.most if most else column.least
    which = f"the {child.noun} with the {'highest' if most else 'lowest'} {tables.child.phrase(column)}"
    if adjective and draw.chance(50):
        which = f"the {adjective} {child.noun}"
    templates = [
        f"What is the {name} of the {parent.noun} of {which}?",
        f"Which {parent.noun} has {which}?",
        f"Find the {parent.noun} of {which}.",
    ]
    query = Query((tables.label,), tables.source, order=tables.child.sql(column), descending=most, limit=1)
    return Asked(sentence(draw.choice(templates)), query)


def without(scene: Scene) -> Asked | None:
    """Rows of the parent that no row of the child names."""
    tables = pair(scene)
    child, parent, draw = tables.child.table, tables.parent.table, scene.draw
    named = Query((child.link.name,), child.name)
    none = Where(parent.key.name, "NOT IN", f"({named.sql})")
    said = draw.choice((f"have no {child.plural}", f"do not have any {child.plural}"))
    rows_of = About(
        parent.noun, parent.plural, draw.choice((f"without {child.plural}", f"with no {child.plural}")), said
    )
    if draw.chance(20):
        return Asked(asking.count(draw, rows_of), Query(("COUNT(*)",), parent.name, (none,)))
    columns = [parent.label]
    if draw.chance(35):
        columns.append(draw.choice([c for c in parent.columns if c.role not in ("key", "name")]))
    own = replace(tables.parent, qualified=False)
    question = asking.rows(draw, rows_of, [own.phrase(c) for c in columns], len(columns) == 1)
    where: tuple[Where, ...] = (none,)
    if draw.chance(15) and (condition := equal(own)):
        question = asking.rows(draw, _also(rows_of, condition), [own.phrase(c) for c in columns], len(columns) == 1)
        where = (condition.where, none)
    return Asked(question, Query(tuple(c.name for c in columns), parent.name, where))


def _also(rows_of: About, condition: Condition) -> About:
    return replace(rows_of, after=f"{condition.after} {rows_of.after}", said=f"{condition.many} and {rows_of.said}")


__all__ = ["count", "filtered", "group", "having", "listing", "lookup", "parents", "summary", "top", "without"]
