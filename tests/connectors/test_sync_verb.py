"""The verb sync, called in this process."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.fixtures.fake_http import FakeClock
from tests.fixtures.fake_notion import TOKEN, FakeNotion, Workspace
from tunesmith.cli import connecting, main
from tunesmith.errors import EXIT_COULD_NOT_RUN, EXIT_DONE, EXIT_FINDINGS

assert connecting


def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["tunesmith", *words])
    monkeypatch.setattr("gc.set_threshold", lambda *_: None)
    monkeypatch.setattr("atexit.register", lambda *_: None)
    with pytest.raises(SystemExit) as left:
        main()
    said = capsys.readouterr()
    return int(left.value.code or 0), said.out, said.err


def test_it_ends_with_the_receipt_and_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world, folder = Workspace(FakeClock()), str(tmp_path / "copy")
    page = world.page("Page")
    world.text(page, "Some text")
    with FakeNotion(world) as fake:
        assert isinstance(fake, FakeNotion)
        monkeypatch.setenv("NOTION_BASE_URL", fake.base)
        monkeypatch.setenv("NOTION_TOKEN", TOKEN)
        code, out, _ = call(monkeypatch, capsys, "sync", "notion:", "--into", folder)
        assert (code, out.splitlines()[:2]) == (EXIT_DONE, ["notion: complete", "  documents: 1 listed, 1 fetched"])
        world.block(page, "unsupported")
        world.clock.time += 3600
        world.edit(page)
        code, out, _ = call(monkeypatch, capsys, "sync", "notion:", "--into", folder, "--json")
        assert code == EXIT_FINDINGS
        assert json.loads(out)["not_rendered"] == {"unsupported": 1}
        fake.revoked_at = 1
        code, out, err = call(monkeypatch, capsys, "sync", "notion:", "--into", folder)
        assert code == EXIT_COULD_NOT_RUN
        assert "API token is invalid" in err
        assert TOKEN not in out + err
        assert len(list((tmp_path / "copy" / "documents").iterdir())) == 1


def test_the_budget_of_bytes_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world = Workspace(FakeClock())
    page = world.page("Page")
    for _ in range(100):
        world.text(page, "x" * 12_000)
    with FakeNotion(world) as fake:
        assert isinstance(fake, FakeNotion)
        monkeypatch.setenv("NOTION_BASE_URL", fake.base)
        monkeypatch.setenv("NOTION_TOKEN", TOKEN)
        folder = str(tmp_path / "copy")
        code, _, err = call(monkeypatch, capsys, "sync", "notion:", "--into", folder, "--most-mib", "1")
        assert code == EXIT_COULD_NOT_RUN
        assert "more than 1 MiB" in err
        assert "--most-mib" in err
        assert call(monkeypatch, capsys, "sync", "notion:", "--into", folder)[0] == EXIT_DONE
