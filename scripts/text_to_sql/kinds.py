"""The kinds of questions and how often each is drawn. It knows how to make none of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from text_to_sql import conditions, groups, one_table, two_tables
from text_to_sql.asking import Asked
from text_to_sql.conditions import Scene
from text_to_sql.one_table import filtered_by


@dataclass(frozen=True)
class Kind:
    """A kind of question; ``weight`` is how many of its cards are in the deck."""

    name: str
    weight: int
    ask: Callable[[Scene], Asked | None]


ONE_TABLE = (
    Kind("list", 1, one_table.listing),
    Kind("lookup", 3, one_table.lookup),
    Kind("equal", 3, filtered_by(conditions.equal)),
    Kind("compare", 4, filtered_by(conditions.compare)),
    Kind("exact", 1, filtered_by(conditions.exact)),
    Kind("between", 2, filtered_by(conditions.between)),
    Kind("like", 2, filtered_by(conditions.like)),
    Kind("in", 2, filtered_by(conditions.one_of)),
    Kind("null", 2, filtered_by(conditions.missing)),
    Kind("not_equal", 1, filtered_by(conditions.unequal)),
    Kind("date_year", 2, filtered_by(conditions.in_year)),
    Kind("and", 3, one_table.both),
    Kind("or", 1, one_table.either),
    Kind("count", 4, one_table.count),
    Kind("aggregate", 4, one_table.summary),
    Kind("top", 4, one_table.top),
    Kind("order", 2, one_table.sort),
    Kind("against_average", 2, one_table.average_row),
    Kind("distinct", 1, groups.distinct),
    Kind("count_distinct", 1, groups.count_distinct),
    Kind("group_count", 2, groups.group_count),
    Kind("group_aggregate", 2, groups.group_summary),
    Kind("having", 2, groups.having),
    Kind("top_group", 1, groups.top_group),
)
TWO_TABLES = (
    Kind("join_filter", 5, two_tables.filtered),
    Kind("join_list", 2, two_tables.listing),
    Kind("join_lookup", 2, two_tables.lookup),
    Kind("join_count", 2, two_tables.count),
    Kind("join_aggregate", 2, two_tables.summary),
    Kind("join_distinct", 1, two_tables.parents),
    Kind("join_group", 2, two_tables.group),
    Kind("join_having", 1, two_tables.having),
    Kind("join_top", 2, two_tables.top),
    Kind("not_in", 2, two_tables.without),
)
