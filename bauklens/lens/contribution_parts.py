"""The parts whose sum is a model's last state: the embedding, heads, attentions, MLPs, or whole blocks."""

from collections.abc import Iterator
from typing import NamedTuple

import torch

from bauklens.errors import LensError
from bauklens.model.anatomy import Anatomy
from bauklens.model.heads import HeadOutputs
from bauklens.stream.stream import Stream
from bauklens.vocabulary import EMBED


class Part(NamedTuple):
    """States that are decoded together.

    Attributes:
        named: (row,), name, kind and layer.
        states: (row, hidden).
        blocks: how many blocks are done with it.
    """

    named: list[tuple[str, str, str]]
    states: torch.Tensor
    blocks: int = 0


def parts_of(anatomy: Anatomy, stream: Stream, column: int) -> Iterator[Part]:
    """All parts of the last block's output at one position, block by block."""
    yield Part([(EMBED, "embed", "")], stream.states[0, None, column])
    for row, label in enumerate(anatomy.labels):
        if row in stream.given:  # what the model does between blocks
            between = stream.given[row][column] - stream.states[row, column]
            yield Part([(f"before {label}", "between", label)], between[None])
        if stream.written is None:
            yield Part([(label, "block", label)], stream.deltas[row, None, column], 1)
            continue
        attention, heads = stream.written.attention[row], stream.heads[row] if stream.heads else None
        if heads is None:
            yield Part([(f"{label}.attention", "attention", label)], attention[None, column])
        else:
            yield _by_head(label, heads, attention, column)
        yield Part([(f"{label}.mlp", "mlp", label)], stream.written.mlp[row, None, column], 1)


def _by_head(label: str, heads: HeadOutputs, attention: torch.Tensor, column: int) -> Part:
    """What the heads of an attention write."""
    parts = heads.all_of([column])
    if not heads.add_up_to(attention, [column], parts):
        raise LensError(f"the heads of layer {label} do not add up to what its attention writes at position {column}")
    named = [(f"{label}.h{head}", "head", label) for head in range(heads.heads.count)]
    named += [(f"{label}.bias", "bias", label)] if heads.heads.biased else []
    return Part(named, parts[: len(named), 0].to(attention))
