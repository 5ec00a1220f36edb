"""Several prompts -> their streams, as many at once as memory and their lengths allow."""

import inspect
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from bauklens.errors import LensError
from bauklens.model.anatomy import Anatomy
from bauklens.model.sublayers import Sublayers
from bauklens.model.tracing import state_of
from bauklens.stream.states import Edit, Stream, require_finite, trace_stream, trace_streams

_STATE_BYTES = 256 << 20
"""Of the hidden states of one batch."""

_LONGER = 1.25
"""How much longer than its shortest prompt a batch's longest may be, and a few tokens more."""


def traced(
    model: nn.Module,
    anatomy: Anatomy,
    prompts: Sequence[torch.Tensor],
    *,
    sublayers: Sublayers | None = None,
    edit_output: Edit | None = None,
    blocks: int | None = None,
) -> Iterator[tuple[int, Stream | LensError]]:
    """Runs prompts, those of about the same length together, shortest first.

    One after another where a batch could matter: where a hook or ``edit_output`` of the caller may look for a batch of
    one, where states are not (position, hidden), and where sublayers are wanted.

    Args:
        prompts: (1, position) each.
        sublayers, edit_output, blocks: as for :func:`bauklens.stream.states.trace_stream`.

    Yields:
        (number of the prompt, its stream), or the error that it met; not in order.
    """
    hooked = any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    together = anatomy.plain and not hooked and sublayers is None and edit_output is None
    together = together and "attention_mask" in inspect.signature(model.forward).parameters
    groups = _groups(anatomy, prompts) if together else [[number] for number in range(len(prompts))]
    while groups:
        group = groups.pop(0)
        try:
            if len(group) > 1:
                streams = trace_streams(model, anatomy, [prompts[number][0] for number in group], blocks=blocks)
                yield from ((number, _finite(each, anatomy)) for number, each in zip(group, streams, strict=True))
                continue
            (number,) = group
            options = {"sublayers": sublayers, "edit_output": edit_output, "blocks": blocks}
            yield number, trace_stream(model, anatomy, prompts[number], **options)  # type: ignore[arg-type]
        except LensError as error:
            if len(group) == 1:
                yield group[0], error
            else:  # memory ran out
                middle = len(group) // 2
                groups = [group[:middle], group[middle:], *groups]


def _finite(stream: Stream, anatomy: Anatomy) -> Stream | LensError:
    try:
        require_finite(stream.states, anatomy)
    except LensError as error:
        return error
    return stream


def _groups(anatomy: Anatomy, prompts: Sequence[torch.Tensor]) -> list[list[int]]:
    """Numbers of the prompts to run together."""
    state = state_of(anatomy.block_output, anatomy.parts)
    most = _STATE_BYTES // ((1 + len(anatomy.blocks)) * anatomy.width * state.element_size())
    groups: list[list[int]] = []
    for number in sorted(range(len(prompts)), key=lambda number: prompts[number].shape[1]):
        length = prompts[number].shape[1]
        last = groups[-1] if groups else []
        fits = last and (len(last) + 1) * length <= most and length <= _LONGER * prompts[last[0]].shape[1] + 4
        if fits:
            last.append(number)
        else:
            groups.append([number])
    return groups
