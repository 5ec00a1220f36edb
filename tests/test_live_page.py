"""The live page in Chromium and in Firefox, over WebDriver BiDi, against the real server and the demo model."""

import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

import bauklens
from bauklens.decoders.fit.fitting import fit_decoder
from bauklens.live import fitting
from bauklens.progress import bar
from tests.test_flows import BROWSERS
from tests.tiny import tiny_model, tiny_tokenizer

VIEWER = Path(__file__).parent / "viewer"
PACKAGE = Path(bauklens.__file__).parent / "viewer"
FLOWS = [
    "a table fills in, and becomes a viewer",
    "before the first look there are examples, and a number that is too large is not sent",
    "what is typed is shown as tokens, a chat in the model's template",
    "a look that runs is stopped, and another is none the worse",
    "a token is swapped for another, and random changes do not do that",
    "a token of the prompt is replaced, and states are patched from another prompt",
    "looks are gone back to, pinned beside another, and opened by their link",
    "a link on another page makes the model run only if one says so",
    "a link with a wrong token does not take the right one away",
    "a look is saved as a page and as the lines that make it again",
    "what is hostile is shown as text",
    "the keyboard alone is enough",
    "without the token it says what to open",
]

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.long]


@pytest.fixture(scope="module")
def live(demo):
    with bauklens.serve(*demo, decoders="demo", name="demo") as live:
        yield live


@pytest.fixture(scope="module", params=["chrome", "firefox"])
def went(request, tmp_path_factory, live):
    """What the flows said of themselves in a browser: {flow: error or None}."""
    path = next(filter(None, map(shutil.which, BROWSERS[request.param])), None)
    if not path:
        pytest.skip(f"{BROWSERS[request.param][0]} is not installed")
    folder = tmp_path_factory.mktemp(request.param)
    command = ["node", str(VIEWER / "live.mjs"), request.param, path, str(folder), live.url]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert ran.returncode == 0, ran.stderr
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    return {line["flow"]: line["error"] for line in lines}


@pytest.mark.parametrize("flow", FLOWS)
def test_a_flow(went, flow):
    assert list(went) == FLOWS
    assert went[flow] is None, went[flow]


@pytest.fixture
def opened(browser, live):
    contexts = []

    def open_page(width, scheme):
        context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
        contexts.append(context)
        page = context.new_page()
        page.goto(live.url)
        page.get_by_label("prompt", exact=True).fill("The Eiffel Tower is located in the city of")
        page.get_by_role("button", name="Look").click()
        page.locator("figure.mounted").wait_for(timeout=60_000)
        page.get_by_text("Done in").wait_for(timeout=60_000)
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 480])
def test_it_fits_the_window_and_anyone_can_use_it(opened, width, scheme):
    page = opened(width, scheme)
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
    assert complaints(page) == []


