"""The audit's page as written: what it says first, what it never writes, how large it becomes."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.audits import SCRIPT, views
from tunesmith.audit.found import AuditReport, Effect, Found, Mark, Skipped, View
from tunesmith.errors import UserError
from tunesmith.report.audit_page import MOST_IDS, render_audit, write_audit_page
from tunesmith.report.audit_views import MOST_POINTS, short, view_of

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)


class Tree(HTMLParser):
    """Elements with their attributes, and the words outside of style."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words, self._inside = "", ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_data(self, data: str) -> None:
        if self._inside != "style":
            self.words += f" {data.strip()}"

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", self.words)


def found(code: str, level: Any = "warning", marks: Any = (), **more: Any) -> Found:
    return Found(code, level, f"{code} is found", "train.csv", f"mend {code}", marks, **more)


def page_of(*findings: Found, evidence: Any = None, **more: Any) -> Tree:
    report = AuditReport("data", {"train": 100, "eval": 20}, list(findings), **more)
    return Tree(render_audit(report.to_json(), evidence or {}))


@pytest.mark.parametrize(
    ("findings", "words"),
    [
        ([], "Nothing was found. Clean"),
        ([found("a", "note")], "No errors and no warnings; 1 note. Nothing in the way"),
        ([found("a"), found("b"), found("c", "note")], "2 warnings and 1 note in this data; no errors. Look first"),
        ([found("a", "error"), found("b"), found("c", "note")], "1 error and 1 warning in this data. Mend first"),
    ],
)
def test_the_headline_says_in_words_how_it_stands(findings: list[Found], words: str) -> None:
    assert words in page_of(*findings).text


def test_what_has_a_measured_effect_is_to_be_done_first() -> None:
    effect = Effect("accuracy", 0.8, 0.9, 0.05, 0.15, "it costs 10 points")
    page = page_of(found("large", share=0.4), found("small", share=0.1), found("measured", share=0.01, effect=effect),
                   found("least", share=0.001), found("stops", "error"))  # fmt: skip
    first = page.text.partition("To do first:")[2].partition("training rows")[0]
    assert re.findall(r"mend (\w+)", first) == ["stops", "measured", "large"]
    assert "accuracy 0.800 → 0.900" in page.text
    assert "95 % interval +0.050 to +0.150" in page.text


def test_an_accepted_finding_shows_its_reason_once() -> None:
    one = Found("leak", "note", "5 rows leak (accepted: they are meant)", "train.csv", "leave them out")
    text = page_of(one, accepted={"leak": "they are meant"}).text
    assert "5 rows leak train.csv" in text
    assert text.count("they are meant") == 1


def test_no_word_of_the_data_becomes_markup() -> None:
    entry = {
        "row": SCRIPT, "side": SCRIPT, "note": SCRIPT, "label": SCRIPT, "file": SCRIPT, "missing": SCRIPT,
        "text": {SCRIPT: [[SCRIPT, ""], [SCRIPT, "mark"], [SCRIPT, SCRIPT], [SCRIPT, "del"]]},
        "beside": {SCRIPT: SCRIPT}, "change": [{"column": SCRIPT, "before": SCRIPT, "after": SCRIPT}],
        "legend": [{"name": SCRIPT, "colour": "#112233"}], "boxes": [{"label": SCRIPT}], "picture": PIXEL,
    }  # fmt: skip
    one = Found(SCRIPT, "error", SCRIPT, SCRIPT, SCRIPT, [Mark(SCRIPT, "train", note=SCRIPT)],
                effect=Effect(SCRIPT, 0.1, 0.2, 0.0, 0.2, SCRIPT))  # fmt: skip
    drawn = [
        View(SCRIPT, SCRIPT, "bars", {"names": [SCRIPT], "counts": {"train": [1]}}, SCRIPT, [SCRIPT]),
        View(SCRIPT, SCRIPT, "histogram", {"edges": [0, 1], "counts": {"train": [1]}}, SCRIPT),
        View(SCRIPT, SCRIPT, "heat", {"cells": [[1]], "across": [SCRIPT], "down": [SCRIPT]}, SCRIPT),
        View(SCRIPT, SCRIPT, "heat", {"cells": [[1]], "across": SCRIPT, "down": SCRIPT}),
        View(SCRIPT, SCRIPT, "matrix", {"names": [SCRIPT], "cells": [[1]], "across": SCRIPT, "down": SCRIPT}, SCRIPT),
        View(SCRIPT, SCRIPT, "map", {"points": [[0, 0, "train", SCRIPT, SCRIPT]]}),
        View(SCRIPT, SCRIPT, SCRIPT, {}),  # type: ignore[arg-type]
    ]
    proof = {"metric": SCRIPT, "found": {"score": 0.1}, "mended": {"score": 0.2}, "interval": [0, 1], "said": SCRIPT,
             "verdict": SCRIPT}  # fmt: skip
    page = page_of(one, evidence={SCRIPT: [{**entry, "twin": entry}]}, views=drawn, proof=proof,
                   skipped=[Skipped(SCRIPT, SCRIPT)], seconds={SCRIPT: 1.0}, accepted={SCRIPT: SCRIPT})  # fmt: skip
    assert "script" not in {name for name, _ in page.elements}
    assert page.words.count(SCRIPT) > 40
    assert {key for _, attributes in page.elements for key in attributes if key.startswith("on")} == set()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("picture", "https://example.com/a.png"),
        ("picture", "data:image/svg+xml;base64,AAAA"),
        ("picture", "data:image/png;base64,AAAA"),
        ("suggested", "javascript:alert(1)"),
        ("sound", "https://example.com/a.mp3"),
        ("legend", [{"name": "a", "colour": "url(https://example.com)"}]),
    ],
)
def test_nothing_from_elsewhere_is_ever_written(key: str, value: Any) -> None:
    marks = [Mark("a", "train")]
    page = page_of(found("x", marks=marks), evidence={"x": [{"row": "a", "side": "train", "score": 1.0, key: value}]})
    assert "it can't be shown" in page.text
    addresses = [v for _, a in page.elements for k, v in a.items() if k in ("src", "href") and v]
    assert [one for one in addresses if not one.startswith(("#", "data:,"))] == []


