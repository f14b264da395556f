"""The content of a row as a short name: canonical JSON, then BLAKE2b. It knows no file and no split."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any
from uuid import UUID

DIGEST_BYTES = 8


def _stand_in(value: Any) -> Any:
    """What a value that is no JSON counts as: its type and a digest of its bytes.

    Raises:
        TypeError: for a value whose content cannot be read as bytes.
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"bytes": hashlib.blake2b(value, digest_size=16).hexdigest()}
    if hasattr(value, "tobytes"):  # numpy arrays and PIL pictures alike
        shape = [str(getattr(value, name, "")) for name in ("shape", "dtype", "size", "mode")]
        return {"array": shape, "bytes": hashlib.blake2b(value.tobytes(), digest_size=16).hexdigest()}
    raise TypeError(f"a value of type {type(value).__name__}, which has no content to compare rows by")


_canonical = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=_stand_in).encode


def canonical_json(value: Any) -> bytes:
    """The value as UTF-8 JSON with sorted keys and no spaces: equal content gives equal bytes.

    Raises:
        UnicodeEncodeError: where a text holds half a character (a lone surrogate).
        TypeError: where a value has no content that could be compared.
    """
    return _canonical(value).encode()


_ordered = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_stand_in).encode


def ordered_json(value: Any) -> bytes:
    """The value as UTF-8 JSON with its keys in their own order, which a chat template writes out."""
    return _ordered(value).encode()


def canonical_texts(values: Mapping[str, str]) -> bytes:
    """`canonical_json` of a mapping that holds texts only, several times faster.

    Raises:
        UnicodeEncodeError: where a text holds half a character.
    """
    members = [f"{encode_basestring(name)}:{encode_basestring(values[name])}" for name in sorted(values)]
    return f"{{{','.join(members)}}}".encode()


def digest_number(content: bytes) -> int:
    """The content's digest as an unsigned 64-bit number."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest(), "big")


def content_number(row: Mapping[str, Any], columns: Sequence[str]) -> int:
    """The digest of the named columns' values as a number; a column that the row lacks counts as null."""
    return digest_number(canonical_json([row.get(column) for column in columns]))


def content_digest(row: Mapping[str, Any], columns: Sequence[str]) -> str:
    """The digest of the named columns' values, 16 hexadecimal characters; the order of the columns counts."""
    return f"{content_number(row, columns):016x}"


def plain(value: Any) -> tuple[Any, bool]:
    """The value in JSON's own types where it has an exact one, and whether all of it is JSON now.

    Tuples become lists, numpy scalars numbers, dates ISO text, decimals text; bytes, arrays and pictures stay.
    """
    if value is None or isinstance(value, (str, int, float)):
        return value, True
    if isinstance(value, Mapping):
        pairs = [(str(key), *plain(item)) for key, item in value.items()]
        return {key: item for key, item, _ in pairs}, all(whole for _, _, whole in pairs)
    if isinstance(value, (list, tuple)):
        items = [plain(item) for item in value]
        return [item for item, _ in items], all(whole for _, whole in items)
    if isinstance(value, (datetime, date, time, Decimal, UUID)):
        return value.isoformat() if hasattr(value, "isoformat") else str(value), True
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return plain(value.item())
    return value, False


def plain_columns(raw: Mapping[str, Any], used: Container[str], dropped: Counter[str]) -> dict[str, Any]:
    """The columns of a row that nobody used, as far as they are JSON; ``dropped`` counts those that are not."""
    kept: dict[str, Any] = {}
    for name, value in raw.items():
        if name not in used:
            item, whole = plain(value)
            if whole:
                kept[name] = item
            else:
                dropped[name] += 1
    return kept


def bytes_in_memory(value: Any) -> int:
    """About how many bytes a value holds in memory."""
    if isinstance(value, Mapping):
        return sum(bytes_in_memory(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return sum(bytes_in_memory(item) for item in value)
    if isinstance(value, (bytes, bytearray, str)):
        return len(value)
    if hasattr(value, "getbands"):  # a PIL picture
        return int(value.width * value.height * len(value.getbands()))
    return int(getattr(value, "nbytes", 32))