def complaints(page):
    """What axe finds wrong."""
    page.evaluate((VIEWER / "node_modules/axe-core/axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'best-practice']})")
    return [(each["id"], each["nodes"][0]["html"][:200]) for each in found["violations"]]


def test_anyone_can_use_it_before_the_first_look_in_the_dialog_and_after_a_change(browser, live):
    context = browser.new_context(viewport={"width": 480, "height": 900})
    page = context.new_page()
    page.goto(live.url)
    page.get_by_role("button", name="The Eiffel Tower").wait_for()
    assert complaints(page) == []
    page.get_by_role("button", name="The Eiffel Tower").click()
    page.get_by_text("Done in").wait_for(timeout=60_000)
    page.get_by_role("button", name="change ␣Paris").first.click()
    assert complaints(page) == []
    box = page.get_by_role("dialog").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 480
    page.get_by_label("the other token").fill("Rome")
    page.get_by_role("button", name="Change", exact=True).click()
    page.get_by_text("Random changes have directions").wait_for(timeout=60_000)
    page.get_by_text("Done in").wait_for(timeout=60_000)
    assert complaints(page) == []
    context.close()


def test_in_a_narrow_window_some_of_what_is_seen_while_the_model_generates_has_cells(browser, live):
    context = browser.new_context(viewport={"width": 480, "height": 900})
    page = context.new_page()
    page.add_init_script("""
      window.seen = [];
      setInterval(() => {
        const box = document.querySelector("figure.filling .scroll")?.getBoundingClientRect();
        const generated = document.querySelectorAll("figure.filling th.generated").length;
        if (!box?.width || generated < 2) return;
        const cells = [...document.querySelectorAll("figure.filling tbody tr:last-child td")];
        const isSeen = ({ left, right }) => right > box.left + 60 && left < box.right;
        const filled = cells.filter((cell) => isSeen(cell.getBoundingClientRect()) && !cell.matches(".coming"));
        window.seen.push([generated, filled.length]);
      }, 50);
    """)
    page.goto(live.url)
    page.get_by_label("prompt", exact=True).fill("Once upon a time, there was a")
    page.get_by_label("Generate").fill("60")
    page.get_by_role("button", name="Look").click()
    page.get_by_text("Done in").wait_for(timeout=60_000)
    seen = page.evaluate("window.seen")
    assert max(generated for generated, _ in seen) > 40
    assert [generated for generated, cells in seen if not cells] == []
    context.close()


@pytest.mark.parametrize(("first", "last"), [("10", "20"), ("20", "10")])
def test_a_change_of_some_layers_in_the_middle(opened, first, last):
    page = opened(1400, "light")
    page.get_by_role("button", name="change ␣Paris").first.click()
    page.get_by_label("the other token").fill("Rome")
    page.get_by_label("all layers").check()
    page.get_by_label("the last layer").wait_for(state="hidden")
    page.get_by_label("from one layer to another").check()
    page.get_by_label("the layer", exact=True).select_option(first)
    page.get_by_label("the last layer").select_option(last)
    page.get_by_role("button", name="Change", exact=True).click()
    page.get_by_text("the stream after layers 10 to 20, at every position").wait_for(timeout=60_000)
    page.get_by_text("None of 10 random changes of the same size leads to this answer.").wait_for(timeout=60_000)


def test_a_server_that_is_gone_is_said_in_a_line(demo, browser):
    with bauklens.serve(*demo) as live:
        page = browser.new_page()
        page.goto(live.url)
        page.get_by_label("prompt", exact=True).fill("The sea")
    page.get_by_role("button", name="Look").click()
    expect(page.locator("#status")).to_contain_text("The server does not answer: is bauklens serve still running?")
    page.close()


def test_a_server_that_is_killed_in_the_middle_is_said_in_a_line(browser):
    command = [sys.executable, "-m", "bauklens", "serve", "--model", "demo"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        page = browser.new_page()
        page.goto(server.stdout.readline().strip())
        page.get_by_label("prompt", exact=True).fill("The sea")
        page.get_by_label("Generate").fill("200")
        page.get_by_role("button", name="Look").click()
        page.locator("figure.filling th.generated").nth(3).wait_for()
        server.kill()
        expect(page.locator("#status")).to_contain_text("The server does not answer: is bauklens serve still running?")
        page.close()


def test_a_look_that_ends_with_its_server_does_not_seem_to_go_on(demo, browser):
    with bauklens.serve(*demo) as live:
        page = browser.new_page()
        page.goto(live.url)
        page.get_by_label("prompt", exact=True).fill("The sea")
        page.get_by_label("Generate").fill("200")
        page.get_by_role("button", name="Look").click()
        page.locator("figure.filling th.generated").nth(3).wait_for()
        ending = threading.Thread(target=live.stop)  # the page reads events in the meantime
        ending.start()
        expect(page.locator("#status")).to_contain_text("The server has stopped.")
        expect(page.get_by_role("button", name="Stop")).to_be_hidden()
        ending.join()
        page.close()


def test_a_fit_can_be_stopped_and_a_look_takes_its_place(browser, monkeypatch, tmp_path):
    monkeypatch.setenv("BAUKLENS_CACHE", str(tmp_path))
    done = threading.Event()

    def slow(model, tokenizer, **options):
        for _ in bar("Fitting", "text", range(2_000)):
            done.wait(0.02)
        return fit_decoder(model, tokenizer, **options)

    monkeypatch.setattr(fitting, "fit_decoder", slow)
    with bauklens.serve(tiny_model("llama"), tiny_tokenizer()) as live:
        page = browser.new_page()
        page.goto(live.url)
        fit = page.get_by_role("button", name="Fit a quick decoder")
        fit.click()
        page.get_by_text("Fitting: ").wait_for()
        page.get_by_role("button", name="Stop").click()
        page.get_by_text("Stopped.").wait_for()
        fit.click()
        page.get_by_text("Fitting: ").wait_for()
        page.get_by_label("prompt", exact=True).fill("the city")
        page.get_by_role("button", name="Look").click()
        page.get_by_text("Done in").wait_for(timeout=20_000)
        page.locator("figure.mounted").wait_for()
        done.set()
        fit.click()  # it is offered still, as no decoder was fitted
        page.get_by_text("Done in").wait_for()
        fit.wait_for(state="detached")
        assert page.get_by_label("Decoder").input_value() == "quick"
        page.close()


@pytest.fixture
def drawn(browser):
    """Draws the events of a look as the page does: headings, and the cells under them."""
    page = browser.new_page()
    files = {"html": "text/html", "js": "text/javascript"}

    def answer(route):
        name = Path(urlsplit(route.request.url).path).name or "empty.html"
        body = "<!doctype html>" if name == "empty.html" else (PACKAGE / name).read_text()
        route.fulfill(body=body, content_type=files[name.rpartition(".")[2]])

    page.route("http://viewer.test/**", answer)
    page.goto("http://viewer.test/")

    def draw(*events):
        return page.evaluate(
            """async (events) => {
                const table = (await import("/livefill.js")).filling();
                const calls = { ...table, prompt: ({ tokens }) => table.prompt(tokens), table: table.rows };
                for (const [name, value] of events) calls[name](value);
                const texts = (what) => [...table.element.querySelectorAll(what)].map((each) => each.textContent);
                return { heads: texts("thead th:not(.corner)"), cells: texts("tbody td") };
            }""",
            events,
        )

    yield draw
    page.close()


def test_columns_of_tokens_that_a_search_gives_up_are_empty_until_they_come_again(drawn):
    def told(positions, *tokens):
        return {"layers": ["0"], "positions": positions, "tokens": tokens, "generated": 1}

    events = [
        ("prompt", {"tokens": ["a"]}),
        ("table", told([0], "a")),
        ("cells", [[0, 0, "A", 0.5]]),
        ("generated", {"tokens": ["b", "c"], "kept": 0}),
        ("table", told([1, 2], "b", "c")),
        ("cells", [[0, 0, "B", 0.5], [0, 1, "C", 0.5]]),
        ("generated", {"tokens": ["b", "d", "e"], "kept": 1}),
    ]
    assert drawn(*events) == {"heads": ["0a", "1b", "2d", "3e"], "cells": ["A", "B", "", ""]}
    again = [("table", told([2, 3], "d", "e")), ("cells", [[0, 0, "D", 0.5], [0, 1, "E", 0.5]])]
    assert drawn(*events, *again)["cells"] == ["A", "B", "D", "E"]
    shorter = ("generated", {"tokens": ["b"], "kept": 1})
    assert drawn(*events, *again, shorter) == {"heads": ["0a", "1b"], "cells": ["A", "B"]}
