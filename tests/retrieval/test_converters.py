"""What each format gives: headings, tables and code kept, and no word that a person wrote left out."""

from __future__ import annotations

import datetime
import re
import shutil
import socket
import zipfile
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from tunesmith.retrieval.chunks import chunks_of, estimated_tokens
from tunesmith.retrieval.converters import mail_files, pdf_files, sheet_files, slide_files, web_pages, word_files
from tunesmith.retrieval.converters.choose import converted
from tunesmith.retrieval.document import Document
from tunesmith.retrieval.limits import Limits
from tunesmith.retrieval.plain import Converted, Refused

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "documents"
LIMITS = Limits()


def good(path: Path, kind: str) -> Converted:
    found = converted(path, kind, LIMITS)
    assert isinstance(found, Converted), found
    return found


def test_word_gives_headings_tables_lists_and_what_stands_beside_the_text() -> None:
    found = good(FIXTURES / "manual.docx", "docx")
    assert found.text == (
        "# Pump manual\n\n# Safety\n\nSwitch off the mains before opening the lid; wait für 40 seconds.\n\n"
        "| Part | Torque | Note |\n| --- | --- | --- |\n| Lid | 3 Nm | left\\|right |\n| Valve |  | two lines |\n\n"
        "- first bullet\n\n1. first step\n\n## Service\n\nRenew the seal each year.\n\n"
        "## Comments\n\nIs forty seconds enough?\n\n## Page footers\n\nConfidential until July\n\n"
        "## Page headers\n\nDraft of the third edition\n"
    )
    assert (found.title, found.labels) == ("Pump manual", (("author", "Ada"),))
    assert "1 of comments, 1 of page footers, 1 of page headers" in found.notes[0]


BOX = (
    '<w:p><w:r><mc:AlternateContent xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006">'
    '<mc:Choice Requires="wps"><w:drawing><wps:txbx xmlns:wps="urn:x"><w:txbxContent><w:p><w:r><w:t>In a box'
    "</w:t></w:r></w:p></w:txbxContent></wps:txbx></w:drawing></mc:Choice></mc:AlternateContent></w:r>"
    "<w:r><w:t>Around it</w:t></w:r></w:p><w:p><w:del><w:r><w:delText>Deleted</w:delText></w:r></w:del>"
    "<w:ins><w:r><w:t>Inserted</w:t></w:r></w:ins></w:p>"
)


