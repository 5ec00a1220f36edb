#!/usr/bin/env python3
"""Makes docs/pictures: for each page of the documentation one picture of what the page describes.

They are made by calling the package as the page shows, with the demo model unless a function below loads another one.
Charts of measurements are drawn from the files in docs. If you pass names, only these pictures are made.

\b
.venv/bin/python scripts/page_pictures.py
.venv/bin/python scripts/page_pictures.py concepts.png testing.png
"""

import io
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import click
import nbformat
from image_page import drawing, tiny_model
from matplotlib.figure import Figure
from measured_charts import charted, on_paper, performance, predicting_and_disclosing, raster
from notebook_pages import NOTEBOOKS, executed, page_of
from picture import chromium_path
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

import bauklens

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PICTURES = DOCS / "pictures"

WIDEST = 1400
"""Pixels of a picture, at most."""

LARGEST = 120_000
"""Bytes of a picture, at most."""

EIFFEL = "The Eiffel Tower is located in the city of"
NEEDLE = ". The Space Needle is located in"
ALONE = ".panel {display: none !important} .body {display: block !important}"  # a viewer without what is at its side
FRANCE = "The capital of France is not London but"
COLOSSEUM = "The Colosseum is located in the city of"
TEXTS = ("token", "predicted")
PLACES = {
    "countries": [" Germany", " Britain", " France", " Italy", " Spain"],
    "cities": [" Paris", " Berlin", " London", " Rome", " Madrid"],
}


@dataclass(frozen=True)
class Page:
    """What a browser photographs.

    Attributes:
        html: the page.
        seen: a selector of the part that is photographed.
        width: of the window, in pixels.
        style: CSS that is added.
        tallest: pixels of the part that are kept, from its top.
        scale: pixels of the picture for each of them.
    """

    html: str
    seen: str = "figure.mounted .viewer"
    width: int = 1240
    style: str = ""
    tallest: int = 1600
    scale: float = 1


Drawn = str | Figure | Image.Image | Page
"""SVG, a figure of matplotlib, pixels, or what a browser photographs."""


@cache
def demo() -> tuple[Any, Any]:
    """The demo model and its tokenizer."""
    return bauklens.load("demo", device="cpu")


def lens(prompt: str | list[str] = EIFFEL, **options: Any) -> Any:
    """A lens of the demo model."""
    return bauklens.logit_lens(*demo(), prompt, **options)


def printed(*words: str, columns: int = 100) -> str:
    """What a command prints on a terminal, as SVG."""
    from rich.console import Console
    from rich.terminal_theme import DEFAULT_TERMINAL_THEME
    from rich.text import Text

    told = os.environ | {"FORCE_COLOR": "1", "COLUMNS": str(columns), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "bauklens", *words]
    ran = subprocess.run(command, env=told, capture_output=True, text=True, check=True)  # noqa: S603
    console = Console(record=True, width=columns, file=io.StringIO())
    console.print(Text.from_ansi(ran.stdout))
    said = " ".join(f'"{word}"' if " " in word else word for word in words)
    svg = console.export_svg(title=f"bauklens {said}", theme=DEFAULT_TERMINAL_THEME, unique_id="printed")
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # which would be fetched from elsewhere


def several(results: list[Any], shown: str, **options: Any) -> str:
    """The page of several results, with the tab that is shown: a number, or "beside"."""
    view = bauklens.view(results, **options)
    return replace(view, state={**view.state, "show": shown}).to_html()


def annotated() -> str:
    """A lens with notes on how to read it."""
    notes = {
        ("embed", -1): "At first the token itself.",
        ("17", -1): "The middle may show nothing of use: its basis need not be that of the last layer.",
        ("26", -1): "The answer is among the first five tokens.",
        ("27", -1): "The answer takes the lead.",
    }
    layers = ["embed", *range(1, 24, 4), *range(23, 30)]
    return str(lens(targets=[" Paris"]).figure(layers=layers, pins=[" Paris"], notes=notes).svg())


def compared() -> Page:
    """Two prompts: the table of where they differ, with a token pinned."""
    one, other = lens([EIFFEL, EIFFEL.replace("Eiffel Tower", "Space Needle")], targets=[" Paris"])
    return Page(bauklens.compare(one, other).to_html(), style=ALONE)


