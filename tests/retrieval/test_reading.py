"""A folder as a source: what is read, what is named as not read, and what a file that means harm can do."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from email.message import EmailMessage
from pathlib import Path

import pytest

from tunesmith.errors import UserError
from tunesmith.retrieval.chunks import chunks_of, estimated_tokens
from tunesmith.retrieval.converting import Converter
from tunesmith.retrieval.document import Document, Unread
from tunesmith.retrieval.limits import MIB, Limits, zip_fault
from tunesmith.retrieval.mailboxes import messages
from tunesmith.retrieval.plain import Converted, Refused
from tunesmith.retrieval.reading import FolderSource

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "documents"


def read(path: Path, known: Mapping[str, str] | None = None, **limits: int) -> list[Document | Unread | str]:
    return list(FolderSource(path, Limits(**limits), name="docs").documents(known or {}))


def one(path: Path) -> Document:
    [found] = read(path)
    assert isinstance(found, Document)
    return found


def unread(path: Path, **limits: int) -> Unread:
    [found] = read(path, **limits)
    assert isinstance(found, Unread)
    return found


def texts(found: list[Document | Unread | str]) -> dict[str, str]:
    return {document.id: document.text for document in found if isinstance(document, Document)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "docs"
    (place / "deep").mkdir(parents=True)
    (place / "a.md").write_text("Intro\n\n# Title of a\n\nBody.\n", encoding="utf-8")
    (place / "deep" / "b.txt").write_text("Plain text.\n", encoding="utf-8")
    (place / "c.csv").write_text("x,y\n1,2\n", encoding="utf-8")
    (place / "README").write_text("No ending.\n", encoding="utf-8")
    (place / ".hidden.md").write_text("hidden", encoding="utf-8")
    return place


def test_a_folder_gives_its_documents_in_a_stable_order(folder: Path) -> None:
    found = read(folder)
    assert [(d.id, d.source, d.title, d.kind) for d in found if isinstance(d, Document)] == [
        ("README", "docs/README", "README", "text"),
        ("a.md", "docs/a.md", "Title of a", "markdown"),
        ("c.csv", "docs/c.csv", "c.csv", "csv"),
        ("deep/b.txt", "docs/deep/b.txt", "b.txt", "text"),
    ]
    assert len(found) == 4
    assert texts(found)["a.md"] == (folder / "a.md").read_text(encoding="utf-8")
    assert all(d.changed.endswith("+00:00") and d.labels["kind"] == d.kind for d in found if isinstance(d, Document))


def test_what_did_not_change_is_given_as_its_id(folder: Path) -> None:
    known = {d.id: d.version for d in read(folder) if isinstance(d, Document)}
    (folder / "a.md").write_text("# Changed\n", encoding="utf-8")
    found = read(folder, known)
    assert [d if isinstance(d, str) else getattr(d, "id", "") for d in found] == [
        "README",
        "a.md",
        "c.csv",
        "deep/b.txt",
    ]
    assert [isinstance(d, str) for d in found] == [True, False, True, True]
    changed = next(d for d in found if isinstance(d, Document))
    assert changed.version != known["a.md"]


def test_a_single_file_is_a_source(folder: Path) -> None:
    assert one(folder / "a.md").id == "a.md"


def test_every_file_that_is_not_read_is_named_with_the_reason(folder: Path) -> None:
    (folder / "old.doc").write_bytes(b"\xd0\xcf\x11\xe0")
    (folder / "p.png").write_bytes(b"\x89PNG")
    (folder / "x.unknown").write_bytes(b"?")
    (folder / "index").mkdir()
    (folder / "index" / "index.sqlite").write_bytes(b"")
    os.mkfifo(folder / "pipe.txt")
    assert {d.source: (d.reason, d.fix) for d in read(folder) if isinstance(d, Unread)} == {
        "docs/index": ("it is an index of documents, not documents", ""),
        "docs/old.doc": ("files that end in .doc are not read", "save it as DOCX or PDF"),
        "docs/p.png": ("files that end in .png are not read", "read its text by OCR first"),
        "docs/pipe.txt": ("it is no file (a pipe, a socket or a device)", ""),
        "docs/x.unknown": ("files that end in .unknown are not read", "save it as text, HTML or PDF if it is a text"),
    }


def test_an_empty_folder_is_an_error_of_the_person(tmp_path: Path) -> None:
    (tmp_path / ".only-hidden").write_text("x", encoding="utf-8")
    with pytest.raises(UserError, match="holds no file"):
        read(tmp_path)
    with pytest.raises(UserError, match="no such file"):
        read(tmp_path / "nowhere")


def test_a_file_of_2_gb_is_refused_before_it_is_read(folder: Path) -> None:
    for name in ("big.txt", "big.pdf"):
        with (folder / name).open("wb") as file:
            file.truncate(2 * 2**30)
    refused = [d for d in read(folder) if isinstance(d, Unread)]
    assert [d.source for d in refused] == ["docs/big.pdf", "docs/big.txt"]
    assert all("2,147,483,648 bytes, more than the" in d.reason and d.fix for d in refused)


def test_links_are_followed_inside_the_folder_only_and_never_in_a_circle(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret", encoding="utf-8")
    (folder / "out.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "out").symlink_to(tmp_path)
    (folder / "circle").symlink_to(folder)
    (folder / "self.txt").symlink_to("self.txt")
    (folder / "again.txt").symlink_to("deep/b.txt")
    found = read(folder)
    assert "again.txt" in texts(found)
    assert "secret" not in str(texts(found).values())
    reasons = {d.source: d.reason for d in found if isinstance(d, Unread)}
    assert reasons.keys() == {"docs/out.txt", "docs/out", "docs/self.txt"}
    assert "leads out of the folder" in reasons["docs/out"]
    assert "leads nowhere or to itself" in reasons["docs/self.txt"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_named(folder: Path) -> None:
    (folder / "a.md").chmod(0)
    (folder / "deep").chmod(0)
    try:
        reasons = {d.source: d.reason for d in read(folder) if isinstance(d, Unread)}
    finally:
        (folder / "deep").chmod(0o700)
    assert reasons.keys() == {"docs/a.md", "docs/deep"}


def test_a_file_that_cannot_be_opened_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path.open

    def refuse(self: Path, *given: object, **more: object) -> object:
        if self.name == "a.md":
            raise PermissionError(13, "Permission denied", str(self))
        return opened(self, *given, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", refuse)
    found = read(folder)
    [refused] = [d for d in found if isinstance(d, Unread)]
    assert (refused.source, refused.reason) == ("docs/a.md", "it cannot be opened (Permission denied)")
    assert len(texts(found)) == 3


@pytest.mark.parametrize(
    ("content", "text", "note"),
    [
        ("Grüße, – ok\n".encode(), "Grüße, – ok\n", ""),
        ("\ufeffGrüße\r\nzwei\n".encode(), "Grüße\r\nzwei\n", ""),
        ("Grüße\n".encode("utf-16"), "Grüße\n", ""),
        ("Grüße “so”\n".encode("cp1252"), "Grüße “so”\n", "was read as cp1252"),
        ("Grüße\nGrüße\nGrüße\n".encode() + b"\xff\xfe\n", "Grüße\nGrüße\nGrüße\n��\n", "2 bytes are no text"),
    ],
)
def test_encodings_are_told_and_what_is_damaged_is_said(tmp_path: Path, content: bytes, text: str, note: str) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    document = one(tmp_path)
    assert document.text == text
    assert note in " ".join(document.notes)
    assert bool(document.notes) == bool(note)
    assert document.text.encode()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.txt", bytes(range(256)) * 41, "not a text file"),
        ("a.txt", b"%PDF-1.7 ...", "a PDF document"),
        ("a.md", b"", "empty"),
        ("a.jsonl", b"no json\nagain\n", "no row can be read"),
        ("a.json", b'{"a": ', "not valid JSON"),
        ("a.pdf", b"%PDF-1.4 broken", "no whole PDF"),
        ("a.docx", b"no zip", "no whole zip archive"),
        ("a.html", b"<html><script>x</script></html>", "holds no text"),
        ("a.mbox", b"no mailbox\n", "holds no message"),
    ],
)
def test_what_is_not_what_its_name_says_is_told(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    refused = unread(tmp_path)
    assert reason in refused.reason
    assert refused.fix


def test_json_records_become_lines_and_parts(tmp_path: Path) -> None:
    rows = [
        {"question": "Wer?", "answer": "Ända", "n": 3, "tags": ["x"], "none": None},
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho\n\nhum"}]},
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\nbroken\n", encoding="utf-8")
    document = one(tmp_path)
    first = 'question: Wer?\nanswer: Ända\nn: 3\ntags: ["x"]\n\n'
    assert document.text == first + "user: Hi\nassistant: Ho\n\nhum\n\n"
    assert document.parts == ((0, "row 1"), (len(first.encode()), "row 2"))
    assert "1 rows could not be read: row 3 is not valid JSON" in document.notes[0]
    assert [chunk.path[-1] for chunk in chunks_of(document, estimated_tokens, 0)] == ["row 1", "row 2"]


@pytest.mark.parametrize("whole", [[{"a": "x"}, {"a": "y"}], {"data": [{"a": "x"}, {"a": "y"}]}])
def test_rows_inside_a_json_file_are_records(tmp_path: Path, whole: object) -> None:
    (tmp_path / "a.json").write_text(json.dumps(whole), encoding="utf-8")
    document = one(tmp_path)
    assert (document.text, len(document.parts)) == ("a: x\n\na: y\n\n", 2)


def test_a_json_object_is_one_text(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"name": "pump", "sizes": [1, 2]}', encoding="utf-8")
    assert one(tmp_path).text == "name: pump\nsizes: [1, 2]"


def bomb(path: Path, megabytes: int, name: str = "word/document.xml") -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w") as entry:
        for _ in range(megabytes):
            entry.write(b"<" * MIB)


@pytest.mark.parametrize("suffix", ["docx", "xlsx", "pptx"])
def test_a_zip_bomb_is_refused_unopened(tmp_path: Path, suffix: str) -> None:
    bomb(tmp_path / f"a.{suffix}", 40)
    assert (tmp_path / f"a.{suffix}").stat().st_size < 100_000
    refused = unread(tmp_path)
    assert "times its size: a zip bomb" in refused.reason
    assert refused.fix


def test_xml_that_is_too_large_is_refused_whatever_its_ratio(tmp_path: Path) -> None:
    bomb(tmp_path / "a.docx", 2)
    with (tmp_path / "a.docx").open("rb") as file:
        assert zip_fault(file, Limits()) == ""
        assert "more than the 1,048,576 allowed" in zip_fault(file, Limits(unpacked_bytes=MIB))


def test_a_bomb_that_lies_about_its_size_does_not_get_larger(tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    shutil.copy(FIXTURES / "manual.docx", path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, b"<w>" + b" " * 8 * MIB if name == "word/document.xml" else content)
    content = path.read_bytes()
    true, false = (8 * MIB + 3).to_bytes(4, "little"), (100).to_bytes(4, "little")
    assert content.count(true) == 2
    path.write_bytes(content.replace(true, false))
    refused = unread(tmp_path)
    assert "can't be converted" in refused.reason


@pytest.fixture(scope="module")
def converter() -> Iterator[Converter]:
    with Converter() as process:
        yield process


@pytest.mark.parametrize("name", ["locked.pdf", "locked.docx"])
def test_a_protected_document_says_so(converter: Converter, name: str) -> None:
    found = converter.convert(FIXTURES / name, name.partition(".")[2])
    assert found == Refused("it is protected by a password", "remove the password and save it again")


def test_a_scan_says_that_it_has_no_text(converter: Converter) -> None:
    found = converter.convert(FIXTURES / "scan.pdf", "pdf")
    assert isinstance(found, Refused)
    assert "no text" in found.reason
    assert "scans?" in found.reason
    assert "OCR" in found.fix


def test_a_converter_that_takes_too_long_is_killed_and_the_next_document_is_read(tmp_path: Path) -> None:
    slow, quick = tmp_path / "slow.html", tmp_path / "quick.html"
    slow.write_text("<p>y</p>" * 60_000, encoding="utf-8")
    quick.write_text("<p>quick</p>", encoding="utf-8")
    with Converter(Limits(seconds=0.6)) as process:
        found = process.convert(slow, "html")
        assert isinstance(found, Refused)
        assert "longer than 0.6 seconds" in found.reason
        process.limits = Limits()
        again = process.convert(quick, "html")
    assert isinstance(again, Converted)
    assert again.text == "quick\n"


def test_a_converter_without_enough_memory_does_not_take_the_run_down(tmp_path: Path) -> None:
    path = tmp_path / "large.html"
    path.write_text("<p>word</p>\n" * 100_000, encoding="utf-8")
    with Converter(Limits(memory_bytes=160 * MIB)) as process:
        found = process.convert(path, "html")
    assert isinstance(found, Refused)
    assert "memory" in found.reason


def mail(subject: str, text: str) -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Ada <ada@example.org>"
    message["Subject"] = subject
    message["Date"] = "Wed, 04 Mar 2026 05:06:07 +0100"
    message["Message-ID"] = f"<{subject}@example.org>"
    message.set_content(text)
    return message


def test_a_mailbox_is_a_document_a_message_and_may_grow(tmp_path: Path) -> None:
    path = tmp_path / "box.mbox"
    first, second = mail("one", "First.\n\nFrom here on it is text."), mail("two", "Second.")
    first.add_attachment(b"attached text", maintype="text", subtype="plain", filename="note.txt")
    body = first.as_bytes().replace(b"\n\nFrom here", b"\n\n>From here")
    path.write_bytes(b"From ada Wed\n" + body + b"\n\nFrom ada Wed\n" + second.as_bytes() + b"\n")
    found = [d for d in read(tmp_path) if isinstance(d, Document)]
    assert [(d.id, d.title) for d in found] == [
        ("box.mbox#one@example.org", "one"),
        ("box.mbox#one@example.org#note.txt", "note.txt"),
        ("box.mbox#two@example.org", "two"),
    ]
    assert "\nFrom here on it is text." in found[0].text
    assert found[0].changed == "2026-03-04T05:06:07+01:00"
    known = {d.id: d.version for d in found}
    with path.open("ab") as file:
        file.write(b"\nFrom ada Wed\n" + mail("three", "Third.").as_bytes())
    assert [d if isinstance(d, str) else getattr(d, "title", "") for d in read(tmp_path, known)] == [*known, "three"]


def test_messages_without_ids_or_with_one_id_have_names_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "a.mbox"
    path.write_bytes(b"From a\nMessage-ID: <x>\n\nA\n\nFrom a\nMessage-ID: <x>\n\nB\n\nFrom a\n\n" + b"C" * 300)
    assert [(name, content and len(content)) for name, content in messages(path, 100)] == [
        ("x", 19),
        ("x-2", 19),
        ("3", None),
    ]


def test_a_known_message_keeps_what_is_attached_to_it(tmp_path: Path) -> None:
    message = mail("s", "text")
    message.add_attachment(b"inner", maintype="text", subtype="plain", filename="a#b/c.txt")
    (tmp_path / "m.eml").write_bytes(message.as_bytes())
    known = {d.id: d.version for d in read(tmp_path) if isinstance(d, Document)}
    assert list(known) == ["m.eml", "m.eml#a_b_c.txt"]
    assert read(tmp_path, known) == list(known)
