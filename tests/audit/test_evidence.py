"""Evidence: the rows of findings, read again, with what shows the fault and no more bytes than agreed."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.fixtures import audits
from tunesmith.audit.data import AuditData
from tunesmith.audit.evidence import evidence
from tunesmith.audit.evidence_media import DRAWN_WIDEST, LONGEST_SECONDS
from tunesmith.audit.evidence_text import LONGEST, MOST_TEXTS, chosen, marked, texts_of
from tunesmith.audit.found import AuditReport, Found, Mark
from tunesmith.types import Row

MEDIA = ("picture", "suggested", "sound")


def image(address: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))


def entries_of(shown: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [one for entries in shown.values() for entry in entries for one in (entry, entry.get("twin") or {})]


def said(pieces: Sequence[Sequence[str]], *kinds: str) -> str:
    return "".join(words for words, kind in pieces if kind in kinds)


def test_texts_show_label_change_twin_and_the_words_at_fault(tmp_path: Path) -> None:
    data, report = audits.texts(tmp_path)
    shown = evidence(data, report, most=12)
    json.dumps(shown)
    rows = {str(row["id"]): row for side in data.sides.values() for row in side}
    wrong = shown["label-errors"]
    assert len(wrong) == 12
    assert [one["row"] for one in wrong] == [mark.row for mark in report.findings[1].marks[:12]]
    first = wrong[0]
    assert first["label"] == rows[first["row"]]["label"]
    assert first["change"] == [{"column": "label", "before": first["label"], "after": "positive"}]
    assert said(first["text"]["text"], "") == rows[first["row"]]["text"]
    assert first["beside"].keys() == {"source", "score"}
    leak = shown["leak"][0]
    assert leak["twin"]["side"] == "eval"
    assert said(leak["twin"]["text"]["text"], "", "mark") == rows[leak["twin"]["row"]]["text"]
    assert said(shown["personal-data"][0]["text"]["text"], "mark") == "jane.doe@example.com"
    damaged = shown["encoding-damage"][0]["text"]["text"]
    assert {"U+FFFD", "U+200B", "U+0007"} <= {words for words, kind in damaged if kind == "odd"}
    assert "café" in said(damaged, "ins")
    # A finding of every run names places: the row is found by its id.
    assert [one["row"] for one in shown["few-rows"]] == list(report.findings[-1].rows)
    assert "length-outliers" not in shown


def test_a_secret_stands_nowhere_in_the_evidence_for_it(tmp_path: Path) -> None:
    data, report = audits.texts(tmp_path)
    key = "sk-abcdef1234567890xyz99"
    [secret] = [one for one in report.findings if one.code == "secrets"]
    for mark in (secret.marks[0], Mark(secret.marks[0].row, secret.marks[0].side, note="an API key", change={
        "text": next(str(r["text"]) for s in data.sides.values() for r in s if r["id"] == secret.marks[0].row)
        .replace(key, "[secret]")})):  # fmt: skip
        only = audits.report_of(data, Found("secrets", "error", "a key", "text", "revoke it", [mark]))
        told = json.dumps(evidence(data, only))
        assert "the key is" in told
        assert key not in told
        assert "1234567890" not in told


def test_turns_of_a_conversation_are_told_apart(tmp_path: Path) -> None:
    data, report = audits.conversations(tmp_path)
    [first, *_] = evidence(data, report)["contradictory-answers"]
    assert list(first["text"]) == ["system", "user", "assistant"]
    assert said(first["text"]["system"], "") == "Answer with one SQLite query."
    assert said(first["text"]["assistant"], "", "mark").startswith("SELECT")


def test_boxes_are_drawn_as_they_are_and_as_suggested(tmp_path: Path) -> None:
    data, report = audits.boxes(tmp_path)
    shifted, missing, tiny, other = evidence(data, report)["box-errors"]
    for one in (shifted, missing, tiny, other):
        before, after = image(one["picture"]), image(one["suggested"])
        assert before.size == after.size
        assert max(before.size) <= DRAWN_WIDEST
        assert before.convert("RGB").tobytes() != after.convert("RGB").tobytes()
    assert "close" not in shifted
    assert tiny["close"] is True
    assert shifted["size"] == [320, 416]
    assert shifted["boxes"][0]["label"] == "coin"


def test_masks_are_drawn_with_their_classes(tmp_path: Path) -> None:
    data, report = audits.masks(tmp_path)
    first = evidence(data, report)["mask-errors"][0]
    assert {one["name"] for one in first["legend"]} == {"hoofed-animal", "coin", "flower"}
    assert image(first["picture"]).size == (295, 384)


def test_pictures_that_are_gone_or_damaged_say_so(tmp_path: Path) -> None:
    data, report = audits.pictures(tmp_path)
    shown = evidence(data, report)
    near = shown["near-leak"][0]
    assert image(near["picture"]).size == (256, 256)
    assert near["picture"] != near["twin"]["picture"]
    assert shown["class-errors"][1]["missing"] == "it is not among the rows that were read"
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "half.jpg").write_bytes(Path(data.task.folders[0] / near["row"]).read_bytes()[:2000])
    data.task.folders = (broken,)
    row = {"id": "a", "image": "half.jpg", "label": "bird"}
    gone = {"id": "b", "image": "none.jpg", "label": "bird"}
    data.prepared.learning = [row, gone]
    marks = [Mark("a", "train"), Mark("b", "train")]
    [half, none] = evidence(data, audits.report_of(data, audits.found("unreadable-picture", "error", "", marks)))[
        "unreadable-picture"
    ]
    assert half["missing"].startswith("the picture is truncated")
    assert "no picture 'none.jpg'" in none["missing"]
    assert "picture" not in half
    assert "picture" not in none


def test_recordings_are_cut_and_drawn(tmp_path: Path) -> None:
    pytest.importorskip("soundfile")
    data, report = audits.sounds(tmp_path)
    shown = evidence(data, report)
    assert shown["audio-leak"][0]["sound"] != shown["audio-leak"][0]["twin"]["sound"]
    for one in shown["clipped"]:
        assert len(one["wave"]) == 120
        assert max(one["wave"]) <= 1
    long = shown["transcript-errors"][1]
    assert long["cut"] == LONGEST_SECONDS < long["seconds"]
    assert "cut" not in shown["transcript-errors"][0]
    assert said(long["text"]["text"], "ins").strip() == "twice"
    import soundfile

    content = base64.b64decode(long["sound"].partition(",")[2])
    assert soundfile.info(io.BytesIO(content)).duration == pytest.approx(LONGEST_SECONDS, abs=0.2)
    data.task.folders = (tmp_path,)
    assert "no recording" in evidence(data, report)["clipped"][0]["missing"]


def test_captions_are_marked_where_the_note_quotes_them(tmp_path: Path) -> None:
    data, report = audits.captions(tmp_path)
    first = evidence(data, report)["caption-mismatch"][0]
    assert said(first["text"]["text"], "mark") == "bird"
    assert first["picture"]


def test_bytes_are_bounded_and_every_finding_gets_its_surest_rows(tmp_path: Path) -> None:
    data, report = audits.pictures(tmp_path)
    whole = entries_of(evidence(data, report))
    assert not any("left_out" in one for one in whole)
    total = sum(len(one.get(name) or "") for one in whole for name in MEDIA)
    bound = total // 3
    shown = evidence(data, report, most_bytes=bound)
    entries = entries_of(shown)
    assert 0.8 * bound < sum(len(one.get(name) or "") for one in entries for name in MEDIA) <= bound
    assert any(one.get("left_out") for one in entries)
    for found in shown.values():
        assert "picture" in found[0]
    assert "left_out" in shown["dark"][-1]


class Counted(Sequence[Row]):
    """Rows that count how often they are read."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows, self.reads = rows, 0

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        self.reads += 1
        return self.rows[index]

    def __iter__(self) -> Iterator[Row]:
        for at in range(len(self.rows)):
            yield self[at]


