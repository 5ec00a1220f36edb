"""LensResult -> a rich table of one position: layers down, the most probable tokens across."""

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from bauklens.errors import LensError
from bauklens.result import LensResult
from bauklens.tokens import visible


def position_table(result: LensResult, position: int) -> Table:
    """The most probable tokens of every layer at one position of the prompt.

    Args:
        position: where in the prompt; it must be one of ``result.positions``.

    Raises:
        LensError: the result does not hold that position.
    """
    found = (result.positions == position).nonzero()[0]
    if not found.size:
        raise LensError(f"the result holds no position {position}; it holds {result.positions.tolist()}")
    column = int(found[0])
    table = Table(
        title=Text(f"{result.model}, {result.stream}, position {position}: {visible(result.tokens[column])}"),
        caption=Text(
            f"check: last block against the model's own logits, {result.check['max_abs_logit_difference']:.2g}"
        ),
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("layer", justify="right", style="cyan", min_width=5, no_wrap=True)
    for rank in range(result.topk):
        table.add_column(f"top {rank + 1}", no_wrap=True, max_width=24)
    for row, layer in enumerate(result.layers):
        table.add_row(layer, *(_cell(result, row, column, rank) for rank in range(result.topk)))
    return table


def _cell(result: LensResult, row: int, column: int, rank: int) -> Text:
    probability = float(result.top_probs[row, column, rank])
    style = "bold" if probability >= 0.5 else "dim" if probability < 0.05 else ""
    text = visible(result.vocabulary[int(result.top_ids[row, column, rank])])
    return Text(f"{probability:.3f} {text}", style=style, overflow="ellipsis")
