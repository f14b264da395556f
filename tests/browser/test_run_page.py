"""The report of a real run, small but from real rows and real weights, as a person opens it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tunesmith.errors import UserError
from tunesmith.model.starter import locate
from tunesmith.run import Run

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
SMALL = ["data.limit=200", "stages.0.epochs=2", "stages.1.epochs=1"]


@pytest.fixture(scope="module")
def run(chromium: Chrome, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """The demo's run at small size; after the browser, so that a machine without one trains nothing."""
    from tunesmith.tune import fine_tune

    try:
        locate("starter:minilm-l6")
    except UserError as fault:
        if os.environ.get("CI", "").lower() == "true":
            raise
        pytest.skip(f"{fault.what}: {fault.fix}")
    folder = tmp_path_factory.mktemp("real")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNESMITH_CACHE", str(folder / "cache"))
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.chdir(ROOT)
        yield fine_tune("recipes/text-classification.yaml", [f"run.folder={folder}", "run.name=demo", *SMALL])


def show(chromium: Chrome, run: Run, width: int, theme: str = "light") -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = [{"name": "prefers-color-scheme", "value": theme}]
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme, "media": ""})
    chromium.get(run.report.as_uri())


def requests(chromium: Chrome) -> list[str]:
    """The addresses asked for since this was last called, but for those of the browser's own first tab."""
    messages = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    sent = [one["params"] for one in messages if one["method"] == "Network.requestWillBeSent"]
    return [one["request"]["url"] for one in sent if not one["documentURL"].startswith(("chrome:", "about:"))]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1400])
def test_the_page_opens_quietly_and_fits(chromium: Chrome, run: Run, shots: Path, width: int, theme: str) -> None:
    requests(chromium)
    chromium.get_log("browser")
    show(chromium, run, width, theme)
    assert chromium.execute_script("return innerWidth") == width
    assert chromium.execute_script("return document.documentElement.scrollWidth") <= width
    asked = requests(chromium)
    assert asked, "the page itself is a request"
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert [entry for entry in chromium.get_log("browser") if entry["level"] in {"SEVERE", "WARNING"}] == []
    (shots / f"run-{width}-{theme}.png").write_bytes(chromium.get_screenshot_as_png())


def test_the_page_says_what_the_run_found(chromium: Chrome, run: Run) -> None:
    show(chromium, run, 1400)
    # Closed parts count as well: textContent, not what is drawn.
    text = " ".join(chromium.execute_script("return document.body.textContent").split())
    scores: dict[str, Any] = run.read_json("scores.json")
    for number in (scores["base"], scores["tuned"]):
        assert f"{number:.3f}"[:5] in text or f"{100 * number:.1f}" in text, number
    assert scores["verdict"] in text.lower()
    assert scores["base_name"] in text
    for receipt in run.read_json("receipts.json"):
        assert receipt["promise"] in text
    for finding in run.read_json("audit.json")["findings"]:
        assert " ".join(finding["what"].split()) in text
    for stage in run.read_json("plan.json")["stages"]:
        assert stage["name"] in text


def test_every_link_inside_the_page_has_a_target(chromium: Chrome, run: Run) -> None:
    show(chromium, run, 1400)
    missing = chromium.execute_script(
        "return [...document.querySelectorAll('a[href^=\"#\"]')].map(a => a.getAttribute('href'))"
        ".filter(h => h.length < 2 || !document.getElementById(decodeURIComponent(h.slice(1))))"
    )
    links = chromium.execute_script("return document.querySelectorAll('a[href^=\"#\"]').length")
    assert links > 3
    assert missing == []
