"""The documentation as a site, and the notebooks: they are run for real, and must show what they speak of."""

import re
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import expect

pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
]  # a single process builds the site and runs all of them: tests/scheduling.py

ROOT = Path(__file__).parent.parent

VIEWER = r'<figure class="bauklens'

SHOWN = {
    "does-it-matter": {
        "look": r"20\n.*" + VIEWER,
        "swap": VIEWER + r".*swap",
        "control": r"clean.*0\.5\d\d.*edited.*1\.000.*0\.7\d\d.*10 controls",
        "generate": r"Paris.*Rome, Italy",
        "fails": r"clean.*edited.*10 controls",
    },
    "change-its-mind": {
        "lens": VIEWER,
        "when": r"' Paris' is among the first ten from layer 26, and leads from layer 27\n.*' London' .* layer None",
        "path": r"26  ','  +0\.3\d\d +3\n +27  ' Paris' +0\.46\d +1\n.*29  ' Paris' +0\.70\d +1\n",
        "figure": "image/png",
        "parts": r"attention of block 23 +\+5\.[45]\d on the logit of ' Paris'\nMLP of block 28 ",
        "ablate": r"without the attention of block 23, ' Paris' falls from 0\.70\d to 0\.1",
        "compare": VIEWER,
    },
    "which-lens": {
        "look": VIEWER + r".*through the Jacobian lens",
        "texts": r"\d\d texts to fit on, \d\d to score on, in both: 0\n",
        "fit": r"<ridge lens 'ridge': 13 layers, width 576> fitted on 2\d\d\d tokens",
        "first": r"<th>euro</th>\s*<td>29</td>\s*<td>23</td>.*<th>summer</th>\s*<td>none</td>\s*<td>2\d</td>",
        "ranks": "image/png",
        "score": r"Scores of logit, demo, ridge .*: 10 texts, .*<th>kl</th>.*<th>24</th>\s*(<td>\d\.\d\d \(\d.*){3}",
        "curves": "image/png",
        "disclose": r"\ndemo +\[' currency', .*' euro'.*\nridge .*\nthe model itself: \[' most', ' currency', ",
    },
    "early-decoding": {
        "lens": r"28 ' D' 0\.14\d\d ' Paris' 0\.08\d\d .*29 ' France' 0\.78\d\d ' Paris' 0\.20\d\d ",
        "check": r"gives the model's own logits at the one position shown, to (within \d|the last digit)",
        "streams": r"layer 28, +mid: .*layer 28, +hidden: ' D' ' Paris' .*attention: .*mlp: ",
        "difference": r"layer 28: rank of ' Paris' before its MLP 16, after it 2",
        "neurons": r"<table",
    },
    "corpus": {
        "interrupt": r"interrupted: <Sweep of 24 prompts .*: 2 of 4 shards>",
        "resume": r": 4 of 4 shards>\nprompts run by this call: 12\n.*\n(part-000000\d\.parquet\n){4}",
        "open": r"744 rows: 24 prompts x 31 layers; 0 prompts failed\n.*<td>\[ Paris,",
        "plot": "image/png",
        "means": r"<th>29</th>\s*(<td>0\.0</td>\s*){3}<td>1\.6</td>\s*<td>5\.1</td>\s*<td>1\.1</td>",
        "answers": r"<th>28</th>\s*<td>0\.375</td>.*<td>0\.750</td>\s*<td>0\.0</td>\s*<td>0\.875</td>",
        "quantiles": "image/png",
        "quantile": r"layer 29: median 2\.\d nats, from 0\.2 to 5\.2, mean 2\.6\n",
        "keep": r"<Summary of 24 lenses of ",
    },
    "images": {
        "draw": "image/png",
        "model": r"^31 words and signs, 493,312 random numbers\n$",
        "lens": VIEWER,
        "grid": r"image 1 \(6, 6\)\n\[\[ 0  1 .* 35\]\]\nafter the image: \('What', 'is', ",
        "patch": r"image 1, row 2, column 5\ntop words in the last layer: \['tree', ",
        "target": r"most probable in row 6, column 1: 0\.21",
        "heat": "image/png",
        "mirror": r"0\.16\] mirrored: \[.* 0\.1 \]\ncorrelation .* map 0\.7\d, .* as it was 0\.7\d",
        "empty": r"0\.08\d with the drawing, 0\.04\d with plain gray\none of 31 words by chance: 0\.032",
    },
    "gpt2-xl": {
        "generate": r"in the city of Paris, France\.",
        "states": r"\(30, 1, 11, 576\) \(30, 1, 11, 576\)",
        "show": r'<figure class="bauklens classic',
        "deltas": r'<figure class="bauklens classic',
        "city": r"block 23, position 7: ' Paris' is number 2 of what it adds",
        "report": VIEWER,
    },
    "embeddings": {
        "batch": r" This weekend I plan to -> (' \w+' ?){5}\n The weather is -> (' \w+' ?){5}",
        "nearest": r"<table.*plan",
        "tied": "True",
        "states": r"first: ' to' ' and' .*last: ",
    },
    "practice": {
        "inspect": r"blocks +30 .*parameters +134,515,008\nembeddings +tied .*check +the last block's logits differ",
        "generate": r"in the city of Paris, France\..*" + VIEWER,
        "matrix": r"<table.*France",
        "heat": "image/png",
        "plotly": "Figure 31 layers 14 positions",
        "nnsight": r"True 0\.0\n",
    },
}
"""Notebook -> cell -> what its output must match."""


