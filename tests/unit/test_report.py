from __future__ import annotations

import base64
import io
import json
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from tunesmith.errors import UserError
from tunesmith.report import figures, panels, svg, write_report
from tunesmith.report.charts import smoothed, stage_curves, thinned
from tunesmith.report.read import read_run
from tunesmith.report.sections import SECTIONS, flatten, verdict

VOID = {"meta", "link", "br", "img", "input", "hr"}


def load_fixture() -> ModuleType:
    spec = spec_from_file_location("make_run", Path(__file__).parents[1] / "fixtures" / "make_run.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


runs = load_fixture()


class Page(HTMLParser):
    """Reads a page strictly: every element closed in order; keeps ids, links, text and elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> names an attribute twice"
        found = dict(attrs)
        self.elements.append((tag, found))
        if found.get("id"):
            self.ids.append(str(found["id"]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self.text += " " if tag in {"td", "th"} else ""
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [found for name, found in self.elements if name == tag]


def page_of(folder: Path) -> Page:
    return Page(write_report(folder).read_text(encoding="utf-8"))


def change(folder: Path, name: str, **values: object) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | values), encoding="utf-8")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Page]:
    folder = runs.make_run(tmp_path_factory.mktemp("runs") / "sentiment")
    path = write_report(folder)
    assert path == folder / "report.html"
    assert sorted(one.name for one in folder.iterdir() if one.name.startswith(".")) == []
    text = path.read_text(encoding="utf-8")
    return text, Page(text)


def test_headline_shows_verdict_and_interval(finished: tuple[str, Page]) -> None:
    text, page = finished
    words = " ".join(page.text.split())
    assert "The tuned model is better than the base." in words
    assert "macro F1 0.411 → 0.678 Better" in words
    assert "+0.268 95 % interval +0.228 to +0.307" in words
    assert "603 held-out rows" in words
    assert "Difference in macro F1, tuned minus base: +0.268" in text


def test_every_section_stands_in_order_with_its_anchor(finished: tuple[str, Page]) -> None:
    _, page = finished
    names = [name for name, *_ in SECTIONS]
    assert [name for name in page.ids if name in names] == names
    links = [str(one["href"])[1:] for one in page.attributes("a")]
    assert set(links) >= set(names)
    assert set(links) <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))


def test_nothing_is_loaded_and_nothing_runs(finished: tuple[str, Page]) -> None:
    text, page = finished
    assert text.startswith("<!DOCTYPE html>")
    assert not page.attributes("script")
    assert not page.attributes("img")
    assert [one["href"] for one in page.attributes("link")] == ["data:,"]
    assert "@import" not in text
    assert "url(" not in text
    assert "://" not in text
    assert not any(name.startswith("on") for _, found in page.elements for name in found)
    policy = next(one["content"] for one in page.attributes("meta") if one.get("http-equiv"))
    assert str(policy).startswith("default-src 'none'")


def test_rows_with_markup_are_shown_as_text(finished: tuple[str, Page]) -> None:
    text, page = finished
    assert "<script" not in text
    # an example, a finding, a receipt and a warning each carry it
    assert page.text.count(runs.SCRIPT) >= 4


def test_every_drawing_has_words(finished: tuple[str, Page]) -> None:
    _, page = finished
    drawings = page.attributes("svg")
    assert len(drawings) >= 14
    assert all(one["role"] == "img" and one["aria-label"] for one in drawings)


def test_no_broken_number_reaches_a_drawing(finished: tuple[str, Page]) -> None:
    _, page = finished
    for tag, found in page.elements:
        if tag in {"path", "line", "circle", "rect", "text", "svg"}:
            assert not re.search(
                "nan|inf|None", " ".join(str(found.get(k)) for k in ("d", "x", "y", "cx", "cy") if k in found)
            )


def test_what_the_sections_say(finished: tuple[str, Page]) -> None:
    _, page = finished
    words = " ".join(page.text.split())
    for said in (
        "6.4e-5",  # a layer group's rate
        "frozen",
        "1.31 ×",  # measured over predicted, above the baseline
        "zero-shot by label names",
        "retweets are wanted",
        "this CPU has no fast bf16",
        "encoder.layer.3",
        "no picture for 'hologram' panels",
        "expected calibration error 0.041",
        "command line",
        "2.13.0+cpu",
        "4 of 5",
        "3 broken rows",
    ):
        assert said in words, said


@pytest.mark.parametrize("kind", ["worse", "no difference shown"])
def test_other_verdicts(tmp_path: Path, kind: str) -> None:
    words = " ".join(page_of(runs.make_run(tmp_path / "run", verdict=kind)).text.split())
    assert ("The tuned model is worse" in words) == (kind == "worse")
    assert ("The interval holds zero." in words) == (kind != "worse")
    assert "better than the base." not in words


def test_lower_is_better_turns_the_arrow(tmp_path: Path) -> None:
    folder = runs.make_run(tmp_path / "run", verdict="worse")
    change(folder, "scores.json", higher_is_better=False, verdict="better")
    words = page_of(folder).text
    assert "← better than base" in words
    assert "lower is better" in words


@pytest.mark.parametrize("status", ["running", "interrupted", "failed"])
def test_an_unfinished_run_says_so_and_shows_what_there_is(tmp_path: Path, status: str) -> None:
    page = page_of(runs.make_run(tmp_path / "run", status=status))
    words = " ".join(page.text.split())
    assert ("Failed" if status == "failed" else "Unfinished") in words
    assert f"stopped by Ctrl-C at step 61 {runs.SCRIPT}" in words
    assert "No verdict yet" in words
    assert "curves" in page.ids
    assert "receipts" not in page.ids
    assert "Receipts: no receipts yet: receipts.json is written when the run ends." in words
    assert "Nothing measured yet" in words


@pytest.mark.parametrize("left", ["state.json", "recipe.json", "events.jsonl", "plan.json", "environment.json"])
def test_any_single_file_is_enough(tmp_path: Path, left: str) -> None:
    whole = runs.make_run(tmp_path / "whole")
    folder = tmp_path / "part"
    folder.mkdir()
    (folder / left).write_bytes((whole / left).read_bytes())
    assert "left-out" in page_of(folder).ids


@pytest.mark.parametrize("gone", ["scores.json", "plan.json", "measured.json", "audit.json"])
def test_any_single_file_may_be_missing(tmp_path: Path, gone: str) -> None:
    folder = runs.make_run(tmp_path / "run")
    (folder / gone).unlink()
    assert page_of(folder).text


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no run"):
        write_report(tmp_path)
    with pytest.raises(UserError, match="no such run directory"):
        write_report(tmp_path / "none")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("scores.json", '{"metric": ', "is not JSON"),
        ("scores.json", "[]", "holds no object"),
        ("scores.json", '{"metric": "f1"}', "lacks base, tuned"),
        ("panels.json", '{"kind": "table"}', "holds no list"),
        ("plan.json", b"\xff\xfe{", "not UTF-8"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, content: str | bytes, said: str) -> None:
    folder = runs.make_run(tmp_path / "run")
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=said) as caught:
        write_report(folder)
    assert name in caught.value.where
    assert caught.value.fix
    assert not (folder / "report.html").exists()


def test_a_torn_last_event_is_counted(tmp_path: Path) -> None:
    folder = runs.make_run(tmp_path / "run", status="interrupted")
    with (folder / "events.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"kind": "step", "sta')
    words = " ".join(page_of(folder).text.split())
    assert re.search(r"1 line\(s\) of events.jsonl can't be read: line \d+", words)


def test_a_resumed_run_draws_each_step_once(tmp_path: Path) -> None:
    folder = runs.make_run(tmp_path / "run", status="interrupted")
    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    again = [line for line in lines if line["kind"] == "step" and line["step"] > 50]
    extra = [{"kind": "resume", "step": 50}, *again, {"kind": "later", "x": 1}]
    with (folder / "events.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in extra)
    events = read_run(folder).events
    assert events is not None
    assert [one["step"] for one in events.steps] == list(range(1, 62))
    assert events.replaced == 11
    words = " ".join(page_of(folder).text.split())
    assert "11 step(s) were written twice" in words
    assert "resumed at step 50" in words
    assert "a kind this page does not know: later" in words


def test_a_loss_that_is_not_a_number_breaks_the_line_only(tmp_path: Path) -> None:
    folder = runs.make_run(tmp_path / "run", status="failed")
    text = (folder / "events.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        if line["kind"] == "step" and line["step"] in (40, 61):
            line["loss"] = math.nan
    (folder / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    chart = stage_curves(read_run(folder), 0)[0]
    assert chart.title == "Loss"
    assert "nan" not in chart.picture
    raw = re.search(r'd="([^"]*)" class="line raw"', chart.picture)
    assert raw is not None
    assert raw.group(1).count("M") == 2


def test_learning_rate_finder_is_drawn(tmp_path: Path) -> None:
    folder = runs.make_run(tmp_path / "run")
    found = {"kind": "lr-finder", "stage": 0, "rates": [1e-6, 1e-4, 1e-2], "losses": [1.1, 0.7, 3.0], "picked": 2e-4}
    with (folder / "events.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(found) + "\n")
    words = page_of(folder).text
    assert "Learning-rate range test" in words
    assert "picked 2e-4" in words


def test_many_layer_groups_keep_the_page_readable(tmp_path: Path) -> None:
    folder = runs.make_run(tmp_path / "run")
    plan = json.loads((folder / "plan.json").read_text())
    plan["stages"][0]["groups"] = [
        {"group": f"block {n}", "parameters": 10**7, "trains": True, "lr": 1e-4 * 0.9**n} for n in range(80)
    ]
    (folder / "plan.json").write_text(json.dumps(plan))
    steps = [
        {"kind": "step", "stage": 0, "step": s, "loss": 1.0, "lr": {f"block {n}": 1e-4 * 0.9**n for n in range(80)}}
        for s in range(1, 20)
    ]
    (folder / "events.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps))
    words = " ".join(page_of(folder).text.split())
    assert "78 rates between" in words
    assert "block 79" in words


def test_panels_of_a_wrong_shape_say_so() -> None:
    bad = [
        {"kind": "confusion", "labels": ["a", "b"], "tuned": [[1, 2]]},
        {"kind": "table", "columns": ["a"], "rows": [[1, 2]]},
        {"kind": "examples"},
        {"kind": "calibration", "bins": [{"confidence": "x", "accuracy": 1, "rows": 1}]},
        {"title": "no kind"},
        {"kind": "confusion", "labels": ["a"], "tuned": [[1]], "missed": True},
        {"kind": "histogram", "x": "side", "edges": [0, 2, 2], "series": []},
        {"kind": "histogram", "x": "side", "edges": [0, 2, 4], "series": [{"name": "train", "counts": [1]}]},
        {"kind": "gallery", "items": [{"pictures": []}]},
    ]
    ready = panels.prepare(bad)
    assert [one.macro for one in ready] == ["unknown"] * len(bad)
    assert "not 2 by 2" in ready[0].view["words"]
    assert "lacks items" in ready[2].view["words"]
    assert "'None' panels" in ready[4].view["words"]
    assert "not 2 by 2" in ready[5].view["words"]
    assert "do not rise" in ready[6].view["words"]
    assert "has not 2 counts" in ready[7].view["words"]
    assert "no pictures" in ready[8].view["words"]


def test_confusion_shares_are_of_the_true_class() -> None:
    (ready,) = panels.prepare([{"kind": "confusion", "labels": ["a", "b"], "base": None, "tuned": [[3, 1], [0, 0]]}])
    assert [matrix["name"] for matrix in ready.view["matrices"]] == ["tuned"]
    rows = ready.view["matrices"][0]["rows"]
    assert [cell["share"] for cell in rows[0]["cells"]] == [0.75, 0.25]
    assert [cell["share"] for cell in rows[1]["cells"]] == [0.0, 0.0]
    assert [cell["hit"] for cell in rows[0]["cells"]] == [True, False]


def test_confusion_of_objects_has_missed_and_false() -> None:
    panel = {"kind": "confusion", "labels": ["cat", "dog"], "missed": True, "unit": "objects"}
    (ready,) = panels.prepare([panel | {"tuned": [[3, 0, 1], [0, 2, 0], [4, 0, 0]]}])
    (matrix,) = ready.view["matrices"]
    assert [row["label"] for row in matrix["rows"]] == ["cat", "dog", "false"]
    assert matrix["rows"][0]["cells"][2]["words"] == "true cat, missed: 1 of 4"
    assert matrix["rows"][2]["cells"][0]["words"] == "nothing there, predicted cat: 4 of 4"
    assert [cell["void"] for cell in matrix["rows"][2]["cells"]] == [False, False, True]
    assert matrix["pairs"][0] == {"truth": "nothing there", "guess": "cat", "count": "4"}
    assert matrix["pairs"][1]["guess"] == "missed"


def test_counts_of_pixels_are_short_in_the_whole_matrix() -> None:
    (ready,) = panels.prepare([{"kind": "confusion", "labels": ["a", "b"], "tuned": [[2_400_000, 43_934], [0, 7]]}])
    cells = [cell["count"] for row in ready.view["matrices"][0]["rows"] for cell in row["cells"]]
    assert cells == ["2.4\u00a0M", "43.9\u00a0k", "0", "7"]


def image(kind: str = "png", size: tuple[int, int] = (6, 4)) -> str:
    stream = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(stream, kind.upper())
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_a_gallery_shows_pictures_with_words(tmp_path: Path, kind: str) -> None:
    folder = runs.make_run(tmp_path / "run")
    pictures = [
        {"name": "truth", "image": image(kind), "width": 6, "height": 4},
        {"name": "tuned", "image": image(kind), "caption": f"2 cats {runs.SCRIPT}", "ok": False},
    ]
    item = {"id": "row 7", "pictures": pictures, "expected": "cat", "tuned": "dog", "tuned_ok": False}
    legend = [{"name": "cat", "colour": "#e69f00"}]
    panel = {"kind": "gallery", "title": "Worst pictures", "items": [item], "legend": legend}
    (folder / "panels.json").write_text(json.dumps([panel]))
    page = page_of(folder)
    shown = page.attributes("img")
    assert [one["src"] for one in shown] == [image(kind)] * 2
    assert [one["alt"] for one in shown] == ["truth", f"tuned: 2 cats {runs.SCRIPT}"]
    assert (shown[0]["width"], shown[0]["height"]) == ("6", "4")
    words = " ".join(page.text.split())
    assert "row 7" in words
    assert f"tuned ✗ 2 cats {runs.SCRIPT}" in words
    assert "--c:#e69f00" in [one.get("style") for one in page.attributes("li")]


@pytest.mark.parametrize(
    "address",
    [
        "https://example.org/cat.png",
        "//example.org/cat.png",
        "file:///etc/passwd",
        "cat.png",
        "javascript:alert(1)",
        "data:text/html;base64,PHNjcmlwdD4=",
        "data:image/svg+xml;base64,PHN2Zz4=",
        "data:image/png,raw",
        "data:image/gif;base64,R0lGODlhAQABAAAAACw=",
        "data:image/png;base64,R0lGODlhAQABAAAAACw=",
        image("png").replace("image/png", "image/jpeg"),
        image("png") + '" onerror="alert(1)',
        image("png") + "\n",
        " " + image("png"),
        "",
        None,
        7,
    ],
)
def test_a_gallery_takes_no_other_address(address: object) -> None:
    (ready,) = panels.prepare([{"kind": "gallery", "items": [{"pictures": [{"image": image()}, {"image": address}]}]}])
    assert ready.macro == "unknown"
    assert "an image" in ready.view["words"]
    assert len(ready.view["words"]) < 200


@pytest.mark.parametrize("colour", ["red", "#e69f00;background:url(//x)", "#fff", None])
def test_a_gallery_takes_no_other_colour(colour: object) -> None:
    legend = [{"name": "cat", "colour": colour}]
    (ready,) = panels.prepare([{"kind": "gallery", "items": [{"pictures": [{"image": image()}]}], "legend": legend}])
    assert "not #rrggbb" in ready.view["words"]


def test_a_histogram_sets_shares_side_by_side() -> None:
    series = [
        {"name": "train", "counts": [30, 10]},
        {"name": "held-out", "counts": [1, 1]},
        {"name": "none", "counts": [0, 0]},
    ]
    panel = {"kind": "histogram", "x": "side in pixels", "unit": "objects", "edges": [0, 32, 96], "series": series}
    (ready,) = panels.prepare([panel])
    assert (ready.macro, ready.span) == ("histogram", "narrow")
    chart = ready.view["chart"]
    columns = re.findall(
        r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)" height="([\d.]+)" class="column (m\d)"', chart.picture
    )
    assert len(columns) == 6
    heights = [float(height) for _, _, height, _ in columns]
    assert heights[0] == pytest.approx(1.5 * heights[2], rel=1e-3)
    assert heights[1] == pytest.approx(heights[0] / 3, rel=1e-3)
    assert heights[4:] == [0, 0]
    assert "train: 30 of 40 objects (75\u202f%), 0 to 32" in chart.picture
    assert [words for words, _, _ in chart.legend] == ["train: 40 objects", "held-out: 2 objects", "none: 0 objects"]
    for low, width, _, _ in columns:
        assert svg.LEFT <= float(low) <= float(low) + float(width) <= svg.WIDTH


def test_lines_reach_the_span_that_is_asked_for() -> None:
    series = [{"name": "cat", "points": [[0.2, 0.9], [0.4, 0.7]]}]
    plain = {"kind": "lines", "x": "recall", "y": "precision", "series": series}
    near, whole = panels.prepare([plain, plain | {"x_span": [0, 1], "y_span": [0, 1]}])
    ticks = re.compile(r'class="tick (?:end|mid)">([^<]+)<')
    assert "1.0" not in ticks.findall(near.view["chart"].picture)
    assert {"0.0", "1.0", "0.00", "1.00"} <= set(ticks.findall(whole.view["chart"].picture))


def test_too_many_labels_are_listed_by_confusion(tmp_path: Path) -> None:
    labels = [f"label {n}" for n in range(60)]
    counts = [[1 if n == m else 0 for m in range(60)] for n in range(60)]
    counts[7][9] = 14
    folder = runs.make_run(tmp_path / "run")
    (folder / "panels.json").write_text(json.dumps([{"kind": "confusion", "labels": labels, "tuned": counts}]))
    words = " ".join(page_of(folder).text.split())
    assert "60 labels are too many to draw" in words
    assert "label 7 label 9 14" in words


def test_a_long_input_is_cut_aloud() -> None:
    cut = panels.shorten("word " * 20_000)
    assert len(cut) < 1300
    assert "98,800".replace(",", "\u202f") + " characters more" in cut
    assert panels.shorten("short") == "short"


def test_smoothing_is_unbiased_and_skips_what_is_no_number() -> None:
    flat = smoothed([(float(n), 2.0) for n in range(30)] + [(30.0, math.nan)], 9)
    assert len(flat) == 30
    assert all(y == pytest.approx(2.0) for _, y in flat)
    assert smoothed([(0.0, 1.0), (1.0, 3.0)], 3)[1][1] == pytest.approx((0.5 * 1 + 1 * 3) / 1.5)


def test_thinning_keeps_the_spike() -> None:
    points = [(float(n), 1.0) for n in range(10_000)]
    points[7_777] = (7_777.0, 50.0)
    few = thinned(points)
    assert len(few) <= 502
    assert (7_777.0, 50.0) in few
    assert [x for x, _ in few] == sorted(x for x, _ in few)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.61, 0.68), (-3, 12_345), (1e-7, 9e-7), (5, 5)])
def test_ticks_are_round_and_inside(low: float, high: float) -> None:
    marks = svg.ticks(low, high)
    assert 1 <= len(marks) <= 7
    assert all(low - 1e-9 * max(1, abs(low)) <= mark <= high * (1 + 1e-9) for mark in marks)
    labels = svg.tick_labels(marks)
    assert len(set(labels)) == len(labels)


def test_log_axis_places_powers_evenly() -> None:
    axis = svg.axis([1e-6, 1e-2], 0, 100, log=True)
    assert [axis(10.0**n) for n in (-6, -4, -2)] == pytest.approx([0, 50, 100])
    assert axis.ticks(5) == pytest.approx([1e-6, 1e-5, 1e-4, 1e-3, 1e-2])


def test_interval_picture_marks_zero_where_it_is() -> None:
    drawn = svg.interval(0.0, (-0.1, 0.1), "f1", higher_is_better=True, verdict="no difference shown")
    zero = re.search(r'<line x1="([\d.]+)"[^>]*class="zero"', drawn)
    assert zero is not None
    assert float(zero.group(1)) == pytest.approx(svg.WIDTH / 2, abs=0.01)
    assert "centre same" in drawn


@pytest.mark.parametrize(
    ("spell", "value", "text"),
    [
        (figures.score, 0.67849, "0.678"),
        (figures.score, -0.1712, "−0.171"),
        (figures.score, math.nan, "not a number"),
        (figures.score, None, "–"),
        (figures.signed, 0.05, "+0.050"),
        (figures.signed, -0.00001, "+0.000"),
        (figures.signed, None, "–"),
        (figures.rate, 1e-3, "1e-3"),
        (figures.rate, 6.4e-5, "6.4e-5"),
        (figures.rate, 0.02, "0.02"),
        (figures.number, 1_774_464, "1\u202f774\u202f464"),
        (figures.number, 3.1e-7, "3.1e-7"),
        (figures.number, 1.25, "1.25"),
        (figures.number, 12345.678, "12\u202f346"),
        (figures.number, True, "yes"),
        (figures.number, "equal", "equal"),
        (figures.size, 701_000_000, "701\u00a0MB"),
        (figures.size, 999_600, "1.0\u00a0MB"),
        (figures.size, 12, "12\u00a0B"),
        (figures.parameters, 22_713_216, "22.7\u00a0M"),
        (figures.parameters, 385, "385"),
        (figures.duration, 0.0042, "4\u00a0ms"),
        (figures.duration, 81.3, "1\u00a0min 21\u00a0s"),
        (figures.duration, 59.7, "1\u00a0min 00\u00a0s"),
        (figures.duration, 11_520, "3\u00a0h 12\u00a0min"),
        (figures.percent, 0.0103, "1.0\u202f%"),
        (figures.percent, 0.9996, "> 99.9\u202f%"),
        (figures.percent, 1, "100\u202f%"),
        (figures.plain, {"top": 2}, "{top: 2}"),
        (figures.plain, ["a", None, True], "[a, null, true]"),
        (figures.trains, {"top": 2}, "top 2"),
        (figures.words, "macro_f1", "macro F1"),
        (figures.words, "ap50", "AP50"),
        (figures.words, "ap_small", "AP small"),
        (figures.words, "boundary_iou", "boundary IoU"),
        (figures.moment, "2026-03-14T09:26:53+00:00", "14 March 2026, 09:26 UTC"),
        (figures.moment, "yesterday", "yesterday"),
    ],
)
def test_figures(spell: object, value: object, text: str) -> None:
    assert spell(value) == text  # type: ignore[operator]


def test_a_small_difference_shows_enough_decimals(tmp_path: Path) -> None:
    folder = runs.make_run(tmp_path / "run")
    change(folder, "scores.json", base=0.91234, tuned=0.91276, difference=0.00042, interval=[0.00011, 0.00075])
    said = verdict(read_run(folder))
    assert said is not None
    assert (said["difference"], said["low"], said["high"]) == ("+0.00042", "+0.00011", "+0.00075")


def test_flatten_names_every_value() -> None:
    nested = {"a": {"b": 1, "c": []}, "stages": [{"train": {"top": 2}}, {"train": "all"}], "list": [1, 2]}
    assert flatten(nested) == [
        ("a.b", 1),
        ("a.c", []),
        ("stages.0.train.top", 2),
        ("stages.1.train", "all"),
        ("list", [1, 2]),
    ]


def test_report_imports_nothing_heavy() -> None:
    code = "import sys, tunesmith.report; print(sorted({'torch', 'transformers', 'jinja2', 'yaml'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
