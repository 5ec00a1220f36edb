#!/usr/bin/env python3
"""Makes docs/gallery from the demo model: lenses as JSON, and the viewer's "Download SVG" of each.

The pictures are also goldens: tests/test_gallery.py draws the lenses again and compares. With --keep-lenses, the
lenses stay unchanged, and only missing pictures are drawn; that needs no model.

The lens over an image is a screenshot, from the tiny model of scripts/image_page.py, whose weights are random.

.venv/bin/python scripts/make_gallery.py
"""

from pathlib import Path

import click
from gallery_cases import CASES, GALLERY, IMAGE, Case, fragment_of, page_of
from image_page import drawing, tiny_model
from picture import chromium_path
from playwright.sync_api import Browser, sync_playwright

import bauklens

EIFFEL = "The Eiffel Tower is located in the city of"
NEEDLE = "The Space Needle is located in the city of"
MEASURES = ["entropy", "kl"]


def make_lenses() -> None:
    """Runs the demo model, and the tiny model that reads an image."""
    model, tokenizer = bauklens.load("demo", device="cpu")
    wanted = {"eiffel": (EIFFEL, "hidden"), "eiffel-delta": (EIFFEL, "delta"), "needle": (NEEDLE, "hidden")}
    for name, (prompt, stream) in wanted.items():
        lens = bauklens.logit_lens(
            model, tokenizer, prompt, stream=stream, topk=5, measures=MEASURES, precision="exact"
        )
        lens.save(GALLERY / f"{name}.json")
    model, processor = tiny_model()
    lens = bauklens.logit_lens(
        model, processor, "What is in this picture ?", images=[drawing()], targets=["sun", "house"], topk=5
    )
    lens.save(GALLERY / "image.json")


def draw(browser: Browser, case: Case, page_path: Path) -> str:
    """The viewer's SVG of a case, in light colours."""
    page_path.write_text(page_of(case), encoding="utf-8")
    tab = browser.new_page(viewport={"width": 1400, "height": 1200}, color_scheme="light")
    tab.goto(f"{page_path.as_uri()}#{fragment_of(case)}")
    tab.locator("figure.mounted").wait_for()
    if case.pin is not None:
        tab.get_by_role("button", name=f"pin {case.pin.replace(' ', '␣')}", exact=True).click()
    tab.locator("summary", has_text="Export").click()
    with tab.expect_download() as download:
        tab.get_by_role("button", name="Download SVG").click()
    svg = Path(download.value.path()).read_text(encoding="utf-8")
    tab.close()
    return svg


def photograph(browser: Browser, case: Case, page_path: Path) -> bytes:
    """A PNG of the viewer of a case, as images are not in the SVG."""
    page_path.write_text(page_of(case), encoding="utf-8")
    tab = browser.new_page(viewport={"width": 1240, "height": 1200}, color_scheme="light")
    tab.goto(page_path.as_uri())
    tab.locator("figure.mounted").wait_for()
    taken = tab.locator("figure.mounted .viewer").screenshot()
    tab.close()
    return taken


def index() -> str:
    """docs/gallery/README.md."""
    lines = [
        "# Gallery",
        "",
        "Made by `.venv/bin/python scripts/make_gallery.py` from the demo model, SmolLM2-135M-Instruct, dequantized",
        "from a 4-bit GGUF file; the last from a tiny model with random weights.",
        "",
    ]
    for name, case in CASES.items():
        lines += [f"**{case.about}**", "", f"![{case.about}]({name}.svg)", ""]
    lines += [f"**{IMAGE.about}**", "", f"![{IMAGE.about}](image.png)", ""]
    return "\n".join(lines)


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--keep-lenses", is_flag=True, help="Draw missing pictures, from the existing lenses.")
def main(keep_lenses: bool) -> None:
    """Makes the gallery."""
    GALLERY.mkdir(parents=True, exist_ok=True)
    if not keep_lenses:
        make_lenses()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=["--no-sandbox", "--disable-gpu"])
        for name, case in CASES.items():
            path = GALLERY / f"{name}.svg"
            if not keep_lenses or not path.exists():
                path.write_text(draw(browser, case, GALLERY / f"{name}.html"), encoding="utf-8")
                (GALLERY / f"{name}.html").unlink()
        if not keep_lenses or not (GALLERY / "image.png").exists():
            (GALLERY / "image.png").write_bytes(photograph(browser, IMAGE, GALLERY / "image.html"))
            (GALLERY / "image.html").unlink()
        browser.close()
    (GALLERY / "README.md").write_text(index(), encoding="utf-8")


if __name__ == "__main__":
    main()
