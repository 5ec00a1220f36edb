#!/usr/bin/env python3
"""The cost of reading all layers of Llama 3 8B, 70B and 405B, on paper.

Operations, bytes moved, memory and time of a forward pass, and of a lens over all layers and positions of one prompt,
on GPUs that share one model (tensor parallel); and the time of many prompts, on GPUs that hold as many copies of the
model as fit. Nothing is run. The output states what is computed and what is assumed, and compares the formulas with the
measurements in docs/performance.json.

\b
.venv/bin/python scripts/cost.py
.venv/bin/python scripts/cost.py --gpus 16 --peak 312 --bandwidth 2.0 --link 300
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
from cost_formulas import (
    FUSED_LOGIT_BYTES,
    LLAMA_3,
    LOGIT_BYTES,
    MEASURED,
    ROW_BYTES,
    Machine,
    Shape,
    all_reduced,
    fewest_gpus,
    forward_bytes,
    forward_flops,
    gathered,
    head_bytes,
    head_flops,
    lens_memory,
    lens_rows,
    parameters,
    reading_bytes,
    tile_rows,
    weights_of_each,
)
from decoder_tables import Cells, as_markdown
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ROOT / "docs" / "performance.json"
PAGE = ROOT / "docs" / "large-models.md"

BEGINS, ENDS = "<!-- cost: written by scripts/cost.py --docs -->", "<!-- until here -->"

ROWS_OF_FILE = 61
"""Bytes of a row (prompt, layer) of a sweep's Parquet files, measured with a prototype."""

positive = click.FloatRange(min=0, min_open=True)
share = click.FloatRange(min=0, max=1, min_open=True)


@click.command(help=__doc__)
@click.option("--tokens", default=1024, show_default=True, type=click.IntRange(1), help="Tokens of the one prompt.")
@click.option("--gpus", default=8, show_default=True, type=click.IntRange(1), help="GPUs that share the model.")
@click.option("--prompts", default=1_000_000, show_default=True, type=click.IntRange(1), help="Prompts of a corpus.")
@click.option("--prompt-tokens", default=128, show_default=True, type=click.IntRange(1), help="Tokens per prompt.")
@click.option("--at-once", default=16, show_default=True, type=click.IntRange(1), help="Prompts per batch.")
@click.option("--corpus-gpus", default=64, show_default=True, type=click.IntRange(1), help="GPUs for the corpus.")
@click.option(
    "--rows", type=click.IntRange(1), help="Rows decoded at once (chunk_rows=); by default 128 MiB of logits."
)
@click.option("--peak", default=989.0, show_default=True, type=positive, help="A GPU's TFLOP/s in 16 bits.")
@click.option("--bandwidth", default=3.35, show_default=True, type=positive, help="Its memory bandwidth in TB/s.")
@click.option("--link", default=450.0, show_default=True, type=positive, help="Its sending rate to other GPUs in GB/s.")
@click.option("--memory", default=80.0, show_default=True, type=positive, help="Its memory in GB.")
@click.option("--weight-bytes", default=2.0, show_default=True, type=positive, help="Bytes per weight.")
@click.option("--peak-share", default=0.5, show_default=True, type=share, help="The share of the peak that is reached.")
@click.option("--bandwidth-share", default=0.7, show_default=True, type=share, help="The same for the bandwidth.")
@click.option("--link-share", default=0.7, show_default=True, type=share, help="The same for the link.")
@click.option("--markdown", is_flag=True, help="Print Markdown.")
@click.option("--docs", is_flag=True, help="Write the tables into docs/large-models.md.")
def main(
    tokens: int,
    gpus: int,
    prompts: int,
    prompt_tokens: int,
    at_once: int,
    corpus_gpus: int,
    rows: int | None,
    peak: float,
    bandwidth: float,
    link: float,
    memory: float,
    weight_bytes: float,
    peak_share: float,
    bandwidth_share: float,
    link_share: float,
    markdown: bool,
    docs: bool,
) -> None:
    """Prints the tables."""
    rates = 1e12 * peak, 1e12 * bandwidth, 1e9 * link
    machine = Machine(gpus, *rates, 1e9 * memory, peak_share, bandwidth_share, link_share)
    corpus = replace(machine, gpus=corpus_gpus)
    tables = {
        f"One prompt of {tokens:,} tokens on {gpus} GPU{'s' * (gpus > 1)}": one_prompt(
            machine, tokens, rows, weight_bytes
        ),
        f"{prompts:,} prompts of {prompt_tokens:,} tokens on {corpus_gpus} GPU{'s' * (corpus_gpus > 1)}": many_prompts(
            corpus, prompts, prompt_tokens, at_once, rows, weight_bytes
        ),
        "The formulas beside what was measured on a CPU": beside_measured(),
    }
    notes = notes_of(machine, rows, weight_bytes, at_once)
    text = markdown_of(tables, notes)
    if docs:
        page = PAGE.read_text(encoding="utf-8")
        before, _, rest = page.partition(BEGINS)
        PAGE.write_text(f"{before}{BEGINS}\n\n{text}\n{ENDS}{rest.partition(ENDS)[2]}", encoding="utf-8")
    if markdown:
        click.echo(text)
    elif not docs:
        show(tables, notes)


