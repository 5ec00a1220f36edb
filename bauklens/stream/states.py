"""The residual stream of prompts: hidden states and deltas from one forward pass under TraceDict."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from bauklens.model.anatomy import Anatomy
from bauklens.model.encoding import Prompt, encode
from bauklens.model.in_hand import in_hand
from bauklens.model.inputs import Inputs
from bauklens.model.resolving import resolve
from bauklens.model.sublayers import written
from bauklens.stream.head_call import HeadCall
from bauklens.stream.passes import forward_pass
from bauklens.stream.passing import are_passed_on, passing_stream
from bauklens.stream.stream import Stream, require_finite
from bauklens.stream.tracing import Passed, Tracing


@dataclass(frozen=True)
class Batch:
    """The results of one forward pass of several prompts.

    Attributes:
        streams: the stream of each prompt.
        inputs: the prompts end to end, each padded to the length of the longest, as if they were one.
        whole: the stream of that, with the logits of the same last positions of each; None if logits that are wanted
            were not kept, or states have another shape.
    """

    streams: list[Stream]
    inputs: Inputs
    whole: Stream | None

    def starts(self) -> list[int]:
        """(prompt,), the position in the whole at which each begins."""
        return list(range(0, self.inputs.count, self.inputs.count // len(self.streams)))


def trace_streams(
    model: nn.Module, anatomy: Anatomy, prompts: Sequence[Inputs], tracing: Tracing | None = None
) -> list[Stream]:
    """The streams of several prompts; see :func:`trace_batch`."""
    return trace_batch(model, anatomy, prompts, tracing).streams


def trace_batch(model: nn.Module, anatomy: Anatomy, prompts: Sequence[Inputs], tracing: Tracing | None = None) -> Batch:
    """Runs prompts through a model at once, and keeps the stream before block 0 and after every block.

    Several prompts are padded on the right, where no position attends. This needs a model whose states are
    (position, hidden), without hooks outside of its blocks, and no sublayers.

    Args:
        model: the model that ``anatomy`` was found in.
        prompts: one prompt each.

    Raises:
        LensError: states differ in shape, or memory runs out. States that are NaN or infinite are refused by
            :func:`require_finite`.
    """
    tracing = tracing or Tracing()
    if len(prompts) == 1 and are_passed_on(anatomy, prompts[0], tracing):
        return Batch([passing_stream(model, anatomy, prompts[0], tracing)], prompts[0], None)
    lengths = [prompt.count for prompt in prompts]
    longest = max(lengths)
    inputs, options = _batch(prompts, lengths)
    passed, wanted = forward_pass(model, anatomy, inputs, tracing, lengths, options)
    kept, logits, head, sums, heads, shard = passed
    states = kept.whole()
    if not anatomy.plain:
        only = Stream(states, None if logits is None else logits[0], given=kept.given, shard=shard)
        return Batch([only], inputs, None)
    sublayers = None if tracing.sublayers is None else tracing.sublayers.first(tracing.blocks)
    streams = []
    for place, length in enumerate(lengths):
        own = states[:, place, :length]  # (1 + layer, position, hidden)
        own_logits = own_head = None
        if logits is not None:
            those = place, slice(logits.shape[1] - longest + length)
            own_logits, own_head = logits[those], None if head is None else head.of(those)
        wrote = None if sublayers is None else written(sublayers, sums, own)
        given = {block: state[place, :length] for block, state in kept.given.items()}
        streams.append(Stream(own, own_logits, own_head, wrote, heads, given, shard))
    end_to_end = replace(inputs, ids=inputs.ids.flatten()[None])
    return Batch(streams, end_to_end, _as_one(states, passed, wanted))


def _as_one(states: torch.Tensor, passed: Passed, wanted: int) -> Stream | None:
    """The stream of a batch as if it were one long prompt, without a copy; None if some logits are missing."""
    logits, head = passed.logits, passed.head
    if logits is not None and logits.shape[1] < wanted:
        return None
    flat = {block: state.flatten(0, 1) for block, state in passed.kept.given.items()}
    call = None if head is None else HeadCall(head.inputs.flatten(0, 1), head.checksums.flatten(0, 1))
    flat_logits = None if logits is None else logits.flatten(0, 1)
    return Stream(states.flatten(1, 2), flat_logits, call, given=flat, shard=passed.shard)


def trace_stream(model: nn.Module, anatomy: Anatomy, inputs: Inputs, tracing: Tracing | None = None) -> Stream:
    """One prompt's stream; like :func:`trace_streams`, but refuses a state that is NaN or infinite."""
    (stream,) = trace_streams(model, anatomy, [inputs], tracing)
    require_finite(stream.states, anatomy)
    return stream


def get_hidden_states(model: nn.Module, tokenizer: Any, prompt: Prompt) -> torch.Tensor:
    """The output of every block.

    Args:
        model: any causal language model from transformers.
        tokenizer: its tokenizer; may be None if the prompt is token ids.
        prompt: a string, a list of token ids, or a 1-D tensor of them.

    Returns:
        (layer, 1, position, hidden), in the model's dtype: layer i is the stream after block i. For the few models
        whose states have another shape: (layer, *shape).

    Raises:
        LensError: see :func:`bauklens.logit_lens`.
    """
    return _as_handed_over(model, tokenizer, prompt, lambda stream: stream.states[1:], Tracing(positions=-1))


def get_hidden_state_deltas(model: nn.Module, tokenizer: Any, prompt: Prompt) -> torch.Tensor:
    """What every block adds to the stream: its output minus its input.

    The input of block 0 is the output of the embedding dropout (``transformer.drop`` in GPT-2 and GPT-J). In models
    without that module, the input of block 0 is taken directly.

    Args:
        model: a causal language model.
        tokenizer: its tokenizer, or None if the prompt is token ids.
        prompt: a string, or token ids.

    Returns:
        As for :func:`get_hidden_states`.

    Raises:
        LensError: see :func:`bauklens.logit_lens`.
    """
    return _as_handed_over(model, tokenizer, prompt, lambda stream: stream.deltas, Tracing(True, positions=-1))


def _as_handed_over(
    model: nn.Module,
    tokenizer: Any,
    prompt: Prompt,
    part: Callable[[Stream], torch.Tensor],
    tracing: Tracing,
) -> torch.Tensor:
    """A part of a prompt's stream, with the batch axis of the model's states."""
    model, tokenizer = in_hand(model, tokenizer)
    inputs = encode(model, tokenizer, prompt)
    anatomy = resolve(model, inputs)
    states = part(trace_stream(model, anatomy, inputs, tracing))
    return states[:, None] if anatomy.plain else states


def _batch(prompts: Sequence[Inputs], lengths: Sequence[int]) -> tuple[Inputs, dict[str, Any]]:
    """Prompts as one batch, padded with their last token, and the mask that leaves the padding out."""
    if len(prompts) == 1:
        return prompts[0], {}
    longest = max(lengths)
    rows = [prompt.ids[0] for prompt in prompts]
    padded = torch.stack([torch.cat([row, row[-1:].expand(longest - len(row))]) for row in rows])
    if min(lengths) == longest:
        return Inputs(padded), {}
    places = torch.arange(longest, device=padded.device)
    mask = (places < torch.tensor(lengths, device=padded.device)[:, None]).long()
    return Inputs(padded), {"attention_mask": mask}
