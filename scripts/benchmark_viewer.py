#!/usr/bin/env python3
"""How large pages are, how soon they are painted, how smoothly they scroll, and how soon keys show, in a real browser.

The table is printed and, with --docs, written to docs/PERFORMANCE.md. Pages of other tools are measured too
if a copy of their code is given.

.venv/bin/python scripts/benchmark_viewer.py --case 49x1024x10
"""

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
from benchmark import DOCS, VIEWER, write_docs
from picture import chromium_path
from playwright.sync_api import sync_playwright
from viewer_cases import CASES, Case, lens_of, pins_of, with_images
from viewer_pages import JACOBIAN, OURS, WIDGET, Tool, measured
from viewer_peers import MOST_POSITIONS, Peers
from viewer_table import keys_table, moving_table, opening_table, work_table

import bauklens


def pages_of(lens: bauklens.LensResult, peers: Peers) -> list[tuple[Tool, Callable[[Path], object]]]:
    """The pages that are measured for a result: each tool, and a function that writes its page to a path."""
    pages: list[tuple[Tool, Callable[[Path], object]]] = [(OURS, lens.view(pins=pins_of(lens)).save)]
    if len(lens.positions) > MOST_POSITIONS:
        return pages
    if peers.jlens and peers.d3:
        pages.append((JACOBIAN, partial(peers.write_jacobian, lens)))
    if peers.widget:
        pages.append((WIDGET, partial(peers.write_widget, lens)))
    return pages


def case_of(text: str) -> Case:
    """A case from a text of the form "49x1024x10"."""
    try:
        layers, positions, topk = map(int, text.split("x"))
    except ValueError:
        raise click.BadParameter(f"{text!r} is not like 49x1024x10: layers, positions, and tokens in a cell") from None
    return Case(layers, positions, topk)


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--case", "cases", multiple=True, help="layers x positions x top k, as 49x1024x10; by default all.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--images", default=0, help="How many images of 576 positions each prompt begins with; only their grids.")
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
    print(
        "\n".join(["", *opening_table(found), "", *moving_table(found), "", *keys_table(found), "", *work_table(found)])
    )
    if docs:
        (DOCS / VIEWER).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        write_docs([], DOCS)


if __name__ == "__main__":
    main()
