#!/usr/bin/env python3
"""How large pages are, how soon they are painted, how smoothly they scroll, and how soon keys show, in a real browser.

The table is printed and, with --docs, written to docs/PERFORMANCE.md. Pages of other tools are measured beside ours
where a copy of their code is given.

.venv/bin/python scripts/benchmark_viewer.py --case 49x1024x10
"""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
from benchmark import DOCS, VIEWER, write_docs
from picture import chromium_path
from playwright.sync_api import Browser, Page, sync_playwright
from viewer_cases import CASES, Case, lens_of, pins_of, with_images
from viewer_peers import MOST_POSITIONS, Peers
from viewer_table import keys_table, moving_table, opening_table

import bauklens

ARROWS = ["ArrowLeft", "ArrowLeft", "ArrowUp", "ArrowLeft", "ArrowDown", "ArrowRight"] * 4
JUMPS = ["Home", "End", "n", "Shift+N", "n", "Control+Home", "Control+End"]
PINS = ["p", "p", "ArrowLeft", "p", "p"]

OPENED = """
(() => {
  globalThis.opened = new Promise((done) => {
    const watch = new MutationObserver(() => {
      if (!document.querySelector("SELECTOR")) return;
      watch.disconnect();
      requestAnimationFrame(() => setTimeout(() => done(performance.now())));
    });
    watch.observe(document, { subtree: true, childList: true, attributeFilter: ["class"] });
  });
  globalThis.longest = 0;
  const longer = ({ duration }) => (globalThis.longest = Math.max(globalThis.longest, duration));
  new PerformanceObserver((list) => list.getEntries().forEach(longer)).observe({ type: "longtask" });
})();
"""
"""Notes when the page shows what it is for, and the longest time for which it did not answer on the way."""

SCROLLED = """
async (selector) => {
  const box = document.querySelector(selector) ?? document.scrollingElement;
  const gaps = [];
  let last = performance.now();
  for (let step = 0; step < 90; step += 1) {
    box.scrollBy(step % 2 ? 37 : 333, step % 3 ? 11 : -7);
    await new Promise(requestAnimationFrame);
    gaps.push(performance.now() - last);
    last = performance.now();
  }
  return gaps.slice(1);
}
"""

HELD = """
async () => {
  const target = document.querySelector(".cell.chosen") ?? document.body;
  target.focus();
  const gaps = [];
  let last = performance.now();
  for (let step = 0; step < 60; step += 1) {
    const key = step % 3 ? "ArrowLeft" : "ArrowUp";
    document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
    await new Promise(requestAnimationFrame);
    gaps.push(performance.now() - last);
    last = performance.now();
  }
  return gaps.slice(1);
}
"""

TIMED = """
() => {
  document.querySelector(".cell.chosen")?.focus();
  addEventListener("keydown", ({ timeStamp }) => {
    globalThis.painted = new Promise((done) => requestAnimationFrame(() => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => done(performance.now() - timeStamp);
      port2.postMessage(null);
    }));
  }, true);
}
"""
"""From when a key came to when the frame after it was painted."""


@dataclass(frozen=True)
class Tool:
    """Whose page it is, and how it is measured: what says that it is open, what scrolls, and whether it knows keys."""

    name: str
    opened: str
    box: str
    keys: bool


OURS = Tool("bauklens", "figure.mounted", ".viewer .scroll", keys=True)
JACOBIAN = Tool("Jacobian lens page", ".hm-spacer", "#hm-wrap", keys=True)
WIDGET = Tool("LogitLensKit's widget", "#lens table", "none", keys=False)


def opened(browser: Browser, tool: Tool, path: Path) -> Page:
    """The page, once it shows what it is for."""
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.set_default_timeout(120_000)
    page.add_init_script(OPENED.replace("SELECTOR", tool.opened))
    page.goto(path.as_uri())
    page.locator(tool.opened).first.wait_for(state="attached")
    page.evaluate("globalThis.opened")
    page.wait_for_timeout(500)
    return page


def keyed(page: Page, keys: list[str]) -> list[float]:
    """Milliseconds from each key to the paint after it."""
    taken = []
    for key in keys:
        page.keyboard.press(key)
        taken.append(page.evaluate("globalThis.painted"))
    return taken


