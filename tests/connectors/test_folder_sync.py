"""A folder that is synced into: what a source gives stands there, and is a source itself."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fixtures.fake_http import FakeClock
from tests.fixtures.fake_notion import TOKEN, FakeNotion, Workspace
from tunesmith.connectors.folder import SyncedFolder, kept_in, sync_into
from tunesmith.connectors.naming import find_source
from tunesmith.connectors.notion import Notion
from tunesmith.errors import UserError
from tunesmith.retrieval.document import Document, Unread
from tunesmith.web.http import Limits


class Listed:
    """A source of what it is given; a fault among it ends it."""

    def __init__(self, *items: Document | Unread | Exception, name: str = "listed") -> None:
        self.name, self.items = name, items

    def documents(self, known: Mapping[str, str]) -> Iterator[Document | Unread | str]:
        for item in self.items:
            if isinstance(item, Exception):
                raise item
            same = isinstance(item, Document) and known.get(item.id) == item.version
            yield item.id if same else item  # type: ignore[union-attr]


def document(id: str, text: str, version: str = "1") -> Document:
    labels = {"team": "Ö/ps"}
    return Document(
        id, f"https://x/{id}", f"Über {id}/..", text, "markdown", version, "2026-01-01", labels, ("odd",), ((0, "p"),)
    )


A, B = document("a", "Text of a\r\nin two lines\n"), document("b", "")


def held(folder: Path) -> list[Document | Unread | str]:
    return list(SyncedFolder(folder).documents({}))


def test_what_was_synced_comes_out_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    receipt = sync_into(Listed(A, B), folder)
    assert receipt.complete
    assert (receipt.listed, receipt.fetched, receipt.empty) == (2, 2, ["https://x/b"])
    assert held(folder) == [A, B]
    assert find_source(str(folder)).name == str(folder)
    assert list(SyncedFolder(folder).documents({"a": "1", "b": "0"})) == ["a", B]
    assert json.loads((folder / "sync.json").read_bytes())["receipt"]["listed"] == 2
    # Nothing is written outside, whatever a title says.
    assert {path.parent.name for path in tmp_path.rglob("*.md")} == {"documents"}


def test_changes_deletions_and_what_could_not_be_read_this_time(tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    sync_into(Listed(A, B, document("c", "c")), folder)
    changed = replace(A, text="new", version="2")
    receipt = sync_into(Listed(changed, Unread(B.source, "locked")), folder)
    assert not receipt.complete
    assert held(folder) == [changed, B]
    assert len(list((folder / "documents").iterdir())) == 2


def test_a_sync_that_is_stopped_keeps_what_it_read_and_loses_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    sync_into(Listed(A, B), folder)
    changed = replace(A, text="new", version="2")
    with pytest.raises(UserError, match="revoked"):
        sync_into(Listed(changed, UserError("revoked")), folder)
    assert held(folder) == [changed, B]
    assert not json.loads((folder / "sync.json").read_bytes())["receipt"]["finished"]


def test_a_folder_of_another_source_or_of_something_else_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    sync_into(Listed(A), folder)
    with pytest.raises(UserError, match="holds documents of listed, not of other"):
        sync_into(Listed(B, name="other"), folder)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="holds something else than a sync"):
        sync_into(Listed(A), tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]
    (folder / "sync.json").write_text('{"format": 1, "doc')
    with pytest.raises(UserError, match="damaged"):
        SyncedFolder(folder)
    with pytest.raises(UserError, match="holds no sync"):
        SyncedFolder(tmp_path / "nowhere")


def test_a_document_whose_file_is_gone_is_named(tmp_path: Path) -> None:
    sync_into(Listed(A, B), tmp_path / "copy")
    next((tmp_path / "copy" / "documents").glob("*a-*")).unlink()
    first, second = held(tmp_path / "copy")
    assert isinstance(first, Unread)
    assert first.fix == "sync again"
    assert second == B


def test_a_service_is_synced_stopped_and_resumed_into_a_folder(tmp_path: Path) -> None:
    world, folder = Workspace(FakeClock()), tmp_path / "notion"
    pages = [world.page(f"Page {number}") for number in range(4)]
    for page in pages:
        world.text(page, f"Text of {page}")
    with FakeNotion(world) as fake:
        assert isinstance(fake, FakeNotion)

        def source() -> Notion:
            limits = Limits(rate=1e6, burst=1000)
            return Notion("", kept_in(folder), base=fake.base, token=TOKEN, limits=limits, clock=world.clock)

        fake.revoked_at = 7
        with pytest.raises(UserError, match="401"):
            sync_into(source(), folder)
        assert len(held(folder)) == 2
        fake.revoked_at = None
        fake.restart()
        receipt = sync_into(source(), folder)
        assert receipt.complete
        # Two requests for each page that was not read before, three for the listings.
        assert len(fake.log) == 2 + 2 * 2
        assert {f"notion:{page}" for page in pages} == {item.id for item in held(folder) if isinstance(item, Document)}
        # A token that may read nothing any more empties nothing.
        world.forbidden |= set(pages)
        with pytest.raises(UserError, match="gives nothing any more; before it gave 4"):
            sync_into(source(), folder)
    assert len(held(folder)) == 4
