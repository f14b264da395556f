"""The diagnosis's page as a person opens it: wide and narrow, light and dark, by mouse and keyboard."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from tests.fixtures import diagnoses
from tunesmith.report.diagnosis_page import write_diagnosis_page

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
    return write_diagnosis_page(diagnoses.everything(), tmp_path_factory.mktemp("diagnosis") / "diagnosis.html")


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
    (shots / f"diagnosis-{width}-{theme}.png").write_bytes(report.whole_picture(chromium, width))


def test_items_run_nothing_and_the_tree_is_as_written(chromium: Chrome, page: Path) -> None:
    report.show(chromium, page, 1400, "light")
    assert chromium.execute_script("return document.querySelectorAll('script, iframe, object, img').length") == 0
    assert "taken" not in chromium.title
    assert "document.title='taken'" in chromium.execute_script("return document.body.innerText")
    same = """
        const once = document.documentElement.outerHTML;
        const again = new DOMParser().parseFromString('<!DOCTYPE html>' + once, 'text/html');
        const ids = [...document.querySelectorAll('[id]')].map(one => one.id);
        const gone = [...document.querySelectorAll('a[href^="#"]')].map(one => one.getAttribute('href').slice(1));
        return [document.compatMode, once === again.documentElement.outerHTML, document.querySelectorAll('p p').length,
                ids.length - new Set(ids).size, gone.filter(one => !document.getElementById(one))];
    """
    assert chromium.execute_script(same) == ["CSS1Compat", True, 0, 0, []]


@pytest.mark.parametrize("width", WIDTHS)
def test_bars_tables_and_intervals_are_seen(chromium: Chrome, page: Path, width: int) -> None:
    report.show(chromium, page, width, "light")
    bars = chromium.execute_script("""
        return [...document.querySelectorAll('.causes li')].map(one => [
            parseInt(one.querySelector('b').textContent), one.querySelector('i').getBoundingClientRect().width,
            parseFloat(one.querySelector('i').style.getPropertyValue('--v'))])""")
    assert len(bars) >= 3
    assert all(wide > 60 for _, wide, _ in bars)
    most = max(count for count, _, _ in bars)
    assert all(abs(share - count / most) < 1e-3 for count, _, share in bars)
    squares, dots = chromium.execute_script("""
        const dots = [...document.querySelectorAll('.cures circle')].map(one => one.getBoundingClientRect());
        return [document.querySelectorAll('.square').length, dots.map(one => [one.left, one.right])]""")
    assert squares == len(diagnoses.FACTS_AND_FORM)
    assert len(dots) > 10
    assert all(0 <= left < right <= width for left, right in dots)


def test_on_a_phone_the_cures_need_no_scrolling(chromium: Chrome, page: Path) -> None:
    report.show(chromium, page, 390, "light")
    wide, there = chromium.execute_script("""
        const table = document.querySelector('table.cures');
        return [table.parentElement.scrollWidth - table.parentElement.clientWidth, table.rows.length]""")
    assert wide <= 0
    assert there > 5


def test_everything_folded_opens_by_keyboard(chromium: Chrome, page: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    report.show(chromium, page, 1400, "light")
    folded = chromium.find_elements(By.TAG_NAME, "summary")
    assert len(folded) > 2
    for one in folded:
        one.send_keys(Keys.ENTER)
        assert chromium.execute_script("return arguments[0].parentElement.open", one)
