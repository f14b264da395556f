"""Every type of block and of property that Notion's API has, as Markdown; what it does not have is named."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fixtures.fake_http import FakeClock
from tests.fixtures.fake_notion import TOKEN, FakeNotion, Workspace, rich
from tunesmith.connectors.notion import Notion
from tunesmith.connectors.notion_blocks import Rendering
from tunesmith.connectors.notion_text import property_text, text_of
from tunesmith.connectors.receipt import Parts
from tunesmith.retrieval.document import Document
from tunesmith.web.http import Limits

BLOCK_TYPES = {
    "paragraph", "heading_1", "heading_2", "heading_3", "bulleted_list_item", "numbered_list_item", "quote", "to_do",
    "toggle", "template", "synced_block", "child_page", "child_database", "equation", "code", "callout", "divider",
    "breadcrumb", "table_of_contents", "tab", "column_list", "column", "link_to_page", "table", "table_row",
    "meeting_notes", "transcription", "embed", "bookmark", "image", "video", "pdf", "file", "audio", "link_preview",
    "unsupported",
}  # fmt: skip
"""Of API version 2025-09-03 and of 2026-03-11, as the official client's types list them."""


def page_of_all(world: Workspace) -> tuple[str, str]:
    """A page with a block of each type, and another that it links to."""
    other = world.page("Other page")
    page = world.page("All")
    world.text(page, "Top", "heading_1", is_toggleable=False)
    world.text(page, "Toggled heading", "heading_2", is_toggleable=True)
    world.text(world.children[page][-1]["id"], "in the heading")
    world.text(page, "Third", "heading_3")
    world.text(page, "")
    first = world.text(page, "one", "numbered_list_item")
    world.text(first, "one a", "numbered_list_item")
    world.text(page, "two", "numbered_list_item")
    world.text(page, "bullet", "bulleted_list_item")
    world.text(page, "done", "to_do", checked=True)
    world.text(page, "open", "to_do", checked=False)
    toggle = world.text(page, "toggle", "toggle")
    world.text(toggle, "inside\nthe toggle")
    quote = world.text(page, "quoted\nlines", "quote")
    world.text(quote, "in the quote")
    world.text(page, "Mind this", "callout", icon={"type": "emoji", "emoji": "💡"})
    world.block(page, "code", {"rich_text": rich("a = '```'\nb"), "language": "python", "caption": rich("a caption")})
    world.block(page, "equation", {"expression": "E=mc^2"})
    world.block(page, "divider")
    world.block(page, "breadcrumb")
    world.block(page, "table_of_contents")
    table = world.block(page, "table", {"table_width": 2, "has_column_header": True})
    world.block(table, "table_row", {"cells": [rich("A|B"), rich("C")]})
    world.block(table, "table_row", {"cells": [rich("d"), []]})
    columns = world.block(page, "column_list")
    for name in ("left", "right"):
        world.text(world.block(columns, "column"), name)
    original = world.block(page, "synced_block", {"synced_from": None})
    world.text(original, "synced")
    world.block(page, "synced_block", {"synced_from": {"type": "block_id", "block_id": original}})
    world.text(world.text(page, "template", "template"), "from the template")
    world.text(world.block(page, "tab"), "on the tab")
    for kind in ("meeting_notes", "transcription"):
        inner = {}
        meeting = world.block(page, kind, {"title": rich(f"{kind} title"), "status": "notes_ready"})
        for part in ("summary", "notes", "transcript"):
            inner[f"{part}_block_id"] = held = world.block(meeting, "paragraph", {"rich_text": rich(f"{kind} {part}")})
            world.text(held, f"{kind} {part} said")
        # The parts are named, not listed as children.
        made = next(block for block in world.children[page] if block["id"] == meeting)
        made[kind]["children"], made["has_children"] = inner, False
        world.children[meeting] = []
    world.block(page, "bookmark", {"url": "https://a.example/b", "caption": rich("a bookmark")})
    world.block(page, "embed", {"url": "https://a.example/e", "caption": []})
    world.block(page, "link_preview", {"url": "https://a.example/l"})
    world.block(page, "link_to_page", {"type": "page_id", "page_id": other})
    signed = "https://files.example/doc.bin?X-Amz-Signature=new-each-time"
    for kind in ("image", "video", "audio"):
        external = {
            "type": "external",
            "external": {"url": f"https://a.example/{kind}"},
            "caption": rich(f"the {kind}"),
        }
        world.block(page, kind, external)
    for kind in ("pdf", "file"):
        hosted = {"type": "file", "file": {"url": signed, "expiry_time": "2030"}, "caption": [], "name": f"{kind}.bin"}
        world.block(page, kind, hosted)
    world.child(page, "A child")
    world.database(page, "A table", {"Name": "title"})
    world.block(page, "unsupported")
    world.block(page, "heading_4", {"rich_text": rich("Fourth")})
    world.block(page, "poll", {"rich_text": rich("of a type that is newer than this")})
    world.block(page, "hologram", {"data": "?"})
    return page, other


