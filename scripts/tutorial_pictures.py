#!/usr/bin/env python3
"""Makes the pictures of docs/tutorials from the demo model: screenshots of the viewer, and a figure of scores.

.venv/bin/python scripts/tutorial_pictures.py
"""

import io
import tempfile
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

from picture import chromium_path, tables_of
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

import bauklens

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "tutorials"
LOCATED, TOWER = "The Eiffel Tower is located in the city of", "The Eiffel Tower is in the city of"
LAYERS = range(4, 29, 4)


def write_small(png: bytes, path: Path) -> None:
    """Writes a picture with 128 colours, which is enough for a table and keeps the file small."""
    Image.open(io.BytesIO(png)).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


def photograph(browser: Browser, lenses: list[Any], name: str, width: int, state: dict[str, Any]) -> None:
    """A screenshot of the tables of some lenses, side by side, scrolled to the last position."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "lenses.html"
        bauklens.save_report(lenses, page)
        write_small(tables_of(browser, page, width, state), FOLDER / f"{name}.png")


def draw_scores(model: Any, tokenizer: Any) -> None:
    """Fits a ridge lens, and draws how good it is on text that it was not fitted on."""
    pages = [text for _, text in sorted(topics.items()) if len(text) > 1000]
    corpus, held_out = pages[:-8], [page[:600] for page in pages[-8:]]
    ridge = bauklens.fit_decoder(model, tokenizer, corpus, method="ridge", tokens=2_000, layers=LAYERS)
    scores = bauklens.score_decoder(["logit", ridge], model, tokenizer, held_out, layers=LAYERS)
    drawn = io.BytesIO()
    scores.plot(["kl", "agreement"]).savefig(drawn, dpi=130)
    write_small(drawn.getvalue(), FOLDER / "fit-scores.png")


def photograph_lenses(model: Any, tokenizer: Any) -> None:
    """Takes the screenshots: two lenses of one prompt, and one lens."""
    shown: dict[str, Any] = {"layers": range(9, 30, 2), "positions": slice(-5, None)}
    two = bauklens.logit_lens(model, tokenizer, LOCATED, decoder=["logit", "demo"], targets=[" Paris"], **shown)
    one = bauklens.logit_lens(model, tokenizer, TOWER, decoder="demo", targets=[" Paris", " Rome"], **shown)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=["--no-sandbox", "--disable-gpu"])
        photograph(browser, two, "two-lenses", 1300, {"width": 88})
        photograph(browser, [one], "paris", 1300, {"width": 88})
        browser.close()


def main() -> None:
    """Takes all pictures."""
    model, tokenizer = bauklens.load("demo")
    photograph_lenses(model, tokenizer)
    draw_scores(model, tokenizer)


if __name__ == "__main__":
    main()
