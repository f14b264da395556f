"""Deals questions for a database and keeps those whose answer says something. It knows no file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from text_to_sql.asking import Asked
from text_to_sql.conditions import Scene
from text_to_sql.database import Database
from text_to_sql.draw import Draw
from text_to_sql.kinds import ONE_TABLE, TWO_TABLES, Kind
from text_to_sql.query import Query

SYSTEM = "Answer with one SQLite query."
CARDS = 20
"""How many cards a database is offered for each question that it needs."""
TRIES = 40
"""How often a kind is tried before the card is laid aside: some kinds need luck, some a column the table lacks."""


@dataclass(frozen=True)
class Example:
    """One question with its query, and where both belong."""

    id: str
    kind: str
    database: Database
    question: str
    query: Query

    @property
    def row(self) -> dict[str, object]:
        """The example as a line of the file."""
        schema = self.database.domain
        return {
            "id": self.id,
            "schema_name": schema.name,
            "kind": self.kind,
            "database": f"databases/{schema.name}.sql",
            "messages": [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": f"{schema.text}\n\n{self.question}"},
                {"role": "assistant", "content": self.query.sql},
            ],
        }


def tells(database: Database, query: Query) -> bool:
    """Whether the query has an answer, in an order without ties, that none of the wrong queries gives."""
    ordered = bool(query.order)
    if ordered and database.has_ties(query):
        return False
    answer = database.answer(query, ordered)
    if not answer or all(value is None or value == 0 for row in answer for value in row):
        return False
    trivial = (Query(select, table.name) for table in database.domain.tables for select in (("*",), ("COUNT(*)",)))
    return all(database.answer(wrong, ordered) != answer for wrong in (*trivial, *query.wrong()))


class Deck:
    """Cards of all kinds, over and over, shuffled anew each time; a card that can't be played waits for its chance."""

    def __init__(self, draw: Draw) -> None:
        self._draw = draw
        self._waiting: list[Kind] = []

    def cards(self, count: int) -> Iterator[Kind]:
        """So many cards, those that waited first."""
        while len(self._waiting) < count:
            cards = [kind for kind in (*ONE_TABLE, *TWO_TABLES) for _ in range(kind.weight)]
            self._waiting += self._draw.shuffled(cards)
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        yield from taken

    def put_back(self, cards: list[Kind]) -> None:
        """Cards that were not played come first the next time."""
        self._waiting = cards + self._waiting


def deal(database: Database, deck: Deck, seed: int, count: int, taken: set[str]) -> list[Example]:
    """So many examples for a database; ``taken`` holds the questions of all databases so far, and grows."""
    name = database.domain.name
    found: list[Example] = []
    asked: set[str] = set()
    unplayed: list[Kind] = []
    for place, kind in enumerate(deck.cards(CARDS * count)):
        example = None
        if len(found) < count:
            example = _play(database, kind, Draw(seed, "question", name, place), taken, asked)
        if example is None:
            unplayed.append(kind)
            continue
        asked.add(example.query.sql)
        taken.add(example.question)
        found.append(Example(f"{name}-{len(found) + 1:03}", kind.name, database, example.question, example.query))
    assert len(found) == count, f"{name} has too few questions in it"
    deck.put_back(unplayed)
    return found


def _play(database: Database, kind: Kind, draw: Draw, taken: set[str], asked: set[str]) -> Asked | None:
    """A question of a kind that is new and tells something; none where no try finds one."""
    tables = database.domain.tables
    if kind in TWO_TABLES and len(tables) == 1:
        return None
    for _ in range(TRIES):
        # The second table has more columns, hence more to ask for.
        table = tables[-1] if draw.chance(65) else tables[0]
        example = kind.ask(Scene(draw, database, table))
        if example is None or example.question in taken or example.query.sql in asked:
            continue
        if tells(database, example.query):
            return example
    return None
