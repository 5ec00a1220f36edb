"""decode(): states -> the results that are read from their logits, one tile of rows at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

import torch

from bauklens.decode.check import Check, OwnDifferences, compared_cells, compared_layers, own_difference
from bauklens.decode.decoder import LOGIT_LENS, Basis, Decoder
from bauklens.decode.exits import OwnLogits, own_positions
from bauklens.decode.low_head import TOLERANCE
from bauklens.decode.low_precision import LowPrecision, low_precision
from bauklens.decode.of_states import OfStates
from bauklens.decode.own_row import Own, own_of
from bauklens.decode.reading import Reading, Values
from bauklens.decode.readout import Exact, Readout
from bauklens.decode.sharded import InShards, ShardedReading
from bauklens.decode.table import Table
from bauklens.decode.tiles import Scattered, Tile, beside, in_tiles
from bauklens.decode.tracking import Tracking, column_first, own_tracked
from bauklens.decode.unembed import Rows, Unembed
from bauklens.model.head_shard import HeadShard, shard_of
from bauklens.model.inputs import context_length
from bauklens.model.proof import prove
from bauklens.model.tail import Tail, replaying
from bauklens.progress import bar
from bauklens.result.agreement import agreement, overlap
from bauklens.result.measures import MEASURES
from bauklens.signals import unbroken
from bauklens.stream.run import Run

_LOGIT_BYTES = 128 << 20
"""Size of one tile's logits in float32; about one such tensor exists at a time."""


@dataclass(frozen=True)
class Way:
    """How states become logits.

    Attributes:
        norm: as for :func:`bauklens.model.tail.replaying`.
        precision: ``"exact"``, the model's own; ``"auto"``, int8 or bfloat16 if that is faster, for the rows that are
            certain (:mod:`bauklens.decode.low_head`).
        chunk_rows: most rows to decode at once; by default as many as make 128 MiB of logits. If memory runs out, it is
            halved and decoding continues. A whole state is decoded at once.
        decoder: maps states to the final basis.
    """

    norm: str | None = "own"
    precision: str = "auto"
    chunk_rows: int | None = None
    decoder: Decoder = LOGIT_LENS


@dataclass(frozen=True)
class Decoded:
    """The decoded rows.

    Attributes:
        values: the results, (layer, position, ...), on the CPU: ``top_ids``, ``top_probs``, ``magnitude``, every
            measure that was requested, and ``target_logits``, ``target_probs`` and ``target_ranks`` if tokens were
            followed.
        precision: the dtype of the logits: the model's own; or "int8" or "bfloat16", if the best of them were scored
            again in the model's own.
        redone: the number of rows that were not certain, and were decoded again in the model's own dtype.
        check: what was compared with the model itself.
        tracked: the ids of the tokens that were tracked; then ``values`` has ``tracked_logs`` and ``tracked_ranks``,
            (layer, position, token), and ``tracked_sure``, (layer, position).
    """

    values: Values
    precision: str
    redone: int
    check: Check
    tracked: tuple[int, ...] = ()


def decode(run: Run, rows: Rows, reading: Reading, way: Way | None = None, tracking: Tracking | None = None) -> Decoded:
    """Decodes states and reads results from their logits.

    Args:
        run: the run that the states come from.
        reading: what to read; its reference is computed here, and the tokens to track are chosen.

    Raises:
        NotProvedError: the decoded result is not what the model says.
        LensError: logits are NaN or infinite, or memory runs out for a single row.
    """
    (found,) = decode_parts(run, rows, reading, way, [rows.everything.positions], tracking)
    return found