@pytest.fixture(scope="module")
def site(tmp_path_factory, once):
    """The site, built anew with the notebooks run; warnings are errors."""
    once("the-site")
    site = tmp_path_factory.mktemp("site")
    command = [sys.executable, "scripts/make_site.py", "--output", str(site)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return site


def outputs(name):
    """Cell id -> everything that its outputs say, as text."""
    import nbformat  # which takes seconds

    book = nbformat.read(ROOT / "build" / "notebooks" / f"{name}.ipynb", as_version=4)
    said = {}
    for cell in book.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            text = output.get("text", "") + data.get("text/html", data.get("text/plain", ""))
            said[cell.id] = said.get(cell.id, "") + text + ("image/png" if "image/png" in data else "")
    return said


def test_each_picture_of_the_gallery_has_a_live_page(site):
    gallery = (site / "gallery" / "index.html").read_text(encoding="utf-8")
    pages = re.findall(r'href="(live-[\w-]+\.html)#lens-0=[\w-]+"', gallery)
    assert len(pages) == len(re.findall("<img", gallery)) > 5
    for page in pages:
        assert "function mount(" in (site / "gallery" / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SHOWN)
def test_a_notebook_shows_what_it_speaks_of(site, name):
    said = outputs(name)
    for cell, expected in SHOWN[name].items():
        assert re.search(expected, said[cell], re.DOTALL), f"{cell} showed:\n{said[cell][:2000]}"


def test_every_notebook_is_looked_at():
    assert {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")} == set(SHOWN)


@pytest.mark.parametrize("name", SHOWN)
def test_a_notebooks_page_stands_on_its_own(site, opening, name):
    page, asked, complaints = opening((site / "gallery" / f"{name}.html").read_text(encoding="utf-8"))
    page.locator("h1").first.wait_for()
    figures = page.locator("figure.bauklens[data-viewer]").count()
    page.wait_for_timeout(500)
    expect(page.locator("figure.mounted")).to_have_count(figures)
    assert (asked, complaints) == ([], [])


@pytest.fixture
def address(site):
    """The site as a server hands it out."""
    handler = partial(QuietHandler, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_every_page_of_the_site_asks_for_nothing_elsewhere(site, address, browser):
    context = browser.new_context()
    page = context.new_page()
    asked, complaints = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 20
    for each in pages:
        page.goto(f"{address}/{each.relative_to(site)}")
    assert [each for each in asked if not each.startswith((address, "data:", "blob:"))] == []
    assert complaints == []
    page.goto(f"{address}/index.html")
    page.wait_for_load_state("networkidle")
    for _ in range(10):  # what is typed before the search has begun to listen is lost
        page.locator("[data-md-component=search-query]").fill("")
        page.locator("[data-md-component=search-query]").press_sequentially("soft-cap")
        page.wait_for_timeout(3_000)
        if page.locator(".md-search-result__link").count():
            break
    page.locator(".md-search-result__link").first.wait_for(timeout=60_000)
    context.close()
