"""Sources by the names that a person writes: ``notion:``, ``sitemap:ADDRESS``, a path. It asks nothing."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from pathlib import Path

from tunesmith.errors import UserError
from tunesmith.retrieval.document import Source

SERVICES = {
    "notion": "notion: or notion:PAGE (token in NOTION_TOKEN)",
    "drive": "drive: or drive:FOLDER (token in GOOGLE_DRIVE_TOKEN or GOOGLE_APPLICATION_CREDENTIALS)",
    "hubspot": "hubspot: or hubspot:TYPES (token in HUBSPOT_TOKEN)",
    "zendesk": "zendesk:SUBDOMAIN (token in ZENDESK_TOKEN, with ZENDESK_EMAIL)",
    "sitemap": "sitemap:ADDRESS",
}


def find_source(named: str, kept: Path | None = None, say: Callable[[str], None] | None = None) -> Source:
    """The source of this name.

    Args:
        named: A service and a place in it with a colon between, or a path.
        kept: Folder for the resume file of a service.
        say: Told about long waits.

    Raises:
        UserError: There is no such service or path, or its credentials lack.
    """
    service, colon, place = named.partition(":")
    if Path(named).expanduser().exists() or not colon or not re.fullmatch(r"[A-Za-z]{2,}", service):
        return _folder(named)
    if service == "notion":
        from tunesmith.connectors.notion import Notion

        return Notion(place, kept, say=say)
    if service == "drive":
        from tunesmith.connectors.drive import GoogleDrive

        return GoogleDrive(place, kept, say=say)
    if service == "hubspot":
        from tunesmith.connectors.hubspot import HubSpot

        return HubSpot(place, kept, say=say)
    if service == "zendesk":
        from tunesmith.connectors.zendesk import Zendesk

        return Zendesk(place, kept, say=say)
    if service in {"sitemap", "http", "https"}:
        from tunesmith.connectors.sitemap import Sitemap

        return Sitemap(_address(named, place), kept, say=say)
    near = difflib.get_close_matches(service.lower(), SERVICES, 1)
    fix = f"did you mean {near[0]}:? " if near else ""
    raise UserError(f"there is no source '{service}:'", named, f"{fix}write a path, or {'; '.join(SERVICES.values())}")


def _address(named: str, place: str) -> str:
    if not named.startswith("sitemap:"):
        raise UserError("a bare address is no source", named, f"write sitemap:{named} to read the pages of its sitemap")
    if not place:
        raise UserError("a sitemap needs its address", named, "write sitemap:https://HOST/sitemap.xml")
    return place if "://" in place else f"https://{place}"


def _folder(named: str) -> Source:
    """What a path is: a folder that was synced into, or files."""
    from tunesmith.connectors.folder import SyncedFolder, is_synced

    path = Path(named).expanduser()
    if is_synced(path):
        return SyncedFolder(path)
    from tunesmith.retrieval.reading import FolderSource

    return FolderSource(path)
