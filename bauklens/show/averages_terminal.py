"""Averages over many tokens as tables for a terminal: means, a decoder's quality, scores."""

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bauklens.result.tokens import printable
from bauklens.show.numbers import readable_magnitude
from bauklens.show.scores import Scores
from bauklens.show.summary import Summary
from bauklens.vocabulary import DECODER_KINDS

_UNBOUNDED = 10_000


def print_summary(summary: Summary, console: Console | None = None) -> None:
    """Prints the means of every layer, one column per measure."""
    console = console or Console()
    if not console.is_terminal:
        console = Console(file=console.file, width=_UNBOUNDED)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("layer", justify="right", style="cyan", no_wrap=True)
    for name in summary.mean:
        table.add_column(name.replace("_", " "), justify="right")
    for row in range(len(summary.layers)):
        table.add_row(Text(printable(summary.marked(row))), *(_mean(mean[row]) for mean in summary.mean.values()))
    about = f"means over {summary.lenses:,} prompts ({summary.tokens:,} tokens): {summary.model}, {summary.called}"
    console.print(Text(printable(about)), soft_wrap=True)
    console.print(table)
    if summary.left_out:
        console.print(Text(summary.left_out, style="dim"))
    if summary.unmapped:
        console.print(Text("*: the decoder has no map for this row, averaged as in the logit lens", style="dim"))


def print_quality(
    kind: str,
    quality: Mapping[str, Mapping[str, float]],
    about: Mapping[str, Any],
    console: Console | None = None,
) -> None:
    """Prints how close a decoder comes to the model's own prediction, one line per layer.

    Args:
        kind: the kind of the decoder, one of :data:`bauklens.vocabulary.DECODER_KINDS`.
        quality: layer -> ``{"kl": nats, "agreement": 0..1}``.
        about: what is known about the decoder.
    """
    console = console or Console()
    counts = {name: about.get(name) for name in ("prompts", "tokens")}
    counted = ", ".join(
        f"{count:,} {name.removesuffix('s') if count == 1 else name}"
        for name, count in counts.items()
        if isinstance(count, int)
    )
    console.print(Text(f"{DECODER_KINDS[kind]} of {printable(str(about.get('model', '')))}, fitted on {counted}"))
    if not quality:
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("layer", "KL (nats)", "same top token"):
        table.add_column(name, justify="right")
    for label, each in quality.items():
        table.add_row(Text(printable(label), style="cyan"), f"{each['kl']:.2f}", f"{each['agreement']:.0%}")
    console.print(table)
    compared = f"compared with the model's own last row, {printable(str(about['quality']))}"
    console.print(Text(f"{compared}; bauklens score compares it with the logit lens", style="dim"), soft_wrap=True)


def print_scores(scores: Scores, console: Console | None = None) -> None:
    """Prints the scores of every layer, one column per measure and decoder; the last row is the model itself.

    If the terminal is too narrow for one table, each measure has its own.
    """
    console = console or Console()
    if not console.is_terminal:
        console = Console(file=console.file, width=_UNBOUNDED)
    shown = scores.ranking()
    count = len(shown["columns"])
    console.print(Text(printable(shown["caption"])), soft_wrap=True)
    whole = _scores_table(shown, slice(0, count))
    if console.measure(whole, options=console.options.update(width=_UNBOUNDED)).minimum <= console.width:
        console.print(whole)
    else:
        step = len(scores.decoders)
        for start in range(0, count, step):
            console.print(_scores_table(shown, slice(start, start + step)))
    console.print(Text("the last row is the model itself; --json - prints 95 % intervals", style="dim"))


def _scores_table(shown: Mapping[str, Any], columns: slice) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("layer", justify="right", style="cyan", no_wrap=True)
    for name in shown["columns"][columns]:
        table.add_column(Text(printable(name)), justify="right")
    for layer, cells in shown["rows"]:
        table.add_row(Text(printable(layer)), *(Text(text, no_wrap=True) for text, _, _ in cells[columns]))
    return table


def _mean(value: float) -> str:
    return "" if value != value else readable_magnitude(float(value))  # NaN differs from itself