def decode_parts(
    run: Run,
    rows: Rows,
    reading: Reading,
    way: Way | None,
    parts: Sequence[range],
    tracking: Tracking | None = None,
) -> list[Decoded]:
    """Decodes the states of several prompts that ran together, like :func:`decode`.

    Args:
        parts: the columns of each prompt, one after another.

    Returns:
        The results and the check of each prompt.
    """
    way, tracking = way or Way(), tracking or Tracking()
    smallest = len(rows.positions) if run.anatomy.whole else 1
    shard = _shard(run)
    tokens = run.anatomy.vocabulary if shard is None else shard.most
    limit = smallest if run.anatomy.whole else way.chunk_rows or max(1, _LOGIT_BYTES // (4 * tokens))
    reading = reading if shard is None else ShardedReading(**vars(reading), shard=shard)
    needs_own = any(MEASURES[name].final for name in reading.measures)
    says = OwnLogits(run, rows.positions, shard) if run.stream.logits is not None else None
    own_row, own = _own_row(run, rows, way), None
    offset = _constant_logits(run, rows, way) if way.norm == "final" else None  # left out, so that rows add up
    with unembedding(run, rows, way) as unembed, bar("Decoding", "row", total=rows.everything.count) as rows_done:
        exact = Exact(unembed, offset) if shard is None else InShards(unembed, offset)
        may_round = way.precision == "auto" and offset is None and shard is None
        low = cache(partial(low_precision, exact, rows.everything, reading) if may_round else lambda: None)

        def weigh(probabilities: torch.Tensor) -> torch.Tensor:
            return (low() or exact).mean_weights(probabilities)

        table, compared = Table(rows, rows_done), None
        if own_row is not None and says is not None and not (run.anatomy.single or run.anatomy.whole):
            compared = OwnDifferences(unembed, own_row, parts)
        if says is not None and (needs_own or own_row is not None):
            compare = None if compared is None else compared.add
            show = None if own_row is None else partial(table.show, own_row)
            own = own_of(says, unembed, reading, offset, beside(limit), weigh, compare, show)
            reading = replace(reading, reference=own.reference) if needs_own else reading
        of_states = OfStates(run, rows, reading.measures)
        tiles = [rows.everything] if own_row is None or own is None else rows.everything.without_layer(own_row)
        if run.together > 1:
            tiles = [piece for tile in tiles for piece in tile.pieces(_most_at_once(run))]
        if tracking.most:
            reading, tiles = _tracking(table, exact, reading, tiles, tracking, own, limit)
        if own is not None and own_row is not None and says is not None:
            values = own.values
            if reading.tracked:
                values = values | own_tracked(reading, says, len(rows.positions), beside(limit))
            table.keep(rows.everything.layer(own_row), values)
        readout: Readout = low() or exact
        redone: list[torch.Tensor] = []

        def read(layers: range) -> None:
            of_states.read(layers)
            own_tiles = [tile for tile in (each.of_layers(layers) for each in tiles) if tile.layers]
            redone.append(_fill(table, readout, exact, reading, own_tiles, limit))

        rows.read(tiles, limit, read, compared_layers(run, rows))
        values = table.values() | of_states.values()
        promised = 0.0 if readout is exact else TOLERANCE
        checks = compared_cells(run, unembed, offset, values, promised, parts, max(1, limit // 4))
    if says is not None:
        differences = _differences_of_last(run, rows, parts, limit) if compared is None else compared.each
        only = own_positions(run)[0] if run.anatomy.single else None
        checks = [
            replace(check, positions=len(part) if only is None else 1, logits=difference, only=only)
            for check, part, difference in zip(checks, parts, differences, strict=True)
        ]
    values = _with_own(values, own if needs_own else None)
    precision = readout.precision or ("" if own is None else own.precision)  # if there is only the model's own row
    columns = torch.cat(redone) % len(rows.positions)
    return [
        Decoded(
            {name: value[:, part.start : part.stop] for name, value in values.items()},
            precision,
            int(((columns >= part.start) & (columns < part.stop)).sum()),
            check,
            tuple(reading.tracked),
        )
        for part, check in zip(parts, checks, strict=True)
    ]


@unbroken
def unembedding(run: Run, rows: Rows, way: Way) -> Iterator[Unembed]:
    """The way from rows to their logits; the model's blocks are bypassed while this lasts."""
    anatomy = run.anatomy
    reduces = Basis(way.decoder, anatomy).reduces
    with replaying(
        run.model,
        anatomy,
        run.inputs,
        norm=way.norm,
        final=run.final,
        through=anatomy.norm,
        whole=anatomy.whole,
        to_head=(anatomy.post_ops is not None and not anatomy.whole) or reduces,
        in_place=anatomy.in_place,
        shard=_shard(run),
    ) as tail:
        if reduces:
            _require_reduction(tail, run)
        yield Unembed(tail, anatomy, rows, run.length, way.decoder)


def _shard(run: Run) -> HeadShard | None:
    """The part of the head that this rank holds, if the run is decoded in shards."""
    anatomy = run.anatomy
    if anatomy.shards is None or anatomy.post_ops is None:
        return None
    return shard_of(run.model.get_submodule(anatomy.head), anatomy.vocabulary)


def _require_reduction(tail: Tail, run: Run) -> None:
    """Proves that the final norm's input determines the logits, so that a decoder may replace it."""
    everywhere = torch.arange(run.inputs.count, device="cpu")
    final = run.final[None]
    found = tail.after_reduction(tail.reduced(final), final, everywhere)
    prove(run.anatomy, found[0], tail(final, everywhere)[0], final.dtype)


def _tracking(
    table: Table,
    exact: Exact,
    reading: Reading,
    tiles: list[Tile],
    tracking: Tracking,
    own: Own | None,
    limit: int,
) -> tuple[Reading, list[Tile]]:
    """The reading with the tokens to track, and the tiles that are left if the last column was read to choose them."""
    tops = None if own is None else own.values["top_ids"]
    if len(tiles) != 1:
        return replace(reading, tracked=tracking.tokens(exact.unembed.anatomy.vocabulary, tops, None)), tiles
    (tile,), last = tiles, len(exact.unembed.rows.positions) - 1
    values, tokens = column_first(exact, tile.column(last), reading, tracking, tops, limit)
    if values is not None:
        table.keep(tile.column(last), values)
        tiles = [Tile(tile.layers, tile.positions[:last])] if last else []
    return replace(reading, tracked=tokens), tiles


def _fill(
    table: Table, readout: Readout, exact: Exact, reading: Reading, tiles: list[Tile], limit: int
) -> torch.Tensor:
    """Reads tiles, and then reads the rows that are not certain again, exactly; returns their numbers, (row,)."""
    rows, whole = exact.unembed.rows, exact.unembed.anatomy.whole
    smallest = len(rows.positions) if whole else 1
    what = f"on {rows.states.device} for the logits of a single {'layer' if whole else 'row'}"
    read = partial(readout.read, reading=reading)
    uncertain = [torch.empty(0, dtype=torch.int64, device="cpu")]
    for tile, (values, certain) in in_tiles(tiles, read, limit=limit, smallest=smallest, what=what):
        uncertain.append(table.keep(tile, values, certain))
    again = Scattered(torch.cat(uncertain))
    if isinstance(readout, LowPrecision):
        readout.note(again.count, sum(tile.count for tile in tiles))
    read = partial(exact.read, reading=reading)
    for some, (values, _) in in_tiles([again] if again.count else [], read, limit=beside(limit), what=what):
        table.keep(some, values)
    return again.rows


def _most_at_once(run: Run) -> int:
    """How many positions the model can certainly take at once."""
    return max(run.length, context_length(run.model) or 0)


def _own_row(run: Run, rows: Rows, way: Way) -> int | None:
    """Which of the rows is what the model itself says, if any."""
    last = run.anatomy.labels[-1]
    is_own = rows.stream == "hidden" and way.norm == "own"
    return rows.labels.index(last) if is_own and last in rows.labels else None


def _differences_of_last(run: Run, rows: Rows, parts: Sequence[range], limit: int) -> list[float]:
    """Like :func:`bauklens.decode.check.own_difference` for each part, with the last block outside of the table."""
    positions = list(own_positions(run)) if run.anatomy.single else rows.positions
    last = Rows("hidden", run.final[None], [run.anatomy.labels[-1]], positions)
    columns = [last.everything.positions] if run.anatomy.single else parts
    with unembedding(run, last, Way()) as unembed:
        own = OwnLogits(run, positions, unembed.shard)
        return [own_difference(unembed, Tile(range(1), each), own, beside(limit)) for each in columns]


def _constant_logits(run: Run, rows: Rows, way: Way) -> torch.Tensor | None:
    with unembedding(run, rows, way) as unembed:
        return unembed.constant_logits()


def _with_own(values: Values, own: Own | None) -> Values:
    """The options with a function that shows top tokens, and those of the model itself."""
    if own is None:
        return values
    ids, own_ids = values["top_ids"].numpy(), own.values["top_ids"].cpu().numpy()
    return values | {
        "agreement": torch.from_numpy(agreement(ids, own_ids)),
        "overlap": torch.from_numpy(overlap(ids, own_ids)),
    }
