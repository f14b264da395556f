"""The domains, written by hand: 68 to learn from and 18 held out. They know no data and no question."""

from __future__ import annotations

from text_to_sql.domains.culture import CULTURE
from text_to_sql.domains.held_out_nature import HELD_OUT_NATURE
from text_to_sql.domains.held_out_people import HELD_OUT_PEOPLE
from text_to_sql.domains.nature import NATURE
from text_to_sql.domains.people import PEOPLE_AND_PLACES
from text_to_sql.domains.trade import TRADE
from text_to_sql.domains.travel import TRAVEL
from text_to_sql.domains.work import WORK

TRAIN = (*CULTURE, *TRADE, *WORK, *PEOPLE_AND_PLACES, *TRAVEL, *NATURE)
HELD_OUT = (*HELD_OUT_NATURE, *HELD_OUT_PEOPLE)

__all__ = ["HELD_OUT", "TRAIN"]
