"""A service and its index: what changes there changes here, and nothing is asked for twice."""

from __future__ import annotations

from pathlib import Path

from tests.fixtures.fake_http import FakeClock
from tests.fixtures.fake_notion import TOKEN, FakeNotion, Workspace
from tunesmith.connectors.folder import SyncedFolder, sync_into
from tunesmith.connectors.notion import Notion
from tunesmith.retrieval.indexing import build_index
from tunesmith.retrieval.search import open_index
from tunesmith.web.http import Limits


def found(folder: Path, query: str) -> list[str]:
    with open_index(folder) as index:
        return [passage.source for passage in index.search(query, 3)]


def test_an_index_follows_its_service(tmp_path: Path) -> None:
    world, folder = Workspace(FakeClock()), tmp_path / "index"
    pages = {animal: world.page(f"About {animal}") for animal in ("zebra", "lemur", "otter")}
    for animal, page in pages.items():
        world.text(page, f"The {animal} is mentioned here.")
    sources = {animal: world.pages[page]["url"] for animal, page in pages.items()}
    with FakeNotion(world) as fake:
        assert isinstance(fake, FakeNotion)

        def notion() -> Notion:
            limits = Limits(rate=1e6, burst=1000)
            kept = folder / "sources"
            return Notion("", kept, base=fake.base, token=TOKEN, limits=limits, clock=world.clock)

        assert build_index(folder, [notion()], encoder="none").added == 3
        assert found(folder, "lemur") == [sources["lemur"]]
        fake.restart()
        world.clock.time += 3600
        report = build_index(folder, [notion()], encoder="none")
        assert (report.added, report.unchanged) == (0, 3)
        assert not [line for line in fake.log if "/children" in line]
        world.pages[pages["lemur"]]["in_trash"] = True
        world.text(pages["otter"], "It has met a walrus.")
        world.edit(pages["otter"])
        report = build_index(folder, [notion()], encoder="none")
        assert (report.changed, len(report.removed)) == (1, 1)
        assert found(folder, "lemur") == []
        assert found(folder, "walrus") == [sources["otter"]]
        # The same by way of a folder.
        sync_into(notion(), tmp_path / "copy")
    report = build_index(tmp_path / "second", [SyncedFolder(tmp_path / "copy")], encoder="none")
    assert report.added == 2
    assert found(tmp_path / "second", "walrus") == [sources["otter"]]
