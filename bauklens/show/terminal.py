"""LensResult -> a table of one position for a terminal: layers down, the most probable tokens across."""

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bauklens.errors import LensError
from bauklens.result.columns import column_name
from bauklens.result.comparison import Comparison
from bauklens.result.notes import joint_notes
from bauklens.result.result import LensResult
from bauklens.result.targets import SET, target_names
from bauklens.result.tokens import printable, visible
from bauklens.show.nouns import noun, spelling
from bauklens.show.numbers import readable_probability
from bauklens.show.sources import source_of

_WIDEST = 24
_UNBOUNDED = 10_000

_RANKS = (1, 5, 10)

_EDITED = "▌"
"""The mark of an edited row, as in the viewer."""


def print_position(result: LensResult, position: int, console: Console | None = None) -> None:
    """Prints the most probable tokens of every layer at one position of the prompt.

    On a terminal, as many columns as fit are printed, with a line that tells so; to a pipe or file, all of them.

    Args:
        position: a position in the prompt, one of ``result.positions``.

    Raises:
        LensError: the result does not have that position.
    """
    found = (result.positions == position).nonzero()[0]
    if not found.size:
        raise LensError(f"the result has no position {position}; it has {result.positions.tolist()}")
    column = int(found[0])
    console = console or Console()
    if not console.is_terminal:
        console = Console(file=console.file, width=_UNBOUNDED)
    ranks = [[_cell(result, row, column, rank) for row in range(len(result.layers))] for rank in range(result.topk)]
    shown = _how_many_fit(ranks, console.width)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("layer", justify="right", style="cyan", min_width=5, no_wrap=True)
    for rank in range(shown):
        table.add_column(f"top {rank + 1}", no_wrap=True, max_width=_WIDEST)
    for layer, *cells in zip(result.layers, *ranks[:shown], strict=True):
        table.add_row(Text(printable(_marked(result, layer, column))), *cells)
    generated = ", generated" if result.generated[column] else ""
    called = f"{result.stream} through the {result.decoder_called}" if result.decoder_called else result.stream
    of_what = printable(f"{result.model}, {called}, position {position}{generated}")
    console.print(Text(f"{of_what}: {column_name(result, column)}"), soft_wrap=True)
    _print_source(result, console)
    console.print(table)
    if shown < result.topk:
        console.print(
            Text(f"top {shown} of {result.topk}, all that fit this terminal; --json - prints all", style="dim")
        )
    if result.edited_cells[:, column].any():
        console.print(Text(f"{_EDITED} edited here", style="dim"))
    if result.targets:
        console.print(_targets(result, column))
    _print_notes([("", result)], console)
    for said in filter(None, (result.checked, result.mapped, result.decoded, *(each.note for each in result.targets))):
        console.print(Text(printable(said), style="dim"))


def _print_source(result: LensResult, console: Console) -> None:
    source = source_of(result)
    if source:
        console.print(Text(f"source: {source}"), soft_wrap=True)


def _print_notes(named: Iterable[tuple[str, LensResult]], console: Console) -> None:
    for whose, note in joint_notes(named):
        console.print(Text(printable(f"{whose}: {note}" if whose else note)))