def rewritten(source: Path, target: Path, part: str, change: Any) -> None:
    """A copy of an archive with one part changed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, change(old.read(name).decode()) if name == part else old.read(name))


def test_text_boxes_and_insertions_are_kept_and_deletions_are_not(tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    rewritten(
        FIXTURES / "manual.docx", path, "word/document.xml", lambda xml: xml.replace("<w:body>", f"<w:body>{BOX}")
    )
    text = good(path, "docx").text
    assert all(text.count(said) == 1 for said in ("In a box", "Around it", "Inserted"))
    assert "Deleted" not in text


def test_a_broken_part_is_said_and_the_rest_read(tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    rewritten(FIXTURES / "manual.docx", path, "word/comments.xml", lambda _: "\0\1 no XML")
    found = converted(path, "docx", LIMITS)
    assert isinstance(found, Refused) or "Renew the seal" in found.text


def test_entities_of_xml_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("SECRET", encoding="utf-8")
    evil = f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{tmp_path}/secret">]>'
    path = tmp_path / "a.docx"

    def change(xml: str) -> str:
        return xml.replace("?>", f"?>{evil}", 1).replace("Renew", "&e; Renew")

    rewritten(FIXTURES / "manual.docx", path, "word/document.xml", change)
    assert "SECRET" not in str(converted(path, "docx", LIMITS))


def test_slides_give_shapes_tables_charts_and_notes(tmp_path: Path) -> None:
    from pptx import Presentation
    from pptx.chart.data import CategoryChartData
    from pptx.enum.chart import XL_CHART_TYPE
    from pptx.util import Inches

    deck = Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[1])
    slide.shapes.title.text = "Sales of 2026"
    slide.placeholders[1].text = "Rising\nFalling"
    slide.shapes.add_textbox(Inches(1), Inches(6), Inches(2), Inches(1)).text_frame.text = "At the bottom"
    group = slide.shapes.add_group_shape()
    group.shapes.add_textbox(Inches(1), Inches(5), Inches(1), Inches(1)).text_frame.text = "In a group"
    table = slide.shapes.add_table(2, 2, Inches(1), Inches(7), Inches(1), Inches(1)).table
    table.cell(0, 0).text, table.cell(0, 1).text, table.cell(1, 0).text = "Name", "Sum", "East|West"
    data = CategoryChartData()
    data.categories = ["May", "June"]
    data.add_series("Orders", (1.5, None))
    slide.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, Inches(1), Inches(8), Inches(1), Inches(1), data)
    slide.notes_slide.notes_text_frame.text = "Say it slowly."
    deck.slides.add_slide(deck.slide_layouts[6])
    deck.save(str(tmp_path / "a.pptx"))
    found = good(tmp_path / "a.pptx", "pptx")
    assert found.text == (
        "## Slide 1: Sales of 2026\n\n- Rising\n- Falling\n\nIn a group\n\nAt the bottom\n\n"
        "| Name | Sum |\n| --- | --- |\n| East\\|West |  |\n\n"
        "|  | Orders |\n| --- | --- |\n| May | 1.5 |\n| June |  |\n\n"
        "### Notes\n\nSay it slowly.\n\n## Slide 2\n"
    )
    assert found.title == ""


def workbook(path: Path) -> None:
    from openpyxl import Workbook
    from openpyxl.comments import Comment

    book = Workbook()
    sheet = book.active
    sheet.title = "Sales"
    sheet.append(["id", "when", "amount", "code", "free"])
    sheet.append([1, datetime.date(2026, 3, 4), 12.5, "007", None])
    sheet.append([123456789012345, datetime.datetime(2026, 3, 4, 5, 6), 3.0, "x|y", "two\nlines"])
    sheet.append([None, datetime.time(5, 6), 0.1, True, "=A2+1"])
    sheet["A1"].comment = Comment("Unique by year", "me")
    hidden = book.create_sheet("Plans")
    hidden.sheet_state = "hidden"
    hidden["B3"] = "secret plan"
    book.create_sheet("Nothing")
    book.save(path)


def test_sheets_give_values_exactly_formulas_hidden_sheets_and_comments(tmp_path: Path) -> None:
    workbook(tmp_path / "a.xlsx")
    found = good(tmp_path / "a.xlsx", "xlsx")
    assert found.text == (
        "## Sales\n\n| id | when | amount | code | free |\n| --- | --- | --- | --- | --- |\n"
        "| 1 | 2026-03-04 | 12.5 | 007 |  |\n| 123456789012345 | 2026-03-04 05:06:00 | 3 | x\\|y | two lines |\n"
        "|  | 05:06:00 | 0.1 | TRUE | =A2+1 |\n\n## Plans\n\n|  | secret plan |\n| --- | --- |\n\n## Nothing\n\n"
        "## Comments\n\nUnique by year\n"
    )
    assert any("formulas without a stored value stand as they are written: 1" in note for note in found.notes)
    assert any("hidden sheets were read: Plans" in note for note in found.notes)


def test_a_sheet_that_is_too_long_is_refused_while_it_is_read(tmp_path: Path) -> None:
    workbook(tmp_path / "a.xlsx")
    found = converted(tmp_path / "a.xlsx", "xlsx", Limits(text_characters=100))
    assert isinstance(found, Refused)
    assert "more than 100 characters" in found.reason


PAGE = """<html lang="de"><head><title> A  title </title><style>x {}</style>
<script>var a = "hidden"</script></head><body>
<nav><a href="#top">Menu</a></nav><h1>Head <!-- secret --></h1><p>Some <b>bold</b> snake_case *stars* and a
<a href="x.html">link</a>, <a href="javascript:x">none</a></p>
<table><tr><th>A</th><th>B</th></tr><tr><td>1</td><td><p>2|3</p><p>4</p></td></tr>
<tr><td colspan="2">wide<table><tr><td>in</td><td>side</td></tr></table></td></tr></table>
<pre><code class="language-py">def f():
    return "```"
