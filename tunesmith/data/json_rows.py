"""JSON and JSONL: records one by one, each with its line. It knows no other format and no limits."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, TextIO

from tunesmith.data.reading import Fault, Record
from tunesmith.data.text_file import TextFile
from tunesmith.errors import UserError

WHOLE_BYTES = 256 * 2**20

_BETWEEN = re.compile(r"[\s]*")
_KINDS = {list: "a list", str: "a text", int: "a number", float: "a number", bool: "a truth value", type(None): "null"}


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), type(value).__name__)


def is_jsonl(head: str) -> bool:
    """Whether a text that begins with ``{`` is one object a line, rather than one object over all of it."""
    first, _, rest = head.lstrip().partition("\n")
    try:
        value = json.loads(first)
    except (ValueError, RecursionError):
        return False
    if not isinstance(value, dict):
        return False
    return bool(rest.strip()) or _list_of_rows(value) is None


def read_jsonl(text: TextIO, file: TextFile) -> Iterator[Record]:
    """One object a line; blank lines are skipped."""
    for number, line in enumerate(text, 1):
        if reason := file.garbage(line):
            yield number, Fault(reason)
            continue
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            yield number, Fault(f"is not valid JSON at column {error.colno} ({error.msg})")
        except (ValueError, RecursionError) as error:
            yield number, Fault(f"is JSON that cannot be read ({error})")
        else:
            yield number, value if isinstance(value, dict) else Fault(f"is {_kind(value)}, not an object")


def _list_of_rows(value: dict[str, Any]) -> list[Any] | None:
    """The rows inside an object: under "data", or under the only key that holds a list of objects."""
    lists = {
        key: item for key, item in value.items() if isinstance(item, list) and (not item or isinstance(item[0], dict))
    }
    if "data" in lists:
        return lists["data"]
    return next(iter(lists.values())) if len(lists) == 1 else None


def read_json(text: TextIO, file: TextFile) -> Iterator[Record]:
    """The objects of an array, or of the array that an object holds under "data"; read whole.

    Raises:
        UserError: where the file is too large to be read whole, is not valid JSON, or holds no array of objects.
    """
    if file.size > WHOLE_BYTES:
        raise UserError(
            f"a JSON array has to be read whole, and this one has {file.size:,} bytes",
            file.label,
            f"write it as JSONL, one object a line: jq -c '.[]' {file.label} > rows.jsonl",
        )
    content = text.read()
    try:
        if content.lstrip()[:1] == "[":
            yield from _elements(content, file.label)
            return
        value = json.loads(content)
    except json.JSONDecodeError as error:
        raise UserError(
            f"this is not valid JSON: {error.msg}", f"{file.label}:{error.lineno}:{error.colno}", "mend the file there"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"this JSON cannot be read ({error})", file.label, "write the rows as JSONL") from error
    rows = _list_of_rows(value) if isinstance(value, dict) else None
    if rows is None:
        holds = f"an object with the keys {', '.join(list(value)[:8])}" if isinstance(value, dict) else _kind(value)
        raise UserError(
            f"the file holds {holds}, not rows", file.label, 'write an array of objects, or {"data": [...]}'
        )
    for number, row in enumerate(rows, 1):
        yield number, row if isinstance(row, dict) else Fault(f"is element {number:,}: {_kind(row)}, not an object")


def _elements(content: str, label: str) -> Iterator[Record]:
    """The elements of a top-level array, each with the line where it begins."""
    decode = json.JSONDecoder().raw_decode
    place = _skip(content, content.index("[") + 1)
    line, counted = 1, 0
    if content[place : place + 1] == "]":
        _end(content, place)
        return
    while True:
        line += content.count("\n", counted, place)
        counted = place
        value, place = decode(content, place)
        yield line, value if isinstance(value, dict) else Fault(f"is {_kind(value)}, not an object")
        place = _skip(content, place)
        if content[place : place + 1] == "]":
            _end(content, place)
            return
        if content[place : place + 1] != ",":
            raise json.JSONDecodeError("Expecting ',' delimiter", content, place)
        place = _skip(content, place + 1)


def _skip(content: str, place: int) -> int:
    match = _BETWEEN.match(content, place)
    return match.end() if match else place


def _end(content: str, place: int) -> None:
    if content[place + 1 :].strip():
        raise json.JSONDecodeError("Extra data", content, _skip(content, place + 1))
