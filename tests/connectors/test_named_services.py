"""Services by the names that a person writes, synced into a folder: all there, and nothing asked twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.connectors import test_drive, test_hubspot, test_zendesk
from tests.fixtures.fake_services import KnowingService
from tunesmith.connectors.folder import SyncedFolder, kept_in, sync_into
from tunesmith.connectors.naming import find_source

SERVICES: list[tuple[str, Callable[[], KnowingService], dict[str, str], int]] = [
    ("drive:", test_drive.fake, {"GOOGLE_DRIVE_TOKEN": "right-token"}, 6),
    ("hubspot:contacts,companies", test_hubspot.fake, {"HUBSPOT_TOKEN": "right-token"}, 7),
    ("zendesk:example", test_zendesk.fake, {"ZENDESK_TOKEN": "right-token", "ZENDESK_EMAIL": "ada@example.org"}, 12),
]
BASES = {"drive": "GOOGLE_DRIVE_BASE_URL", "hubspot": "HUBSPOT_BASE_URL", "zendesk": "ZENDESK_BASE_URL"}


@pytest.mark.parametrize(("named", "fake", "environment", "count"), SERVICES, ids=[s[0] for s in SERVICES])
def test_a_service_is_synced_by_its_name(
    named: str, fake: Callable[[], Any], environment: dict[str, str], count: int, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("tunesmith.web.waiting.SystemClock.sleep", lambda self, seconds: None)
    with fake() as service:
        monkeypatch.setenv(BASES[named.partition(":")[0]], service.base)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        first = sync_into(find_source(named, kept_in(tmp_path)), tmp_path)
        assert (first.finished, first.listed, first.fetched, first.unaccounted) == (True, count, count, 0)
        assert len(list(SyncedFolder(tmp_path).documents({}))) == count
        assert "right-token" not in json.dumps(first.plain()) + "".join(first.lines())
        second = sync_into(find_source(named, kept_in(tmp_path)), tmp_path)
        assert (second.finished, second.fetched, second.unchanged) == (True, 0, count)
        assert service.strange == []
