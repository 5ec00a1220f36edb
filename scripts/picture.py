#!/usr/bin/env python3
"""Takes a picture of the first viewer in a page, with the last cell's token pinned if nothing is.

scripts/picture.py lens.html docs/lens.png
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright


def chromium_path() -> str | None:
    """The path of a Chromium on this machine."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def main(page: Path, picture: Path, scheme: str = "light") -> None:
    """Renders a page in Chromium, and saves its first viewer at twice the resolution."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=chromium_path(), args=["--no-sandbox", "--disable-gpu"])
        options = {"width": 1240, "height": 1500}
        tab = chromium.new_page(viewport=options, device_scale_factor=2, color_scheme=scheme)  # type: ignore[arg-type]
        tab.goto(page.resolve().as_uri())
        tab.locator("figure.mounted").first.wait_for()
        if not tab.locator(".tops .pin[aria-pressed='true']").count():
            tab.locator(".tops .pin").first.click()
        tab.mouse.move(0, 0)
        tab.locator("figure.mounted .viewer").first.screenshot(path=picture)
        chromium.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
