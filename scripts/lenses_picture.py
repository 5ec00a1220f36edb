#!/usr/bin/env python3
"""Takes the README's picture: the logit lens of a prompt beside the Jacobian lens of the demo model, in the viewer.

.venv/bin/python scripts/lenses_picture.py docs/lenses.png
"""

import base64
import json
import sys
import tempfile
from pathlib import Path

from picture import chromium_path
from playwright.sync_api import sync_playwright

import bauklens

PROMPT, ANSWER = "The Eiffel Tower is located in the city of", " Paris"
STATE = {"width": 88, "stride": 2}
"""Of the viewer: wide cells, and every second layer."""


def main(picture: Path, scheme: str = "light") -> None:
    """Makes the page that scripts/demo writes, and takes the picture."""
    model, tokenizer = bauklens.load("demo")
    lenses = bauklens.logit_lens(model, tokenizer, PROMPT, decoder=["logit", "demo"], targets=[ANSWER])
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page = Path(folder) / "lenses.html"
        bauklens.save_report(lenses, page)
        chromium = playwright.chromium.launch(executable_path=chromium_path(), args=["--no-sandbox", "--disable-gpu"])
        size = {"width": 1400, "height": 1200}
        tab = chromium.new_page(viewport=size, device_scale_factor=1.5, color_scheme=scheme)  # type: ignore[arg-type]
        state = base64.urlsafe_b64encode(json.dumps(STATE).encode()).decode().rstrip("=")
        tab.goto(f"{page.as_uri()}#lens-0={state}")
        tables = tab.locator("figure.mounted .stage").first
        tables.wait_for()
        for scroller in tables.locator(".frame > :first-child").all():
            scroller.evaluate("element => element.scrollLeft = element.scrollWidth")
        tab.wait_for_timeout(500)
        tables.screenshot(path=picture)
        chromium.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
