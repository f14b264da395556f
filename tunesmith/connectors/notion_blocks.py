"""Notion's blocks as Markdown, each of them counted: what is not rendered is named. It asks nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tunesmith.connectors.notion_text import Titles, file_of, text_of
from tunesmith.connectors.receipt import Parts

Json = Mapping[str, Any]
LIST_ITEMS = {"bulleted_list_item", "numbered_list_item", "to_do", "toggle"}
CONTAINERS = {"column_list", "column", "synced_block", "tab", "template"}
NAVIGATION = {"breadcrumb", "table_of_contents"}
MEDIA = {"image", "video", "pdf", "file", "audio"}
ADDRESSES = {"bookmark", "embed", "link_preview"}
FENCE = "```"


class Rendering:
    """Markdown of a page's blocks. A block is as the API gives it, its children under ``children``,
    the text of its file under ``attached`` (empty if it could not be read).

    Args:
        titles: Of pages and databases, for links to them.
        parts: Where blocks are counted.
    """

    def __init__(self, titles: Titles, parts: Parts) -> None:
        self._titles, self._parts = titles, parts

    def blocks(self, blocks: Sequence[Json]) -> str:
        """All of them, one after another; blocks without text leave no gap."""
        lines, before, number = "", "", 0
        for block in blocks:
            kind = str(block.get("type"))
            content = block.get(kind) or {}
            number = number + 1 if kind == before == "numbered_list_item" else int(content.get("list_start_index") or 1)
            text = self._block(block, kind, content, number)
            if text.strip():
                close = kind == before and kind in LIST_ITEMS
                lines += ("" if not lines else "\n" if close else "\n\n") + text
            before = kind
        return lines

    def _block(self, block: Json, kind: str, content: Json, number: int) -> str:
        """One block and those in it."""
        text = self._own(kind, content, block, number)
        # Rows are counted where the table is drawn.
        children = "" if kind == "table" else self.blocks(block.get("children") or ())
        known = text is not None
        if text is None:
            # A type that came after this was written: its text, if it has some, is not lost.
            text = text_of(content.get("rich_text") if isinstance(content, Mapping) else None)
        if block.get("attached") is not None:
            self._parts.see("attached text", rendered=bool(block["attached"]))
            children = "\n\n".join(filter(None, (block["attached"].strip(), children)))
        # What the service gave in part only is not rendered, whatever of it is.
        self._parts.see(kind, rendered=(known or bool(text or children)) and not block.get("lost"))
        return _joined(kind, text, children)

    def _own(self, kind: str, content: Json, block: Json, number: int) -> str | None:
        """The block's own text, without its children; None if its type is not known."""
        text = text_of(content.get("rich_text"))
        if kind.startswith("heading_"):
            return f"{'#' * min(6, int(kind[-1]))} {_one_line(text)}" if text.strip() else ""
        if kind in _PREFIXES:
            return _PREFIXES[kind](content, number) + text
        if kind in {"paragraph", *CONTAINERS}:
            return text
        if kind in _SPECIAL:
            return _SPECIAL[kind](self, content, block)
        return None

    def _code(self, content: Json, _: Json) -> str:
        text, fence = text_of(content.get("rich_text")), FENCE
        while fence in text:
            fence += "`"
        caption = text_of(content.get("caption"))
        return f"{fence}{content.get('language') or ''}\n{text}\n{fence}" + (f"\n\n{caption}" if caption else "")

    def _table(self, content: Json, block: Json) -> str:
        rows = []
        for row in block.get("children") or ():
            self._parts.see(str(row.get("type")), rendered=row.get("type") == "table_row")
            rows.append([_cell(text_of(cell)) for cell in (row.get("table_row") or {}).get("cells") or ()])
        width = max((len(row) for row in rows), default=0)
        if not width:
            return ""
        rows = [row + [""] * (width - len(row)) for row in rows]
        head, body = (rows[0], rows[1:]) if content.get("has_column_header") else ([""] * width, rows)
        return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * width, *body])

    def _child(self, content: Json, block: Json) -> str:
        return _page_link(str(block.get("id") or ""), str(content.get("title") or "untitled"))

    def _link(self, content: Json, _: Json) -> str:
        id = str(content.get(str(content.get("type"))) or "")
        return _page_link(id, self._titles.get(id) or id)

    def _equation(self, content: Json, _: Json) -> str:
        return f"$$\n{content.get('expression') or ''}\n$$"

    def _divider(self, _: Json, __: Json) -> str:
        return "---"

    def _nothing(self, _: Json, __: Json) -> str:
        return ""

    def _meeting(self, content: Json, _: Json) -> str:
        return text_of(content.get("title"))

    def _linked(self, content: Json, _: Json) -> str:
        caption = _one_line(text_of(content.get("caption")))
        name, address = file_of(content)
        said = caption or name or address
        return f"[{said}]({address})" if address else said


_SPECIAL: dict[str, Callable[[Rendering, Json, Json], str]] = {
    "code": Rendering._code,
    "table": Rendering._table,
    "child_page": Rendering._child,
    "child_database": Rendering._child,
    "link_to_page": Rendering._link,
    "equation": Rendering._equation,
    "divider": Rendering._divider,
    "meeting_notes": Rendering._meeting,
    "transcription": Rendering._meeting,
    **dict.fromkeys(sorted(NAVIGATION), Rendering._nothing),
    **dict.fromkeys(sorted(MEDIA | ADDRESSES), Rendering._linked),
}


def _icon(content: Json) -> str:
    icon = content.get("icon") or {}
    return f"{icon['emoji']} " if icon.get("type") == "emoji" else ""


_PREFIXES: dict[str, Callable[[Json, int], str]] = {
    "bulleted_list_item": lambda _, __: "- ",
    "numbered_list_item": lambda _, number: f"{number}. ",
    "to_do": lambda content, _: "- [x] " if content.get("checked") else "- [ ] ",
    "toggle": lambda _, __: "- ",
    "quote": lambda _, __: "",
    "callout": lambda content, _: _icon(content),
}


def page_address(id: str) -> str:
    """Where a person finds a page or a database."""
    return f"https://www.notion.so/{id.replace('-', '')}"


def _page_link(id: str, title: str) -> str:
    return f"[{_one_line(title)}]({page_address(id)})"


def _joined(kind: str, text: str, children: str) -> str:
    """A block's own text and its children's, as Markdown nests them."""
    if kind in LIST_ITEMS:
        return _indented(text, "  ", first="") + ("\n" + _indented(children, "  ") if children else "")
    both = "\n\n".join(filter(str.strip, (text, children)))
    return _indented(both, "> ") if kind in {"quote", "callout"} and both.strip() else both


def _indented(text: str, by: str, first: str | None = None) -> str:
    lines = text.split("\n")
    return "\n".join(
        (by if number or first is None else first) + line if line or by.strip() else line
        for number, line in enumerate(lines)
    )


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", "<br>")


def _one_line(text: str) -> str:
    return " ".join(text.split())
