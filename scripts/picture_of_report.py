"""The picture of a report in the README: the top of a real run's page, taken with headless Chromium.

    python scripts/picture_of_report.py runs/text-classification docs/images/report.png

Needs the packages chromium and chromium-driver, and selenium (``pip install -e .[dev]``).
"""

from __future__ import annotations

import argparse
import base64
import shutil
import sys
import tempfile
from io import BytesIO
from pathlib import Path

WIDTH, HEIGHT = 1400, 1040
COLOURS, MOST_BYTES = 128, 400_000


def picture(page: Path, width: int, height: int) -> bytes:
    """The top of a page as PNG, at half as much again of the density."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    with tempfile.TemporaryDirectory() as profile:
        for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.binary_location = str(shutil.which("chromium"))
        driver = webdriver.Chrome(options=options, service=Service(str(shutil.which("chromedriver"))))
        try:
            size = {"width": width, "height": height, "deviceScaleFactor": 1.5, "mobile": False}
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
            light = [{"name": "prefers-color-scheme", "value": "light"}]
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": light, "media": ""})
            driver.get(page.resolve().as_uri())
            taken = driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
        finally:
            driver.quit()
    return base64.b64decode(taken["data"])


def smaller(png: bytes) -> bytes:
    """The same picture with a palette: charts and text have few colours."""
    from PIL import Image

    out = BytesIO()
    image = Image.open(BytesIO(png)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    image.save(out, "PNG", optimize=True)
    return out.getvalue()


def main() -> int:
    """Take the picture and write it, if it is small enough to be kept in the repository."""
    parser = argparse.ArgumentParser(description="Take the picture of a report.")
    parser.add_argument("run", type=Path, help="a finished run's folder")
    parser.add_argument("out", type=Path, help="where the PNG goes")
    given = parser.parse_args()
    page = given.run / "report.html"
    lacking = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    if lacking or not page.is_file():
        sys.stderr.write(f"error: missing: {', '.join(lacking) or page}\n")
        return 2
    png = smaller(picture(page, WIDTH, HEIGHT))
    if len(png) > MOST_BYTES:
        sys.stderr.write(f"error: the picture has {len(png):,} bytes, more than {MOST_BYTES:,}\n")
        return 1
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_bytes(png)
    sys.stdout.write(f"{given.out}: {len(png):,} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
