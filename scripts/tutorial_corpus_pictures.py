#!/usr/bin/env python3
"""Makes the pictures of docs/tutorials/images.md and corpus.md from the files that the blocks of both pages write.

.venv/bin/python scripts/tutorial_corpus_pictures.py
"""

import contextlib
import io
import os
import re
import shlex
import tempfile
from pathlib import Path
from typing import Any

import matplotlib
from picture import chromium_path
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from bauklens.cli.commands import main as bauklens_command

TUTORIALS = Path(__file__).resolve().parent.parent / "docs" / "tutorials"
PICTURES = {
    "corpus.md": {"kinds.png": "corpus-kinds.png", "entropy.png": "corpus-entropy.png"},
    "images.md": {"photo.html": "images-page.png", "tops.png": "images-tops.png", "house.png": "images-house.png"},
}
"""Each page -> the files that its blocks write -> their pictures."""

_BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_COLOURS = 128
"""Of a screenshot, which keeps it small."""
_HEIGHT = 828
"""Of what a screenshot shows: the image with the lens over it, and the chosen cell beside it."""


def run(page: Path) -> None:
    """Runs the blocks of a page in this folder, except the lines that need a launcher."""
    names: dict[str, Any] = {}
    for language, code in _BLOCK.findall(page.read_text(encoding="utf-8")):
        with contextlib.redirect_stdout(io.StringIO()):
            if language == "python":
                exec(compile(code, page.name, "exec"), names)  # noqa: S102 - our own pages
                continue
            for line in code.splitlines():
                if line.startswith("bauklens "):
                    with contextlib.suppress(SystemExit):  # a file that is missing then stops the next lines
                        bauklens_command(shlex.split(line)[1:])


def photographed(browser: Browser, page: Path) -> Image.Image:
    """The upper part of the viewer of a page, in light colours."""
    tab = browser.new_page(viewport={"width": 1100, "height": 1400}, device_scale_factor=1.5, color_scheme="light")
    tab.goto(page.resolve().as_uri())
    viewer = tab.locator("figure.mounted .viewer").first
    viewer.wait_for()
    tab.mouse.move(0, 0)
    place = viewer.bounding_box()
    assert place is not None, "the viewer is not shown"
    taken = tab.screenshot(clip={"x": place["x"], "y": place["y"], "width": place["width"], "height": _HEIGHT})
    return Image.open(io.BytesIO(taken)).quantize(_COLOURS)


def main() -> None:
    """Makes the pictures."""
    matplotlib.use("agg")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=["--no-sandbox", "--disable-gpu"])
        os.chdir(folder)
        for page, taken in PICTURES.items():
            run(TUTORIALS / page)
            for written, name in taken.items():
                path = Path(written)
                drawn = photographed(browser, path) if path.suffix == ".html" else Image.open(path)
                drawn.save(TUTORIALS / name, optimize=True)
                print(name, drawn.size, f"{(TUTORIALS / name).stat().st_size:,} bytes")
        browser.close()
        os.chdir(TUTORIALS)


if __name__ == "__main__":
    main()