def expected(other: str, child: str, database: str) -> str:
    def link(id: str) -> str:
        return f"https://www.notion.so/{id.replace('-', '')}"

    meetings = [
        line
        for kind in ("meeting_notes", "transcription")
        for line in [f"{kind} title", *(f"{kind} {part} said" for part in ("summary", "notes", "transcript"))]
    ]
    return "\n\n".join(
        [
            "# Top",
            "## Toggled heading",
            "in the heading",
            "### Third",
            "1. one\n  1. one a\n2. two",
            "- bullet",
            "- [x] done\n- [ ] open",
            "- toggle\n  inside\n  the toggle",
            "> quoted\n> lines\n> \n> in the quote",
            "> 💡 Mind this",
            "````python\na = '```'\nb\n````",
            "a caption",
            "$$\nE=mc^2\n$$",
            "---",
            "| A\\|B | C |\n| --- | --- |\n| d |  |",
            "left",
            "right",
            "synced",
            "synced",
            "template",
            "from the template",
            "on the tab",
            *meetings,
            "[a bookmark](https://a.example/b)",
            "[e](https://a.example/e)",
            "[l](https://a.example/l)",
            f"[Other page]({link(other)})",
            "[the image](https://a.example/image)",
            "[the video](https://a.example/video)",
            "[the audio](https://a.example/audio)",
            "[pdf.bin](https://files.example/doc.bin)",
            "[file.bin](https://files.example/doc.bin)",
            f"[A child]({link(child)})",
            f"[A table]({link(database)})",
            "#### Fourth",
            "of a type that is newer than this",
        ]
    )


def test_every_type_of_block_is_rendered_and_the_rest_is_named() -> None:
    world = Workspace(FakeClock())
    page, other = page_of_all(world)
    child = next(block["id"] for block in world.children[page] if block["type"] == "child_page")
    database = next(block["id"] for block in world.children[page] if block["type"] == "child_database")
    with FakeNotion(world) as fake:
        assert isinstance(fake, FakeNotion)
        limits = Limits(rate=1e6, burst=1000)
        notion = Notion(base=fake.base, token=TOKEN, limits=limits, clock=world.clock, page_size=7)
        documents = {item.id: item for item in notion.documents({}) if isinstance(item, Document)}
    document = documents[f"notion:{page}"]
    assert document.text == expected(other, child, database)
    seen = notion.receipt.parts.seen
    assert {kind for kind in seen if not kind.startswith(("property", "data_source"))} == BLOCK_TYPES | {
        "heading_4", "poll", "hologram",
    }  # fmt: skip
    # Each is counted once: all that the page holds, that behind the copy too, but not the six frames of the meetings.
    blocks = sum(count for kind, count in seen.items() if not kind.startswith(("property", "data_source")))
    assert blocks == list(world.page_of.values()).count(page) + 1 - 6
    assert notion.receipt.parts.not_rendered == {"hologram": 1, "unsupported": 1}
    assert document.notes == ("1 of type hologram not rendered", "1 of type unsupported not rendered")
    assert not notion.receipt.complete
    assert notion.receipt.notes[0].startswith("5 pictures, recordings and files that lie elsewhere are named")
    # The page shows a copy of a synced block, so its time of last edit does not tell that it is unchanged.
    assert document.version.startswith("#")
    assert f"notion:{child}" in documents
    assert f"notion:{database}" in documents


def test_files_that_notion_keeps_are_read_and_others_are_not_asked_for() -> None:
    world = Workspace(FakeClock())
    page = world.page("Files")
    with FakeNotion(world) as fake:
        assert isinstance(fake, FakeNotion)

        def attach(name: str, kind: str = "file", signature: str = "sound", caption: str = "") -> None:
            address = f"{fake.base}/files/{name}?X-Amz-Signature={signature}"
            place = {"type": "file", "file": {"url": address}, "caption": rich(caption), "name": name}
            world.block(page, kind, place)

        world.files = {
            "/files/terms.md": b"# Terms\n\nThirty days.",
            "/files/broken.pdf": b"no pdf",
            "/files/old.txt": b"x",
        }
        attach("terms.md", caption="our terms")
        attach("broken.pdf", "pdf")
        attach("old.txt", signature="expired")
        world.block(
            page, "file", {"type": "external", "external": {"url": f"{fake.base}/files/terms.md"}, "caption": []}
        )
        limits = Limits(rate=1e6, burst=1000)
        notion = Notion(base=fake.base, token=TOKEN, limits=limits, clock=world.clock)
        (document,) = (item for item in notion.documents({}) if isinstance(item, Document))
        asked = [line.partition("?")[0] for line in fake.log if "/files/" in line]
    assert asked == ["GET /files/terms.md", "GET /files/broken.pdf", "GET /files/old.txt"]
    assert document.text.startswith(f"[our terms]({fake.base}/files/terms.md)\n\n# Terms\n\nThirty days.\n\n")
    assert "Signature" not in document.text
    assert notion.receipt.parts.not_rendered == {"attached text": 2}
    assert notion.receipt.notes == [
        "1 pictures, recordings and files that lie elsewhere are named, their contents are not read"
    ]


