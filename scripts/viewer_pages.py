"""A page in Chromium: how soon it opens, how smoothly it scrolls, and how soon keys show."""

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page

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
"""Records when the page shows its contents, and the longest time for which it did not respond on the way."""

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
"""From a key to the paint of the next frame."""


@dataclass(frozen=True)
class Tool:
    """The tool of a page, and how it is measured: the sign that it is open, what scrolls, and whether it has keys."""

    name: str
    opened: str
    box: str
    keys: bool


OURS = Tool("bauklens", "figure.mounted", ".viewer .scroll", keys=True)
JACOBIAN = Tool("Jacobian lens page", ".hm-spacer", "#hm-wrap", keys=True)
WIDGET = Tool("LogitLensKit's widget", "#lens table", "none", keys=False)


@contextmanager
def working(browser: Browser, page: Page, work: list[float]) -> Iterator[None]:
    """Adds to ``work`` the milliseconds of processor time of each task of the page's main thread."""
    browser.start_tracing(page=page, categories=["toplevel"])
    yield
    events = json.loads(browser.stop_tracing())["traceEvents"]
    named = [each for each in events if each.get("name") == "thread_name"]
    mains = {(each["pid"], each["tid"]) for each in named if each["args"]["name"] == "CrRendererMain"}
    tasks = [each for each in events if each.get("name") == "ThreadControllerImpl::RunTask" and "tdur" in each]
    work += [each["tdur"] / 1000 for each in tasks if (each["pid"], each["tid"]) in mains]


def opened(browser: Browser, tool: Tool, path: Path, work: list[float]) -> Page:
    """The page, once it shows its contents; ``work`` is as for :func:`working`."""
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.set_default_timeout(120_000)
    page.add_init_script(OPENED.replace("SELECTOR", tool.opened))
    with working(browser, page, work):
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


def worked(browser: Browser, page: Page, keys: list[str]) -> list[float]:
    """Mean processor time of a key in milliseconds, with everything that follows, and the longest task."""
    work: list[float] = []
    with working(browser, page, work):
        keyed(page, keys)
    return [sum(work) / len(keys), max(work)]


def seen_in(browser: Browser, page: Page, tool: Tool) -> dict[str, list[float]]:
    """All measurements of one opening."""
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    seen = {"first paint": [paint], "open": [page.evaluate("globalThis.opened")]}
    seen["longest block"] = [page.evaluate("globalThis.longest")]
    seen["scroll"] = page.evaluate(SCROLLED, tool.box)
    if not tool.keys:
        return seen
    seen["held"] = page.evaluate(HELD)
    page.evaluate(TIMED)
    seen["arrows"] = keyed(page, ARROWS)
    seen["arrows, work"] = worked(browser, page, ARROWS)
    if tool is OURS:
        seen["jumps"] = keyed(page, JUMPS)
        seen["jumps, work"] = worked(browser, page, JUMPS)
        seen["pins"] = keyed(page, PINS)
        seen["pins, work"] = worked(browser, page, PINS)
        page.get_by_role("button", name="Every position").click()
        page.wait_for_timeout(300)
        seen["scroll, reader"] = page.evaluate(SCROLLED, tool.box)
        seen["held, reader"] = page.evaluate(HELD)
        seen["arrows, reader"] = keyed(page, ARROWS)
        seen["arrows, reader, work"] = worked(browser, page, ARROWS)
    return seen


def measured(browser: Browser, tool: Tool, write: Callable[[Path], object], rounds: int) -> dict[str, Any]:
    """One row of the table: the median and the largest of each opening; their medians over several openings."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lens.html"
        started = time.perf_counter()
        write(path)
        taken = time.perf_counter() - started
        every = []
        for _ in range(rounds):
            work: list[float] = []
            page = opened(browser, tool, path, work)
            every.append({"open, work": [sum(work)]} | seen_in(browser, page, tool))
            nodes = page.evaluate("document.querySelectorAll('body *').length")
            page.close()
        row = {"page": tool.name, "bytes": path.stat().st_size, "seconds to write": taken, "elements": nodes}
    for name in [each for each in every[0] if each.endswith(", work")]:
        pairs = [each.pop(name) for each in every]
        row[name] = [statistics.median(pair[which] for pair in pairs) for which in (0, -1)]
    for name in every[0]:
        middles = statistics.median(statistics.median(each[name]) for each in every)
        row[name] = [
            middles,
            statistics.median(max(each[name]) for each in every),
            max(max(each[name]) for each in every),
        ]
    return row
