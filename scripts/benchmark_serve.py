#!/usr/bin/env python3
"""How soon a live page shows something, compared with the bare forward pass, and how many pages and looks affect it.

The server is `bauklens serve` in its own process, asked over HTTP. The table is printed and, with --docs, written
to docs/PERFORMANCE.md.

.venv/bin/python scripts/benchmark_serve.py --tokens 16 --tokens 128
"""

import http.client
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import psutil
import torch
from benchmark import DOCS, TEXT, machine, write_docs
from serve_table import SERVE, of_the_live_page
from tqdm import tqdm

import bauklens

GENERATED = 32
"""How many tokens the model generates in the look that measures that."""


@contextmanager
def serving(model: str) -> Iterator[tuple[str, psutil.Process]]:
    """The address of a server, and its process."""
    command = [sys.executable, "-m", "bauklens", "serve", "--model", model]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603 - our own command
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        try:
            yield address, psutil.Process(server.pid)
        finally:
            server.terminate()


def look(address: str, prompt: str, page: str = "one", new_tokens: int = 0) -> tuple[float, float, float]:
    """Seconds until the first cells arrived, the first of a generated column, and everything."""
    place = urlsplit(address)
    headers = {"Authorization": f"Bearer {place.fragment.removeprefix('token=')}"}
    connection = http.client.HTTPConnection(place.hostname or "", place.port)
    begun, first, column, last, is_generating = time.perf_counter(), 0.0, 0.0, b"", False
    asked = {"prompt": prompt, "page": page, "new_tokens": new_tokens}
    connection.request("POST", "/look", json.dumps(asked), headers)
    for line in connection.getresponse():
        if line.startswith(b"event: "):
            last = line
            is_generating = is_generating or line == b"event: generated\n"
            if line == b"event: cells\n":
                passed = time.perf_counter() - begun
                first = first or passed
                column = column or (passed if is_generating else 0.0)
    connection.close()
    if last != b"event: end\n":
        raise SystemExit(f"a look ended with {last.decode()}")
    return first, column, time.perf_counter() - begun


def forward(model: Any, ids: list[int]) -> float:
    """Seconds of one forward pass."""
    given = torch.tensor([ids])
    begun = time.perf_counter()
    with torch.inference_mode():
        model(input_ids=given)
    return time.perf_counter() - begun


def finished(model: Any, tokenizer: Any, prompt: str, new_tokens: int) -> float:
    """Seconds of the lens of a prompt and the text after it, without a page."""
    begun = time.perf_counter()
    bauklens.logit_lens(model, tokenizer, prompt, max_new_tokens=new_tokens)
    return time.perf_counter() - begun


def measure(name: str, tokens: tuple[int, ...], rounds: int, looks: int, pages: int) -> dict[str, Any]:
    """Everything that the table needs, as plain values."""
    model, tokenizer = bauklens.load(name)
    ids = tokenizer(TEXT.read_text(encoding="utf-8")).input_ids
    prompts = {count: tokenizer.decode(ids[:count]) for count in tokens}
    found: list[dict[str, Any]] = []
    with serving(name) as (address, process):
        for prompt in prompts.values():
            own = tokenizer(prompt).input_ids
            taken = [(forward(model, own), *look(address, prompt)) for _ in range(rounds + 1)][1:]
            found.append({"tokens": len(own), **_medians(("forward", "first", "column", "whole"), taken)})
        short = tokenizer.decode(ids[:16])
        texts = [
            (
                forward(model, tokenizer(short).input_ids),
                finished(model, tokenizer, short, GENERATED),
                *look(address, short, new_tokens=GENERATED),
            )
            for _ in range(max(1, rounds // 3) + 1)
        ][1:]
        alone = sum(look(address, f"{short} {number}")[-1] for number in range(pages))
        begun = time.perf_counter()
        with ThreadPoolExecutor(pages) as pool:
            list(pool.map(lambda number: look(address, f"{short} {number}", f"page {number}"), range(pages)))
        together = time.perf_counter() - begun
        sizes = []
        for number in tqdm(range(looks), "Looks"):
            look(address, f"The number {number} is")
            if number + 1 in (looks // 4, looks):
                sizes.append(process.memory_info().rss)
    return {
        "model": name,
        "machine": machine(torch.device("cpu")),
        "rounds": rounds,
        "looks": found,
        "text": {
            "tokens": len(tokenizer(short).input_ids),
            "generated": GENERATED,
            "rounds": len(texts),
            **_medians(("forward", "lens", "first", "column", "whole"), texts),
        },
        "many": {
            "pages": pages,
            "tokens": len(tokenizer(f"{short} 0").input_ids),
            "seconds": together,
            "alone": alone,
            "looks": looks,
            "from": looks // 4,
            "grown": sizes[-1] - sizes[0],
        },
    }


def _medians(names: tuple[str, ...], rounds: Sequence[tuple[float, ...]]) -> dict[str, float]:
    return dict(zip(names, map(statistics.median, zip(*rounds, strict=True)), strict=True))


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--model", default="demo", show_default=True, help="A model on this machine: demo, or a folder.")
@click.option("--tokens", multiple=True, default=(16, 128, 512), show_default=True, help="Lengths of prompts.")
@click.option("--rounds", default=15, show_default=True)
@click.option("--looks", default=200, show_default=True, help="How many looks to measure the memory over.")
@click.option("--pages", default=20, show_default=True, help="How many pages ask at once.")
@click.option("--docs", is_flag=True, help="Write the table to docs/PERFORMANCE.md.")
def main(model: str, tokens: tuple[int, ...], rounds: int, looks: int, pages: int, docs: bool) -> None:
    """Prints the table."""
    model = model if model == "demo" else str(Path(model).resolve())
    found = measure(model, tokens, rounds, looks, pages)
    print(of_the_live_page(found))
    if docs:
        (DOCS / SERVE).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        write_docs([], DOCS)


if __name__ == "__main__":
    main()
