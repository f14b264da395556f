"""Questions for rows, counts and sums, in many wordings. It knows no SQL."""

from __future__ import annotations

from dataclasses import dataclass

from text_to_sql.conditions import Condition
from text_to_sql.draw import Draw
from text_to_sql.query import Query
from text_to_sql.schema import Table
from text_to_sql.wording import listed, many, sentence


@dataclass(frozen=True)
class Asked:
    """A question with the query that answers it."""

    question: str
    query: Query


@dataclass(frozen=True)
class About:
    """The rows a question is about: what they are called and what is said of them."""

    noun: str
    plural: str
    after: str = ""
    said: str = ""
    """What a question with ``which`` says of them; empty where nothing restricts them."""

    @property
    def all(self) -> str:
        """The noun with what follows it, for many rows."""
        return f"{self.plural} {self.after}".rstrip()

    @property
    def each(self) -> str:
        """The noun with what follows it, for one row."""
        return f"{self.noun} {self.after}".rstrip()


def about(table: Table, *conditions: Condition, joint: str = "and") -> About:
    """The rows of a table under conditions."""
    after = f" {joint} ".join(one.after for one in conditions)
    return About(table.noun, table.plural, after, f" {joint} ".join(one.many for one in conditions))


_WHICH = (
    "Which {all_said}?",
    "Which {all_said}?",
    "Which {all_said}?",
    "What are the {columns} of the {all}?",
    "List the {columns} of all {all}.",
    "List the {columns} of {all}.",
    "Give me the {column} of every {each}.",
    "Find the {columns} of {all}.",
    "Show the {column} of each {each}.",
    "I'd like the {columns} of {all}.",
    "Name all {all}.",
    "Name the {all}.",
    "Can you name the {plural} that {said}?",
    "{columns} of {all}?",
)
_COLUMNS = (
    "List the {column} of all {all}.",
    "List the {column} of {all}.",
    "Show the {column} of every {each}.",
    "Show me the {column} of all {all}.",
    "What are the {columns} of {all}?",
    "What are the {columns} of the {all}?",
    "For {all}, give the {column}.",
    "Give the {column} for each {each}.",
    "Return the {column} of the {all}.",
    "Find all {all} and show their {column}.",
    "I need the {column} of {all}.",
    "Tell me the {column} of each {each}.",
    "{columns} of {all}?",
)
_COUNTS = (
    "How many {all_said}?",
    "How many {all_said}?",
    "How many {all_said}?",
    "Count the {all}.",
    "Count all {all}.",
    "What is the number of {all}?",
    "Tell me how many {all_said}.",
    "Find the number of {all}.",
    "How many {all} are there?",
    "Give the number of {all}.",
)
_VALUES = (
    "What is the {value} of {all}?",
    "What is the {value} of all {all}?",
    "Find the {value} of {all}.",
    "Give me the {value} of the {all}.",
    "Calculate the {value} of all {all}.",
    "Show the {value} for {all}.",
    "Tell me the {value} across all {all}.",
    "I need the {value} of the {all}.",
)


def rows(draw: Draw, rows_of: About, columns: list[str], label: bool) -> str:
    """A question for columns of rows; with ``label``, for what the rows are called."""
    templates: tuple[str, ...] = _WHICH if label else _COLUMNS
    if not rows_of.said:
        templates = _COLUMNS
    words = listed(columns)
    return _filled(draw.choice(templates), rows_of, column=words, columns=listed([many(one) for one in columns]))


def count(draw: Draw, rows_of: About) -> str:
    """A question for how many rows there are."""
    templates = _COUNTS if rows_of.said else tuple(one for one in _COUNTS if "{all_said}" not in one)
    return _filled(draw.choice(templates), rows_of)


def value(draw: Draw, rows_of: About, words: str) -> str:
    """A question for one number over rows: ``average price``."""
    return _filled(draw.choice(_VALUES), rows_of, value=words)


def _filled(template: str, rows_of: About, **words: str) -> str:
    return sentence(
        template.format(
            all=rows_of.all,
            each=rows_of.each,
            plural=rows_of.plural,
            said=rows_of.said,
            all_said=f"{rows_of.plural} {rows_of.said}",
            **words,
        )
    )