def seen_in(page: Page, tool: Tool) -> dict[str, Any]:
    """Everything of one opening."""
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    seen = {"first paint": [paint], "open": [page.evaluate("globalThis.opened")]}
    seen["longest block"] = [page.evaluate("globalThis.longest")]
    seen["scroll"] = page.evaluate(SCROLLED, tool.box)
    if not tool.keys:
        return seen
    seen["held"] = page.evaluate(HELD)
    page.evaluate(TIMED)
    seen["arrows"] = keyed(page, ARROWS)
    if tool is OURS:
        seen["jumps"] = keyed(page, JUMPS)
        seen["pins"] = keyed(page, PINS)
        page.get_by_role("button", name="Every position").click()
        page.wait_for_timeout(300)
        seen["scroll, reader"] = page.evaluate(SCROLLED, tool.box)
        seen["held, reader"] = page.evaluate(HELD)
        seen["arrows, reader"] = keyed(page, ARROWS)
    return seen


def measured(browser: Browser, tool: Tool, write: Callable[[Path], object], rounds: int) -> dict[str, Any]:
    """One row of the table: of each opening the median and the largest, of several openings their medians."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lens.html"
        started = time.perf_counter()
        write(path)
        taken = time.perf_counter() - started
        every = []
        for _ in range(rounds):
            page = opened(browser, tool, path)
            every.append(seen_in(page, tool))
            nodes = page.evaluate("document.querySelectorAll('body *').length")
            page.close()
        row = {"page": tool.name, "bytes": path.stat().st_size, "seconds to write": taken, "elements": nodes}
    for name in every[0]:
        middles = statistics.median(statistics.median(each[name]) for each in every)
        row[name] = [
            middles,
            statistics.median(max(each[name]) for each in every),
            max(max(each[name]) for each in every),
        ]
    return row


def pages_of(lens: bauklens.LensResult, peers: Peers) -> list[tuple[Tool, Callable[[Path], object]]]:
    """What is measured of a result: each tool, and what writes its page to a path."""
    pages: list[tuple[Tool, Callable[[Path], object]]] = [(OURS, lens.view(pins=pins_of(lens)).save)]
    if len(lens.positions) > MOST_POSITIONS:
        return pages
    if peers.jlens and peers.d3:
        pages.append((JACOBIAN, partial(peers.write_jacobian, lens)))
    if peers.widget:
        pages.append((WIDGET, partial(peers.write_widget, lens)))
    return pages


def case_of(text: str) -> Case:
    """A case from the text "layers x positions x topk"."""
    try:
        layers, positions, topk = map(int, text.split("x"))
    except ValueError:
        raise click.BadParameter(f"{text!r} is not like 49x1024x10: layers, positions, and tokens in a cell") from None
    return Case(layers, positions, topk)


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--case", "cases", multiple=True, help="layers x positions x top k, as 49x1024x10; by default all.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--images", default=0, help="How many images of 576 positions each prompt begins with; their grids only.")
@click.option("--widget", type=Path, help="js/src/logit-lens-widget.js of LogitLensKit.")
@click.option("--jlens", type=Path, help="The folder that holds jlens, of the Jacobian lens's reference code.")
@click.option("--d3", type=Path, help="d3.min.js 7.9.0, which the page of jlens embeds.")
@click.option("--docs", is_flag=True, help="Write the tables to docs/PERFORMANCE.md.")
def main(
    cases: tuple[str, ...],
    rounds: int,
    images: int,
    widget: Path | None,
    jlens: Path | None,
    d3: Path | None,
    docs: bool,
) -> None:
    """Prints the tables."""
    peers = Peers(widget, jlens, d3)
    rows = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=["--no-sandbox", "--disable-gpu"])
        for case in [case_of(each) for each in cases] or CASES:
            lens = with_images(lens_of(case), images) if images else lens_of(case)
            for tool, write in pages_of(lens, peers):
                tracked = None if tool is WIDGET else case.tracked
                about = {"case": case.name, "tracked": tracked, "load": os.getloadavg()[0]}
                rows.append(about | measured(browser, tool, write, rounds))
                print(json.dumps(rows[-1]), flush=True)
        found = {"browser": browser.version, "rounds": rounds, "cores": os.cpu_count(), "peers": peers.missing}
        found |= {"rows": rows}
        browser.close()
    print("\n".join(["", *opening_table(found), "", *moving_table(found), "", *keys_table(found)]))
    if docs:
        (DOCS / VIEWER).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        write_docs([], DOCS)


if __name__ == "__main__":
    main()
