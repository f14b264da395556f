from __future__ import annotations

import base64
import io
import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from tunesmith.report import write_report

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = pytest.mark.browser

WIDTHS = [390, 1400]
SIDES = ("truth", "base", "tuned")


def load_fixture() -> ModuleType:
    spec = spec_from_file_location("make_run", Path(__file__).parents[1] / "fixtures" / "make_run.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


runs = load_fixture()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = runs.make_run(tmp_path_factory.mktemp("runs") / "a-run-with-quite-a-long-name-that-has-no-place-to-break")
    panels = json.loads((folder / "panels.json").read_text(encoding="utf-8"))
    labels = [f"a_label_with_a_long_name_{n}" for n in range(14)]
    # every depth of shade, on and off the diagonal
    counts = [[5 * n if n == m else 65 - 5 * n if m == (n + 1) % 14 else 0 for m in range(14)] for n in range(14)]
    word = {"id": "x" * 300, "input": "w" * 5000, "expected": "e" * 200, "tuned": "t" * 200, "tuned_ok": False}
    columns = [f"column {n}" for n in range(20)]
    panels += [
        {"kind": "confusion", "title": "Many labels", "labels": labels, "base": counts, "tuned": counts},
        {"kind": "examples", "title": "A word without an end", "items": [word]},
        {"kind": "table", "title": "Wide", "columns": columns, "rows": [[n * 1000.5 for n in range(20)]]},
    ]
    (folder / "panels.json").write_text(json.dumps([*panels, *of_pictures(labels[:6])]), encoding="utf-8")
    return write_report(folder)


def of_pictures(labels: list[str]) -> list[dict[str, Any]]:
    """Panels of pictures: tall and wide ones side by side, alone, and objects that were missed or false."""

    def shown(name: str, size: tuple[int, int], **more: Any) -> dict[str, Any]:
        stream = io.BytesIO()
        Image.linear_gradient("L").resize(size).convert("RGB").save(stream, "WEBP")
        uri = f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"
        return {"name": name, "image": uri, "width": size[0], "height": size[1], **more}

    sides = [
        {"id": f"folder/{size[0]}", "pictures": [shown(n, size, caption="c" * 200, ok=n == "base") for n in SIDES]}
        for size in ((480, 360), (360, 640), (480, 40), (240, 240))
    ]
    alone = [{"pictures": [shown("", (240, 300))], "expected": "e" * 80, "tuned": "t", "tuned_ok": True}] * 5
    legend = [{"name": label, "colour": "#e69f00"} for label in labels]
    counts = [[n + m for n in range(7)] for m in range(7)]
    series = [{"name": name, "counts": [n * n for n in range(16)]} for name in ("train", "held-out")]
    return [
        {"kind": "gallery", "title": "Worst pictures", "items": sides, "legend": legend},
        {"kind": "gallery", "title": "At random", "items": alone},
        {"kind": "confusion", "title": "Objects", "labels": labels, "missed": True, "unit": "objects", "tuned": counts},
        {
            "kind": "histogram",
            "title": "Sizes",
            "x": "side in pixels",
            "edges": [2**n for n in range(17)],
            "series": series,
        },
    ]


def show(chromium: Chrome, page: Path, width: int, theme: str) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = [{"name": "prefers-color-scheme", "value": theme}]
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme, "media": ""})
    chromium.get(page.as_uri())


def requests(chromium: Chrome) -> list[str]:
    """The addresses asked for since this was last called, but for those of the browser's own first tab."""
    messages = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    sent = [one["params"] for one in messages if one["method"] == "Network.requestWillBeSent"]
    return [one["request"]["url"] for one in sent if not one["documentURL"].startswith(("chrome:", "about:"))]