def one_prompt(machine: Machine, tokens: int, rows_at_once: int | None, weight_bytes: float) -> Cells:
    """The cost of a forward pass and of all layers of one prompt, one column per model."""
    gpus, found = machine.gpus, []
    for shape in LLAMA_3:
        rows, at_once = lens_rows(shape, tokens), rows_at_once or tile_rows(shape)
        forward, head = forward_flops(shape, tokens), head_flops(shape, rows)
        weights, of_head = forward_bytes(shape, weight_bytes), head_bytes(shape, rows, at_once, weight_bytes)
        logits, fused = reading_bytes(shape, rows), reading_bytes(shape, rows, FUSED_LOGIT_BYTES)
        own = machine.seconds(forward, weights)
        product, reading = _lens_seconds(shape, tokens, machine, at_once, weight_bytes)
        best = product + machine.seconds(0, fused)
        held, lens = weights_of_each(shape, gpus, weight_bytes), lens_memory(shape, tokens, at_once, gpus)
        found.append(
            {
                "parameters": f"{parameters(shape) / 1e9:.2f}e9",
                "forward: TFLOP": f"{forward / 1e12:.1f}",
                "forward: weights read, GB": f"{weights / 1e9:.1f}",
                "forward: sent by each GPU, GB": f"{all_reduced(shape, tokens, gpus) / 1e9:.2f}",
                "forward: ms": f"{1e3 * own:.1f}",
                "forward: ms of sending": f"{1e3 * machine.sending(all_reduced(shape, tokens, gpus)):.1f}",
                "lens: rows": f"{rows:,}",
                "lens: TFLOP of the head": f"{head / 1e12:.1f}",
                "lens: weights of the head read, GB": f"{of_head / 1e9:.1f}",
                "lens: logits read and written, GB": f"{logits / 1e9:.1f}",
                "lens: ms of the head": f"{1e3 * product:.1f}",
                "lens: ms of reading logits": f"{1e3 * reading:.1f}",
                "lens / forward, TFLOP": f"{head / forward:.2f}",
                "lens / forward, ms": f"{(product + reading) / own:.2f}",
                "the same, if logits were read once": f"{best / own:.2f}",
                f"sent by each GPU at {ROW_BYTES} bytes a row, MB": f"{rows * ROW_BYTES / 1e6:.1f}",
                "received if all logits are gathered, GB": f"{gathered(shape, rows, gpus) / 1e9:.1f}",
                "memory of each GPU: weights, GB": f"{held / 1e9:.1f}",
                "memory of each GPU: lens, GB": f"{lens / 1e9:.2f}",
                f"both fit {machine.memory / 1e9:g} GB": "yes" if held + lens < machine.memory else "no",
            }
        )
    return _turned(found)


