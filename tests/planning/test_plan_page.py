"""The plan as a page and as text: everything a plan can hold, today's few keys, and what must not happen to either."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from tunesmith.errors import UserError
from tunesmith.report import figures, plan_charts, write_report
from tunesmith.report.plan_page import patch_yaml, write_plan_page
from tunesmith.report.planned import overrides, plan_text
from tunesmith.report.stacked import Limit, Row, bar, stacked, widths
from tunesmith.report.svg import Part

VOID = {"meta", "link", "br", "img", "input", "hr"}
ALL = ["memory", "options", "time", "store", "data", "curve", "stages", "decisions", "unknown"]
PLANS = ["minimal", "fitting", "too_large"]


def load_fixture(name: str) -> ModuleType:
    spec = spec_from_file_location(name, Path(__file__).parents[1] / "fixtures" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


plans, runs = load_fixture("plans"), load_fixture("make_run")


class Page(HTMLParser):
    """Reads a page strictly: every element closed in order; keeps ids, elements and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.source, self.open, self.ids, self.text = text, [], [], ""
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        assert len(found) == len(attrs), f"<{tag}> names an attribute twice"
        self.elements.append((tag, found))
        if found.get("id"):
            self.ids.append(str(found["id"]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag in ("td", "th"):
            self.text += " "

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data

    @property
    def words(self) -> str:
        return " ".join(self.text.split())

    def all(self, tag: str, style: str = "") -> list[dict[str, str | None]]:
        of_tag = [found for name, found in self.elements if name == tag]
        return [found for found in of_tag if not style or style in str(found.get("class")).split()]


def page_of(plan: Any, folder: Path) -> Page:
    return Page(write_plan_page(plan, folder / "plan.html", name="recipes/my.yaml").read_text(encoding="utf-8"))


def plan_of(name: str) -> dict[str, Any]:
    found: dict[str, Any] = getattr(plans, name)()
    return found


# The page


@pytest.mark.parametrize("name", PLANS)
def test_a_page_is_one_file_that_asks_for_nothing_and_runs_nothing(tmp_path: Path, name: str) -> None:
    page = page_of(plan_of(name), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["plan.html"]
    assert "<script" not in page.source
    assert not re.search(r"""(?:src|href)=["'](?!#|data:)|url\(|@import""", page.source)
    assert len(page.ids) == len(set(page.ids))
    assert "prefers-color-scheme: dark" in page.source
    if name != "minimal":
        assert "<script>document.title='taken'</script>" in page.words, "words from rows are shown as they are"


@pytest.mark.parametrize("name", PLANS)
def test_every_drawing_has_words_and_only_numbers_that_can_be_drawn(tmp_path: Path, name: str) -> None:
    page = page_of(plan_of(name), tmp_path)
    drawings = page.all("svg")
    assert len(drawings) >= 3
    assert all(one["role"] == "img" and one["aria-label"] for one in drawings)
    placed = [found for tag, found in page.elements if tag in ("rect", "line", "circle", "path")]
    assert placed
    assert not any(re.search("nan|inf|None", " ".join(map(str, found.values()))) for found in placed)


def test_what_a_plan_leaves_out_is_not_shown(tmp_path: Path) -> None:
    page = page_of(plan_of("minimal"), tmp_path)
    assert [name for name in ALL if name in page.ids] == ["memory", "stages", "decisions"]
    unlimited = {**plan_of("fitting")["memory"], "room_bytes": None, "fits": True}
    assert "It fits" not in page_of({**plan_of("fitting"), "memory": unlimited}, tmp_path).words, "no room is known"
    for word in ("None", "room", "classic", "It fits", "It does not fit", "Not known"):
        assert word not in page.words, word
    bare = {"decisions": [], "held": "fp32", "memory": None, "stages": []}
    assert [name for name in ALL if name in page_of(bare, tmp_path).ids] == []


def test_null_stands_for_a_key_that_is_not_there(tmp_path: Path) -> None:
    plan = plan_of("minimal")
    keys = ("host", "disk", "time", "options", "data", "learning_curve", "unknown")
    more = {"room_bytes": None, "fits": None, "device": None, "classic_bytes": None, "stages": None}
    null = {**plan, **dict.fromkeys(keys), "memory": {**plan["memory"], **more, "activations": None}}
    assert page_of(null, tmp_path).words == page_of(plan, tmp_path).words
    assert plan_text(null) == plan_text(plan)


def test_a_plan_that_fits(tmp_path: Path) -> None:
    plan = plan_of("fitting")
    page = page_of(plan, tmp_path)
    assert [name for name in ALL if name in page.ids] == [n for n in ALL if n not in ("options", "unknown")]
    for said in (
        "It fits on the CPU.",
        "The most is needed in stage 2 · top 2.",
        figures.size(plan["memory"]["resident_bytes"]).replace("\u00a0", " "),
        "room 5.9 GB",
        "classic formula: parameters x bytes x 2.5 to 3: 227 to 273 MB",
        "The same, enlarged",
        "block 4 to block 5",
        "2 x 24.2 MB, 48.4 MB",
        "1 min 31 s from start to end, by rates measured here on 14 March.",
        "free 21.4 GB",
        "this recipe 2412 examples",
        "2.4 ×",
        "Learning curve",
    ):
        assert said in page.words, said
    assert "too little" not in page.words


def test_a_plan_that_does_not_fit_shows_what_to_do(tmp_path: Path) -> None:
    plan = plan_of("too_large")
    page = page_of(plan, tmp_path)
    assert "It does not fit on RTX4090-24GB." in page.words
    assert "The same, enlarged" not in page.words, "the bars are long enough to be read"
    assert "block 0 to block 31" in page.words
    assert "too little 62.6 GB more than is free." in page.words
    options = plan["options"]
    places = [page.words.index(f"{number}. {option['what']}") for number, option in enumerate(options, 1)]
    assert places == sorted(places)
    for said in ("a third more time", "109 GB", "gradient_checkpointing: true", "stages.0.train=adapter"):
        assert said in page.words, said
    assert len(page.all("rect", "then")) == len(page.all("rect", "saved")) == 5, "two of them save nothing"
    assert page.words.count("can't be had") == 2
    assert page.words.count("No setting of a recipe.") == 1
    assert len(page.all("pre")) == 5
    assert "whether the text fits 2,048 tokens" in page.words


def test_two_devices_are_said_to_be_two(tmp_path: Path) -> None:
    plan = plan_of("too_large")
    plan["memory"]["device"] = {"name": "A100-80GB", "memory_bytes": 80 * 10**9, "count": 2}
    assert "It does not fit on 2 x A100-80GB. peak memory, resident, on each device" in page_of(plan, tmp_path).words
    assert "23.6 GB may be used each (2 x A100-80GB)" in " ".join(plan_text(plan).split())


def test_a_place_that_cannot_be_written_is_an_error_with_a_fix(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot write plan\.html") as caught:
        write_plan_page(plan_of("minimal"), tmp_path / "none" / "plan.html")
    assert caught.value.fix


# What is drawn


def numbers(found: dict[str, str | None], *names: str) -> list[float]:
    return [float(str(found[name]).removesuffix("%")) for name in names]


def test_bars_end_where_their_sum_says_and_the_line_stands_at_the_room(tmp_path: Path) -> None:
    plan = plan_of("too_large")
    memory = plan["memory"]
    chart = plan_charts.memory_charts(memory, ["all"])[0]
    page = Page(f"<div>{chart.picture}</div>")
    pieces = [numbers(one, "x", "width") for one in page.all("rect", "part")]
    assert len(pieces) == 6, "a part of no bytes is not drawn"
    assert sum(pieces[-1]) == pytest.approx(100, abs=0.01)
    share = 100 * memory["parts"]["weights"] / memory["resident_bytes"]
    assert pieces[0] == pytest.approx([0, share], abs=1)
    lines = page.all("line", "limit")
    assert len(lines) == 2
    at = 100 * memory["room_bytes"] / memory["resident_bytes"]
    assert all(numbers(one, "x1")[0] == pytest.approx(at, abs=0.01) for one in lines)
    low, high = (100 * end / memory["resident_bytes"] for end in memory["classic_bytes"])
    [band] = page.all("rect", "high")
    assert numbers(band, "x", "width") == pytest.approx([low, high - low], abs=0.01)
    split = [numbers(page.all("rect", kind)[0], "width")[0] for kind in ("allocated", "beyond")]
    assert split[0] / sum(split) == pytest.approx(memory["allocated_bytes"] / memory["resident_bytes"], abs=0.01)


@pytest.mark.parametrize("amounts", [[1000, 1, 1], [1, 1, 1], [500, 0, 400, 2], [3, 0, 0], [0, 0]])
def test_small_pieces_are_widened_and_the_sum_stays_true(amounts: list[float]) -> None:
    wide = widths(amounts, 1000, least=1.0)
    assert sum(wide) == pytest.approx(sum(amounts) / 10)
    assert [one == 0 for one in wide] == [one == 0 for one in amounts]
    if max(amounts) > 100:
        assert all(one >= 1 for one in wide if one)
    ordered = sorted(range(len(amounts)), key=lambda n: amounts[n])
    assert [wide[n] for n in ordered] == sorted(wide)


def test_a_limit_beyond_the_scale_is_told_and_not_drawn() -> None:
    far = bar(Row("", [Part("a", 1, "part")]), 1.0, Limit(5.0, "room 5 B"))
    assert "limit" not in far
    assert "room 5 B" in far
    assert "room" not in stacked("t", [Row("", [Part("a", 1, "part")])], limit=Limit(5, "room"), scale=1).picture[:60]


def test_groups_of_one_size_stand_together() -> None:
    sizes = {"input": 5, "block 0": 100, "block 1": 100.5, "block 2": 300, "block 3": 300, "head": 300}
    found = plan_charts.runs_of_groups(sizes)
    assert [(name, count) for name, count, _ in found] == [
        ("input", 1),
        ("block 0 to block 1", 2),
        ("block 2 to block 3", 2),
        ("head", 1),
    ]
    assert sum(count * each for _, count, each in found) == pytest.approx(sum(sizes.values()))


def test_a_colour_means_the_same_part_in_every_stage() -> None:
    table = plan_charts.memory_table(plan_of("fitting")["memory"])
    assert len({style for _, style, _ in table}) == len(table) == 10
    chart = plan_charts.memory_charts(plan_of("fitting")["memory"], ["head", "top 2"])[1]
    for name, style, sizes in table:
        drawn = re.findall(rf'class="part {style}"><title>([^:<]*):', chart.picture)
        assert drawn == [name] * sum(bool(size) for size in sizes)


def test_a_patch_is_yaml_that_means_what_it_says() -> None:
    patch = {
        "batch.micro": 4,
        "adapter": {"kind": "lora"},
        "model.dtype": "nf4",
        "model.name": "a: b",
        "cache.use": None,
    }
    assert yaml.safe_load(patch_yaml(patch)) == {
        "batch": {"micro": 4},
        "adapter": {"kind": "lora"},
        "model": {"dtype": "nf4", "name": "a: b"},
        "cache": {"use": None},
    }
    inside = patch_yaml({"stages.0.lr": 1e-4, "batch.micro": 2})
    assert yaml.safe_load(inside) == {"batch": {"micro": 2}}
    assert "stages.0.lr=1e-4" in inside
    assert overrides({"adapter": {"kind": "lora", "rank": 8}, "batch.micro": 2}) == [
        "adapter.kind=lora",
        "adapter.rank=8",
        "batch.micro=2",
    ]


def test_sizes_name_their_unit_once() -> None:
    assert figures.sizes(227e6, 273e6) == "227 to 273\u00a0MB"
    assert figures.sizes(900e6, 1.1e9) == "900\u00a0MB to 1.1\u00a0GB"


# The text


@pytest.mark.parametrize("name", PLANS)
def test_the_text_fits_eighty_columns(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = plan_text(plan_of(name))
    assert all(len(line) <= 80 and line == line.rstrip() for line in text.splitlines())
    assert "None" not in text
    assert not re.search("[\u00a0\u202f\u2212]", text), "blanks that a search would miss"


def test_the_text_has_a_column_for_each_stage() -> None:
    text = plan_text(plan_of("fitting"))
    cells = {line.split("  ")[0]: line.split()[-2:] for line in text.splitlines()}
    assert cells["gradients"] == ["<", "0.1"] or cells["gradients"][-1] == "14.2"
    assert cells["resident"] == ["171.7", "306.8"]
    assert cells["allocated"] == ["100.9", "208.7"]
    assert cells["room"] == ["5,900.0", "5,900.0"]
    words = " ".join(text.split())
    assert "yes: 307 MB needed, 5.9 GB may be used (the CPU)" in words
    assert "227 to 273 MB (parameters x bytes x 2.5 to 3)" in words
    assert "1 min 31 s: steps 1 min 01 s, evaluation 14 s" in words


def test_of_many_stages_the_text_shows_those_that_need_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    plan = plan_of("fitting")
    one = plan["memory"]["stages"][0]
    plan["memory"]["stages"] = [{**one, "resident_bytes": (n + 1) * 10**6} for n in range(7)]
    plan["stages"] = [{**plan["stages"][0], "name": f"a long name {n}"} for n in range(7)]
    text = plan_text(plan)
    assert all(len(line) <= 80 for line in text.splitlines())
    resident = next(line.split()[1:] for line in text.splitlines() if line.startswith("resident"))
    assert resident == ["4.0", "5.0", "6.0", "7.0"]


def test_the_text_says_what_each_change_saves_and_how_to_make_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = plan_text(plan_of("too_large"))
    words = " ".join(text.split())
    assert "no: 118 GB needed, 23.6 GB may be used (RTX4090-24GB)" in words
    assert "243 GB of 180 GB free, which is too little" in words
    assert re.search(r"^5  frozen weights in 4 bits \(QLoRA\) +113 GB +5.2 GB  yes$", text, flags=re.M)
    assert re.search(r"^3  optimizer in 8 bits +no$", text, flags=re.M)
    once = ("engine.gradient_checkpointing=true", "batch.micro=4")
    for setting, count in (*((one, 1) for one in once), ("stages.0.train=adapter", 2), ("model.dtype=nf4", 2)):
        assert len(re.findall(rf"^\s+{re.escape(setting)}$", text, flags=re.M)) == count, setting


# The report of a run


def test_a_runs_report_sets_the_measured_beside_the_predicted(tmp_path: Path) -> None:
    folder = runs.make_run(tmp_path / "run")
    plan = json.loads((folder / "plan.json").read_text())
    memory = plan_of("fitting")["memory"]
    (folder / "plan.json").write_text(
        json.dumps({**plan, "memory": memory, "time": {"seconds": 60, "stages": [9, 41]}})
    )
    measured = json.loads((folder / "measured.json").read_text())
    (folder / "measured.json").write_text(json.dumps({**measured, "allocated_peak_bytes": 200_000_000}))
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    for said in (
        "1 · head: 172 MB resident, 101 MB allocated",
        "measured: most that tensors held: 200 MB",
        "measured peak above the start: 281 MB",
        "memory of tensors 209 MB 200 MB 0.96 ×",
        "peak memory above the start of the run 307 MB 281 MB 0.92 ×",
        "the same by the classic formula: parameters x bytes x 3 273 MB 281 MB 1.03 ×",
        "forecast",
        "time 1 min 00 s 1 min 21 s",
    ):
        assert said in page.words, said
    assert len(page.all("rect", "measured")) == 4
