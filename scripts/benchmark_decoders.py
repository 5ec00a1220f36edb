#!/usr/bin/env python3
"""How near each lens comes to what the model says in the end, layer by layer, on text that none was fitted on.

For each layer: the KL divergence of the row to the model's own prediction, in nats, and how often their most probable
tokens are the same. Unless there are --texts, the model writes them itself: those that lenses are fitted on, those that
temperatures are chosen on, and those that are scored are other ones. The table is printed, kept as JSON, and, with
--docs, written into docs/guide/decoders.md.

.venv/bin/python scripts/benchmark_decoders.py
"""

import json
import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import torch
from benchmark import machine
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

import bauklens
from bauklens.decode.decoder import LOGIT_LENS
from bauklens.decoders.fit.own_texts import own_texts
from bauklens.decoders.score import quality_of
from bauklens.decoders.texts import SKIP_FIRST
from bauklens.model.inputs import Inputs

DOCS = Path(__file__).resolve().parent.parent / "docs"
FIGURES, PAGE = "decoders.json", "guide/decoders.md"
BEGINS, ENDS = "<!-- written by scripts/benchmark_decoders.py -->", "<!-- until here -->"

BATCH = 40
"""Texts that the model writes at once."""

TO_CHOOSE, HELD_OUT = 4, 16
"""Texts that temperatures are chosen on, and that are scored."""

TEMPERATURES = (0.85, 1.0, 1.15, 1.35, 1.6, 1.9, 2.3, 2.8, 3.4, 4.2, 5.0, 6.0)
"""That are tried; each is about a fifth more than the one before."""


