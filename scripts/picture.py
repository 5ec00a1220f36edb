#!/usr/bin/env python3
"""Takes the README's picture of the first table in a page: scripts/picture.py lens.html docs/lens.png."""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright


def main(page: Path, picture: Path) -> None:
    """Renders a page in Chromium, and saves its first table at twice the resolution."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        tab = chromium.new_page(viewport={"width": 1000, "height": 1400}, device_scale_factor=2)
        tab.goto(page.resolve().as_uri())
        tab.locator("figure").first.evaluate(
            "figure => { figure.style.width = figure.querySelector('table').offsetWidth + 'px';"
            " figure.style.padding = '16px'; }"
        )
        tab.locator("figure").first.screenshot(path=picture)
        chromium.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