def _targets(result: LensResult, column: int) -> Table:
    """The probability and rank of every target, one row per layer."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("layer", justify="right", style="cyan", min_width=5, no_wrap=True)
    for name in target_names(result.targets, spelling(result)):
        table.add_column(Text(name), no_wrap=True, max_width=_WIDEST)
    for row, layer in enumerate(result.layers):
        cells = []
        for target in result.targets:
            rank = target.rank[row, column]
            place = "" if rank != rank else f", rank {rank:,.0f}"  # a whole word has no rank
            cells.append(f"{readable_probability(float(target.probability[row, column]))}{place}")
        table.add_row(Text(printable(_marked(result, layer))), *cells)
    return table


def print_decoders(results: Sequence[LensResult], position: int, console: Console | None = None) -> None:
    """Prints the most probable token of every layer through each of several decoders, at one position of the prompt.

    If tokens are followed, it also prints the layer at which each first reaches rank 1, 5 and 10 under each decoder.
    """
    console = console or Console()
    if not console.is_terminal:
        console = Console(file=console.file, width=_UNBOUNDED)
    layers = joined_layers([result.layers for result in results])
    columns = [result.column_of(position) for result in results]
    names = [printable(result.decoder) for result in results]
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("layer", justify="right", style="cyan", min_width=5, no_wrap=True)
    for name in names:
        table.add_column(Text(name), no_wrap=True, max_width=_WIDEST)
    for layer in layers:
        cells = [
            _cell(result, result.layers.index(layer), column, 0, mark=layer in result.unmapped)
            if layer in result.layers
            else Text("")
            for result, column in zip(results, columns, strict=True)
        ]
        table.add_row(Text(printable(layer)), *cells)
    first = results[0]
    about = f"{first.model}, {first.stream}, position {position}"
    console.print(Text(f"{printable(about)}: {column_name(first, columns[0])}"), soft_wrap=True)
    _print_source(first, console)
    console.print(table)
    if any(target.part != "whole" for target in first.targets):
        console.print(_first_layers(results, names, position))
    _print_notes(zip(names, results, strict=True), console)
    for name, result in zip(names, results, strict=True):
        said = " ".join(filter(None, (result.checked, result.mapped, result.decoded)))
        console.print(Text(f"{name}: {printable(said)}", style="dim"))
    for note in dict.fromkeys(target.note for target in first.targets if target.note):
        console.print(Text(printable(note), style="dim"))


def joined_layers(several: Sequence[Sequence[str]]) -> list[str]:
    """The layers of all tables, each once, in order; if no table has two of them together, the lower comes first.

    >>> joined_layers([["embed", "2", "5"], ["0", "1", "5"]])
    ['embed', '0', '1', '2', '5']
    """
    left, joined = [list(each) for each in several if each], []
    while left:
        first = [each[0] for each in left]
        free = [layer for layer in first if not any(layer in each[1:] for each in left)] or first
        layer = min(free, key=lambda each: int(each) if each.isdecimal() else -1)
        joined.append(layer)
        left = [rest for each in left if (rest := [other for other in each if other != layer])]
    return joined


def _first_layers(results: Sequence[LensResult], names: Sequence[str], position: int) -> Table:
    """The layer at which every target first reaches a rank, under each decoder."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("first layer at which", no_wrap=True, max_width=_WIDEST)
    table.add_column("through")
    for rank in _RANKS:
        table.add_column(f"is the top {noun(results[0])}" if rank == 1 else f"is in the top {rank}", justify="right")
    called = target_names(results[0].targets, spelling(results[0]))
    for text, target in zip(called, results[0].targets, strict=True):
        if target.part == "whole":
            continue
        for name, result in zip(names, results, strict=True):
            which = target.text if target.part == SET else target.token_ids
            layers = (result.first_layer(which, rank=rank, position=position) for rank in _RANKS)
            table.add_row(
                Text(text), Text(name), *(Text(layer or "never", style="" if layer else "dim") for layer in layers)
            )
    return table


def print_comparison(comparison: Comparison, position: int = -1, console: Console | None = None) -> None:
    """Prints the most probable token of both lenses at one position, one row per layer.

    Raises:
        LensError: the position is not in the table.
    """
    console = console or Console()
    if not console.is_terminal:
        console = Console(file=console.file, width=_UNBOUNDED)
    column = comparison.one.column_of(position)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("layer", justify="right", style="cyan", min_width=5, no_wrap=True)
    for name in comparison.short_names:
        table.add_column(Text(visible(name)), no_wrap=True, max_width=_WIDEST)
    for name in comparison.measures:
        table.add_column(name, justify="right")
    for row, layer in enumerate(comparison.one.layers):
        lenses = (comparison.one, comparison.other)
        tops = [_cell(lens, row, column, 0, mark=layer in lens.unmapped) for lens in lenses]
        values = (f"{value[row, column]:.3g}" for value in comparison.measures.values())
        table.add_row(Text(printable(layer)), *tops, *values)
    console.print(table)
    _print_notes(zip(comparison.short_names, (comparison.one, comparison.other), strict=True), console)
    for name, lens in zip(comparison.short_names, (comparison.one, comparison.other), strict=True):
        said = " ".join(filter(None, (lens.checked, lens.mapped)))
        console.print(Text(f"{printable(name)}: {printable(said)}", style="dim"))


def _how_many_fit(ranks: list[list[Text]], width: int) -> int:
    """The columns that fit in a width next to the layers; at least one."""
    room = width - len(" layer ")
    shown = 0
    for cells in ranks:
        room -= min(_WIDEST, max(cell_len(cell.plain) for cell in cells)) + 2
        shown += room >= 0
    return max(1, shown)


def _marked(result: LensResult, layer: str, column: int | None = None) -> str:
    """A layer's label, with the marks of a row that the decoder has no map for, and of one edited at a column."""
    edited = column is not None and result.edited_cells[result.layers.index(layer), column]
    return f"{_EDITED if edited else ''}{layer}{'*' if layer in result.unmapped else ''}"


def _cell(result: LensResult, row: int, column: int, rank: int, *, mark: bool = False) -> Text:
    probability = float(result.top_probs[row, column, rank])
    style = "bold" if probability >= 0.5 else "dim" if probability < 0.05 else ""
    text = spelling(result)(result.vocabulary[int(result.top_ids[row, column, rank])])
    shown = f"{readable_probability(probability)}{'*' if mark else ''} {text}"
    return Text(shown, style=style, overflow="ellipsis")
