"""Finds the fastest way to decode states that can be proved on a prompt's first positions."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from bauklens.errors import LensError
from bauklens.model.block_output import state_of
from bauklens.model.forward import Call
from bauklens.model.head_shard import HeadShard, shard_of
from bauklens.model.inputs import Inputs
from bauklens.model.layout import Layout
from bauklens.model.path import require_chain, require_dependence, require_places
from bauklens.model.post_ops import PostOps, find_post_ops, is_readable, probe_logits
from bauklens.model.proof import NotProvedError, allowed_difference, prove
from bauklens.model.read_position import is_told_apart, position_read, read_position
from bauklens.model.tail import Tail, replaying

_ROWS = 4
"""How many rows of a table a way is tried on, including the input of block 0 and the last row."""

Decode = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""States (layer, position, hidden) and their positions, as a :class:`Tail` takes them -> logits."""


class Decoding(NamedTuple):
    """A way that is proved; see :class:`bauklens.model.anatomy.Anatomy`."""

    whole: bool
    post_ops: PostOps | None
    proof: float
    proved_on: int
    reads: str = ""
    shards: PostOps | None = None


def prove_decoding(
    model: nn.Module,
    layout: Layout,
    inputs: Inputs,
    calls: list[Call],
    own: torch.Tensor,
    *,
    norm: str | None,
    hooked: bool,
    in_place: bool,
) -> Decoding:
    """The fastest way that gives some rows the same logits as an early exit of the model.

    In an early exit, the remaining blocks pass on their input unchanged. Here all positions of a state are decoded at
    once, as the model itself does it. The ways are: the product with the head's weights, and the steps that are known
    to follow it; the model's own forward, replayed for any rows; or replayed for one layer at a time, at all positions.
    The first two must give the same result for any rows that are decoded together, in any order.

    Args:
        inputs, calls, own: what was run, the run, recorded with copies, and its logits.
        norm: the module that the caller named to apply between a state and the head.
        hooked: whether all positions have to be decoded at once.
        in_place: as for :func:`bauklens.model.guard.evaluating`.

    Raises:
        NotProvedError: the logits do not depend on the blocks, or the last row's logits are not the model's own.
        LensError: the norm does not fit the model's states.
    """
    count, whole = inputs.count, hooked or not layout.plain
    rows = _some_rows(layout, calls)
    if not rows[-1].isfinite().all() or own.isnan().any():
        return Decoding(whole, None, math.nan, count)
    if norm is not None and not layout.plain:
        raise LensError(
            f"norm={norm!r} needs states of shape (position, hidden), but those of {layout.model_class} have another "
            "shape"
        )
    require_chain(model, layout, inputs, calls)
    everywhere = torch.arange(count, device="cpu")
    with replaying(model, layout, inputs, through=norm, whole=True, in_place=in_place) as tail:
        exits = torch.cat([tail(row[None], everywhere).clone() for row in rows])  # the memory may be reused

        proof = prove(layout, exits[-1:], own, rows.dtype)
        require_dependence(layout, tail, rows[-1:], exits[-1:])
        if not layout.plain:
            require_places(layout, tail, rows[-1:], exits[-1:])
    if whole:
        return Decoding(True, None, proof, count)
    head, shards = model.get_submodule(layout.head), None
    shard = shard_of(head, layout.vocabulary)
    if is_readable(head) or shard is not None:
        with replaying(model, layout, inputs, through=norm, to_head=True, in_place=in_place) as tail:
            post_ops = _after_head(tail, rows[-1:], everywhere)  # one row finds it, the others prove it
            if post_ops is not None and _is_alike(
                layout, _product(tail, post_ops, layout.vocabulary, shard), rows, exits, everywhere
            ):
                if shard is None:
                    return Decoding(False, post_ops, proof, count)
                shards = post_ops
    with replaying(model, layout, inputs, through=norm, in_place=in_place) as tail:
        whole = not _is_alike(layout, tail, rows, exits, everywhere)
    return Decoding(whole, None, proof, count, shards=None if whole else shards)


