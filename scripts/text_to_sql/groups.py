"""Questions about the groups of one table's rows, each with its query. It knows no second table and no answer."""

from __future__ import annotations

from text_to_sql.asking import Asked
from text_to_sql.conditions import Scene
from text_to_sql.database import shown
from text_to_sql.query import Query, Where
from text_to_sql.schema import Column
from text_to_sql.wording import a, many, sentence

AGGREGATES = {
    "AVG": ("average", "average", "mean"),
    "SUM": ("total", "total", "combined"),
    "MAX": ("highest", "maximum", "largest"),
    "MIN": ("lowest", "minimum", "smallest"),
}


def aggregate(scene: Scene, column: Column) -> tuple[str, str]:
    """An aggregate that means something for a column, and a word for it."""
    if column.role != "number":
        one = scene.draw.choice(("MAX", "MIN"))
        return one, scene.draw.choice({"MAX": ("latest", "most recent"), "MIN": ("earliest", "earliest")}[one])
    one = scene.draw.choice(("AVG", "AVG", "MAX", "MIN", "SUM", "SUM") if column.sums else ("AVG", "AVG", "MAX", "MIN"))
    return one, scene.draw.choice(AGGREGATES[one])


def distinct(scene: Scene) -> Asked | None:
    """The different values of a column."""
    column = scene.column(scene.table.of_role("category", whole=True))
    if column is None:
        return None
    phrases, plural = many(scene.phrase(column)), scene.table.plural
    templates = (
        f"What different {phrases} are there among the {plural}?",
        f"List the distinct {phrases} of the {plural}.",
        f"Show every {scene.phrase(column)} that occurs among the {plural}, each once.",
        f"Which different {phrases} do the {plural} have?",
        f"Give the {phrases} of the {plural} without duplicates.",
    )
    query = Query((column.name,), scene.table.name, distinct=True)
    return Asked(sentence(scene.draw.choice(templates)), query)


def count_distinct(scene: Scene) -> Asked | None:
    """How many different values a column has."""
    column = scene.column(scene.table.of_role("category", whole=True))
    if column is None:
        return None
    phrases, plural = many(scene.phrase(column)), scene.table.plural
    templates = (
        f"How many different {phrases} are there among the {plural}?",
        f"How many different {phrases} do the {plural} have?",
        f"Count the distinct {phrases} of the {plural}.",
        f"What is the number of different {phrases} among the {plural}?",
    )
    query = Query((f"COUNT(DISTINCT {column.name})",), scene.table.name)
    return Asked(sentence(scene.draw.choice(templates)), query)


def _group(scene: Scene) -> Column | None:
    return scene.column(scene.table.of_role("category", whole=True))


def group_count(scene: Scene) -> Asked | None:
    """How many rows each value has."""
    group = _group(scene)
    if group is None:
        return None
    phrase, plural = scene.phrase(group), scene.table.plural
    templates = (
        f"How many {plural} are there for each {phrase}?",
        f"How many {plural} are there per {phrase}?",
        f"Show each {phrase} and its number of {plural}.",
        f"Count the {plural} of each {phrase}.",
        f"For every {phrase}, give the number of {plural}.",
        f"List the {many(phrase)} with the number of {plural} in each.",
        f"Number of {plural} by {phrase}?",
    )
    query = Query((group.name, "COUNT(*)"), scene.table.name, group=group.name)
    return Asked(sentence(scene.draw.choice(templates)), query)


def group_summary(scene: Scene) -> Asked | None:
    """An aggregate for each value of another column."""
    group, column = _group(scene), scene.column(scene.table.of_role("number", whole=True))
    if group is None or column is None:
        return None
    name, word = aggregate(scene, column)
    phrase, value, plural = scene.phrase(group), f"{word} {scene.phrase(column)}", scene.table.plural
    templates = (
        f"What is the {value} per {phrase}?",
        f"What is the {value} of the {plural} for each {phrase}?",
        f"Show each {phrase} with the {value} of its {plural}.",
        f"For every {phrase}, give the {value} of the {plural}.",
        f"Show the {value} by {phrase}.",
        f"Find the {value} for each {phrase} of the {plural}.",
    )
    query = Query((group.name, f"{name}({column.name})"), scene.table.name, group=group.name)
    return Asked(sentence(scene.draw.choice(templates)), query)


def than(operator: str, number: str, noun: str, plural: str) -> str:
    """Words for more or less than a number of things."""
    words = {">": "more than {}", "<": "fewer than {}", ">=": "at least {}", "<=": "at most {}"}
    return words[operator].format(f"one {noun}" if number == "1" else f"{number} {plural}")


def _by_count(scene: Scene, group: Column) -> tuple[Where, str]:
    """A border for the number of rows, in SQL and in words."""
    query = Query(("COUNT(*)",), scene.table.name, group=group.name)
    counts = sorted(int(str(row[0])) for row in scene.database.ask(query.sql))
    condition = Where("COUNT(*)", scene.draw.choice((">", ">", ">=", "<")), str(scene.draw.choice(counts)))
    return condition, than(condition.operator, condition.right, scene.table.noun, scene.table.plural)


def _by_measure(scene: Scene, group: Column, column: Column) -> tuple[Where, str]:
    """A border for an average or a total, a round number between those of two groups."""
    draw = scene.draw
    name = draw.choice(("AVG", "AVG", "SUM")) if column.sums else "AVG"
    found = scene.database.ask(Query((f"{name}({column.name})",), scene.table.name, group=group.name).sql)
    low, high = sorted(float(str(draw.choice(found)[0])) for _ in range(2))
    border = shown(round((low + high) / 2, 1 if high < 20 else -1 if high > 200 else 0))
    operator, side = draw.choice(((">", "above"), (">", "above"), ("<", "below")))
    value = f"{draw.choice(AGGREGATES[name])} {scene.phrase(column)}"
    return Where(f"{name}({column.name})", operator, border), f"{a(value)} {side} {border}"


def having(scene: Scene) -> Asked | None:
    """Values that many or few rows have, or whose rows have a high or low average."""
    group = _group(scene)
    if group is None:
        return None
    phrase = scene.phrase(group)
    column = scene.column(scene.table.of_role("number", whole=True))
    if column is None or scene.draw.chance(60):
        condition, said = _by_count(scene, group)
    else:
        condition, said = _by_measure(scene, group, column)
    templates = (
        f"Which {many(phrase)} have {said}?",
        f"Which {many(phrase)} have {said}?",
        f"List the {many(phrase)} with {said}.",
        f"Find every {phrase} with {said}.",
        f"Show the {many(phrase)} that have {said}.",
    )
    query = Query((group.name,), scene.table.name, group=group.name, having=condition)
    return Asked(sentence(scene.draw.choice(templates)), query)


def top_group(scene: Scene) -> Asked | None:
    """The value that the most or the fewest rows have."""
    group = _group(scene)
    if group is None:
        return None
    phrase, plural, most = scene.phrase(group), scene.table.plural, scene.draw.chance(65)
    templates = [
        f"Which {phrase} has the {'most' if most else 'fewest'} {plural}?",
        f"Find the {phrase} with the {'most' if most else 'fewest'} {plural}.",
        f"What is the {'most' if most else 'least'} common {phrase} among the {plural}?",
        f"Which {phrase} is the {'most' if most else 'least'} frequent among the {plural}?",
    ]
    query = Query((group.name,), scene.table.name, group=group.name, order="COUNT(*)", descending=most, limit=1)
    return Asked(sentence(scene.draw.choice(templates)), query)
