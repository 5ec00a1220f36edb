#!/usr/bin/env python3
"""How large the pages of 49 layers are, how soon they are painted, and how smoothly they scroll, in a real browser.

The table is printed and, with --docs, written to docs/PERFORMANCE.md.

.venv/bin/python scripts/benchmark_viewer.py
"""

import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from benchmark import DOCS, VIEWER, write_docs
from picture import chromium_path
from playwright.sync_api import Browser, sync_playwright

import bauklens
from bauklens.result.pictures import Picture, column_labels

LAYERS, TOPK, TOKENS = 49, 10, 30_000

FRAMES = """
async () => {
  const box = document.querySelector(".viewer .scroll");
  const frame = () => new Promise(requestAnimationFrame);
  const median = (gaps) => gaps.sort((one, other) => one - other)[gaps.length >> 1];
  const timed = async (count, act) => {
    const gaps = [];
    let last = performance.now();
    for (let step = 0; step < count; step += 1) {
      act(step);
      await frame();
      gaps.push(performance.now() - last);
      last = performance.now();
    }
    return [median(gaps), Math.max(...gaps)];
  };
  const scrolled = await timed(120, (step) => box.scrollBy(step % 2 ? 37 : 333, step % 3 ? 11 : -7));
  document.querySelector(".cell.chosen").focus();
  const press = (key) => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  press("p");
  const pressed = await timed(60, (step) => press(step % 3 ? "ArrowLeft" : "ArrowUp"));
  const paint = performance.getEntriesByName("first-contentful-paint")[0].startTime;
  return { paint, scrolled, pressed, nodes: document.querySelectorAll(".viewer *").length };
}
"""


def lens_of(positions: int) -> bauklens.LensResult:
    """A lens of GPT-2-XL's layers with random numbers, as hard to compress as real ones, and every default measure."""
    random = np.random.default_rng(0)
    shape = (LAYERS, positions)
    probabilities = np.sort(random.dirichlet(np.ones(12) / 3, shape), axis=-1)[..., ::-1][..., :TOPK]
    nats = {name: random.gamma(2, 2, shape) for name in ("entropy", "kl", "surprisal", "max_logit")}
    cosines = {name: random.uniform(-1, 1, shape) for name in ("cosine_to_final", "cosine_to_previous")}
    shares = {"agreement": random.integers(0, 2, shape), "overlap": random.integers(0, TOPK + 1, shape) / TOPK}
    texts = [f" token {number}" for number in range(TOKENS)]
    return bauklens.LensResult(
        model="random numbers",
        prompt="random numbers",
        stream="hidden",
        decoder="logit",
        norm="own",
        token_ids=np.arange(positions),
        tokens=tuple(texts[:positions]),
        positions=np.arange(positions),
        layers=("embed", *map(str, range(LAYERS - 1))),
        top_ids=(random.zipf(1.25, (*shape, TOPK)) - 1) % TOKENS,
        top_probs=probabilities,
        magnitude=random.gamma(3, 100, shape),
        vocabulary=dict(enumerate(texts)),
        check={"max_abs_logit_difference": None},
        measures=nats | cosines | shares,
    )


def with_images(lens: bauklens.LensResult, images: int) -> bauklens.LensResult:
    """The lens of a prompt that begins with so many images of 24 x 24 positions."""
    size = 24 * 24
    grids = [np.arange(size).reshape(24, 24) + size * image for image in range(images)]
    pictures = [Picture(f"image {number}", grid, grid.ravel()) for number, grid in enumerate(grids, 1)]
    return replace(lens, pictures=pictures, columns=column_labels(pictures, lens.positions.tolist()))


def measure(browser: Browser, positions: int, rounds: int, images: int) -> dict[str, Any]:
    """One row of the table: medians over several openings."""
    lens = with_images(lens_of(positions), images) if images else lens_of(positions)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lens.html"
        taken, seen = [], []
        for _ in range(rounds):
            started = time.perf_counter()
            bauklens.save_report(lens, path)
            taken.append(time.perf_counter() - started)
            page = browser.new_page(viewport={"width": 1400, "height": 900})
            page.goto(path.as_uri())
            page.locator("figure.mounted").wait_for()
            seen.append(page.evaluate(FRAMES))
            page.close()
        size = path.stat().st_size
    return {
        "positions": positions,
        "bytes": size,
        "seconds to write": statistics.median(taken),
        "first paint": statistics.median(each["paint"] for each in seen),
        "scrolling": [
            statistics.median(each["scrolled"][0] for each in seen),
            max(each["scrolled"][1] for each in seen),
        ],
        "arrow keys": [
            statistics.median(each["pressed"][0] for each in seen),
            max(each["pressed"][1] for each in seen),
        ],
        "elements": max(each["nodes"] for each in seen),
    }


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--positions", multiple=True, default=[16, 128, 1024], show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--images", default=0, help="How many images of 576 positions each prompt begins with; their grids only.")
@click.option("--docs", is_flag=True, help="Write the table to docs/PERFORMANCE.md.")
def main(positions: tuple[int, ...], rounds: int, images: int, docs: bool) -> None:
    """Prints the table."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=["--no-sandbox", "--disable-gpu"])
        rows = [measure(browser, each, rounds, images) for each in positions]
        found = {"browser": browser.version, "rounds": rounds, "rows": rows}
        browser.close()
    print(json.dumps(found, indent=1))
    if docs:
        (DOCS / VIEWER).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        write_docs([], DOCS)


if __name__ == "__main__":
    main()
