"""A site by its sitemap, against a real server: all that is listed is read or named, nothing else is asked for."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.fake_http import FAULTS, Answer, FakeClock, FakeService
from tunesmith.connectors.sitemap import Sitemap
from tunesmith.errors import UserError
from tunesmith.retrieval.document import Document, Unread
from tunesmith.web.http import Limits

FAST = Limits(rate=1e6, burst=1000)
NAMESPACE = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'


class Site(FakeService):
    """Pages by path: type and bytes."""

    def __init__(self, clock: FakeClock) -> None:
        self.pages: dict[str, tuple[str, bytes]] = {}
        self.moved: dict[str, str] = {}
        super().__init__(clock)

    def answer(self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: Any) -> Answer:
        if path in self.moved:
            return 301, b"", {"Location": self.moved[path]}
        if path not in self.pages:
            return 404, b"not here", {"Content-Type": "text/html"}
        kind, content = self.pages[path]
        return 200, content, {"Content-Type": kind}

    def sitemap(self, path: str, places: Mapping[str, str], index: bool = False) -> None:
        root, item = ("sitemapindex", "sitemap") if index else ("urlset", "url")
        listed = "".join(
            f"<{item}><loc>{place if '://' in place else self.base + place}</loc>"
            + (f"<lastmod>{changed}</lastmod>" if changed else "")
            + f"</{item}>"
            for place, changed in places.items()
        )
        self.pages[path] = ("application/xml", f'<?xml version="1.0"?><{root} {NAMESPACE}>{listed}</{root}>'.encode())

    def page(self, path: str, text: str) -> None:
        html = f"<html><head><title>Page {path}</title></head><body><h1>{text}</h1><p>Text of {path}.</p></body></html>"
        self.pages[path] = ("text/html; charset=utf-8", html.encode())


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site(FakeClock())
    for name in "abc":
        made.page(f"/{name}", name.upper())
    made.sitemap("/sitemap.xml", {"/a": "2026-01-02", "/b": "2026-01-02T10:00:00+00:00", "/c": ""})
    yield made
    made.stop()


def read(site: Site, place: str = "", known: Mapping[str, str] | None = None, kept: Path | None = None) -> Any:
    source = Sitemap(site.base + place, kept, limits=FAST, clock=site.clock)
    given = list(source.documents(known or {}))
    documents = {item.id: item for item in given if isinstance(item, Document)}
    return source.receipt, documents, {item.source: item.reason for item in given if isinstance(item, Unread)}


def test_every_page_is_read_and_one_that_did_not_change_is_not_read_again(site: Site, tmp_path: Path) -> None:
    receipt, documents, unread = read(site, kept=tmp_path)
    assert [document.source for document in documents.values()] == [f"{site.base}/{name}" for name in "abc"]
    assert not unread
    assert receipt.complete
    assert "Text of /a." in documents[f"sitemap:{site.base}/a"].text
    assert documents[f"sitemap:{site.base}/a"].title == "Page /a"
    site.restart()
    site.page("/b", "new")
    site.sitemap("/sitemap.xml", {"/a": "2026-01-02", "/b": "2026-03-02", "/c": ""})
    held = {id: document.version for id, document in documents.items()}
    receipt, documents, _ = read(site, known=held, kept=tmp_path)
    assert list(documents) == [f"sitemap:{site.base}/b"]
    # Without a date of change a page is read again, and found to be as it was.
    assert sorted(line for line in site.log if "/sitemap" not in line and "/robots" not in line) == ["GET /b", "GET /c"]


def test_nested_and_packed_sitemaps_and_lists_of_lines_are_read(site: Site) -> None:
    site.sitemap("/inner.xml", {"/a": ""})
    site.pages["/inner.xml.gz"] = ("application/gzip", gzip.compress(site.pages["/inner.xml"][1]))
    site.pages["/lines.txt"] = ("text/plain", f"{site.base}/b\n{site.base}/c#part\n".encode())
    site.sitemap("/index.xml", {"/inner.xml.gz": "", "/lines.txt": "", "/index.xml": ""}, index=True)
    site.pages["/robots.txt"] = ("text/plain", f"Sitemap: {site.base}/index.xml\n".encode())
    receipt, documents, unread = read(site)
    assert len(documents) == 3
    assert not unread
    assert receipt.complete


def test_what_is_not_read_is_named(site: Site) -> None:
    site.pages["/robots.txt"] = ("text/plain", b"User-agent: *\nDisallow: /private\n")
    site.page("/private/x", "secret")
    site.pages["/film"] = ("video/mp4", b"\0\0")
    site.moved["/moved"] = "http://localhost:1/elsewhere"
    places = ["/a", "/gone", "/film", "/private/x", "/moved", "https://other.example/x"]
    site.sitemap("/sitemap.xml", dict.fromkeys(places, ""))
    receipt, documents, unread = read(site)
    assert len(documents) == 1
    assert {place.removeprefix(site.base): reason for place, reason in unread.items()} == {
        "/gone": f"{site.base} answered 404",
        "/film": "pages of type video/mp4 are not read",
        "/private/x": "the site's robots.txt does not allow it",
        "/moved": "http://localhost:1 leads to 127.0.0.1, an address of a private network",
        "https://other.example/x": "the sitemap lists a page of another site",
    }
    assert not receipt.complete
    assert receipt.unaccounted == 0
    assert not [line for line in site.log if "private" in line]


def test_a_page_in_another_encoding_is_read_by_its_header(site: Site) -> None:
    site.pages["/a"] = ("text/html; charset=ISO-8859-2", "<p>Zażółć</p>".encode("iso-8859-2"))
    _, documents, _ = read(site)
    assert documents[f"sitemap:{site.base}/a"].text.strip() == "Zażółć"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'<!DOCTYPE x [<!ENTITY a "aaaa">]><urlset><url><loc>&a;</loc></url></urlset>', "it has a document type"),
        (b"<urlset><url><loc>http", "no sound XML"),
        (b"<html><body>welcome</body></html>", "no sitemap but a <html>"),
        (gzip.compress(b"0" * 60_000_000, mtime=0), "unpacks to more than 50 MiB"),
        (gzip.compress(b"<urlset/>", mtime=0)[:12], "is cut off"),
    ],
)
def test_a_sitemap_that_is_none_is_said(site: Site, body: bytes, reason: str) -> None:
    site.pages["/bad.xml"] = ("application/xml", body)
    site.sitemap("/index.xml", {"/bad.xml": "", "/sitemap.xml": ""}, index=True)
    _, documents, unread = read(site, "/index.xml")
    assert len(documents) == 3
    assert reason in unread[f"{site.base}/bad.xml"]


def test_a_site_without_pages_and_a_site_that_lost_them_are_said(site: Site) -> None:
    _, documents, _ = read(site)
    site.sitemap("/sitemap.xml", {})
    with pytest.raises(UserError, match="lists no page"):
        read(site, known={id: document.version for id, document in documents.items()})


def test_faults_on_the_way_change_nothing(site: Site) -> None:
    _, wanted, _ = read(site)
    site.restart(dict(enumerate((fault for fault in FAULTS if fault != "garbage"), start=1)))
    receipt, documents, _ = read(site)
    assert documents == wanted
    assert receipt.repeated.total() == len(FAULTS) - 1
