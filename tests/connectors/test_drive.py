"""Google Drive against a server of its API that knows the truth: every file, export, shortcut and shared drive."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fixtures.fake_drive import (
    DOC,
    DRAWING,
    FOLDER,
    FORM,
    PPTX,
    SHEET,
    SHORTCUT,
    SLIDES,
    XLSX,
    DriveFile,
    FakeDrive,
)
from tests.fixtures.fake_http import FAULTS, FakeClock, FakeService
from tests.fixtures.fake_services import Json
from tests.fixtures.syncs import (
    PROOF,
    goes_on_with_a_new_token,
    killed_between_any_two_requests,
    same_whatever_happens,
    synced,
)
from tunesmith.connectors.content import Content
from tunesmith.connectors.drive import GoogleDrive
from tunesmith.connectors.google_token import google_token
from tunesmith.errors import UserError
from tunesmith.web.replies import HttpFault

CONTENT = Content()
MARKDOWN = "text/markdown"
MAIL = b"""From: ada@example.org
To: bob@example.org
Subject: Prices
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="b"

--b
Content-Type: text/plain

See the list.
--b
Content-Type: text/plain; name="list.txt"
Content-Disposition: attachment; filename="list.txt"

Bolts cost 7.
--b--
"""


def sheet() -> bytes:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.title = "First"
    book.active.append(["item", "price"])
    book.active.append(["bolt", 7])
    book.create_sheet("Second").append(["nut", 3])
    book.save(stream := BytesIO())
    return stream.getvalue()


def slides() -> bytes:
    pptx = pytest.importorskip("pptx")
    deck = pptx.Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[1])
    slide.shapes.title.text = "Plan of the year"
    slide.notes_slide.notes_text_frame.text = "do not promise dates"
    deck.save(stream := BytesIO())
    return stream.getvalue()


def doc(id: str, text: str, **more: Any) -> DriveFile:
    return DriveFile(id, f"Doc {id}", DOC, {MARKDOWN: text.encode()}, **more)


def texts() -> list[DriveFile]:
    """Files whose conversion needs no other process."""
    return [
        DriveFile("top", "Team", FOLDER),
        DriveFile("sub", "Plans", FOLDER, parents=("top",)),
        doc("d1", "# One\n\nfirst", parents=("sub",)),
        doc("d2", "second", shared=True),
        DriveFile("t1", "notes.txt", "text/plain", {"": b"plain notes"}, parents=("top",)),
        doc("s1", "in the drive of sales", drive="sales", parents=("sales",)),
        doc("s2", "in the drive of law", drive="law", parents=("law",)),
        DriveFile("k1", "to d1", SHORTCUT, target="d1", target_mime=DOC),
        DriveFile("k2", "to a link", SHORTCUT, target="far", target_mime=DOC, target_key="0-key"),
        doc("far", "shared by a link alone", listed=False, key="0-key"),
        doc("old", "thrown away", trashed=True),
    ]


def fake(files: list[DriveFile] | None = None, **wishes: Any) -> FakeDrive:
    return FakeDrive(files or texts(), drives={"sales": "Sales", "law": "Law"}, **wishes)


def connector(
    service: FakeDrive, kept: Path | None = None, clock: FakeClock | None = None, **wishes: Any
) -> GoogleDrive:
    def token(renew: bool) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {service.token}"}

    given: Json = {"token": token, "content": CONTENT, **wishes}
    return GoogleDrive(kept=kept, base=service.base, clock=clock or FakeClock(), **given)


@pytest.fixture
def service() -> Iterator[FakeDrive]:
    with fake() as running:
        yield running
    assert running.strange == []


def test_every_file_of_every_drive_is_there_once(service: FakeDrive) -> None:
    found = synced(connector(service))
    assert set(found.documents) == {f"drive:{id}" for id in ("d1", "d2", "t1", "s1", "s2", "far")}
    one = found.documents["drive:d1"]
    assert (one.text, one.title, one.kind) == ("# One\n\nfirst", "Doc d1", "markdown")
    assert one.labels == {"kind": "markdown", "space": "My Drive", "folder": "Team/Plans", "owner": "Ada"}
    assert found.documents["drive:d2"].labels["space"] == "Shared with me"
    assert found.documents["drive:s1"].labels["space"] == "Sales"
    assert found.documents["drive:far"].text == "shared by a link alone"
    receipt = found.receipt
    assert (receipt.listed, receipt.fetched, receipt.skipped, receipt.complete) == (6, 6, [], True)
    assert receipt.parts.seen == {"document": 5, "text": 1, "shortcut": 2}


def test_exports_lose_no_sheet_no_note_and_no_attachment() -> None:
    files = [
        DriveFile("sheet", "Prices", SHEET, {XLSX: sheet(), "text/csv": b"item,price\r\nbolt,7\r\n"}),
        DriveFile("deck", "Plan", SLIDES, {PPTX: slides(), "text/plain": b"Plan of the year"}),
        DriveFile("page", "page", "text/html", {"": b"<h1>Hours</h1><p>Open at <b>nine</b></p>"}),
        DriveFile("mail", "Prices", "message/rfc822", {"": MAIL}),
        DriveFile("pdf", "broken.pdf", "application/pdf", {"": b"%PDF-1.4 nothing"}),
        DriveFile("blank", "blank.txt", "text/plain", {"": b" \n"}),
    ]
    with fake(files) as service:
        found = synced(connector(service))
        assert service.strange == []
    said = {id.removeprefix("drive:"): document.text for id, document in found.documents.items()}
    # CSV, which readers ask for, is the first sheet alone; plain text of slides lacks their notes.
    assert "bolt" in said["sheet"]
    assert "nut" in said["sheet"]
    assert "Plan of the year" in said["deck"]
    assert "do not promise dates" in said["deck"]
    assert "# Hours" in said["page"]
    assert "See the list." in said["mail"]
    assert "Bolts cost 7." in said["mail"]
    assert found.receipt.empty == ["https://drive.google.com/open?id=blank"]
    assert [unread.source.rpartition("=")[2] for unread in found.unread] == ["pdf"]
    assert found.receipt.unaccounted == 0
    assert not found.receipt.complete


def test_what_gives_no_text_is_named_with_the_reason() -> None:
    files = [
        DriveFile("draw", "Map", DRAWING),
        DriveFile("form", "Poll", FORM),
        DriveFile("photo", "photo", "image/png", {"": b"x"}),
        DriveFile("zip", "all.zip", "application/zip", {"": b"x"}),
        doc("locked", "x", downloads=False),
        DriveFile("bad", "bad.txt", "text/plain", {"": b"x"}, abusive=True),
        DriveFile("lost", "to nothing", SHORTCUT, target="no", target_mime=DOC),
        DriveFile("bin", "to the trash", SHORTCUT, target="old", target_mime=DOC),
        doc("old", "thrown away", trashed=True),
        doc("good", "kept"),
    ]
    with fake(files) as service:
        found = synced(connector(service))
        assert service.strange == []
    assert set(found.documents) == {"drive:good"}
    why = {unread.source.rpartition("=")[2]: unread.reason for unread in found.unread}
    assert set(why) == {"draw", "form", "photo", "zip", "locked", "bad", "lost", "bin"}
    for id, word in {"draw": "drawing", "form": "form", "photo": "image/png", "zip": ".zip", "bin": "trash"}.items():
        assert word in why[id]
    assert ("does not allow" in why["locked"], "malware" in why["bad"], "gone" in why["lost"]) == (True, True, True)
    assert (found.receipt.listed, found.receipt.unaccounted, found.receipt.complete) == (9, 0, False)


def test_an_export_of_more_than_10_megabytes_comes_by_its_link() -> None:
    with fake([doc("huge", "very long", huge=True)]) as service:
        found = synced(connector(service))
        assert found.documents["drive:huge"].text == "very long"
        assert any("/export-host/" in line for line in service.log)
        assert service.strange == []


def test_bytes_of_pictures_stand_in_no_text_and_are_counted() -> None:
    written = """# Plan