</code></pre><ul><li>one<ul><li>two</li></ul></li></ul><details><summary>More</summary>Text in it</details>
<img alt="A pump" src="data:image/png;base64,AAAA"><img src="b.png"><h2>Sub</h2><blockquote>Quote</blockquote>
<dl><dt>Term</dt><dd>Meaning</dd></dl><select><option>Red</option><option>Blue</option></select></body></html>"""


def test_a_page_keeps_its_structure_and_every_word_that_is_shown() -> None:
    found = web_pages.page(PAGE)
    assert (found.title, found.labels) == ("A title", (("language", "de"),))
    assert found.notes == ("pictures without a description, left out: 1",)
    for said in (
        "Menu",
        "# Head",
        "**bold** snake_case *stars*",
        "[link](x.html), none",
        "| A | B |\n| --- | --- |\n| 1 | 2\\|3 4 |\n| wide in; side |",
        '````py\ndef f():\n    return "```"\n````',
        "- one\n  - two",
        "\n\nMore\n\nText in it",
        "A pump",
        "## Sub",
        "> Quote",
        "Term",
        "Meaning",
        "Red\n\nBlue",
    ):
        assert said in found.text
    assert not re.search("hidden|secret|base64|x {}|javascript", found.text)
    assert "\n\n\n" not in found.text


def test_a_table_that_only_places_things_becomes_blocks() -> None:
    page = (
        "<table><tr><td><h1>Left</h1><p>One</p></td><td><table><tr><td>a</td><td>b</td></tr></table></td></tr></table>"
    )
    text = web_pages.page(page).text
    assert text.startswith("# Left\n\nOne\n\n")
    assert "| a | b |" in text


def test_a_page_that_is_nested_too_deeply_still_gives_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def deep(self: object, soup: object) -> str:
        raise RecursionError

    monkeypatch.setattr(web_pages._Markdown, "convert_soup", deep)
    found = web_pages.page("<div>one<div>two</div></div>")
    assert found.text.split() == ["one", "two"]
    assert "nested too deeply" in found.notes[0]


def test_the_encoding_of_a_page_is_the_one_it_names() -> None:
    page = "<html><head><meta charset='shift_jis'></head><body>日本語の文</body></html>".encode("shift_jis")
    assert web_pages.page(page).text == "日本語の文\n"


def test_a_pdf_gives_lines_headings_by_size_and_pages() -> None:
    found = good(FIXTURES / "leaflet.pdf", "pdf")
    assert found.title == "Pump leaflet"
    assert found.text.startswith("# Big heading\n\nA paragraph that goes over several lines because")
    assert "Part Torque\n\nLid 3 Nm\n\nValve 44 Nm" in found.text
    assert "# Second heading\n\nThe second page has a hyphenated word." in found.text
    assert [name for _, name in found.parts] == ["page 1", "page 2"]
    assert found.text.encode()[found.parts[1][0] :].startswith(b"# Second heading")
    document = Document("a.pdf", "a.pdf", found.title, found.text, "pdf", "v", parts=found.parts)
    first, second = chunks_of(document, estimated_tokens, 8, 100)
    assert first.path == ("Pump leaflet", "Big heading", "page 1")
    assert second.path == ("Pump leaflet", "Second heading", "page 2")


def line(text: str, size: float, left: float = 50, top: float = 700, right: float = 300) -> pdf_files._Line:
    return pdf_files._Line(text, size, left, right, top - size, top)


def test_lines_of_a_pdf_are_joined_by_where_they_stand() -> None:
    lines = [
        line("One para-\x02", 10, top=700),
        line("graph here", 10, top=688),
        line("Next one.", 10, top=660),
        line("cell a", 10, top=640, right=100),
        line("cell b", 10, left=200, top=640),
        line("second column", 10, left=320, top=700),
    ]
    assert "".join(pdf_files._flow(lines)) == "One para-graph here\n\nNext one.\n\ncell a cell b\n\nsecond column"


def test_the_outline_of_a_pdf_names_its_headings() -> None:
    pages = [[line("1 Start", 10), line("Text", 10)], [line("1.1 Deeper", 10), line("1 Start", 10)]]
    pdf_files._mark_headings(pages, {0: {"1Start": 1}, 1: {"11Deeper": 2}})
    assert [[row.depth for row in page] for page in pages] == [[1, 0], [2, 0]]


def test_where_most_lines_are_large_size_makes_no_heading() -> None:
    pages = [[line("body " * 20, 10), *(line(f"Large {n}", 20) for n in range(9))]]
    pdf_files._mark_headings(pages, {})
    assert not any(row.depth for row in pages[0])


def message(**headers: str) -> EmailMessage:
    made = EmailMessage()
    for name, value in {"From": "Ada <a@b.c>", "To": "Bo", "Subject": "Grüße", **headers}.items():
        made[name] = value
    return made


def test_a_message_gives_its_headers_text_and_attachments_as_documents(tmp_path: Path) -> None:
    made = message(Date="Wed, 04 Mar 2026 05:06:07 +0100")
    made.set_content("Plain text.")
    made.add_alternative("<p>Plain <b>text</b>.</p>", subtype="html")
    manual = (FIXTURES / "manual.docx").read_bytes()
    made.add_attachment(manual, maintype="application", subtype="octet-stream", filename="manual.docx")
    made.add_attachment(b"a,b\n1,2\n", maintype="text", subtype="csv", filename="../t.csv")
    made.add_attachment(b"\x89PNG", maintype="image", subtype="png", filename="p.png")
    inner = message(Subject="Forwarded")
    inner.set_content("Inner text.")
    made.add_attachment(inner)
    (tmp_path / "a.eml").write_bytes(made.as_bytes())
    found = good(tmp_path / "a.eml", "eml")
    date = "Date: Wed, 04 Mar 2026 05:06:07 +0100"
    assert found.text == f"From: Ada <a@b.c>\nTo: Bo\n{date}\nSubject: Grüße\n\nPlain text.\n"
    assert (found.title, found.changed) == ("Grüße", "2026-03-04T05:06:07+01:00")
    inside = dict(found.inside)
    assert list(inside) == ["manual.docx", "_t.csv", "p.png", "message-4.eml"]
    refused = inside.pop("p.png")
    assert isinstance(refused, Refused)
    texts = {name: document.text for name, document in inside.items() if isinstance(document, Converted)}
    assert "Renew the seal" in texts["manual.docx"]
    assert texts["_t.csv"] == "a,b\n1,2\n"
    assert texts["message-4.eml"].endswith("Subject: Forwarded\n\nInner text.\n")


def test_a_message_whose_plain_text_says_nothing_is_read_from_its_page(tmp_path: Path) -> None:
    made = message()
    made.set_content("Use HTML.")
    made.add_alternative("<h1>Offer</h1><p>Ten pumps for the price of nine.</p>", subtype="html")
    (tmp_path / "a.eml").write_bytes(made.as_bytes())
    assert good(tmp_path / "a.eml", "eml").text.endswith("# Offer\n\nTen pumps for the price of nine.\n")


@pytest.mark.parametrize(
    "content",
    [
        b"Subject: =?utf-8?q?broken=\nFrom: \xff\nDate: never\nContent-Type: text/plain; charset=none\n\nText \xe4.",
        b"Content-Type: multipart/mixed; boundary=x\nSubject: s\n\n--x\n\nText \xe4.\n",
        b"\n\nText \xe4.",
    ],
)
def test_a_broken_message_gives_what_can_be_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.eml").write_bytes(content)
    assert "Text ä." in good(tmp_path / "a.eml", "eml").text


def test_messages_are_not_opened_without_end(tmp_path: Path) -> None:
    made = message()
    made.set_content("deepest")
    for _ in range(8):
        outer = message()
        outer.set_content("outer")
        outer.add_attachment(made)
        made = outer
    (tmp_path / "a.eml").write_bytes(made.as_bytes())
    found: Converted | Refused = good(tmp_path / "a.eml", "eml")
    depth = 0
    while isinstance(found, Converted) and found.inside:
        found = found.inside[0][1]
        depth += 1
    assert depth == mail_files.DEPTH + 1
    assert isinstance(found, Refused)


def test_converters_connect_to_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object, **more: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    shutil.copy(FIXTURES / "manual.docx", tmp_path / "a.docx")
    link = '<img src="http://example.org/a.png"><link href="http://example.org/a.css"><iframe src="http://example.org"></iframe>'
    (tmp_path / "a.html").write_text(link + "<p>text</p>", encoding="utf-8")
    assert good(tmp_path / "a.html", "html").text == "text\n"
    assert good(tmp_path / "a.docx", "docx").text


def test_a_missing_package_is_named_with_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        raise ModuleNotFoundError("No module named 'mammoth'", name="mammoth")

    monkeypatch.setattr("tunesmith.retrieval.converters.choose.import_module", missing)
    found = converted(FIXTURES / "manual.docx", "docx", LIMITS)
    assert found == Refused(
        "reading it needs the package mammoth, which is not installed", "pip install 'tunesmith[documents]'"
    )


def test_each_converter_takes_a_file_and_limits() -> None:
    for module in (web_pages, word_files, slide_files, sheet_files, pdf_files, mail_files):
        assert callable(module.convert)
