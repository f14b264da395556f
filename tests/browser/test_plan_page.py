"""The plan's page as a person opens it: wide and narrow, light and dark, with nothing on top of anything."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from tunesmith.report.plan_page import write_plan_page

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = pytest.mark.browser

ROOMY = [("fitting", 390), ("fitting", 1400), ("too_large", 390), ("too_large", 1400), ("minimal", 390)]


def load(folder: str, name: str) -> ModuleType:
    spec = spec_from_file_location(name, Path(__file__).parents[1] / folder / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


plans, report = load("fixtures", "plans"), load("browser", "test_report_page")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("plans")
    made = {}
    for name in ("minimal", "fitting", "too_large"):
        plan = getattr(plans, name)()
        plan["stages"][0]["name"] = "a stage with quite a long name"
        made[name] = write_plan_page(plan, folder / f"{name}.html", name=f"recipes/a-recipe-of-a-long-name-{name}.yaml")
    return made


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("name", "width"), ROOMY)
def test_the_page_reads_well(
    chromium: Chrome, pages: dict[str, Path], shots: Path, name: str, width: int, theme: str
) -> None:
    report.requests(chromium)
    chromium.get_log("browser")
    report.show(chromium, pages[name], width, theme)
    assert chromium.execute_script("return document.documentElement.scrollWidth") <= width
    paper, ink = report.luminance(chromium, "backgroundColor"), report.luminance(chromium, "color")
    assert (paper > 0.9 and ink < 0.2) if theme == "light" else (paper < 0.2 and ink > 0.8)
    asked = report.requests(chromium)
    assert asked
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert [entry for entry in chromium.get_log("browser") if entry["level"] in {"SEVERE", "WARNING"}] == []
    assert "taken" not in chromium.title
    faint: list[Any] = [entry for entry in chromium.execute_script(report.CONTRASTS) if entry[0] < 4.5]
    assert faint == []
    (shots / f"plan-{name}-{width}-{theme}.png").write_bytes(report.whole_picture(chromium, width))


@pytest.mark.parametrize(("name", "width"), ROOMY)
def test_words_in_drawings_are_whole_and_apart(chromium: Chrome, pages: dict[str, Path], name: str, width: int) -> None:
    report.show(chromium, pages[name], width, "light")
    found = chromium.execute_script("""
        return [...document.querySelectorAll('svg')].map(s => [...s.querySelectorAll('text')].map(t => {
            const box = t.getBoundingClientRect();
            return [box.left, box.right, box.top, box.bottom, t.textContent];
        }))""")
    words = [word for drawing in found for word in drawing]
    assert words
    for left, right, top, bottom, text in words:
        assert left >= -0.5, text
        assert right <= width + 0.5, text
        assert bottom - top >= 9, text
    for drawing in found:
        for number, (left, right, top, bottom, text) in enumerate(drawing):
            for other in drawing[number + 1 :]:
                apart = right <= other[0] or other[1] <= left or bottom <= other[2] or other[3] <= top
                assert apart, (text, other[4])


@pytest.mark.parametrize("name", ["fitting", "too_large"])
def test_the_smallest_piece_can_be_seen_where_there_is_room(
    chromium: Chrome, pages: dict[str, Path], name: str
) -> None:
    """On the last drawing of memory, which is the enlarged one where the bars are short beside the device."""
    report.show(chromium, pages[name], 1400, "light")
    wide = chromium.execute_script("""
        const drawing = [...document.querySelectorAll('#memory figure')].pop();
        return [...drawing.querySelectorAll('rect.part')].map(r => r.getBoundingClientRect().width)
        """)
    assert len(wide) >= 6
    assert min(wide) >= 4


def test_the_browser_builds_the_tree_as_written(chromium: Chrome, pages: dict[str, Path]) -> None:
    report.show(chromium, pages["fitting"], 1400, "light")
    same = """
        const once = document.documentElement.outerHTML;
        const again = new DOMParser().parseFromString('<!DOCTYPE html>' + once, 'text/html');
        return [document.compatMode, once === again.documentElement.outerHTML];
    """
    assert chromium.execute_script(same) == ["CSS1Compat", True]