PERSON = {"object": "user", "id": "u1", "name": "Ann"}
PROPERTIES: list[tuple[str, Any, str]] = [
    ("title", rich("A title"), "A title"),
    ("rich_text", [*rich("see "), *rich("this", href="https://a.example")], "see [this](https://a.example)"),
    ("number", 1.5, "1.5"),
    ("number", 3.0, "3"),
    ("number", 0, "0"),
    ("select", {"name": "one"}, "one"),
    ("select", None, ""),
    ("status", {"name": "Doing"}, "Doing"),
    ("multi_select", [{"name": "a"}, {"name": "b"}], "a, b"),
    ("date", {"start": "2026-01-01", "end": "2026-01-03", "time_zone": None}, "2026-01-01 to 2026-01-03"),
    ("people", [PERSON, {"object": "user", "id": "u2"}], "Ann, u2"),
    (
        "files",
        [{"name": "f.pdf", "type": "file", "file": {"url": "https://s3/f.pdf?sig=1"}}],
        "[f.pdf](https://s3/f.pdf)",
    ),
    ("checkbox", True, "yes"),
    ("checkbox", False, "no"),
    ("url", "https://a.example", "https://a.example"),
    ("email", "a@b.example", "a@b.example"),
    ("phone_number", "123", "123"),
    ("formula", {"type": "number", "number": 4}, "4"),
    ("formula", {"type": "string", "string": "x"}, "x"),
    ("formula", {"type": "boolean", "boolean": False}, "no"),
    ("formula", {"type": "date", "date": {"start": "2026-01-01"}}, "2026-01-01"),
    ("rollup", {"type": "array", "array": [{"type": "select", "select": {"name": "s"}}], "function": "f"}, "s"),
    ("rollup", {"type": "number", "number": None, "function": "sum"}, ""),
    ("relation", [{"id": "p1"}, {"id": "p2"}], "Page one, p2"),
    ("created_time", "2026-01-01T00:00:00.000Z", "2026-01-01T00:00:00.000Z"),
    ("last_edited_time", "2026-01-01T00:00:00.000Z", "2026-01-01T00:00:00.000Z"),
    ("created_by", PERSON, "Ann"),
    ("last_edited_by", PERSON, "Ann"),
    ("unique_id", {"number": 7, "prefix": "T"}, "T-7"),
    ("verification", {"state": "verified"}, "verified"),
    ("place", {"name": "Office", "address": "1 Road"}, "Office, 1 Road"),
    ("button", {}, ""),
]


@pytest.mark.parametrize(("kind", "inner", "text"), PROPERTIES)
def test_every_type_of_property_is_text(kind: str, inner: Any, text: str) -> None:
    assert property_text({"id": "x", "type": kind, kind: inner}, {"p1": "Page one"}) == text


def test_a_type_of_property_that_is_not_known_is_named() -> None:
    assert property_text({"id": "x", "type": "aura", "aura": {}}, {}) is None


def test_rich_text_keeps_links_equations_mentions_and_what_is_struck_out() -> None:
    pieces = [
        *rich("plain "),
        *rich("bold", annotations={"bold": True}),
        {"type": "equation", "equation": {"expression": "x^2"}, "plain_text": "x^2"},
        {"type": "mention", "mention": {"type": "date"}, "plain_text": "2026-01-01", "href": None},
        *rich(" old", annotations={"strikethrough": True}),
        *rich("https://a.example", href="https://a.example"),
    ]
    assert text_of(pieces) == "plain bold$x^2$2026-01-01~~ old~~https://a.example"
    assert text_of(None) == text_of([]) == ""


def test_a_table_of_uneven_rows_and_a_page_of_nothing() -> None:
    parts = Parts()
    rows = [
        {"type": "table_row", "table_row": {"cells": [rich(cell) for cell in cells]}}
        for cells in (["a"], ["b", "c\nd"])
    ]
    table = {"type": "table", "table": {"has_column_header": False}, "children": rows}
    drawn = Rendering({}, parts).blocks([table, {"type": "paragraph", "paragraph": {"rich_text": []}}])
    assert drawn == "|  |  |\n| --- | --- |\n| a |  |\n| b | c<br>d |"
    assert parts.not_rendered == {}
    assert Rendering({}, Parts()).blocks([]) == ""
