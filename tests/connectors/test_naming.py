"""Sources by their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunesmith.connectors.naming import find_source
from tunesmith.connectors.notion import Notion
from tunesmith.connectors.sitemap import Sitemap
from tunesmith.errors import UserError
from tunesmith.retrieval.reading import FolderSource


@pytest.fixture(autouse=True)
def _tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NOTION", "HUBSPOT", "ZENDESK", "GOOGLE_DRIVE"):
        monkeypatch.setenv(f"{name}_TOKEN", "t")


@pytest.mark.parametrize(
    ("named", "name"),
    [
        ("notion:", "notion"),
        ("notion:https://www.notion.so/acme/A-page-0123456789abcdef0123456789abcdef?pvs=4",
         "notion:01234567-89ab-cdef-0123-456789abcdef"),
        ("drive:", "drive"),
        ("hubspot:", "hubspot"),
        ("zendesk:example", "zendesk:example"),
        ("sitemap:example.org", "sitemap:https://example.org"),
        ("sitemap:http://example.org/map.xml", "sitemap:http://example.org/map.xml"),
    ],
)  # fmt: skip
def test_services_are_found(named: str, name: str) -> None:
    assert find_source(named).name == name


def test_a_path_is_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(find_source(str(tmp_path)), FolderSource)
    # A file may be named as a service is.
    monkeypatch.chdir(tmp_path)
    Path("notion:").write_text("text")
    assert isinstance(find_source("notion:"), FolderSource)
    assert isinstance(find_source("C:\\texts"), FolderSource)


@pytest.mark.parametrize(
    ("named", "said", "fix"),
    [
        ("notoin:", "there is no source 'notoin:'", "did you mean notion:?"),
        ("https://example.org", "a bare address is no source", "sitemap:https://example.org"),
        ("sitemap:", "a sitemap needs its address", "sitemap:https://HOST"),
        ("sitemap:ftp://x/y", "no http or https address", "https://HOST"),
        ("notion:My page", "no id or address of a page", "Copy link"),
    ],
)
def test_what_is_no_source_is_said(named: str, said: str, fix: str) -> None:
    with pytest.raises(UserError) as fault:
        find_source(named)
    assert said in fault.value.what
    assert fix in fault.value.fix


def test_connectors_are_what_they_are_named() -> None:
    assert isinstance(find_source("notion:"), Notion)
    assert isinstance(find_source("sitemap:a.example"), Sitemap)