def test_each_side_is_gone_over_once_and_no_further_than_needed(tmp_path: Path) -> None:
    data, _ = audits.texts(tmp_path)
    train, held = Counted(list(data.sides["train"])), Counted(list(data.sides["eval"]))
    data.prepared.learning, data.prepared.held_out = train, held

    def reads(marks: Sequence[Mark], rows: tuple[str, ...] = ()) -> tuple[int, int]:
        train.reads = held.reads = 0
        found = Found("some", "note", "what", "where", "fix", marks, rows=rows)
        evidence(data, AuditReport("a", {}, [found, found]))
        return train.reads, held.reads

    own = [str(row["id"]) for row in train.rows]
    assert reads([Mark(own[0], "train"), Mark(own[9], "train", twin=f"train:{own[4]}")]) == (10, 0)
    assert reads([Mark(own[0], "train", twin=f"eval:{held.rows[3]['id']}")]) == (1, 4)
    assert reads([], (str(held.rows[2]["id"]),)) == (len(own), 3)
    assert reads([], ("no such place",)) == (len(own), len(held))
    assert reads([]) == (0, 0)


def test_a_place_in_a_file_finds_its_row(tmp_path: Path) -> None:
    data = audits.data_of("text-classification", tmp_path)
    place = data.sides["train"].place(7)  # type: ignore[attr-defined]
    assert ":" in place
    report = AuditReport("a", {}, [Found("truncated", "note", "what", "where", "fix", rows=(place,))])
    [entry] = evidence(data, report)["truncated"]
    assert entry["row"] == data.sides["train"][7]["id"]


