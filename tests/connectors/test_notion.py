"""Notion, against its HTTP API over a workspace that is wholly known: nothing is lost, whatever happens on the way."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fixtures.fake_http import FAULTS, DyingClock, FakeClock, Killed
from tests.fixtures.fake_notion import TOKEN, FakeNotion, Workspace, rich
from tunesmith.connectors.notion import Notion
from tunesmith.errors import UserError
from tunesmith.retrieval.document import Document, Unread
from tunesmith.web.http import Limits
from tunesmith.web.replies import HttpFault

FAST = Limits(rate=1e6, burst=1000)
MARK = re.compile(r"MARK\d+")


def source(fake: FakeNotion, kept: Path | None = None, **more: Any) -> Notion:
    more.setdefault("clock", fake.world.clock)
    return Notion("", kept, base=fake.base, token=TOKEN, limits=FAST, **more)


def synced(notion: Notion, known: Mapping[str, str] | None = None) -> dict[str, Document]:
    """The documents that a sync gives; those unchanged are not among them."""
    given = list(notion.documents(known or {}))
    assert not [item for item in given if isinstance(item, Unread)], given
    found = {item.id: item for item in given if isinstance(item, Document)}
    assert len(found) + sum(isinstance(item, str) for item in given) == len(given)
    return found


def held(documents: Mapping[str, Document]) -> dict[str, str]:
    return {id: document.version for id, document in documents.items()}


def store_from(notion: Notion, store: dict[str, Document], every: int = 1) -> None:
    for number, item in enumerate(notion.documents({})):
        assert isinstance(item, Document)
        if number % every == 0:
            store[item.id] = item


class Marks:
    """Texts that are nowhere else, and where each belongs."""

    def __init__(self) -> None:
        self.of: dict[str, list[str]] = {}

    def new(self, page: str) -> str:
        self.of.setdefault(page, []).append(f"MARK{sum(map(len, self.of.values()))}")
        return self.of[page][-1]


def small_world(clock: FakeClock | None = None) -> tuple[Workspace, Marks]:
    """A page with nested blocks and a table, a child page that the search leaves out, a database of rows."""
    world, marks = Workspace(clock or FakeClock()), Marks()
    home = world.page("Home")
    outer = world.text(home, marks.new(home))
    for _ in range(2):
        inner = world.text(outer, marks.new(home), "bulleted_list_item")
        world.text(inner, marks.new(home), "bulleted_list_item")
    table = world.block(home, "table", {"table_width": 2, "has_column_header": True})
    for _ in range(2):
        world.block(table, "table_row", {"cells": [rich(marks.new(home)), rich(marks.new(home))]})
    hidden = world.child(home, "Hidden")
    world.unsearchable.add(hidden)
    world.text(hidden, marks.new(hidden))
    below = world.child(hidden, "Below")
    world.unsearchable.add(below)
    world.text(below, marks.new(below))
    _, (rows,) = world.database(home, "Tasks", {"Name": "title", "State": "select"})
    for number in range(3):
        row = world.row(
            rows, f"Task {number}", State={"id": "s", "type": "select", "select": {"name": f"state{number}"}}
        )
        world.text(row, marks.new(row))
        if number:
            world.unsearchable.add(row)
    return world, marks


def check_marks(documents: Mapping[str, Document], marks: Marks) -> None:
    """Every text stands once, in the document where it belongs, in its order."""
    for page, wanted in marks.of.items():
        assert MARK.findall(documents[f"notion:{page}"].text) == wanted
    assert sum(len(MARK.findall(d.text)) for d in documents.values()) == sum(map(len, marks.of.values()))


@pytest.fixture
def small() -> Iterator[tuple[FakeNotion, Marks]]:
    world, marks = small_world()
    with FakeNotion(world) as fake:
        assert isinstance(fake, FakeNotion)
        yield fake, marks


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[FakeNotion, Marks, dict[str, Document], int]]:
    """One workspace that no test changes, what a sync without faults gives, and the requests it took."""
    world, marks = small_world()
    with FakeNotion(world) as fake:
        assert isinstance(fake, FakeNotion)
        yield fake, marks, synced(source(fake)), len(fake.log)


def test_everything_is_found_nested_or_not_searchable(small: tuple[FakeNotion, Marks]) -> None:
    fake, marks = small
    notion = source(fake)
    documents = synced(notion)
    check_marks(documents, marks)
    assert sorted(document.title for document in documents.values()) == [
        "Below", "Hidden", "Home", "Task 0", "Task 1", "Task 2", "Tasks",
    ]  # fmt: skip
    receipt = notion.receipt
    assert receipt.complete
    assert (receipt.listed, receipt.fetched, receipt.unaccounted) == (7, 7, 0)
    assert receipt.requests == len(fake.log)
    assert receipt.parts.seen["table_row"] == receipt.parts.rendered["table_row"] == 2
    assert "complete" in "\n".join(receipt.lines())
    row = next(document for document in documents.values() if document.title == "Task 1")
    assert "- State: state1" in row.text


def test_a_page_of_250_blocks_is_whole() -> None:
    world, marks = Workspace(FakeClock()), Marks()
    page = world.page("Long")
    for number in range(250):
        block = world.text(page, marks.new(page))
        if number % 25 == 0:
            world.text(block, marks.new(page))
    with FakeNotion(world) as fake:
        assert isinstance(fake, FakeNotion)
        documents = synced(source(fake))
    check_marks(documents, marks)
    assert len(marks.of[page]) == 260


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    page_size=st.integers(1, 100),
    faults=st.dictionaries(st.integers(1, 60), st.sampled_from(FAULTS), max_size=12),
)
def test_any_page_size_and_any_faults_give_the_same_documents(
    shared: tuple[FakeNotion, Marks, dict[str, Document], int], page_size: int, faults: dict[int, str]
) -> None:
    fake, _, wanted, _ = shared
    # More faults in a row than a request has attempts mean that the service is away.
    faults = {number: fault for number, fault in faults.items() if number % 8}
    fake.restart(faults)
    fake.early.clear()
    notion = source(fake, page_size=page_size)
    assert synced(notion) == wanted
    assert fake.early == []
    assert notion.receipt.complete
    assert notion.receipt.repeated.total() == sum(number <= len(fake.log) for number in faults)


@pytest.mark.parametrize("page_size", [2, 100])
def test_a_kill_between_any_two_requests_resumes_to_the_same_set(
    shared: tuple[FakeNotion, Marks, dict[str, Document], int], tmp_path: Path, page_size: int
) -> None:
    fake, _, wanted, _ = shared
    fake.restart()
    synced(source(fake, page_size=page_size))
    requests = len(fake.log)
    saved = 0
    for dies_before in range(2, requests + 1, 1 if page_size > 2 else 3):
        kept = tmp_path / str(dies_before)
        fake.restart()
        store: dict[str, Document] = {}
        dying = source(fake, kept, page_size=page_size, clock=DyingClock(fake, dies_before))
        with pytest.raises(Killed):
            # Of those given, every other one is lost: killed before it was written.
            store_from(dying, store, every=2)
        fake.restart()
        notion = source(fake, kept, page_size=page_size)
        store |= synced(notion, held(store))
        assert store == wanted
        assert notion.receipt.complete
        saved += notion.receipt.resumed + notion.receipt.unchanged
    assert saved > 0


def test_a_token_revoked_on_the_way_stops_and_the_rest_is_read_later(
    small: tuple[FakeNotion, Marks], tmp_path: Path
) -> None:
    fake, marks = small
    fake.revoked_at = 12
    notion = source(fake, tmp_path)
    store: dict[str, Document] = {}
    with pytest.raises(UserError) as refused:
        store_from(notion, store)
    assert isinstance(refused.value, HttpFault)
    assert refused.value.status == 401
    assert TOKEN not in str(refused.value)
    assert "renew the token" in refused.value.fix
    assert store
    assert not notion.receipt.complete
    fake.revoked_at = None
    store |= synced(source(fake, tmp_path), held(store))
    check_marks(store, marks)


def test_the_next_sync_reads_what_changed_and_drops_what_is_gone(
    small: tuple[FakeNotion, Marks], tmp_path: Path
) -> None:
    fake, marks = small
    store = synced(source(fake, tmp_path))
    world = fake.world
    world.clock.time += 3600
    fake.restart()
    notion = source(fake, tmp_path)
    assert synced(notion, held(store)) == {}
    # Pages are known to be unchanged by the listing; a database is read for its rows.
    assert notion.receipt.unchanged == 6
    assert not [line for line in fake.log if "/children" in line]

    home, *_ = world.pages
    world.text(home, marks.new(home))
    world.edit(home)
    row = next(
        id for id, page in world.pages.items() if page["properties"]["Name"]["title"][0]["plain_text"] == "Task 2"
    )
    world.pages[row]["in_trash"] = True
    marks.of.pop(row)
    world.clock.time += 3600
    given = list(source(fake, tmp_path).documents(held(store)))
    changed = {item.id: item for item in given if isinstance(item, Document)}
    assert set(changed) == {f"notion:{home}"}
    assert f"notion:{row}" not in {item if isinstance(item, str) else getattr(item, "id", "") for item in given}
    store = {id: document for id, document in (store | changed).items() if id != f"notion:{row}"}
    check_marks(store, marks)


def test_what_an_unchanged_page_leads_to_is_not_forgotten_when_the_first_sync_was_killed(
    small: tuple[FakeNotion, Marks], tmp_path: Path
) -> None:
    """The index holds a page already, the child that only it names was not read yet: the child must still be found."""
    fake, marks = small
    store: dict[str, Document] = {}
    for item in source(fake, tmp_path).documents({}):
        assert isinstance(item, Document)
        store[item.id] = item
        if item.title == "Home":
            break
    store |= synced(source(fake, tmp_path), held(store))
    check_marks(store, marks)
    # And without anything kept, too: then what the index holds is read again.
    home = {id: version for id, version in held(store).items() if store[id].title == "Home"}
    alone = synced(source(fake), home)
    assert {document.title for document in alone.values()} >= {"Hidden", "Below", "Tasks"}


@pytest.mark.parametrize("request_number", range(2, 24))
def test_a_page_edited_during_the_sync_is_whole_at_the_latest_after_the_next_one(
    request_number: int, tmp_path: Path
) -> None:
    world, marks = small_world()
    home = next(iter(world.pages))
    before = list(marks.of[home])

    def edit(changed: Workspace) -> None:
        blocks = changed.children[home]
        changed.delete(next(block["id"] for block in blocks if block["type"] == "paragraph"))
        for _ in range(3):
            changed.text(home, marks.new(home))
        changed.edit(home)

    with FakeNotion(world) as fake:
        assert isinstance(fake, FakeNotion)
        fake.edits[request_number] = edit
        store = synced(source(fake, tmp_path, page_size=1))
        edited = request_number not in fake.edits
        # Already now it is the page before the edit or the one after it, and no mixture.
        first = MARK.findall(store[f"notion:{home}"].text)
        assert first in (before, marks.of[home][5:])
        world.clock.time += 600
        store |= synced(source(fake, tmp_path, page_size=1), held(store))
    assert edited
    marks.of[home] = [mark for mark in marks.of[home] if int(mark[4:]) > 4]
    text = store[f"notion:{home}"].text
    assert [mark for mark in MARK.findall(text) if mark in marks.of[home]] == marks.of[home]
    assert "MARK0" not in MARK.findall(text)


def test_an_edit_in_the_minute_of_the_reading_is_seen_by_the_next_sync(
    small: tuple[FakeNotion, Marks], tmp_path: Path
) -> None:
    fake, marks = small
    world = fake.world
    home = next(iter(world.pages))
    world.edit(home)
    store = synced(source(fake, tmp_path))
    # The same minute: Notion's time of last edit stays as it was.
    world.text(home, marks.new(home))
    world.edit(home)
    store |= synced(source(fake, tmp_path), held(store))
    check_marks(store, marks)


def test_what_may_not_be_read_is_named_and_a_part_that_may_not_is_no_reason_to_lose_the_page() -> None:
    world, marks = Workspace(FakeClock()), Marks()
    page, other = world.page("Open"), world.page("Shared block")
    world.text(page, marks.new(page))
    original = world.block(other, "synced_block", {"synced_from": None})
    world.text(original, "secret")
    world.block(page, "synced_block", {"synced_from": {"type": "block_id", "block_id": original}})
    world.text(page, marks.new(page))
    world.forbidden |= {other, original}
    child = world.child(page, "Closed")
    world.forbidden.add(child)
    with FakeNotion(world) as fake:
        assert isinstance(fake, FakeNotion)
        notion = source(fake)
        given = list(notion.documents({}))
    documents = {item.id: item for item in given if isinstance(item, Document)}
    check_marks(documents, marks)
    assert [item.source for item in given if isinstance(item, Unread)] == [f"notion:{child}"]
    assert notion.receipt.parts.not_rendered == {"synced_block": 1}
    assert not notion.receipt.complete
    assert documents[f"notion:{page}"].notes == ("1 of type synced_block not rendered",)


def test_rows_beyond_the_limit_of_a_query_and_values_beyond_the_25th_are_read() -> None:
    world = Workspace(FakeClock())
    home = world.page("Home")
    _, (rows,) = world.database(home, "Big", {"Name": "title"})
    related = [{"id": home}] + [{"id": f"far-{number}"} for number in range(59)]
    people = [{"object": "user", "id": f"u{number}", "name": f"Person {number}"} for number in range(40)]
    rolled = {"type": "array", "array": [{"type": "number", "number": number} for number in range(100, 160)]}
    first = world.row(
        rows,
        "Row 0",
        ago=90_000,
        Links={"id": "l%3Aa", "type": "relation", "relation": related, "has_more": False},
        People={"id": "p", "type": "people", "people": people},
        Sums={"id": "r", "type": "rollup", "rollup": rolled},
    )
    for number in range(1, 25):
        world.unsearchable.add(world.row(rows, f"Row {number}", ago=90_000 - 60.0 * number))
    with FakeNotion(world, cap=10) as fake:
        assert isinstance(fake, FakeNotion)
        notion = source(fake, page_size=3)
        documents = synced(notion)
    assert sum(document.title.startswith("Row") for document in documents.values()) == 25
    assert notion.receipt.complete
    lines = dict(line[2:].split(": ", 1) for line in documents[f"notion:{first}"].text.splitlines())
    assert lines["Links"].split(", ") == ["Home", *(f"far-{number}" for number in range(59))]
    assert lines["People"].split(", ") == [f"Person {number}" for number in range(40)]
    assert lines["Sums"].split(", ") == [str(number) for number in range(100, 160)]


def test_rows_that_no_query_reaches_are_named() -> None:
    world = Workspace(FakeClock())
    _, (rows,) = world.database(world.page("Home"), "Big", {"Name": "title"})
    for number in range(8):
        world.unsearchable.add(world.row(rows, f"Row {number}"))
    with FakeNotion(world, cap=5) as fake:
        assert isinstance(fake, FakeNotion)
        notion = source(fake)
        synced(notion)
    assert "rows beyond the limit of a query" in notion.receipt.parts.not_rendered
    assert not notion.receipt.complete


def test_the_official_client_sees_the_same_blocks(shared: tuple[FakeNotion, Marks, dict[str, Document], int]) -> None:
    official = pytest.importorskip("notion_client")
    fake, _, wanted, _ = shared
    fake.restart()
    client = official.Client(auth=TOKEN, base_url=fake.base)

    def texts(block: str) -> list[str]:
        found: list[str] = []
        for child in official.helpers.iterate_paginated_api(client.blocks.children.list, block_id=block, page_size=2):
            content = child[child["type"]]
            for cell in content.get("cells") or [content.get("rich_text") or []]:
                found.append("".join(piece["plain_text"] for piece in cell))
            if child["has_children"] and child["type"] not in {"child_page", "child_database"}:
                found += texts(child["id"])
        return [text for text in found if text]

    compared = 0
    for id, page in fake.world.pages.items():
        found = texts(id)
        assert MARK.findall(wanted[f"notion:{id}"].text) == [mark for text in found for mark in MARK.findall(text)]
        assert client.pages.retrieve(page_id=id)["url"] == wanted[f"notion:{id}"].source == page["url"]
        compared += len(found)
    assert compared == sum(len(MARK.findall(document.text)) for document in wanted.values())
    client.close()


def test_without_a_token_it_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTION_TOKEN", raising=False)
    with pytest.raises(UserError, match="NOTION_TOKEN is not set") as refused:
        Notion()
    assert "my-integrations" in refused.value.fix
