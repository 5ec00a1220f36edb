"""Chooses the tokens to track: those that a reader is likely to ask for, known in every cell from the ordinary pass."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from bauklens.decode.exits import OwnLogits
from bauklens.decode.reading import Reading, Values
from bauklens.decode.readout import Exact
from bauklens.decode.tiles import Some, Tile, in_tiles

NEAR = 16
"""How many tokens of each row at the last column count as near the top."""


@dataclass(frozen=True)
class Tracking:
    """What to track.

    Attributes:
        most: the most tokens; 0 for none.
        wanted: ids of tokens that come first.
        text: ids of the tokens of the text.
        shared: ids of tokens that other lenses track too, the most important first.
    """

    most: int = 0
    wanted: Sequence[int] = ()
    text: Sequence[int] = ()
    shared: Sequence[int] = ()

    def tokens(self, vocabulary: int, own: torch.Tensor | None, last: torch.Tensor | None) -> tuple[int, ...]:
        """The ids of the tokens to track, the most important first.

        The order is: tokens that are wanted; what the model itself says at the last column, and the top tokens of other
        layers there; what the model says at the other columns; the text; shared tokens; tokens near the top at the last
        column, the nearest first; and the rest of what the model says.

        Args:
            own: (column, k), the model's own top tokens, if they are known.
            last: (layer, any), the top tokens of the other rows at the last column, if they are known.
        """
        if vocabulary <= self.most:
            return tuple(range(vocabulary))
        own_ids = [] if own is None else own.tolist()
        last_ids = [] if last is None else last.tolist()
        leaders = [top[0] for top in reversed(own_ids)]
        in_order: list[Iterable[int]] = [
            self.wanted,
            own_ids[-1] if own_ids else (),
            [top[0] for top in reversed(last_ids)],
            leaders,
            reversed(self.text),
            self.shared,
            *zip(*reversed(last_ids), strict=True),
            *reversed(own_ids),
        ]
        found = dict.fromkeys(token for each in in_order for token in each if 0 <= token < vocabulary)
        return tuple(found)[: self.most]


def tracked_only(reading: Reading, tokens: Sequence[int], logits: torch.Tensor) -> Values:
    """The results of tracked tokens, from logits (row, vocabulary) that are available."""
    found = reading.only_tracked(tokens).of(logits, torch.arange(len(logits), device="cpu"))
    return {name: value for name, value in found.items() if name.startswith("tracked_")}


def own_tracked(reading: Reading, says: OwnLogits, columns: int, limit: int) -> Values:
    """The same for the model itself, at every column."""
    everything = Tile(range(1), range(columns))

    def read(tile: Some) -> Values:
        assert isinstance(tile, Tile)
        return tracked_only(reading, reading.tracked, says.at(tile.positions).logits)

    parts = [part for _, part in in_tiles([everything], read, limit=limit)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def column_first(
    exact: Exact, column: Tile, reading: Reading, tracking: Tracking, own: torch.Tensor | None, limit: int
) -> tuple[Values | None, tuple[int, ...]]:
    """Reads the last column and chooses the tokens to track from the top tokens there.

    Args:
        column: the rows of the last column that have not been read yet.
        own: as for :meth:`Tracking.tokens`.
        limit: rows to decode at once; with more rows, or if memory runs out, the tokens are chosen without them.

    Returns:
        The results, including tracked tokens, or None; and the tokens.
    """
    vocabulary = exact.unembed.anatomy.vocabulary
    without = tracking.tokens(vocabulary, own, None)
    if exact.unembed.anatomy.whole or not 0 < column.count <= limit:
        return None, without

    def read(tile: Some) -> tuple[Values, tuple[int, ...]] | None:
        if tile.count < column.count:
            return None
        inputs, logits = exact.logits(tile)
        values = reading.of(logits, exact.unembed.columns(tile), inputs)
        nearest = reading.nearest(logits, min(vocabulary, max(reading.topk, NEAR)))
        tokens = tracking.tokens(vocabulary, own, nearest)
        return values | tracked_only(reading, tokens, logits), tokens

    (_, found), *_ = in_tiles([column], read, limit=limit)
    return (None, without) if found is None else found
