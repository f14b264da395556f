"""Notion's rich text and page properties as plain Markdown. It asks nothing.

Bold and colours are left out on purpose: a quote of the text must be found in it letter by letter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

Json = Mapping[str, Any]
Titles = Mapping[str, str]


def text_of(pieces: Sequence[Json] | None) -> str:
    """Rich text as one string: links kept, struck-out text marked as such, equations between dollar signs."""
    return "".join(_piece(piece) for piece in pieces or ())


def _piece(piece: Json) -> str:
    plain = str(piece.get("plain_text") or "")
    if piece.get("type") == "equation":
        plain = f"${piece['equation']['expression']}$"
    if not plain.strip():
        return plain
    if (piece.get("annotations") or {}).get("strikethrough"):
        plain = f"~~{plain}~~"
    link = piece.get("href")
    return f"[{plain}]({link})" if link and link != plain else plain


def file_of(content: Json) -> tuple[str, str]:
    """Name and address of a file. Of those that Notion keeps, the address is signed anew at each reading: it is cut."""
    kind = content.get("type")
    address = str((content.get(str(kind)) or {}).get("url") or content.get("url") or "")
    if kind in {"file", "file_upload"}:
        address = urlunsplit(urlsplit(address)._replace(query="", fragment=""))
    return str(content.get("name") or address.rpartition("/")[2]), address


def title_of(page: Json) -> str:
    """A page's or a database's title; empty if it has none."""
    if isinstance(page.get("title"), list):
        return text_of(page["title"]).strip()
    for value in (page.get("properties") or {}).values():
        if isinstance(value, Mapping) and value.get("type") == "title":
            return text_of(value.get("title")).strip()
    return ""


def property_text(value: Json, titles: Titles) -> str | None:
    """A property's value as text; empty if it has none, None if its type is not known.

    Args:
        value: As a page gives it, or as an item of a list of property items.
        titles: Of pages, for relations.
    """
    kind = str(value.get("type"))
    if kind not in _PROPERTIES:
        return None
    inner = value.get(kind)
    if inner is None:
        return ""
    return _PROPERTIES[kind](inner, titles)


def _named(inner: Any, _: Titles) -> str:
    return str(inner.get("name") or "")


def _plain(inner: Any, _: Titles) -> str:
    return str(inner)


def _rich(inner: Any, _: Titles) -> str:
    # An item of a paged list holds one piece, a whole property holds all.
    return text_of(inner if isinstance(inner, list) else [inner])


def _number(inner: Any, _: Titles) -> str:
    return f"{inner:g}" if isinstance(inner, float) and inner.is_integer() and abs(inner) < 1e15 else str(inner)


def _date(inner: Any, _: Titles) -> str:
    ends = [str(inner[name]) for name in ("start", "end") if inner.get(name)]
    zone = f" {inner['time_zone']}" if inner.get("time_zone") else ""
    return " to ".join(ends) + zone


def _person(inner: Any, _: Titles) -> str:
    return str(inner.get("name") or (inner.get("person") or {}).get("email") or inner.get("id") or "")


def _each(one: Callable[[Any, Titles], str]) -> Callable[[Any, Titles], str]:
    def join(inner: Any, titles: Titles) -> str:
        return ", ".join(filter(None, (one(part, titles) for part in (inner if isinstance(inner, list) else [inner]))))

    return join


def _file(inner: Any, _: Titles) -> str:
    name, address = file_of(inner)
    return f"[{name}]({address})" if address else name


def _related(inner: Any, titles: Titles) -> str:
    id = str(inner.get("id") or "")
    return titles.get(id) or id


def _computed(inner: Any, titles: Titles) -> str:
    """A formula or a rollup: its value carries its type."""
    kind = str(inner.get("type"))
    found = inner.get(kind)
    if found is None or kind in {"incomplete", "unsupported"}:
        return ""
    if kind == "array":
        return ", ".join(filter(None, (property_text(item, titles) or "" for item in found)))
    if kind == "date":
        return _date(found, titles)
    return _number(found, titles) if kind == "number" else _truth(found, titles) if kind == "boolean" else str(found)


def _truth(inner: Any, _: Titles) -> str:
    return "yes" if inner else "no"


def _unique(inner: Any, _: Titles) -> str:
    number = inner.get("number")
    prefix = inner.get("prefix")
    return "" if number is None else f"{prefix}-{number}" if prefix else str(number)


def _verified(inner: Any, _: Titles) -> str:
    return str(inner.get("state") or "")


def _place(inner: Any, _: Titles) -> str:
    return ", ".join(str(inner[name]) for name in ("name", "address") if inner.get(name))


def _nothing(_: Any, __: Titles) -> str:
    return ""


_PROPERTIES: dict[str, Callable[[Any, Titles], str]] = {
    "title": _rich,
    "rich_text": _rich,
    "number": _number,
    "select": _named,
    "status": _named,
    "multi_select": _each(_named),
    "date": _date,
    "people": _each(_person),
    "files": _each(_file),
    "checkbox": _truth,
    "url": _plain,
    "email": _plain,
    "phone_number": _plain,
    "formula": _computed,
    "rollup": _computed,
    "relation": _each(_related),
    "created_time": _plain,
    "last_edited_time": _plain,
    "created_by": _person,
    "last_edited_by": _person,
    "unique_id": _unique,
    "verification": _verified,
    "place": _place,
    "button": _nothing,
}
