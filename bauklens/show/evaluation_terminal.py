"""An evaluation as a table for a terminal."""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bauklens.result.tokens import printable
from bauklens.show.evaluation import Evaluation
from bauklens.show.evaluation_figures import MEAN, between, left_out_words, percent

_WIDEST = 32
_UNBOUNDED = 10_000


def print_evaluation(evaluation: Evaluation, console: Console | None = None) -> None:
    """Prints pass@k in percent with its 95 % interval, one row per set and decoder, and how it was measured."""
    console = console or Console()
    if not console.is_terminal:
        console = Console(file=console.file, width=_UNBOUNDED)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("set", style="cyan", no_wrap=True, max_width=_WIDEST)
    table.add_column("items", justify="right", no_wrap=True)
    table.add_column("decoder", no_wrap=True, max_width=_WIDEST)
    for k in evaluation.ks:
        table.add_column(f"pass@{k} %", justify="right", no_wrap=True)
    names = [each.name for each in evaluation.sets]
    items, tables = [len(each.scored) for each in evaluation.sets], [*evaluation.passed]
    intervals = [*evaluation.intervals[: len(names)]]
    if names[1:]:
        names, items, tables = [*names, MEAN], [*items, sum(items)], [*tables, evaluation.mean]
        intervals.append(evaluation.intervals[-1])
    for row, name in enumerate(names):
        for number, decoder in enumerate(evaluation.decoders):
            cells = [
                Text.assemble(percent(value), (f" ({said})" if (said := between(interval)) else "", "dim"))
                for value, interval in zip(tables[row][number], intervals[row][number], strict=True)
            ]
            first = number == 0
            table.add_row(
                Text(printable(name) if first else ""),
                f"{items[row]:,}" if first else "",
                Text(printable(decoder)),
                *cells,
            )
    console.print(Text(printable(f"{evaluation.model}: intermediate concepts, 95 % intervals in brackets")))
    console.print(table)
    for said in filter(None, (*evaluation.rules, left_out_words(evaluation))):
        console.print(Text(printable(said), style="dim"), soft_wrap=True)