@pytest.mark.parametrize(
    ("text", "note", "words"),
    [
        ("a cat sat", "it says 'cat'", "cat"),
        ("a cat sat", 'it says "sat" and "cat"', "catsat"),
        ("a (c.t) sat", "it says '(c.t)'", "(c.t)"),
        ("don't stop", "doesn't hold", ""),
        ("the key sk-123456", "holds 'sk-…'", "sk-…"),
        ("Dear {name},\nhello", "Dear {name}, hello", "Dear {name},\nhello"),
        ("a long template <|im_start|> in here", "long template <|im_st...", "long template <|im_st"),
        ("nothing of it", "quotes 'another'", ""),
    ],
)
def test_what_a_note_quotes_is_marked(text: str, note: str, words: str) -> None:
    pieces = marked(text, note)
    assert said(pieces, "mark") == words
    if "…" not in note:
        assert said(pieces, "", "mark") == text


def test_changes_are_told_word_by_word_in_texts_of_any_length() -> None:
    text = "many words " * 20_000 + "are wrong here " + "and more " * 20_000
    pieces = marked(text, changed=text.replace("wrong", "right"))
    assert (said(pieces, "del"), said(pieces, "ins")) == ("wrong", "right")
    assert sum(len(words) for words, kind in pieces if kind != "more") <= LONGEST
    assert pieces[0][1] == pieces[-1][1] == "more"
    far = marked("x " + text, changed="y " + text.replace("many words ", "many letters "))
    assert said(far, "del").startswith("x")


def test_a_twin_is_compared_only_where_it_is_alike() -> None:
    assert marked("the cat sat down", beside="the cat sat up") == [["the cat sat ", ""], ["down", "mark"]]
    assert marked("the cat sat", beside="wholly other words of no likeness") == [["the cat sat", ""]]
    assert marked("the same", beside="the same") == [["the same", ""]]


def test_what_cannot_be_seen_is_written_as_its_code() -> None:
    pieces = marked("a\u202eb\ud800c\r\nd\u200be")
    assert said(pieces, "") == "abc\nde"
    assert [words for words, kind in pieces if kind == "odd"] == ["U+202E", "U+D800", "U+200B"]
    assert marked("family: 👩\u200d👩, می\u200cخواهم") == [["family: 👩\u200d👩, می\u200cخواهم", ""]]


def test_texts_of_any_value() -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": None, "tool_calls": [{"x": 1}]},
             {"role": "user", "content": [{"type": "text", "text": "b"}]}]  # fmt: skip
    assert texts_of(turns, "messages") == {
        "user": "a", "assistant": '[{"x":1}]', "user 2": '[{"text":"b","type":"text"}]',
    }  # fmt: skip
    assert texts_of(turns[:1], "chosen") == {"chosen, user": "a"}
    assert texts_of(None, "text") == {"text": ""}
    assert texts_of(3, "text") == {"text": "3"}


def test_of_many_turns_those_at_fault_and_the_last_are_shown() -> None:
    texts = {f"user {n}": [["words", "mark" if n == 1 else ""]] for n in range(20)}
    shown = chosen(texts)
    assert list(shown) == ["user 1", *(f"user {n}" for n in range(20 - MOST_TEXTS + 1, 20)), ""]
    assert shown[""] == [["14 more are not shown", "more"]]


def test_data_without_rows_has_no_evidence(tmp_path: Path) -> None:
    data: AuditData = audits.texts(tmp_path)[0]
    assert evidence(data, AuditReport("a", {}, [])) == {}
