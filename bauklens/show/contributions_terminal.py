"""Contributions as a table with bars, for a terminal."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bauklens.result.contributions import Contribution, Contributions
from bauklens.result.tokens import printable, visible
from bauklens.show.contribution_views import others_than

_BAR = 24
"""Characters of the longest bar."""


def print_contributions(found: Contributions, k: int, console: Console | None = None) -> None:
    """Prints the k largest parts, the largest first, all others as one, and the neurons that were asked for."""
    console = console or Console()
    what = " less ".join(f"the logit of {visible(text)}" for text in found.targets)
    said = f"What adds to {what}: {found.model}, position {found.position} ({visible(found.token)})"
    console.print(Text(printable(said)), soft_wrap=True)
    rows = [*found.ranked(k), *(Contribution(name, "", "", value) for name, value in others_than(found, k))]
    console.print(_table("part", [*rows, Contribution("sum", "", "", found.logit)], len(rows)))
    if found.neurons:
        console.print(_table("neuron", found.neurons, len(found.neurons)))
        console.print(Text("The parts of the MLPs include what neurons add.", style="dim"), soft_wrap=True)
    for note in found.notes:
        console.print(Text(printable(note), style="dim"), soft_wrap=True)


def _table(called: str, rows: Sequence[Contribution], with_bars: int) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(called, style="cyan", no_wrap=True)
    table.add_column("adds", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    largest = max((abs(each.value) for each in rows[:with_bars]), default=0.0) or 1.0
    for place, each in enumerate(rows):
        length = round(_BAR * abs(each.value) / largest) if place < with_bars else 0
        bar = Text("█" * length, style="blue" if each.value >= 0 else "red")
        table.add_row(Text(printable(each.part)), f"{each.value:+.3f}", bar)
    return table