def swept() -> Figure:
    """The entropy by layer of two kinds of prompts, read from a sweep's files."""
    texts = {"plain": "The capital of {} is the city of", "letter": "Dear Ann, today we arrived in {} and"}
    countries = ["France", "Italy", "Poland", "Japan"]
    prompts = [{"prompt": text.format(each), "kind": kind} for kind, text in texts.items() for each in countries]
    with tempfile.TemporaryDirectory() as folder:
        kinds = bauklens.sweep(prompts, Path(folder) / "swept", *demo(), targets=[" Paris"], per=4).summary("kind")
        return kinds.plot("entropy")


def evaluated() -> Figure:
    """How often the logit lens and the Jacobian lens have the concept on the way, on a published set."""
    path = ROOT / "tests" / "data" / "lens-evals" / "lens-eval-multihop.json"
    items = json.loads(path.read_text(encoding="utf-8"))["items"][:30]
    found = bauklens.evaluate(["logit", "demo"], *demo(), items, k=(1, 2, 5, 10, 20, 50, 100), layers=range(5, 29, 5))
    return found.plot()


def fitted() -> Page:
    """One prompt through the logit lens, a ridge lens fitted here, and the demo model's Jacobian lens."""
    model, tokenizer = demo()
    manual = [*topics.values()]
    ridge = bauklens.fit_decoder(model, tokenizer, manual, method="ridge", tokens=2_000, layers=range(4, 29, 4))
    results = lens("The Eiffel Tower is in", decoder=["logit", ridge, "demo"], layers=[*range(4, 29, 4), 29])
    return Page(several(results, "beside", pins=[" Paris"], width=76), width=760, style=ALONE)


def scored() -> Figure:
    """How far two lenses are from the model on texts that neither was fitted on."""
    texts = [text[:500] for text in [*topics.values()][:16]]
    scores = bauklens.score_decoder(["logit", "demo"], *demo(), texts, layers=range(5, 29, 5), length=64)
    return scores.plot(["kl", "agreement"])


def added() -> Page:
    """What the attention and the MLP of each layer add to the lead of one token over another."""
    results = lens(stream=["hidden", "attention", "mlp"], targets=[" Paris", " Rome"], norm="final")
    html = several(results, "1", chart="difference", pins=[" Paris", " Rome"])
    return Page(html, ".trajectories", style=".trajectories {padding: 6px}", tallest=360, scale=2)


def viewed() -> Page:
    """The viewer as a whole."""
    notes: Any = {("27", -1): "From here on, Paris leads."}
    options: dict[str, Any] = {"pins": [" Paris", " Rome"], "cell": ("27", -1), "chart": "logprob", "notes": notes}
    return Page(lens(targets=[" Paris", " Rome"]).view(**options, width=76).to_html(), width=1340, tallest=1222)


def framed() -> Page:
    """The first lines of a lens as a data frame."""
    frame = lens("The Space Needle is in", topk=3).to_frame()
    rows = frame[frame["layer"].isin(["28", "29"]) & (frame["position"] > 4)].iloc[:, :8]
    style = "table {border-collapse: collapse; font: 14px 'DejaVu Sans', sans-serif} th, td {padding: 5px 10px; "
    style += "border-bottom: 1px solid #d5d9df; text-align: right} th {background: #f4f6f8} body {margin: 12px}"
    table = rows.to_html(index=False, border=0, float_format="{:.4g}".format, formatters=dict.fromkeys(TEXTS, repr))
    return Page(f"<!doctype html><meta charset=utf-8><style>{style}</style>{table}", "table", 1400)


def pictured() -> Image.Image:
    """The top token of each patch, and how probable one of them is everywhere."""
    model, processor = tiny_model()
    found = bauklens.logit_lens(model, processor, "What is in this picture ?", images=[drawing()], targets=["sun"])
    figures = [found.plot(kind="picture", layer=1), found.plot(kind="picture", token="sun", layer=1)]  # noqa: S106
    parts = [raster(figure) for figure in figures]
    whole = Image.new("RGB", (sum(part.width for part in parts), max(part.height for part in parts)), "white")
    whole.paste(parts[0])
    whole.paste(parts[1], (parts[0].width, 0))
    return whole