def luminance(chromium: Chrome, variable: str) -> float:
    """How light the page's colour of that name is, 0 to 1."""
    script = "return getComputedStyle(document.body)[arguments[0]].match(/[0-9.]+/g).slice(0, 3).map(Number)"
    red, green, blue = chromium.execute_script(script, variable)
    return (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_reads_well(chromium: Chrome, page: Path, shots: Path, width: int, theme: str) -> None:
    requests(chromium)
    chromium.get_log("browser")
    show(chromium, page, width, theme)
    assert chromium.execute_script("return innerWidth") == width
    assert chromium.execute_script("return document.documentElement.scrollWidth") <= width
    headline = chromium.execute_script("return document.querySelector('h1').getBoundingClientRect().toJSON()")
    assert headline["width"] > 100
    assert 0 <= headline["top"] < 400
    paper, ink = luminance(chromium, "backgroundColor"), luminance(chromium, "color")
    assert (paper > 0.9 and ink < 0.2) if theme == "light" else (paper < 0.2 and ink > 0.8)
    asked = requests(chromium)
    assert asked
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert [entry for entry in chromium.get_log("browser") if entry["level"] in {"SEVERE", "WARNING"}] == []
    (shots / f"report-{width}-{theme}.png").write_bytes(whole_picture(chromium, width))


def whole_picture(chromium: Chrome, width: int) -> bytes:
    height = chromium.execute_script("return document.documentElement.scrollHeight")
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    taken = chromium.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    return base64.b64decode(taken["data"])


def test_rows_run_nothing(chromium: Chrome, page: Path) -> None:
    show(chromium, page, 1400, "light")
    assert chromium.execute_script("return document.querySelectorAll('script, iframe, object').length") == 0
    outside = "return [...document.images].filter(i => !i.src.startsWith('data:image/')).length"
    assert chromium.execute_script(outside) == 0
    assert chromium.title.startswith("a-run-with")
    assert "<script>document.title='taken'</script>" in chromium.execute_script("return document.body.innerText")


def test_the_browser_builds_the_tree_as_written(chromium: Chrome, page: Path) -> None:
    """A misplaced element would be moved by the parser: the tree, written out and read again, stays the same."""
    show(chromium, page, 1400, "light")
    same = """
        const once = document.documentElement.outerHTML;
        const again = new DOMParser().parseFromString('<!DOCTYPE html>' + once, 'text/html');
        return [document.compatMode, once === again.documentElement.outerHTML, document.querySelectorAll('p p').length];
    """
    assert chromium.execute_script(same) == ["CSS1Compat", True, 0]


@pytest.mark.parametrize("width", WIDTHS)
def test_words_in_drawings_stay_readable(chromium: Chrome, page: Path, width: int) -> None:
    show(chromium, page, width, "light")
    heights = chromium.execute_script(
        "return [...document.querySelectorAll('svg text')].map(t => t.getBoundingClientRect().height)"
    )
    assert len(heights) > 50
    assert min(heights) >= 9


@pytest.mark.parametrize("width", WIDTHS)
def test_pictures_are_shown_whole_and_side_by_side_where_there_is_room(
    chromium: Chrome, page: Path, width: int
) -> None:
    show(chromium, page, width, "light")
    found = chromium.execute_script(
        "return [...document.images].map(i => [i.complete && i.naturalWidth, i.width / i.naturalWidth, "
        "i.height / i.naturalHeight, i.getBoundingClientRect().right])"
    )
    assert len(found) == 17
    for natural, across, down, right in found:
        assert natural >= 240
        assert across == pytest.approx(down, rel=0.04)
        assert 0.4 < across <= 1
        assert right <= width
    tops = chromium.execute_script(
        "return [...document.querySelectorAll('.pictures:has(figure + figure)')].map(p => "
        "new Set([...p.children].map(f => f.getBoundingClientRect().left)).size)"
    )
    assert tops == [1 if width < 500 else 3] * 4


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_stand_out_from_their_ground(chromium: Chrome, page: Path, theme: str) -> None:
    """Contrast of every piece of text that lies on a plain colour, by the rule of WCAG: at least 4.5 to 1."""
    show(chromium, page, 1400, theme)
    found: list[list[Any]] = chromium.execute_script(CONTRASTS)
    assert len(found) > 200
    assert [entry for entry in found if entry[0] < 4.5] == []


CONTRASTS = """
const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
function rgb(colour) {
  canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
}
function light(c) {
  const [r, g, b] = c.slice(0, 3).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
const out = [];
for (const element of document.querySelectorAll('body *:not(svg *)')) {
  const own = [...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
  if (!own || !element.checkVisibility()) continue;
  let ground = element;
  while (ground && rgb(getComputedStyle(ground).backgroundColor)[3] < 255) ground = ground.parentElement;
  const a = light(rgb(getComputedStyle(element).color));
  const b = light(rgb(getComputedStyle(ground).backgroundColor));
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  out.push([ratio, element.tagName, element.className, element.textContent.slice(0, 40)]);
}
return out;
"""


def test_it_prints_without_the_navigation(chromium: Chrome, page: Path) -> None:
    show(chromium, page, 1400, "dark")
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": []})
    try:
        assert chromium.execute_script("return getComputedStyle(document.querySelector('nav')).display") == "none"
        assert luminance(chromium, "backgroundColor") > 0.95
    finally:
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
