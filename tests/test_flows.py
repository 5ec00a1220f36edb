"""The viewer's main flows in Chromium and in Firefox, over WebDriver BiDi: ``tests/viewer/flows.mjs`` in each."""

import csv
import json
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

import bauklens
from bauklens.result.tokens import visible
from tests.tiny import tiny_model, tiny_tokenizer

VIEWER = Path(__file__).parent / "viewer"
FLOWS = [
    "a click chooses a cell, and the arrow keys go on from it",
    "a token is found, pinned and unpinned",
    "a measure colours the table",
    "the theme is light, then dark",
    "CSV is downloaded",
    "the keys are listed, and reach the search and the cell's tokens",
    "a link holds the view",
    "several lenses are shown in turn, side by side, and compared",
]
BROWSERS = {
    "chrome": ("chromium", "chromium-browser", "google-chrome"),
    "firefox": ("firefox-esr", "firefox"),
}

pytestmark = [pytest.mark.browser, pytest.mark.slow]  # a browser starts, and Firefox takes four seconds to


@cache
def lenses():
    options = {"measures": ["entropy"], "topk": 3}
    return [
        bauklens.logit_lens(tiny_model("gpt2"), tiny_tokenizer(), "The tower is", stream=stream, **options)
        for stream in ("hidden", "delta")
    ]


@pytest.fixture(scope="module", params=["chrome", pytest.param("firefox", marks=pytest.mark.long)])
def went(request, tmp_path_factory):
    """What the flows said of themselves in a browser -> ({flow: error or None}, the folder with its pages)."""
    path = next(filter(None, map(shutil.which, BROWSERS[request.param])), None)
    if not path:
        pytest.skip(f"{BROWSERS[request.param][0]} is not installed")
    assert (VIEWER / "node_modules" / "puppeteer-core").exists(), "run scripts/test once: it installs puppeteer-core"
    folder = tmp_path_factory.mktemp(request.param)
    lens, delta = lenses()
    lens.to_html(folder / "one.html", title="One")
    bauklens.save_report([lens, delta], folder / "several.html", title="Several")
    second = int(lens.top_ids[-1, -1, 1])
    token = {"shown": visible(lens.vocabulary[second]), "typed": lens.vocabulary[second]}
    tops = [[visible(lens.vocabulary[int(each)]) for each in row] for row in lens.top_ids[..., 0]]
    expected = {"tops": tops, "probabilities": lens.top_probs[..., 0].tolist(), "token": token}
    (folder / "expected.json").write_text(json.dumps(expected), encoding="utf-8")
    command = ["node", str(VIEWER / "flows.mjs"), request.param, path, str(folder)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert ran.returncode == 0, ran.stderr
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    return {line["flow"]: line["error"] for line in lines}, folder


@pytest.mark.parametrize("flow", FLOWS)
def test_a_flow(went, flow):
    assert list(went[0]) == FLOWS
    assert went[0][flow] is None, went[0][flow]


def test_the_csv_that_was_downloaded_is_the_lens(went):
    [file] = went[1].glob("downloads-*/*.csv")
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    frame = lenses()[0].to_frame()
    assert [row["predicted_id"] for row in rows] == [str(each) for each in frame["predicted_id"]]
    assert [float(row["probability"]) for row in rows] == pytest.approx(frame["probability"].tolist(), rel=1e-6)
