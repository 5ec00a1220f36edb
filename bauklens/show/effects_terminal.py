"""Effects as a table for a terminal."""

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bauklens.result.effects import Effects
from bauklens.result.tokens import printable
from bauklens.show.effects_table import column_names, ends, moved, readable, row_called, share_text, what_was_done

_WIDEST = 24
_UNBOUNDED = 10_000
_NARROWEST = len("-0.00")


def print_effects(effects: Effects, console: Console | None = None) -> None:
    """Prints the share of every layer and position; on a narrow terminal, of the positions with the largest effects."""
    effects, console = readable(effects), console or Console()
    if not console.is_terminal:
        console = Console(file=console.file, width=_UNBOUNDED)
    changes, names = moved(effects), column_names(effects)
    columns = _that_fit(names, np.abs(changes).max(axis=0), console.width)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(row_called(effects), justify="right", style="cyan", no_wrap=True)
    for column in columns:
        head = Text.assemble((f"{effects.positions[column]}\n", "dim"), printable(names[column]))
        table.add_column(head, justify="right", no_wrap=True, max_width=_WIDEST)
    for row, layer in enumerate(effects.layers):
        cells = [Text(share_text(effects.share[row, column]), style=_style(changes[row, column])) for column in columns]
        table.add_row(Text(printable(layer)), *cells)
    console.print(Text(printable(f"{what_was_done(effects)}: {effects.model}")), soft_wrap=True)
    console.print(
        Text(printable(f"0 is the corrupted prompt, 1 the clean one, by the {effects.measured}")), soft_wrap=True
    )
    for end in ends(effects):
        console.print(Text(end), soft_wrap=True)
    console.print(table)
    if len(columns) < len(names):
        said = f"{len(columns)} of {len(names)} positions, those with the largest effects; --csv - prints all"
        console.print(Text(said, style="dim"))
    for note in effects.notes:
        console.print(Text(printable(note), style="dim"), soft_wrap=True)


def _style(change: float) -> str:
    return "bold" if abs(change) >= 0.5 else "dim" if abs(change) < 0.05 else ""


def _that_fit(names: list[str], sizes: np.ndarray, width: int) -> list[int]:
    """The columns with the largest effects, as many as there is room for, in their order."""
    room = width - len("layer ")
    chosen: list[int] = []
    for column in np.argsort(-sizes, kind="stable").tolist():
        room -= max(_NARROWEST, min(_WIDEST, cell_len(names[column]))) + 1
        if room < 0 and chosen:
            break
        chosen.append(column)
    return sorted(chosen)
