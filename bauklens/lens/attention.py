"""What a cell attends to: the attention weights of one cell, or of all cells of a lens."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from bauklens.arguments import chosen_layers, chosen_positions
from bauklens.decode.unembed import Rows
from bauklens.errors import LensError
from bauklens.model.anatomy import Anatomy
from bauklens.model.encoding import Prompt, encode
from bauklens.model.in_hand import in_hand
from bauklens.model.inputs import Inputs
from bauklens.model.resolving import resolve
from bauklens.model.together import together
from bauklens.result.attended import BUDGET, Attended
from bauklens.result.attention import Attention, attention_of
from bauklens.result.tokens import token_texts
from bauklens.row_labels import block_of
from bauklens.stream.acting import Acting
from bauklens.stream.attending import watch_attention
from bauklens.stream.kept import are_alike
from bauklens.stream.run import Run
from bauklens.stream.states import trace_stream
from bauklens.stream.tracing import Tracing

HEADS = "heads"
"""Keeps each head, not only their mean."""


@together
def attention(
    model: nn.Module,
    tokenizer: Any,
    prompt: Prompt,
    layer: int | str,
    position: int = -1,
    head: int | None = None,
    *,
    results: str = "first",  # noqa: ARG001 - read by together()
) -> Attention:
    """The positions of a prompt that the attention of one block reads from, at one position.

    The prompt runs up to that block with eager attention, the only implementation that returns its weights. It is
    switched on for this run only; the model and its configuration stay as they are. A run without it verifies that the
    states are the same, up to rounding. Weights show which positions a head reads from, not what it reads there, nor
    whether that matters; :func:`bauklens.trace_effect` tests that.

    Args:
        model: as for :func:`bauklens.logit_lens`.
        tokenizer: its tokenizer; may be None if the prompt is ids.
        prompt: a string, a list of token ids, or a 1-D tensor of them.
        layer: the number or label of a block; negative numbers count from the last.
        position: the position that attends; negative ones count from the last.
        head: the number of the head whose weights are in ``weights``; None means the mean over heads.
        results: for a model spread over several ranks, which of them get the result: ``"first"`` or ``"all"``.

    Returns:
        The weights of all positions, and those of each head (``by_head``).

    Raises:
        LensError: as for :func:`bauklens.logit_lens`; or the model returns no attention weights, or its states differ
            with eager attention.
    """
    model, tokenizer = in_hand(model, tokenizer)
    inputs = encode(model, tokenizer, prompt)
    anatomy = resolve(model, inputs)
    (number, *others) = chosen_layers(anatomy.labels, layer, anatomy.idle)
    (column, *more) = chosen_positions(inputs.count, position)
    if others or more:
        raise LensError("attention() takes one layer and one position: use logit_lens(..., attention=True) for more")
    found: list[np.ndarray] = []
    state = watch_attention(
        model, anatomy, inputs, [number], lambda _, weights: found.append(weights[:, column].float().cpu().numpy())
    )
    own = trace_stream(model, anatomy, inputs, Tracing(blocks=number + 1)).states[-1]
    _require_alike(anatomy, own, state)
    label, tokens = anatomy.labels[number], _texts(tokenizer, inputs)
    return attention_of(label, column, head, tokens, found[0].mean(axis=0), found[0])


def attended(run: Run, rows: Sequence[Rows], wanted: bool | str, acting: Acting | None, results: int) -> Attended:
    """The attention weights of all cells of a run's tables.

    Args:
        rows: the rows of its tables, which have the same positions.
        wanted: True or ``"heads"``.
        acting: edits that act in the run.
        results: how many results share the budget of bytes.

    Raises:
        LensError: the model returns no attention weights; they would take too much memory; or the states with eager
            attention are not those of the run.
    """
    anatomy, columns = run.anatomy, list(rows[0].positions)
    labels = {block_of(label) for each in rows for label in each.labels}
    blocks = [number for number, label in enumerate(anatomy.labels) if label in labels]
    if not blocks:
        raise LensError("none of these rows is a block, so none has attention: leave out attention=")
    kept: dict[int, np.ndarray] = {}
    heads: dict[int, int] = {}
    room = _Room(len(blocks) * len(columns) * run.inputs.count, results)

    def keep(number: int, weights: torch.Tensor) -> None:
        own = weights[:, columns].float()
        heads[number] = len(own)
        room.require(len(own) if wanted == HEADS else 1)
        kept[number] = (own if wanted == HEADS else own.mean(dim=0, keepdim=True)).half().cpu().numpy()

    state = watch_attention(run.model, anatomy, run.inputs, blocks, keep, acting)
    _require_alike(anatomy, run.stream.states[blocks[-1] + 1], state)
    most = max(map(len, kept.values()))
    weights = np.zeros((len(kept), most, len(columns), run.inputs.count), np.float16)
    for place, number in enumerate(sorted(kept)):
        weights[place, : len(kept[number])] = kept[number]
    return Attended(
        tuple(anatomy.labels[number] for number in sorted(kept)),
        np.array([heads[number] for number in sorted(kept)]),
        _texts(run.tokenizer, run.inputs),
        weights,
        wanted == HEADS,
    )


def _require_alike(anatomy: Anatomy, own: torch.Tensor, eager: torch.Tensor) -> None:
    """Rejects weights of a run whose states are not those of the unchanged model; states are (position, hidden)."""
    if not are_alike(own[None], eager[None].to(own)):
        raise LensError(
            f"with eager attention the states of {anatomy.model_class} differ from those without it by more than "
            "rounding, so the weights are not those of the unchanged model: load it with attn_implementation='eager'"
        )


class _Room:
    """The memory for the weights of one result.

    Args:
        cells: blocks times positions times sources.
        results: how many results share it.
    """

    def __init__(self, cells: int, results: int) -> None:
        self._cells, self._most = cells, BUDGET // max(1, results)

    def require(self, heads: int) -> None:
        """Refuses more than there is room for."""
        size = 2 * self._cells * heads
        if size > self._most:
            raise LensError(
                f"the attention weights would take {size >> 20:,} MB, but only {self._most >> 20:,} MB are free: "
                f"pass fewer layers= or positions={', or attention=True for the mean over heads' if heads > 1 else ''}"
            )


def _texts(tokenizer: Any, inputs: Inputs) -> tuple[str, ...]:
    ids = inputs.ids[0].tolist()
    texts = token_texts(tokenizer, ids)
    return tuple(texts[each] for each in ids)