def classified() -> Page:
    """The labels of a tiny classifier with random weights, which reads the first position only."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 6, "num_attention_heads": 4, "intermediate_size": 48}
    shape = {"vocab_size": len(demo()[1]), "initializer_range": 0.3, "id2label": {0: "joy", 1: "anger", 2: "fear"}}
    config = BertConfig(**sizes, **shape)
    model = BertForSequenceClassification(config).eval()
    found = bauklens.logit_lens(model, demo()[1], "What a wonderful day it is")
    return Page(found.to_html(), width=760, style=ALONE)


def notebook() -> Page:
    """The beginning of a notebook's page, as it was run."""
    book = nbformat.read(NOTEBOOKS / "change-its-mind.ipynb", as_version=4)
    places = [place for place, cell in enumerate(book.cells) if cell.id == "figure"]
    book.cells = book.cells[: places[0] + 1]
    with tempfile.TemporaryDirectory() as folder:
        nbformat.write(book, Path(folder) / "begun.ipynb")
        return Page(page_of(executed(Path(folder) / "begun.ipynb")), "body", tallest=1400)


def photographed(browser: Browser, shot: Page) -> Image.Image:
    """What a browser shows of a page, in light colours."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        path.write_text(shot.html, encoding="utf-8")
        tab = browser.new_page(viewport={"width": shot.width, "height": 1200}, device_scale_factor=shot.scale)
        tab.goto(path.as_uri())
        tab.add_style_tag(content=shot.style or " ")
        seen = tab.locator(shot.seen).first
        seen.wait_for()
        taken = Image.open(io.BytesIO(seen.screenshot())).convert("RGB")
        tab.close()
    return taken.crop((0, 0, taken.width, min(taken.height, round(shot.scale * shot.tallest))))


CASES: dict[str, Callable[[], Drawn]] = {
    "DECODERS.svg": predicting_and_disclosing,
    "PERFORMANCE.svg": performance,
    "getting-started.png": lambda: Page(lens().view(pins=[" Paris"], width=76).to_html(), width=930, style=ALONE),
    "gpt2-xl.svg": lambda: lens(NEEDLE).figure(colour="classic", layers=range(1, 30, 2), width=110).svg(),
    "large-models.svg": on_paper,
    "models.svg": lambda: printed("inspect", columns=105),
    "notebooks.png": notebook,
    "reading.svg": annotated,
    "command.svg": lambda: printed("lens", EIFFEL, columns=84),
    "comparing.png": compared,
    "concepts.png": lambda: lens(FRANCE, targets=[" Paris", " London", " the"]).plot(kind="race"),
    "corpora.png": swept,
    "evaluating.png": evaluated,
    "fitting.png": fitted,
    "following.png": lambda: lens(decoder="demo", targets=PLACES).plot(kind="trajectory"),
    "formats.png": framed,
    "images.png": pictured,
    "other-models.png": classified,
    "prompts.svg": lambda: lens("Water boils at", max_new_tokens=6).figure(layers=range(1, 30, 2)).svg(),
    "scoring.png": scored,
    "streams.png": added,
    "testing.png": lambda: bauklens.trace_effect(*demo(), EIFFEL, COLOSSEUM).plot(),
    "viewer.png": viewed,
}
"""The file in docs/pictures, called like its page -> what draws it."""


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, type=click.Choice([*CASES]))
def main(names: tuple[str, ...]) -> None:
    """Makes the pictures."""
    PICTURES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=["--no-sandbox", "--disable-gpu"])
        for name in names or CASES:
            drawn, path = CASES[name](), PICTURES / name
            if isinstance(drawn, Figure) and path.suffix == ".svg":
                drawn = charted(drawn)
            if isinstance(drawn, str):
                path.write_text(drawn, encoding="utf-8")
            else:
                if isinstance(drawn, Page):
                    drawn = photographed(browser, drawn)
                image = raster(drawn) if isinstance(drawn, Figure) else drawn
                image.thumbnail((WIDEST, 1600))
                image.quantize(255).save(path, optimize=True)
            click.echo(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")
        browser.close()


if __name__ == "__main__":
    main()
