#!/usr/bin/env python3
"""Takes the picture of the live page for the documentation: one token swapped for another in the demo model.

.venv/bin/python scripts/live_picture.py docs/live.png
"""

import sys
from pathlib import Path

from picture import chromium_path
from playwright.sync_api import sync_playwright

import bauklens

PROMPT = "The Eiffel Tower is located in the city of"


def main(picture: Path, width: int = 1240, height: int = 1180, scheme: str = "light") -> None:
    """Types, looks, swaps, and takes the picture."""
    with bauklens.serve(*bauklens.load("demo"), decoders="demo", name="demo") as live, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=chromium_path(), args=["--no-sandbox", "--disable-gpu"])
        size = {"width": width, "height": height}
        tab = chromium.new_page(viewport=size, device_scale_factor=1.5, color_scheme=scheme)  # type: ignore[arg-type]
        tab.goto(live.url)
        tab.get_by_label("prompt", exact=True).fill(PROMPT)
        tab.get_by_label("Decoder").select_option("demo")
        tab.get_by_role("button", name="Look").click()
        tab.get_by_role("button", name="change ␣Paris").click(timeout=120_000)
        tab.get_by_label("the other token").fill("Rome")
        tab.get_by_role("button", name="Change", exact=True).click()
        tab.get_by_text("None of 10 random changes").wait_for(timeout=120_000)
        tab.get_by_text("Done in").wait_for(timeout=120_000)
        tab.mouse.move(0, 0)
        tab.screenshot(path=picture)
        chromium.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
