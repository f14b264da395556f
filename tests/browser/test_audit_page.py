"""The audit's page as a person opens it: wide and narrow, light and dark, by mouse, keyboard and ear."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from tests.fixtures import audits
from tunesmith.report.audit_page import write_audit_page

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = pytest.mark.browser

WIDTHS = [390, 1400]


def load() -> ModuleType:
    spec = spec_from_file_location("test_report_page", Path(__file__).with_name("test_report_page.py"))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


report = load()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audit")
    found, shown = audits.everything(folder)
    return write_audit_page(found, shown, folder / "audit.html")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_reads_well(chromium: Chrome, page: Path, shots: Path, width: int, theme: str) -> None:
    report.requests(chromium)
    chromium.get_log("browser")
    report.show(chromium, page, width, theme)
    # Folded parts are part of the page.
    chromium.execute_script("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert chromium.execute_script("return document.documentElement.scrollWidth") <= width
    paper, ink = report.luminance(chromium, "backgroundColor"), report.luminance(chromium, "color")
    assert (paper > 0.9 and ink < 0.2) if theme == "light" else (paper < 0.2 and ink > 0.8)
    found: list[Any] = chromium.execute_script(report.CONTRASTS)
    assert len(found) > 300
    assert [entry for entry in found if entry[0] < 4.5] == []
    asked = report.requests(chromium)
    assert asked
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert [entry for entry in chromium.get_log("browser") if entry["level"] in {"SEVERE", "WARNING"}] == []
    (shots / f"audit-{width}-{theme}.png").write_bytes(report.whole_picture(chromium, width))


def test_rows_run_nothing(chromium: Chrome, page: Path) -> None:
    report.show(chromium, page, 1400, "light")
    assert chromium.execute_script("return document.querySelectorAll('script, iframe, object').length") == 0
    assert "taken" not in chromium.title
    # The row is there, in words: all but its invisible letter, which stands as its code.
    assert "document.title='taken'" in chromium.execute_script("return document.body.innerText")


def test_the_browser_builds_the_tree_as_written(chromium: Chrome, page: Path) -> None:
    report.show(chromium, page, 1400, "light")
    same = """
        const once = document.documentElement.outerHTML;
        const again = new DOMParser().parseFromString('<!DOCTYPE html>' + once, 'text/html');
        return [document.compatMode, once === again.documentElement.outerHTML, document.querySelectorAll('p p').length];
    """
    assert chromium.execute_script(same) == ["CSS1Compat", True, 0]
    doubled = """
        const ids = [...document.querySelectorAll('[id]')].map(one => one.id);
        const gone = [...document.querySelectorAll('a[href^="#"]')].map(one => one.getAttribute('href').slice(1));
        return [ids.length - new Set(ids).size, gone.filter(one => !document.getElementById(one))];
    """
    assert chromium.execute_script(doubled) == [0, []]


def test_pictures_are_seen_and_recordings_heard(chromium: Chrome, page: Path) -> None:
    report.show(chromium, page, 1400, "light")
    sizes = chromium.execute_script("return [...document.images].map(i => [i.naturalWidth, i.alt.length])")
    assert len(sizes) > 30
    assert all(0 < width <= 384 and words for width, words in sizes)
    players = chromium.execute_async_script("""
        const done = arguments[0], all = [...document.querySelectorAll('audio')];
        Promise.all(all.map(one => new Promise(resolve => {
            one.onloadedmetadata = () => resolve(one.duration);
            one.onerror = () => resolve(-1);
            one.preload = 'metadata';
            one.load();
        }))).then(done);
        """)
    assert len(players) >= 12
    assert all(0.2 < seconds < 11 for seconds in players)
    assert chromium.execute_script("return document.querySelectorAll('svg.wave').length") == len(players)


@pytest.mark.parametrize("width", WIDTHS)
def test_boxes_and_suggestion_lie_side_by_side(chromium: Chrome, page: Path, width: int) -> None:
    report.show(chromium, page, width, "light")
    pairs = chromium.execute_script("""
        return [...document.querySelectorAll('.shots.two')].map(one =>
            [...one.querySelectorAll('img')].map(i => i.getBoundingClientRect().toJSON()))
        """)
    assert len(pairs) == 4
    for first, second in pairs:
        assert first["right"] <= second["left"]
        assert first["top"] == second["top"]
        assert first["width"] > 100


@pytest.mark.parametrize("width", WIDTHS)
def test_words_in_drawings_are_whole_and_apart(chromium: Chrome, page: Path, width: int) -> None:
    report.show(chromium, page, width, "light")
    found = chromium.execute_script("""
        return [...document.querySelectorAll('svg:not(.wave)')].map(s =>
            [...s.querySelectorAll('text:not([transform])')].map(t => {
                const box = t.getBoundingClientRect();
                return [box.left, box.right, box.top, box.bottom, t.textContent];
            }))""")
    words = [word for drawing in found for word in drawing]
    assert len(words) > 30
    for left, right, top, bottom, text in words:
        assert left >= -0.5, text
        assert right <= width + 0.5, text
        assert bottom - top >= 8, text
    for drawing in found:
        for number, (left, right, top, bottom, text) in enumerate(drawing):
            for other in drawing[number + 1 :]:
                apart = right <= other[0] or other[1] <= left or bottom <= other[2] or other[3] <= top
                assert apart, (text, other[4])


def test_everything_folded_opens_by_keyboard(chromium: Chrome, page: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    report.show(chromium, page, 1400, "light")
    folded = chromium.find_elements(By.TAG_NAME, "summary")
    assert len(folded) > 10
    for one in folded:
        if not one.is_displayed():
            continue
        one.send_keys(Keys.ENTER)
        assert chromium.execute_script("return arguments[0].parentElement.open", one)
    seen = chromium.execute_script("""
        return [...document.querySelectorAll('details')].filter(one => !one.open).length""")
    assert seen == 0
    reached = chromium.execute_script("""
        return [...document.querySelectorAll('.copy pre')].filter(one => one.tabIndex !== 0).length""")
    assert reached == 0


def test_one_click_takes_all_ids(chromium: Chrome, page: Path) -> None:
    from selenium.webdriver.common.by import By

    report.show(chromium, page, 1400, "light")
    chromium.execute_script("document.querySelectorAll('.copy').forEach(one => { one.open = true; })")
    list_of_ids = next(one for one in chromium.find_elements(By.CSS_SELECTOR, ".copy pre") if "\n" in one.text)
    chromium.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", list_of_ids)
    list_of_ids.click()
    taken = chromium.execute_script("return getSelection().toString()")
    assert taken.split() == list_of_ids.text.split()


def test_on_a_phone_the_table_of_findings_needs_no_scrolling(chromium: Chrome, page: Path) -> None:
    report.show(chromium, page, 390, "light")
    wide, there = chromium.execute_script("""
        const table = document.querySelector('table.findings');
        return [table.parentElement.scrollWidth - table.parentElement.clientWidth, table.rows.length]""")
    assert wide <= 0
    assert there > 15
