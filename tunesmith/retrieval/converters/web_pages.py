"""HTML to Markdown by markdownify on a tree of Beautiful Soup, with tables kept in lines. It fetches nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from bs4 import BeautifulSoup, Comment, Tag
from markdownify import MarkdownConverter

from tunesmith.retrieval.limits import Limits
from tunesmith.retrieval.plain import Converted

UNSEEN = ("script", "style", "template", "head", "meta", "link", "svg", "canvas", "iframe", "object", "embed")
LAYOUT = ("h1", "h2", "h3", "h4", "h5", "h6", "pre", "ul", "ol", "blockquote", "form")


class _Markdown(MarkdownConverter):
    """Signs stay as they are: an escape would stand between a search and its word."""

    def __init__(self) -> None:
        super().__init__(
            heading_style="ATX",
            bullets="-",
            escape_asterisks=False,
            escape_underscores=False,
            escape_misc=False,
            table_infer_header=True,
        )

    def convert_pre(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        """A fence that is longer than any in the code, with the language where a class tells it."""
        code = text.strip("\r\n")
        if not code.strip():
            return ""
        longest = max((len(run) for run in re.findall(r"`{3,}", code)), default=2)
        fence = "`" * (longest + 1)
        return f"\n\n{fence}{_language(el)}\n{code}\n{fence}\n\n"

    def convert_td(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        """A cell on one line."""
        return " " + _cell(text) + " |" * _span(el)

    convert_th = convert_td

    def convert_a(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        """A link with its address, if it is one that leads somewhere."""
        target = str(el.get("href") or "")
        if not text.strip() or not target or target.startswith(("#", "javascript:", "data:")):
            return text
        lead, trail = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
        return text if target == text.strip() else f"{lead}[{text.strip()}]({target}){trail}"

    def convert_img(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        """What a picture shows, where the page says it."""
        return " ".join(str(el.get("alt") or "").split())

    def convert_summary(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        """A block of its own, as a browser shows it."""
        return text if "_inline" in parent_tags else f"\n\n{text.strip()}\n\n"

    convert_details = convert_textarea = convert_option = convert_legend = convert_label = convert_summary
    convert_address = convert_figcaption = convert_fieldset = convert_summary


def convert(path: Path, limits: Limits) -> Converted:
    """A page's text."""
    return page(path.read_bytes())


def page(content: bytes | str) -> Converted:
    """A page as Markdown, its title, language, and how many pictures say nothing of themselves."""
    tree = BeautifulSoup(content, "lxml")
    title = " ".join(tree.title.get_text().split()) if tree.title else ""
    language = str(tree.html.get("lang") or "") if tree.html else ""
    silent = sum(not str(picture.get("alt") or "").strip() for picture in tree.find_all("img"))
    for part in tree.find_all(UNSEEN):
        part.decompose()
    for comment in tree.find_all(string=lambda text: isinstance(text, Comment)):
        comment.extract()
    _simplify(tree)
    try:
        text = tidy(_Markdown().convert_soup(tree))
        notes: tuple[str, ...] = ()
    except RecursionError:
        text = tidy(tree.get_text("\n"))
        notes = ("its elements are nested too deeply to keep headings and tables",)
    if silent:
        notes = (*notes, f"pictures without a description, left out: {silent:,}")
    labels = (("language", language),) if language else ()
    return Converted(text, title, notes, labels=labels)


def _simplify(tree: Any) -> None:
    """Tables that only place things become blocks; a table in a cell becomes its cells in a line."""
    for table in tree.find_all("table"):
        if table.get("role") == "presentation" or table.find(LAYOUT):
            for part in table.find_all(("tbody", "thead", "tfoot", "tr", "td", "th")):
                if part.find_parent("table") is table:
                    part.name = "div"
            table.name = "div"
    for table in tree.find_all("table"):
        if table.find_parent(("td", "th")):
            cells = (cell.get_text(" ", strip=True) for cell in table.find_all(("td", "th")))
            table.replace_with(" " + "; ".join(filter(None, cells)) + " ")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _span(cell: Tag) -> int:
    columns = str(cell.get("colspan") or "1")
    return max(1, min(1000, int(columns))) if columns.isdecimal() else 1


def _language(block: Tag) -> str:
    for tag in (block, block.find("code")):
        if isinstance(tag, Tag):
            for name in tag.get("class") or ():
                if match := re.fullmatch(r"(?:language|lang|highlight-source)-([\w+#.-]+)", str(name)):
                    return match[1]
    return ""


def tidy(text: str) -> str:
    """At most one empty line in a row outside of code, no space at the ends of lines, one line's end at the end."""
    lines = [line.rstrip() for line in text.replace("\r\n", "\n").split("\n")]
    kept: list[str] = []
    fence = ""
    for line in lines:
        if match := re.match(r" {0,3}(`{3,})", line):
            fence = "" if fence and line.strip() == fence else fence or match[1]
        if line or fence or (kept and kept[-1]):
            kept.append(line)
    return "\n".join(kept).strip("\n") + "\n"
