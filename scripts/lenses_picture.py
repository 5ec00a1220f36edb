#!/usr/bin/env python3
"""Takes the README's picture: the logit lens of a prompt beside the Jacobian lens of the demo model, in the viewer.

.venv/bin/python scripts/lenses_picture.py docs/lenses.png
"""

import sys
import tempfile
from pathlib import Path

from picture import chromium_path, tables_of
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
        picture.write_bytes(tables_of(chromium, page, 1400, STATE, scheme))
        chromium.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
