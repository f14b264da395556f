"""What a sync keeps on disk: whole or not at all, and never trusted further than it goes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fixtures.fake_http import Answer, FakeClock
from tests.fixtures.fake_notion import TOKEN, FakeNotion, Workspace
from tunesmith.connectors.connector import Connector, version_of
from tunesmith.connectors.folder import SyncedFolder
from tunesmith.connectors.receipt import Parts, Receipt
from tunesmith.connectors.resume import Entry, Fetched, Journal
from tunesmith.errors import UserError
from tunesmith.retrieval.document import Document, Unread
from tunesmith.web.replies import HttpFault


def fetched(id: str, text: str, mark: str = "m") -> tuple[Entry, Fetched]:
    document = Document(id, f"s/{id}", id, text, "text", version_of(mark, text), "", {"a": "b"}, ("n",), ((0, "p"),))
    parts = Parts()
    parts.see("line", rendered=False)
    return Entry(id, f"s/{id}", id, mark), Fetched(document, parts, ("x", "y"))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(st.characters(codec=None), max_size=20), min_size=1, max_size=5), cut=st.integers(0, 400))
def test_a_journal_that_was_cut_anywhere_has_each_document_whole_or_not(
    tmp_path: Path, texts: list[str], cut: int
) -> None:
    file = tmp_path / "journal.jsonl"
    file.unlink(missing_ok=True)
    kept = [fetched(f"d{number}", text) for number, text in enumerate(texts)]
    journal = Journal(file)
    for entry, one in kept:
        journal.add(entry, one)
    file.write_bytes(file.read_bytes()[: max(0, file.stat().st_size - cut)])
    again = Journal(file)
    found = [again.get(entry) for entry, _ in kept]
    whole = sum(one is not None for one in found)
    assert found == [one for _, one in kept][:whole] + [None] * (len(kept) - whole)
    assert whole >= len(kept) - 1 - cut // 200
    # It is written on behind the last whole line.
    for entry, one in kept[whole:]:
        again.add(entry, one)
    third = Journal(file)
    assert [third.get(entry) for entry, _ in kept] == [one for _, one in kept]
    third.end()
    assert not file.exists()


def test_a_document_that_changed_since_is_not_taken_from_the_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "deep" / "journal.jsonl")
    entry, one = fetched("a", "text")
    journal.add(entry, one)
    assert journal.get(entry) == one
    assert journal.get(Entry("a", "s/a", "a", "later")) is None
    assert journal.get(Entry("b", "s/b", "b", "m")) is None
    unmarked, two = fetched("c", "text", mark="")
    journal.add(unmarked, two)
    assert journal.get(unmarked) is None


class Numbers(Connector):
    """Documents as told, with a cursor that counts the syncs."""

    def __init__(self, kept: Path, texts: Mapping[str, str], refused: set[str]) -> None:
        super().__init__("numbers", Receipt("numbers"), kept)
        self.texts, self.refused, self.began = texts, refused, ""

    def entries(self, known: Mapping[str, str]) -> Iterator[Entry | Unread | str]:
        self.began, self.cursor = self.cursor, str(int(self.cursor or 0) + 1)
        for id in sorted(self.texts):
            yield Entry(id, f"s/{id}", id, self.texts[id])

    def fetch(self, entry: Entry) -> Fetched:
        if entry.id in self.refused:
            raise HttpFault("not now", entry.source, "later")
        return Fetched(fetched(entry.id, self.texts[entry.id], entry.mark)[1].document)


def sync(kept: Path, texts: Mapping[str, str], known: dict[str, str], refused: set[str] | None = None) -> Numbers:
    """Sync, and bring ``known`` up to date as an index does."""
    source = Numbers(kept, texts, refused or set())
    for item in source.documents(dict(known)):
        if isinstance(item, Document):
            known[item.id] = item.version
    return source


def test_a_cursor_goes_on_only_where_nothing_was_left_behind(tmp_path: Path) -> None:
    texts, known = {"a": "1", "b": "1"}, dict[str, str]()
    assert sync(tmp_path, texts, known).began == ""
    assert sync(tmp_path, texts, known).began == "1"
    # One is refused: the next sync starts where this one did.
    texts["c"] = "1"
    source = sync(tmp_path, texts, known, {"c"})
    assert (source.began, source.receipt.complete, source.receipt.unaccounted) == ("2", False, 0)
    assert sync(tmp_path, texts, known).began == "2"
    assert sync(tmp_path, texts, known).began == "3"
    # An index that lost a document, or holds another version of it, must see all again.
    lost = {id: version for id, version in known.items() if id != "b"}
    assert sync(tmp_path, texts, lost).began == ""
    assert lost == known
    (tmp_path / "numbers.ended.json").write_text("{")
    assert sync(tmp_path, texts, known).began == ""


def test_all_documents_gone_at_once_is_no_deletion(tmp_path: Path) -> None:
    known: dict[str, str] = {}
    sync(tmp_path, {"a": "1"}, known)
    with pytest.raises(UserError, match="gives nothing any more"):
        sync(tmp_path, {}, known)
    assert list(known) == ["a"]


class Killing(FakeNotion):
    """Kills the process that asks, at the nth request: before it is answered."""

    victim: subprocess.Popen[bytes] | None = None
    kill_at = 0

    def answer(self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: Any) -> Answer:
        if len(self.log) == self.kill_at and self.victim is not None:
            os.kill(self.victim.pid, signal.SIGKILL)
            self.victim.wait()
        return super().answer(method, path, query, headers, body)


def test_a_process_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    world, folder = Workspace(FakeClock()), tmp_path / "copy"
    pages = [world.page(f"Page {number}") for number in range(6)]
    for page in pages:
        world.text(page, f"Text of {page}")
    code = "from tunesmith.cli import connecting, main; main()"
    command = [sys.executable, "-c", code, "sync", "notion:", "--into", str(folder), "--json"]
    with Killing(world) as fake:
        assert isinstance(fake, Killing)
        environment = {**os.environ, "NOTION_TOKEN": TOKEN, "NOTION_BASE_URL": fake.base}
        fake.kill_at = 9
        fake.victim = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        fake.victim.communicate(timeout=120)
        assert fake.victim.returncode == -signal.SIGKILL
        assert not json.loads((folder / "sync.json").read_bytes())["receipt"]["finished"]
        fake.kill_at = 0
        fake.restart()
        done = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, b"")
    told = json.loads(done.stdout)
    # Two listings, two requests a page: six requests before the ninth read three pages whole.
    assert (told["listed"], told["resumed"], told["fetched"]) == (6, 3, 3)
    assert {item.id for item in SyncedFolder(folder).documents({}) if isinstance(item, Document)} == {
        f"notion:{page}" for page in pages
    }
