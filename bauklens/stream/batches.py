"""Runs several prompts for their streams, as many at once as memory and their lengths allow."""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from bauklens.errors import LensError
from bauklens.model.anatomy import Anatomy
from bauklens.model.block_output import state_of
from bauklens.model.guard import is_hooked
from bauklens.model.inputs import Inputs
from bauklens.stream.kept import are_alike
from bauklens.stream.passes import most_with_logits
from bauklens.stream.states import Batch, trace_batch, trace_streams
from bauklens.stream.stream import Stream, require_finite
from bauklens.stream.tracing import Tracing

_STATE_BYTES = 256 << 20
"""The most bytes of the hidden states of one batch."""

_LONGER = 1.25
"""How much longer the longest prompt of a batch may be than the shortest, plus a few tokens."""


@dataclass(frozen=True)
class Traced:
    """Some prompts that ran together, or one that ran by itself.

    Attributes:
        numbers: the numbers of the prompts.
        streams: the stream of each, or the error that it raised.
        batch: the result of the forward pass, if several prompts ran together without an error.
    """

    numbers: Sequence[int]
    streams: Sequence[Stream | LensError]
    batch: Batch | None = None


def traced(
    model: nn.Module, anatomy: Anatomy, prompts: Sequence[Inputs], tracing: Tracing
) -> Iterator[tuple[int, Stream | LensError]]:
    """Runs prompts, as :func:`traced_together`.

    Yields:
        (number of the prompt, its stream), or the error that it raised; not in order.
    """
    for each in traced_together(model, anatomy, prompts, tracing):
        yield from zip(each.numbers, each.streams, strict=True)


def traced_together(
    model: nn.Module, anatomy: Anatomy, prompts: Sequence[Inputs], tracing: Tracing
) -> Iterator[Traced]:
    """Runs prompts, those of about the same length together, shortest first.

    They run one by one if a batch could change the result: if a hook or ``edit_output`` of the caller may expect a
    batch of one, if states are not (position, hidden), if a prompt is more than its ids, or if sublayers are wanted.
    The last prompt of a batch is also run by itself; if its states differ, the prompts run one by one too. It is the
    shortest, so it has the most padding, and it is the first to be left out by experts with a limit of tokens.

    Args:
        prompts: one prompt each.
    """
    hooked = is_hooked(model)
    together = anatomy.plain and not hooked and tracing.sublayers is None and tracing.edit_output is None
    together = together and tracing.acting is None and tracing.keep_states is not False
    together = together and not anatomy.single and not any(each.extra for each in prompts)
    together = together and "attention_mask" in inspect.signature(model.forward).parameters
    groups = _groups(anatomy, prompts) if together else [[number] for number in range(len(prompts))]
    while groups:
        group = groups.pop(0)
        try:
            batch = trace_batch(model, anatomy, [prompts[number] for number in group], tracing)
            if len(group) > 1:
                (alone,) = trace_streams(model, anatomy, [prompts[group[-1]]], tracing)
                if not are_alike(alone.states, batch.streams[-1].states):
                    groups = [[number] for each in (group, *groups) for number in each]
                    continue
            found = [_finite(each, anatomy) for each in batch.streams]
            ran = len(group) > 1 and not any(isinstance(each, LensError) for each in found)
            yield Traced(group, found, batch if ran else None)
        except LensError as error:
            if len(group) == 1:
                yield Traced(group, [error])
            else:  # memory ran out
                middle = len(group) // 2
                groups = [group[:middle], group[middle:], *groups]


def _finite(stream: Stream, anatomy: Anatomy) -> Stream | LensError:
    try:
        require_finite(stream.states, anatomy)
    except LensError as error:
        return error
    return stream


def _groups(anatomy: Anatomy, prompts: Sequence[Inputs]) -> list[list[int]]:
    """Numbers of the prompts to run together, the longest of them first."""
    state = state_of(anatomy.block_output, anatomy.parts)
    most = _STATE_BYTES // ((1 + len(anatomy.blocks)) * anatomy.width * state.element_size())
    most = min(most, most_with_logits(anatomy))
    groups: list[list[int]] = []
    for number in sorted(range(len(prompts)), key=lambda number: prompts[number].count):
        length = prompts[number].count
        last = groups[-1] if groups else []
        fits = last and (len(last) + 1) * length <= most and length <= _LONGER * prompts[last[0]].count + 4
        if fits:
            last.append(number)
        else:
            groups.append([number])
    return [group[::-1] for group in groups]
