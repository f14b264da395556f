"""The items of a diagnosis, and rows to learn from, read from a file. It knows no model and no judging.

An item is ``{input, reference}`` with ``gold`` and ``slice`` where they are known, or a conversation in any shape that
training takes, whose last answer is the reference.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunesmith.data.source import RowStore, read_rows
from tunesmith.diagnose.found import Item
from tunesmith.errors import UserError
from tunesmith.language.answers.exact import normalised
from tunesmith.language.columns import asked_in
from tunesmith.language.messages import Message, Misfit
from tunesmith.language.rows import ConversationShape, answer_of, prompt_of

WANTED_ITEMS = 100
"""With fewer, most differences are within chance."""
_OURS = ("id", "input", "reference", "references", "gold", "slice", "system")
_EXAMPLE = '{"input": "What is the fee?", "reference": "40 euros", "gold": "The fee is 40 euros."}'


def read_items(path: str | Path, *, limit: int | None = None) -> list[Item]:
    """Read items from CSV, TSV, JSON, JSONL or Parquet.

    Columns: ``input`` (a text, or messages), ``reference`` (a text, number or JSON value) or ``references`` (a list of
    answers that are all right, the preferred one first), ``gold`` (the passage that holds the answer), ``slice``,
    ``system``. What else a row has goes to ``Item.row``; a ``database`` is found beside the file. Rows without
    ``input`` and ``reference`` are read as conversations: messages, question and answer, Alpaca, ShareGPT.

    Args:
        path: The file.
        limit: Read only the first so many.

    Raises:
        UserError: It can't be read, or a row is no item; the place names its line.
    """
    try:
        rows = read_rows(path, broken_rows=0.0, limit=limit)
    except UserError as fault:
        # What a recipe may accept, a measurement can't.
        if "broken_rows" in fault.fix:
            raise UserError(fault.what, fault.where, "mend them, or leave them out") from fault
        raise
    assert isinstance(rows, RowStore)
    shape = ConversationShape("conversation")
    folder = Path(path).parent
    return [_item(row, rows.place(number), number, shape, folder) for number, row in enumerate(rows)]


def few_items(items: Sequence[Item]) -> str:
    """What is to be said of how many items there are; empty where they are enough."""
    if len(items) >= WANTED_ITEMS:
        return ""
    return (
        f"{len(items):,} items are few: at least {WANTED_ITEMS} are wanted, since with fewer a difference has to be "
        "large to be told from chance"
    )


def without_items(rows: Sequence[Item], items: Sequence[Item]) -> list[Item]:
    """Rows to learn or show that ask nothing that an item asks, case, signs and blanks aside."""
    asked = {asked_words(item) for item in items}
    return [row for row in rows if asked_words(row) not in asked]


def asked_words(item: Item) -> str:
    """What an item asks, system message included, as it is compared: without case, extra blanks, a final sign."""
    return "\n".join(normalised(str(message["content"])) for message in item.messages)


def same_questions(items: Sequence[Item]) -> list[list[int]]:
    """Numbers of items that ask the same as another, in groups of two or more."""
    groups: dict[str, list[int]] = {}
    for number, item in enumerate(items):
        groups.setdefault(asked_words(item), []).append(number)
    return [group for group in groups.values() if len(group) > 1]


def majority_answer(items: Sequence[Item]) -> str:
    """The reference that most items have; of several the first."""
    return Counter(item.references[0] for item in items).most_common(1)[0][0]


def conversation_of(item: Item, answer: str | None = None) -> list[Message]:
    """An item as messages, its preferred reference (or another answer) last."""
    said = item.references[0] if answer is None else answer
    return [*(dict(message) for message in item.messages), {"role": "assistant", "content": said}]


def _item(row: Mapping[str, Any], place: str, number: int, shape: ConversationShape, folder: Path) -> Item:
    if row.get("input") is not None and (row.get("reference") is not None or row.get("references") is not None):
        messages, references = _asked(row, place), _references(row, place)
    else:
        if row.get("input") is not None and not any(row.get(name) is not None for name in ("output", "messages")):
            raise UserError("an item has no 'reference'", place, f"write rows such as {_EXAMPLE}")
        made = shape(row)
        if isinstance(made, str):
            raise UserError(f"an item {made}", place, f"write rows such as {_EXAMPLE}")
        messages, references = prompt_of(made), (answer_of(made),)
    if not messages:
        raise UserError("an item asks nothing: it is raw text", place, f"write rows such as {_EXAMPLE}")
    if not all(reference.strip() for reference in references):
        raise UserError("an item has an empty reference", place, "give it the answer that is wanted, or leave it out")
    asked = "\n\n".join(str(m["content"]) for m in messages if m["role"] not in ("system", "developer"))
    if not asked.strip():
        raise UserError("an item has an empty input", place, "write what the model is asked, or leave it out")
    line = place.rpartition(":")[2] if ":" in place else place.rpartition(" ")[2]
    beside = {name: value for name, value in row.items() if name not in (*_OURS, "messages") and value is not None}
    return Item(
        id=str(row["id"]),
        input=asked,
        references=references,
        gold=_text(row, "gold", place),
        slice=_text(row, "slice", place),
        messages=tuple(messages),
        line=int(line) if line.isdecimal() else number + 1,
        row=_placed(beside, folder),
    )


def _asked(row: Mapping[str, Any], place: str) -> list[Message]:
    try:
        messages = asked_in(row, "input", Counter())
    except Misfit as fault:
        raise UserError(f"an item's {fault}", place, "let input be a text, or a list of messages") from fault
    if messages[-1]["role"] == "assistant":
        raise UserError("an item's input ends with an answer", place, "put the last answer into 'reference'")
    system = _text(row, "system", place)
    if system and messages[0]["role"] not in ("system", "developer"):
        messages.insert(0, {"role": "system", "content": system})
    return messages


def _references(row: Mapping[str, Any], place: str) -> tuple[str, ...]:
    several = row.get("references")
    if several is None:
        return (_written(row["reference"]),)
    if isinstance(several, str) and several.lstrip().startswith("["):
        try:
            several = json.loads(several)
        except ValueError as fault:
            raise UserError(f"an item's references are no JSON list ({fault})", place, "write a list") from fault
    if not isinstance(several, list) or not several:
        raise UserError("an item's references are no list", place, "write a list of answers that are all right")
    first = () if row.get("reference") is None else (_written(row["reference"]),)
    return tuple(dict.fromkeys((*first, *map(_written, several))))


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _text(row: Mapping[str, Any], name: str, place: str) -> str:
    value = row.get(name)
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return "\n\n".join(value)
    if isinstance(value, dict | list):
        raise UserError(f"an item's {name} is no text", place, f"write {name} as a text")
    return str(value)


def _placed(row: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A row whose database can be opened from anywhere: an absolute path, or what a ``.sql`` file says."""
    named = row.get("database")
    if not isinstance(named, str):
        return row
    file = folder / named
    if file.suffix != ".sql" or not file.is_file():
        return {**row, "database": str(file.absolute() if file.exists() else named)}
    script = file.read_text(encoding="utf-8", errors="replace")
    return {**{name: value for name, value in row.items() if name != "database"}, "schema": script}
