"""Charts of what was measured, or computed on paper, from files in docs and formulas; and figures as SVG and pixels."""

import io
import json
from pathlib import Path

from cost import one_prompt
from cost_formulas import LLAMA_3, Machine
from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image

DOCS = Path(__file__).resolve().parent.parent / "docs"
INK, SOFT, STRONG, WARM = "#24292f", "#c3ccd6", "#1f6feb", "#d9822b"


def bars(groups: list[str], series: dict[str, list[float]], colours: list[str], title: str, unit: str = "") -> Figure:
    """Horizontal bars with their numbers: a group of them for each label."""
    figure = Figure(figsize=(7.2, 0.6 + 0.3 * len(groups) * len(series)), layout="constrained")
    axes = figure.add_subplot()
    step = 0.8 / len(series)
    for place, ((name, values), colour) in enumerate(zip(series.items(), colours, strict=True)):
        drawn = axes.barh([row + place * step for row in range(len(groups))], values, 0.9 * step, color=colour)
        axes.bar_label(drawn, [f"{value:,.3g}{unit}" for value in values], color=INK, fontsize=9, padding=4)
        drawn.set_label(name)
    axes.set_yticks([row + 0.4 - step / 2 for row in range(len(groups))], groups)
    axes.set_title(title, loc="left", fontsize=10.5)
    axes.set_xticks([])
    axes.margins(x=0.12)
    axes.invert_yaxis()
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    if len(series) > 1:
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(0, 0), ncols=len(series), fontsize=9)
    return figure


def performance() -> Figure:
    """How many forward passes the floor, bauklens, and the notebook's way take."""
    runs = json.loads((DOCS / "performance.json").read_text(encoding="utf-8"))
    runs = [run for run in runs if run["model"] == "demo" and run["tokens"] <= 512]
    named = {
        "floor": "floor: plus one bfloat16 product per layer",
        "bauklens": "bauklens, with its measures",
        "notebook": "notebook: softmax of everything",
    }
    series = {
        name: [run["seconds"][key] / run["seconds"]["forward pass"] for run in runs] for name, key in named.items()
    }
    title = "Time of a lens over all layers of the demo model, in forward passes"
    return bars([f"{run['tokens']} tokens" for run in runs], series, [SOFT, STRONG, WARM], title)


def on_paper() -> Figure:
    """What scripts/cost.py computes for one prompt."""
    machine = Machine(8, 989e12, 3.35e12, 450e9, 80e9, 0.5, 0.7, 0.7)
    cells = one_prompt(machine, 1024, None, 2.0)
    rows = {name: [*map(float, values)] for name, *values in cells if "ms" in name}
    read = [sum(each) for each in zip(rows["lens: ms of the head"], rows["lens: ms of reading logits"], strict=True)]
    series = {"forward pass": rows["forward: ms"], "lens over all layers, beyond it": read}
    title = "Milliseconds for a prompt of 1,024 tokens on 8 GPUs, computed on paper"
    return bars([shape.name for shape in LLAMA_3], series, [SOFT, STRONG], title, " ms")


SCATTERED = {
    "logit": (INK, 5),
    "logit, temperatures": (INK, -4),
    "ridge, 5,000 tokens": (STRONG, -19),
    "tuned, 5,000 tokens, 100 steps": (STRONG, 8),
    "Jacobian, exact, 3 windows": (WARM, -4),
    "Jacobian, closed form, 1,000 tokens": (WARM, -4),
    "mean final state": (INK, -4),
}
"""The lenses of a chart, the colour of each, and how far its name is above its point."""


def predicting_and_disclosing() -> Figure:
    """Each learned lens by how well it predicts, and by how often it has a concept on the way."""
    found = json.loads((DOCS / "decoders.json").read_text(encoding="utf-8"))
    passed = {row["name"]: 100 * row["passed"]["10"]["mean"][0] for row in found["evaluation"]["rows"]}
    figure = Figure(figsize=(7.2, 3.8), layout="constrained")
    axes = figure.add_subplot()
    kl = {row["name"]: row["kl"]["20"][0] for row in found["quality"]["rows"]}
    for name, (colour, below) in SCATTERED.items():
        axes.plot(kl[name], passed[name], "o", color=colour, markersize=7)
        axes.annotate(name, (kl[name], passed[name]), (8, below), textcoords="offset points", color=colour, fontsize=9)
    axes.set_xlabel("KL from the model's own row at layer 20, in nats (left is better)")
    axes.set_ylabel("concepts among the first 10, %")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.1, y=0.12)
    return figure


def charted(figure: Figure) -> str:
    """A figure of matplotlib as SVG, the same whenever it is drawn."""
    held = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "bauklens", "font.family": "sans-serif"}):
        figure.savefig(held, format="svg", metadata={"Date": None})
    return held.getvalue()


def raster(figure: Figure) -> Image.Image:
    """A figure of matplotlib as pixels."""
    held = io.BytesIO()
    figure.savefig(held, format="png", dpi=150, bbox_inches="tight")
    return Image.open(held).convert("RGB")