def prove_single(
    model: nn.Module,
    layout: Layout,
    inputs: Inputs,
    calls: list[Call],
    own: torch.Tensor,
    *,
    norm: str | None,
    hooked: bool,
    in_place: bool,
) -> Decoding:
    """Like :func:`prove_decoding`, for a model that returns the logits of only one position.

    They must depend on the state there and on no other. Each position is then read like this one, as a prompt of its
    own. The exits are those of this one position.

    Raises:
        NotProvedError: as there; or the logits depend on the states of several positions.
    """
    if hooked or not layout.plain:
        raise NotProvedError(
            f"{layout.model_class} returns the logits of one position only, and the others cannot be read like it: "
            + ("modules outside of its blocks have hooks; remove them" if hooked else "it has no state for each")
        )
    rows = _some_rows(layout, calls)
    if not rows[-1].isfinite().all() or own.isnan().any():
        return Decoding(False, None, math.nan, inputs.count, "last")
    require_chain(model, layout, inputs, calls)
    anywhere = torch.tensor([0], device="cpu")
    with replaying(model, layout, inputs, through=norm, in_place=in_place) as tail:
        exits = torch.stack([tail.exit(row[None], anywhere).clone() for row in rows])  # (row, 1, vocabulary)
        proof = prove(layout, exits[-1:], own, rows.dtype)
        reads = read_position(model, layout, inputs, tail, rows[-1])
    there = torch.tensor([position_read(model, inputs, reads)], device="cpu")
    proved_on = inputs.count if is_told_apart(model, inputs) else 1  # another prompt may show that it is the other way
    if is_readable(model.get_submodule(layout.head)):
        with replaying(model, layout, inputs, through=norm, to_head=True, in_place=in_place) as tail:
            post_ops = _after_head(tail, rows[:, there], there)
            if post_ops is not None:
                decode = _product(tail, post_ops, layout.vocabulary)
                if _is_alike(layout, decode, rows[:, there], exits, there):
                    return Decoding(False, post_ops, proof, proved_on, reads)
    with replaying(model, layout, inputs, through=norm, in_place=in_place) as tail:
        prove(layout, tail(rows[:, there], there), exits, rows.dtype)
    return Decoding(False, None, proof, proved_on, reads)


def _some_rows(layout: Layout, calls: list[Call]) -> torch.Tensor:
    """The input of block 0 and the outputs of some blocks, with the last, (row, position, hidden) or (row, ...).

    Those that are not finite are left out, except for the last.
    """
    members = set(layout.blocks)
    ran = [call for call in calls if call.name in members]
    given = ran[0].inputs[layout.takes[0]] if len(ran[0].inputs) > layout.takes[0] else None
    numbers = sorted({max(0, len(ran) * place // (_ROWS - 1) - 1) for place in range(1, _ROWS)})
    states = [state_of(ran[number].result, layout.parts) for number in numbers]
    states = [given, *states] if layout.plain and given is not None else states
    states = [*(each for each in states[:-1] if each.isfinite().all()), states[-1]]
    found = torch.stack([each.to(states[-1].device) for each in states])
    return found[:, 0] if layout.plain else found


def _after_head(tail: Tail, states: torch.Tensor, positions: torch.Tensor) -> PostOps | None:
    """The steps after the head; None if they are more than a function of each single logit."""
    try:
        logits = tail.head(tail.head_inputs(states, positions))
        return find_post_ops(
            probe_logits(logits), lambda given: tail(states, positions, head=lambda _: given), logits.dtype
        )
    except (LensError, RuntimeError, IndexError, TypeError, ValueError, AttributeError, KeyError):
        return None  # its forward looks into its logits


def _product(tail: Tail, post_ops: PostOps, vocabulary: int, shard: HeadShard | None = None) -> Decode:
    def decode(states: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        if shard is not None:
            return shard.whole(post_ops(shard(tail.head_inputs(states, positions))))
        logits: torch.Tensor = post_ops(tail.head(tail.head_inputs(states, positions)))[..., :vocabulary]
        return logits

    return decode


def _is_alike(layout: Layout, decode: Decode, rows: torch.Tensor, exits: torch.Tensor, positions: torch.Tensor) -> bool:
    """Whether rows are decoded to the same logits together, in another order without some of them, and one by one.

    Args:
        rows: (row, position, hidden).
        exits: (row, position, vocabulary), the expected logits.
        positions: (position,) int64, their places in the prompt.
    """
    some = torch.arange(len(positions), device="cpu").flip(0)[::2]
    alone = positions.repeat(len(rows))
    allowed = allowed_difference(exits.float(), rows.dtype)

    def compare(decoded: torch.Tensor, exits: torch.Tensor, allowed: torch.Tensor) -> None:
        prove(layout, decoded, exits, rows.dtype, allowed=allowed)

    try:
        compare(decode(rows, positions), exits, allowed)
        compare(decode(rows[:, some], positions[some]), exits[:, some], allowed[:, some])
        compare(decode(rows.flatten(0, 1)[:, None], alone[:, None])[:, 0], exits.flatten(0, 1), allowed.flatten())
    except (NotProvedError, RuntimeError, IndexError, TypeError, ValueError, AttributeError, KeyError):
        return False
    return True