@dataclass(frozen=True)
class Of:
    """A decoder, of some layers only, and with temperatures."""

    decoder: bauklens.Decoder
    layers: Sequence[str]
    temperatures: Mapping[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """That of the decoder."""
        return self.decoder.name

    def __call__(self, states: torch.Tensor, layers: Sequence[str]) -> torch.Tensor:
        """What the decoder makes of the states."""
        return self.decoder(states, layers)


@dataclass(frozen=True)
class Texts:
    """What lenses are fitted on, what temperatures are chosen on, and what is scored; one prompt each."""

    fitted: Sequence[Inputs]
    to_choose: Sequence[Inputs]
    held_out: Sequence[Inputs]


def written(model: Any, tokens: int, length: int) -> Texts:
    """Texts that the model writes, with so many tokens to fit on; each batch has a seed of its own."""
    seeds = range(1, 1 + math.ceil(tokens / (length - 1) / BATCH))
    fitted = [text for seed in seeds for text in _each(own_texts(model, BATCH, length, seed=seed).ids)]
    others = _each(own_texts(model, TO_CHOOSE + HELD_OUT, length, seed=len(seeds) + 1).ids)
    return Texts(fitted, others[:TO_CHOOSE], others[TO_CHOOSE:])


def cut(tokenizer: Any, path: Path, tokens: int, length: int) -> Texts:
    """A file's text, cut into pieces of one length; the end of the file is what is scored."""
    ids = torch.tensor(tokenizer(path.read_text(encoding="utf-8"))["input_ids"])
    count = math.ceil(tokens / (length - 1))
    wanted = count + TO_CHOOSE + HELD_OUT
    if len(ids) < wanted * length:
        raise click.UsageError(f"{path} has {len(ids):,} tokens, and {wanted * length:,} are needed")
    pieces = _each(ids[: len(ids) // length * length].view(-1, length))
    return Texts(pieces[:count], pieces[-HELD_OUT - TO_CHOOSE : -HELD_OUT], pieces[-HELD_OUT:])


def _each(ids: torch.Tensor) -> list[Inputs]:
    return [Inputs(text[None]) for text in ids]


class Fitted:
    """What the least squares fit of the final state needs, summed over texts in float64.

    ``A, b`` minimize ``|Y - X [A, b]|^2`` with a penalty of lambda times the diagonal of ``X'X``, which spares b; X is
    (row, width + 1), a layer's states and a one, Y (row, width), the final ones. Position 0 is left out, where states
    are unlike others.

    Args:
        layers: those that are fitted, as numbers of blocks.
        tokens: how many rows are taken, the first ones.
    """

    def __init__(self, model: Any, texts: Sequence[Inputs], layers: Sequence[int], tokens: int) -> None:
        self.tokens, self.final = 0, torch.zeros(())
        self._squares, self._products = dict.fromkeys(layers, torch.zeros(())), dict.fromkeys(layers, torch.zeros(()))
        for text in tqdm(texts, desc=f"Sums of {tokens:,} tokens", unit="text", disable=None):
            rows = bauklens.get_hidden_states(model, None, text.ids[0])[:, 0, 1 : 1 + tokens - self.tokens].double()
            ones = torch.ones(rows.shape[1], 1, dtype=torch.float64, device=rows.device)
            self.tokens, self.final = self.tokens + rows.shape[1], self.final + rows[-1].sum(dim=0)
            for layer in layers:
                states = torch.cat([rows[layer], ones], dim=1)
                self._squares[layer] = self._squares[layer] + states.T @ states
                self._products[layer] = self._products[layer] + states.T @ rows[-1]
            if self.tokens == tokens:
                break

    @property
    def mean(self) -> torch.Tensor:
        """(width,), of the final states."""
        return (self.final / self.tokens).float()

    def ridge(self, penalty: float) -> bauklens.RidgeLens:
        """The lens for one lambda."""
        weights, biases = {}, {}
        for layer, squares in self._squares.items():
            diagonal = squares.diagonal().clone()
            diagonal[-1] = 0
            found = torch.linalg.solve(squares + penalty * diagonal.diag(), self._products[layer]).float()
            weights[layer], biases[layer] = found[:-1].T.contiguous(), found[-1]
        return bauklens.RidgeLens(weights, biases)


def penalty_of(tokens: int) -> float:
    """Lambda, which has to be larger for fewer tokens."""
    return 1e-2 if tokens < 3_000 else 3e-3 if tokens < 20_000 else 1e-3


def with_temperatures(decoder: Of, model: Any, texts: Sequence[Inputs]) -> Of:
    """The decoder with the temperature of each layer that gives the least KL on some texts.

    The KL is convex in the inverse temperature, so that once it grows at every layer, no more are tried.
    """
    best: dict[str, tuple[float, float]] = {}
    for value in tqdm(TEMPERATURES, desc=f"Temperatures of {decoder.name}", disable=None):
        tried = Of(decoder.decoder, decoder.layers, dict.fromkeys(decoder.layers, value))
        found = {label: (each["kl"], value) for label, each in quality_of(tried, model, texts).items()}
        if best and all(best[label] < each for label, each in found.items()):
            break
        best |= {label: min(best.get(label, each), each) for label, each in found.items()}
    return Of(decoder.decoder, decoder.layers, {label: value for label, (_, value) in best.items()})


def measure(
    model: Any, texts: Texts, layers: Sequence[int], tokens: Sequence[int], others: Sequence[str]
) -> dict[str, Any]:
    """All figures, as plain values.

    Args:
        tokens: numbers of tokens that ridge lenses are fitted on.
        others: what :func:`bauklens.load_decoder` takes, to be scored as well.
    """
    last = len(bauklens.get_hidden_states(model, None, texts.held_out[0].ids[0])) - 1
    if outside := [layer for layer in layers if not 0 <= layer < last]:
        raise click.UsageError(f"--layer {outside[0]}: only layers 0 .. {last - 1} have a map")
    labels, rows = [str(layer) for layer in layers], []

    def scored(name: str, decoder: Of, seconds: float | None = None) -> None:
        quality = quality_of(decoder, model, texts.held_out)
        rows.append({"lens": name, "seconds": seconds, "temperatures": dict(decoder.temperatures), "quality": quality})

    logit = Of(LOGIT_LENS, labels)
    scored("logit", logit)
    scored("logit, temperatures", with_temperatures(logit, model, texts.to_choose))
    for number, count in enumerate(sorted(tokens)):
        with stopped() as taken:
            fitted = Fitted(model, texts.fitted, layers, count)
            ridge = Of(fitted.ridge(penalty_of(count)), labels)
        if not number:
            scored("mean final state", Of(bauklens.MeanLens(dict.fromkeys(labels, fitted.mean)), labels))
        scored(f"ridge, {fitted.tokens:,} tokens", ridge, taken[0])
    scored(f"ridge, {fitted.tokens:,} tokens, temperatures", with_temperatures(ridge, model, texts.to_choose))
    for each in others:
        loaded = bauklens.load_decoder(each)
        known = [label for label in labels if label in loaded.layers]
        of = Of(loaded, known, {label: value for label, value in loaded.temperatures.items() if label in known})
        scored(repr(loaded)[1:-1].partition(":")[0], of)
        if not of.temperatures:
            scored(f"{rows[-1]['lens']}, temperatures", with_temperatures(of, model, texts.to_choose))
    return {"layers": labels, "rows": rows}


@contextmanager
def stopped() -> Iterator[list[float]]:
    """A list that holds the seconds when this is left."""
    started = time.perf_counter()
    taken: list[float] = []
    yield taken
    taken.append(time.perf_counter() - started)


def cells_of(run: Mapping[str, Any]) -> list[list[str]]:
    """The table, as text, its head first."""
    table = [["KL in nats / same top token", *(f"layer {label}" for label in run["layers"])]]
    for row in run["rows"]:
        found = (row["quality"].get(label) for label in run["layers"])
        table.append(
            [row["lens"], *(f"{each['kl']:.2f} / {100 * each['agreement']:.0f} %" if each else "" for each in found)]
        )
    return table


def notes(run: Mapping[str, Any]) -> str:
    """What the table does not say."""
    taken = [f"{row['lens']} in {row['seconds']:.0f} s" for row in run["rows"] if row["seconds"] is not None]
    chosen = [(row["lens"], row["temperatures"].values()) for row in run["rows"] if row["temperatures"]]
    ranges = "; ".join(f"{name.removesuffix(', temperatures')} {min(of):g} to {max(of):g}" for name, of in chosen)
    return (
        f"{run['model']}, {run['held out']:,} positions of {HELD_OUT} texts {run['texts']}. Fitted: {', '.join(taken)} "
        f"(not counting the texts). Temperatures, chosen on {TO_CHOOSE} more texts: {ranges}. {run['machine']}, torch "
        f"{run['torch']}; {run['minutes']:.1f} minutes in total."
    )


def show(run: Mapping[str, Any]) -> None:
    """Prints the table."""
    console, (head, *rows) = Console(), cells_of(run)
    table = Table(caption=notes(run))
    for number, column in enumerate(head):
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    if not console.is_terminal:
        console.width = max(console.width, 140)
    console.print(table)


def write_docs(run: Mapping[str, Any], folder: Path) -> None:
    """Puts the table into the page, between the two comments, and the figures beside the others."""
    (folder / FIGURES).write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
    page = folder / PAGE
    text, count = re.subn(
        f"{re.escape(BEGINS)}.*{re.escape(ENDS)}",
        lambda _: f"{BEGINS}\n\n{as_markdown(run)}\n{ENDS}",
        page.read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
    if count != 1:
        raise click.ClickException(f"{page} has no place for the table: looked for {BEGINS} and {ENDS}")
    page.write_text(text, encoding="utf-8")


def as_markdown(run: Mapping[str, Any]) -> str:
    """The table and its notes."""
    head, *rows = cells_of(run)
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\n{notes(run)}\n"


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--model", default="demo", show_default=True)
@click.option("--texts", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="A text file of your own.")
@click.option("--length", default=126, show_default=True, type=click.IntRange(min=SKIP_FIRST + 2), help="Of a text.")
@click.option("--layer", multiple=True, default=[5, 10, 15, 20, 25], show_default=True, help="Repeatable.")
@click.option("--tokens", multiple=True, default=[2_000, 5_000], show_default=True, help="To fit ridge on; repeatable.")
@click.option("--decoder", multiple=True, help="Score these too; of the demo model, by default its own. Repeatable.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures to this file.")
@click.option("--docs", is_flag=True, help=f"Write them to docs/{PAGE}.")
def main(
    model: str,
    texts: Path | None,
    length: int,
    layer: tuple[int, ...],
    tokens: tuple[int, ...],
    decoder: tuple[str, ...],
    json_path: Path | None,
    docs: bool,
) -> None:
    """Prints the table."""
    with stopped() as taken:
        loaded, tokenizer = bauklens.load(model)
        most = max(tokens)
        parts = written(loaded, most, length) if texts is None else cut(tokenizer, texts, most, length)
        others = decoder or (("demo",) if model == "demo" else ())
        found = measure(loaded, parts, layer, tokens, others)
    run = {
        "model": model,
        "texts": "that the model wrote itself" if texts is None else f"of {texts.name}",
        "held out": sum(each.count - 1 - SKIP_FIRST for each in parts.held_out),
        "machine": machine(parts.held_out[0].ids.device),
        "torch": torch.__version__,
        "minutes": taken[0] / 60,
        **found,
    }
    show(run)
    if json_path is not None:
        json_path.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
    if docs:
        write_docs(run, DOCS)


if __name__ == "__main__":
    main()