![][image1] and ![the map][image2] and [a link][home]

[home]: https://example.org

[image1]: <data:image/png;base64,iVBORw0KGgo=>

[image2]: <data:image/png;base64,AAAA>
"""
    with fake([doc("plan", written)]) as service:
        found = synced(connector(service))
    text = found.documents["drive:plan"].text
    assert text == "# Plan\n\n and the map and [a link][home]\n\n[home]: https://example.org\n"
    assert (found.receipt.parts.seen["picture"], found.receipt.parts.not_rendered) == (2, {"picture": 1})


def test_a_folder_is_read_with_all_below_it_and_ends_though_shortcuts_lead_in_circles() -> None:
    files = [
        *texts(),
        DriveFile("loop", "back to the top", SHORTCUT, parents=("sub",), target="top", target_mime=FOLDER),
        DriveFile("side", "Side", FOLDER, drive="sales"),
        doc("s3", "beside", parents=("side",), drive="sales"),
        DriveFile("over", "to the side", SHORTCUT, parents=("top",), target="side", target_mime=FOLDER),
        DriveFile("back", "and back", SHORTCUT, parents=("side",), drive="sales", target="sub", target_mime=FOLDER),
    ]
    with fake(files, page=1) as service:
        found = synced(connector(service, place="https://drive.google.com/drive/folders/top?usp=sharing"))
        assert service.strange == []
        with pytest.raises(UserError, match="no such folder"):
            synced(connector(service, place="nowhere"))
    assert set(found.documents) == {"drive:d1", "drive:t1", "drive:s3"}
    with pytest.raises(UserError, match="no folder of Google Drive"):
        GoogleDrive("../x", token=lambda renew: {})


@PROOF
@given(page=st.integers(1, 7), faults=st.dictionaries(st.integers(1, 40), st.sampled_from(FAULTS), max_size=12))
def test_any_page_size_and_any_faults_give_the_same_documents(page: int, faults: Json) -> None:
    with fake(clock=(clock := FakeClock())) as service:
        same_whatever_happens(partial(connector, service), service, clock, faults, page=page)


def test_a_sync_that_is_killed_between_any_two_requests_goes_on(service: FakeDrive, tmp_path: Path) -> None:
    killed_between_any_two_requests(partial(connector, service), service, tmp_path, "/export")


def test_the_next_sync_reads_what_changed_alone_and_tells_what_is_gone(service: FakeDrive, tmp_path: Path) -> None:
    first = synced(connector(service, tmp_path))
    service.edit("d1", content={MARKDOWN: b"another text"})
    service.edit("d2", trashed=True)
    service.edit("s2", drive="sales")
    service.add(doc("d9", "new"))
    service.again()
    second = synced(connector(service, tmp_path), first.versions)
    assert set(second.documents) == {"drive:d1", "drive:s2", "drive:d9"}
    assert second.documents["drive:s2"].labels["space"] == "Sales"
    assert second.ids == (first.ids | {"drive:d9"}) - {"drive:d2"}
    assert len([line for line in service.log if "/export" in line]) == 3


def test_an_edit_at_any_moment_is_in_this_sync_or_in_the_next(service: FakeDrive, tmp_path: Path) -> None:
    synced(connector(service))
    for number in range(1, len(service.log) + 1):

        def edit(at: int, number: int = number) -> None:
            if at == number:
                service.edit("d1", content={MARKDOWN: f"late {number}.".encode()})

        kept = tmp_path / str(number)
        service.again(before=edit)
        first = synced(connector(service, kept))
        service.again()
        second = synced(connector(service, kept), first.versions)
        assert {**first.documents, **second.documents}["drive:d1"].text.strip() == f"late {number}."
        assert second.ids == first.ids


@pytest.mark.parametrize("start", ["sales", "law"])
def test_a_file_that_moves_to_another_drive_at_any_moment_is_there(service: FakeDrive, start: str) -> None:
    synced(connector(service))
    listed = next(number for number, line in enumerate(service.log, 1) if "/export" in line)
    for number in range(1, listed):

        def move(at: int, number: int = number) -> None:
            if at == number:
                service.edit("s1", drive="law" if start == "sales" else "sales")

        service.edit("s1", drive=start)
        service.again(before=move)
        assert "drive:s1" in synced(connector(service)).ids, number


def test_a_page_token_that_is_refused_starts_the_list_anew() -> None:
    with fake(page=2) as service:
        whole = synced(connector(service))
        second = next(n for n, line in enumerate(service.log, 1) if "/files?" in line and "pageToken" in line)
        service.again(refusals={second: "400-invalid"})
        assert synced(connector(service)).texts == whole.texts
        service.again(refusals=dict.fromkeys(range(second, 200), "400-invalid"))
        with pytest.raises(HttpFault, match="400"):
            synced(connector(service))
        assert len(service.log) < 30


def test_a_page_that_a_proxy_puts_in_the_place_of_a_file_is_not_taken_for_it(service: FakeDrive) -> None:
    whole = synced(connector(service))
    reads = [number for number, line in enumerate(service.log, 1) if "/export" in line or "alt=media" in line]
    assert len(reads) == 6
    for number in reads:
        service.again(faults={number: "garbage"})
        found = synced(connector(service))
        assert found.texts == whole.texts
        assert found.receipt.repeated == {"damaged": 1}
    service.again(faults=dict.fromkeys(range(reads[0], reads[0] + 4), "garbage"))
    found = synced(connector(service))
    assert len(found.documents) == 5
    assert "not the file" in found.unread[0].reason


def test_googles_two_kinds_of_403(service: FakeDrive, tmp_path: Path) -> None:
    whole = synced(connector(service))
    read = next(n for n, line in enumerate(service.log, 1) if "/export" in line)
    service.again(refusals={read: "403-userRateLimitExceeded", read + 1: "403-rateLimitExceeded"})
    found = synced(connector(service))
    assert found.texts == whole.texts
    assert found.receipt.repeated == {"403": 2}
    service.again(refusals={read: "403-dailyLimitExceeded"})
    with pytest.raises(HttpFault) as caught:
        synced(connector(service, tmp_path))
    assert caught.value.stops
    service.again()
    assert synced(connector(service, tmp_path)).texts == whole.texts


def test_a_list_that_google_calls_incomplete_is_no_list(service: FakeDrive, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = FakeDrive.listing

    def listing(self: FakeDrive, request: Any) -> Any:
        answer = whole(self, request)
        answer.body["incompleteSearch"] = True
        return answer

    monkeypatch.setattr(FakeDrive, "listing", listing)
    with pytest.raises(HttpFault, match="incompleteSearch"):
        synced(connector(service))


def test_a_token_that_is_revoked_ends_the_sync_and_a_new_one_goes_on(service: FakeDrive, tmp_path: Path) -> None:
    whole = synced(connector(service))
    reads = [n for n, line in enumerate(service.log, 1) if "/export" in line]
    receipt = goes_on_with_a_new_token(partial(connector, service), service, tmp_path, whole, reads[2])
    assert receipt.resumed == 2


class Tokens(FakeService):
    """Google's server of tokens: each one it makes is another, and the service takes the last."""

    def __init__(self, service: FakeDrive) -> None:
        super().__init__()
        self.service, self.made = service, 0

    def answer(self, method: str, path: str, query: Any, headers: Any, body: Any) -> Any:
        if "refresh_token=good" not in body or "grant_type=refresh_token" not in body:
            return 400, {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}
        self.made += 1
        self.service.token = f"token-{self.made}"
        return 200, {"access_token": self.service.token, "expires_in": 3599, "token_type": "Bearer"}