def many_prompts(
    machine: Machine, prompts: int, tokens: int, batch: int, rows_at_once: int | None, weight_bytes: float
) -> Cells:
    """The cost of a corpus on GPUs that hold as many copies of a model as fit, one column per model."""
    found = []
    for shape in LLAMA_3:
        each = fewest_gpus(shape, machine.memory, weight_bytes)
        copies = machine.gpus // each
        if not copies:
            found.append({"GPUs of a copy": f"{each}"})
            continue
        of_copy, at_once = replace(machine, gpus=each), rows_at_once or tile_rows(shape)
        forward = of_copy.seconds(forward_flops(shape, tokens, batch), forward_bytes(shape, weight_bytes))
        lenses = [sum(_lens_seconds(shape, count, of_copy, at_once, weight_bytes)) for count in (batch * tokens, batch)]
        times = [seconds * -(-prompts // batch) / copies / 60 for seconds in (forward, *lenses)]
        rows = prompts * lens_rows(shape, 1)
        found.append(
            {
                "GPUs of a copy": f"{each}",
                "copies": f"{copies}",
                "forward: EFLOP": f"{forward_flops(shape, tokens, prompts) / 1e18:,.2f}",
                "lens of all positions: EFLOP": f"{head_flops(shape, rows * tokens) / 1e18:,.2f}",
                "forward: minutes": f"{times[0]:,.1f}",
                "lens of all positions: minutes more": f"{times[1]:,.1f}",
                "lens of the last position: minutes more": f"{times[2]:,.1f}",
                "a row for each prompt and layer: GB of Parquet": f"{rows * ROWS_OF_FILE / 1e9:.1f}",
            }
        )
    return _turned(found)


def _lens_seconds(
    shape: Shape, positions: int, machine: Machine, at_once: int, weight_bytes: float
) -> tuple[float, float]:
    """How long the products with the head and reading their logits take, one after the other."""
    rows = lens_rows(shape, positions)
    product = machine.seconds(head_flops(shape, rows), head_bytes(shape, rows, at_once, weight_bytes))
    return product, machine.seconds(0, reading_bytes(shape, rows))


def beside_measured() -> Cells:
    """The runs of docs/performance.json: the time of a lens relative to the forward pass, and their rates."""
    head = ["model, tokens", "(forward + lens) / forward, TFLOP", "measured, float32", "measured, bfloat16"]
    cells = [[*head, "GFLOP/s of the forward pass", "GFLOP/s of the lens, float32"]]
    for name, tokens, by_formula, exact, low, own, lens in measured_rates():
        rates = [f"{each:.2f}" for each in (by_formula, exact, low)]
        cells.append([f"{name}, {tokens:,}", *rates, f"{own / 1e9:,.0f}", f"{lens / 1e9:,.0f}"])
    return cells


def measured_rates() -> list[tuple[str, int, float, float, float, float, float]]:
    """For each run: name, tokens, three ratios, and operations a second of the forward pass and of the float32 lens."""
    found = []
    for run in json.loads(FIGURES.read_text(encoding="utf-8")):
        if run["model"] not in MEASURED:
            continue
        shape, tokens, seconds = MEASURED[run["model"]], run["tokens"], run["seconds"]
        forward, exact, low = (seconds[name] for name in ("forward pass", "exact, top-k only", "bauklens, top-k only"))
        flops, head = forward_flops(shape, tokens), head_flops(shape, lens_rows(shape, tokens))
        ratios = 1 + head / flops, exact / forward, low / forward
        found.append((shape.name, tokens, *ratios, flops / forward, head / (exact - forward)))
    return found


def notes_of(machine: Machine, rows_at_once: int | None, weight_bytes: float, batch: int) -> list[str]:
    """Sentences about what was computed, measured and assumed."""
    at_once = rows_at_once or tile_rows(LLAMA_3[0])
    ratios = [lens / own for *_, own, lens in measured_rates()]
    reached = f"{machine.flops_share:.0%}, {machine.bandwidth_share:.0%} and {machine.link_share:.0%}"
    return [
        "Computed: parameters, operations, bytes and memory, from the shapes and the formulas in "
        "`scripts/cost_formulas.py`: two operations for each weight of a matrix and token; 4 x hidden x tokens for "
        "each token and block in the attention, not halved for the causal mask; 2 x hidden x vocabulary for each row "
        "of a lens. Figures are totals over all GPUs, except in rows for each GPU. Norms, activations and the cache "
        "of keys are left out; so is a learned lens, which takes a further 2 x hidden x hidden for each row.",
        f"The head's weights are read once for each {at_once:,} rows (`chunk_rows=`). Reading a logit moves "
        f"{LOGIT_BYTES} bytes, counted from the operations in `bauklens/decode/reading.py`; {FUSED_LOGIT_BYTES} would "
        "be enough if one operation did it all.",
        "Measured: only the last table, the top k without measures, on two threads of a CPU (docs/PERFORMANCE.md). "
        f"There the lens in float32 does {min(ratios):.2f} to {max(ratios):.2f} times as many operations a second as "
        f"the forward pass; one share of the peak is assumed for both. About {ROWS_OF_FILE} bytes for a row of a "
        "Parquet file were measured on a prototype. No GPU was measured.",
        f"Assumed: GPUs with {machine.flops / 1e12:g} TFLOP/s in 16 bits, {machine.bandwidth / 1e12:g} TB/s of memory, "
        f"{machine.link / 1e9:g} GB/s sent to the others, of which {reached} are reached, and "
        f"{machine.memory / 1e9:g} GB (the defaults are an H100 SXM's, by its data sheet); {weight_bytes:g} bytes a "
        "weight; that all work is "
        "split evenly; and that computing and moving bytes overlap within a product. Sending does not overlap, and has "
        "its own row; between nodes it is slower.",
        f"Assumed for the corpus: batches of {batch} prompts of one length; each copy of the model on the smallest "
        "power of two of GPUs that has a fifth of its memory left; no time for loading, sending, tokenizing and "
        "writing.",
    ]


def markdown_of(tables: dict[str, Cells], notes: Sequence[str]) -> str:
    """Tables and notes as Markdown."""
    parts = [f"### {title}\n\n{as_markdown(cells)}" for title, cells in tables.items()]
    return "\n".join([*parts, "### What is computed, measured and assumed\n", *(f"- {note}" for note in notes)]) + "\n"


def show(tables: dict[str, Cells], notes: Sequence[str]) -> None:
    """Prints tables and notes."""
    console = Console()
    for title, (head, *rows) in tables.items():
        table = Table(title=title, title_justify="left")
        for place, column in enumerate(head):
            table.add_column(column, justify="right" if place else "left")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    for note in notes:
        console.print(f"- {note}", highlight=False, markup=False)


def _turned(found: Sequence[dict[str, str]]) -> Cells:
    """One row per figure, one column per model."""
    names = list(dict.fromkeys(name for each in found for name in each))
    return [
        ["", *(shape.name for shape in LLAMA_3)],
        *([name, *(each.get(name, "") for each in found)] for name in names),
    ]


if __name__ == "__main__":
    main()
