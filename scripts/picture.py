#!/usr/bin/env python3
"""Takes a picture of the first viewer in a page, with the last cell's token pinned if nothing is.

Other scripts take theirs with its functions.

scripts/picture.py lens.html docs/lens.png
"""

import base64
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright


def chromium_path() -> str | None:
    """The path of a Chromium on this machine."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def tables_of(browser: Browser, page: Path, width: int, state: dict[str, Any], scheme: str = "light") -> bytes:
    """The tables of the first viewer in a page as a PNG, side by side, scrolled to the last position.

    Args:
        browser: a Chromium.
        page: a file.
        width: the width of the window, in pixels.
        state: the state of the viewer, as in a copied link.
        scheme: ``"light"`` or ``"dark"``.
    """
    size = {"width": width, "height": 1200}
    tab = browser.new_page(viewport=size, device_scale_factor=1.5, color_scheme=scheme)  # type: ignore[arg-type]
    told = base64.urlsafe_b64encode(json.dumps(state).encode()).decode().rstrip("=")
    tab.goto(f"{page.resolve().as_uri()}#lens-0={told}")
    tables = tab.locator("figure.mounted .stage").first
    tables.wait_for()
    for scroller in tables.locator(".frame > :first-child").all():
        scroller.evaluate("element => element.scrollLeft = element.scrollWidth")
    tab.wait_for_timeout(500)
    taken = tables.screenshot()
    tab.close()
    return taken


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
