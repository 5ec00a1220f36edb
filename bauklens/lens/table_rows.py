"""The rows of a table: their names, which of them are asked for, and their states."""

from collections.abc import Iterable, Sequence

from bauklens.arguments import Layers, Positions, chosen_layers, chosen_positions
from bauklens.decode.decoder import Basis
from bauklens.decode.unembed import Rows
from bauklens.errors import LensError
from bauklens.lens.how import How
from bauklens.model.anatomy import Anatomy
from bauklens.model.heads import Heads
from bauklens.row_labels import block_of
from bauklens.stream.heads import HeadStates, head_places
from bauklens.stream.run import Run
from bauklens.vocabulary import EMBED

EachHeads = Sequence[Heads | str] | None
"""(layer,), the heads of every block or why it has none; None if they are not asked for."""


def labels(anatomy: Anatomy, stream: str, heads: EachHeads = None) -> list[str]:
    """What the rows of a stream are called."""
    if stream == "heads":
        return list(head_places(anatomy.labels, heads or ()))
    return [EMBED, *anatomy.labels] if stream == "hidden" else list(anatomy.labels)


def chosen_rows(anatomy: Anatomy, named: Sequence[str], layers: Layers) -> list[int]:
    """Places of the rows that are asked for.

    Raises:
        LensError: a row does not exist, or the heads of a block that is asked for cannot be told apart.
    """
    blocks = {block_of(label) for label in named}
    if layers is None or blocks <= set(named):
        return chosen_layers(named, layers, anatomy.idle)
    each_wanted = [layers] if isinstance(layers, (str, int)) or not isinstance(layers, Iterable) else list(layers)
    found = []
    for each in each_wanted:
        if str(each) not in named and block_of(str(each)) == str(each):
            (block,) = chosen_layers(anatomy.labels, each, anatomy.idle)
            each = anatomy.labels[block]
            if each not in blocks:
                raise LensError(f"the heads of layer {each} cannot be told apart: pass stream='attention'")
        found.append(each)
    return chosen_layers(named, found)


def mapped_rows(anatomy: Anatomy, named: Sequence[str], layers: Layers, how: How) -> list[int]:
    """Places of the rows that are asked for, and that a decoder has a map for or that are shown anyway.

    Raises:
        LensError: there is none.
    """
    chosen, basis = chosen_rows(anatomy, named, layers), Basis(how.way.decoder, anatomy)
    rows = [row for row in chosen if how.missing == "plain" or basis.covers(named[row])]
    if not rows:
        raise LensError(
            f"the decoder {how.way.decoder.name!r} has no map for {', '.join(named[row] for row in chosen)}: pass "
            "missing='plain' to see these rows as they are"
        )
    return rows


def rows_of(run: Run, stream: str, layers: Layers, positions: Positions, how: How, heads: EachHeads = None) -> Rows:
    """Some rows of a stream of a run, without those that the decoder has no map for, if these are to be left out.

    Raises:
        LensError: what heads write does not add up to what their attention writes.
    """
    named = labels(run.anatomy, stream, heads)
    rows, columns = mapped_rows(run.anatomy, named, layers, how), chosen_positions(run.inputs.count, positions)
    chosen = [named[row] for row in rows]
    if stream == "heads":
        places = head_places(run.anatomy.labels, heads or ())
        of_heads = HeadStates(run.stream, [places[label] for label in chosen])
        of_heads.require_sums(run.anatomy.labels, columns)
        return Rows(stream, of_heads, chosen, columns)
    if run.stream.passing is not None:
        return Rows(stream, run.stream.passing.rows(rows), chosen, columns)
    states = run.stream.named(stream)
    return Rows(stream, states if len(rows) == len(named) and layers is None else states[rows], chosen, columns)


def blocks_needed(anatomy: Anatomy, streams: Sequence[str], layers: Layers, heads: EachHeads) -> int | None:
    """How many blocks the rows need; None if that is all, or if only a whole run can be followed."""
    if layers is None or not anatomy.plain or len(set(anatomy.blocks)) < len(anatomy.blocks):
        return None
    last = 0
    for name in streams:
        named = labels(anatomy, name, heads)
        blocks = [block_of(named[row]) for row in chosen_rows(anatomy, named, layers)]
        last = max(last, *(0 if block == EMBED else 1 + anatomy.labels.index(block) for block in blocks))
    return max(1, last) if last < len(anatomy.blocks) else None