def test_characters_that_no_file_can_hold_do_not_stop_the_page(tmp_path: Path) -> None:
    report = AuditReport("a\ud800b", {"train": 1, "eval": 1}, [found("x\x00y\x07")]).to_json()
    file = write_audit_page(report, {}, tmp_path / "page.html")
    text = file.read_text(encoding="utf-8")
    assert "Audit of a?b" in text
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", text)
    with pytest.raises(UserError):
        write_audit_page(report, {}, tmp_path / "no" / "page.html")


def test_one_code_found_on_both_sides_keeps_its_rows_apart() -> None:
    entries = [{"row": "a", "side": side, "score": 1.0, "note": f"of {side}"} for side in ("train", "eval")]
    page = page_of(*(found("dark", marks=[Mark("a", side)]) for side in ("train", "eval")), evidence={"dark": entries})
    evidence = page.text.rpartition(" Evidence ")[2]
    assert evidence.count("of train") == 1
    assert evidence.index("of train") < evidence.index("of eval")
    assert evidence.count("of eval") == 1


def test_a_page_of_a_million_rows_stays_small_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    marks = [Mark(f"row-{n:07}-of-a-long-name", "train" if n % 2 else "eval") for n in range(100_000)]
    entry = {"row": "r", "side": "train", "score": 0.5, "left_out": True, "missing": "too large",
             "text": {"text": [["words " * 80, ""]]}}  # fmt: skip
    codes = [f"code-{n}" for n in range(30)]
    points = [[n % 311, n % 173, "train", str(n % 4), f"row-{n}"] for n in range(20_000)]
    names = [f"name {n}" for n in range(5_000)]
    drawn = [View("map", "Map", "map", {"points": points}),
             View("bars", "Bars", "bars", {"names": names, "counts": {"train": list(range(5_000))}}),
             View("matrix", "Matrix", "matrix", {"names": names[:100], "cells": [[1] * 100] * 100}),
             View("heat", "Heat", "heat", {"cells": [[1] * 500] * 400})]  # fmt: skip
    report = AuditReport("million", {"train": 10**6, "eval": 10**4}, [found(code, marks=marks) for code in codes],
                         views=drawn)  # fmt: skip
    file = write_audit_page(report.to_json(), {code: [entry] * 12 for code in codes}, tmp_path / "page.html")
    assert file.stat().st_size < 3_000_000
    page = Tree(file.read_text(encoding="utf-8"))
    assert f"ids of 50\u202f000 train rows, the first {MOST_IDS}" in page.words
    assert "All of them stand in what --json prints." in page.text
    assert "360 pictures or sounds are not here" in page.text
    assert sum(name == "circle" for name, _ in page.elements) <= 2 * MOST_POINTS
    assert "4965 more between these" in page.text
    assert "100 names are too many to draw" in page.text


def test_views_of_the_wrong_shape_say_so_and_leave_the_others() -> None:
    wrong = [
        View("a", "A", "histogram", {"edges": [1, 0], "counts": {"train": [1]}}),
        View("b", "B", "histogram", {"counts": {}}),
        View("c", "C", "heat", {"cells": [[1], [1, 2]]}),
        View("d", "D", "map", {"points": []}),
        View("e", "E", "matrix", {"names": ["a"], "cells": [[1, 2]]}),
    ]
    for view in wrong:
        assert view_of(view.to_json())["macro"] == "unknown"
    empty = view_of(View("f", "F", "bars", {"names": [], "counts": {"train": [], "eval": []}}).to_json())
    assert (empty["macro"], empty["view"]["rows"]) == ("bars", [])
    assert [view_of(view.to_json())["macro"] for view in views()[:-1]].count("unknown") == 0


def test_sides_keep_their_colours_and_shares() -> None:
    view = view_of(View("f", "F", "bars", {"names": ["a", "b"], "counts": {"eval": [3, 1]}}).to_json())["view"]
    assert [part["paint"] for part in view["rows"][0]["sides"]] == [1]
    assert view["rows"][0]["sides"][0]["words"] == "3 (75\u202f%)"
    amounts = {"names": ["a", "b"], "counts": {"train": [0.5, 50]}, "shares": False}
    told = view_of(View("f", "F", "bars", amounts, "hours").to_json())["view"]
    assert [row["sides"][0]["words"] for row in told["rows"]] == ["0.5 hours", "50 hours"]
    assert [row["sides"][0]["share"] for row in told["rows"]] == ["0.0100", "1.0000"]


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "0"), (0.15, "0.15"), (1 / 3, "0.333"), (4230.4, "4230"), (1024, "1024"), (158_912, "159\u00a0k"),
     (10_450, "10.4\u00a0k"),
     (999_999, "1\u00a0M"), (-25_000, "\u221225\u00a0k"), (2.5e9, "2.5\u00a0B")],
)  # fmt: skip
def test_edges_are_written_short(value: float, words: str) -> None:
    assert short(value) == words