def credentials(folder: Path, **more: str) -> str:
    file = folder / "credentials.json"
    told = {"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "good", **more}
    file.write_text(json.dumps(told))
    return str(file)


def test_a_token_that_ends_after_an_hour_is_renewed(
    service: FakeDrive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GOOGLE_DRIVE_TOKEN", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", credentials(tmp_path))

    def ends(at: int) -> None:
        if at == 9:
            service.token = "none that anybody holds"

    with Tokens(service) as tokens:
        service.again(before=ends)
        found = synced(connector(service, token=google_token(tokens.base)))
        assert (len(found.documents), tokens.made, found.receipt.repeated) == (6, 2, {"401": 1})
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", credentials(tmp_path, refresh_token="bad"))
        with pytest.raises(HttpFault) as caught:
            synced(connector(service, token=google_token(tokens.base)))
    assert caught.value.stops
    assert "gcloud auth" in caught.value.fix


def test_credentials_that_are_not_there_or_not_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_DRIVE_TOKEN", raising=False)
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    with pytest.raises(UserError, match="there are none"):
        GoogleDrive()
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with pytest.raises(UserError, match="can't be read"):
        GoogleDrive()
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", credentials(tmp_path, type="service_account"))
    with pytest.raises(UserError, match="service account"):
        GoogleDrive()
