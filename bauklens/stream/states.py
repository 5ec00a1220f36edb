"""The residual stream of prompts: one forward pass under TraceDict, and the hidden states and deltas it leaves."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from bauklens.arguments import chosen_positions
from bauklens.errors import NotFiniteError
from bauklens.model.anatomy import Anatomy
from bauklens.model.encoding import Prompt, encode
from bauklens.model.forward import last_logits_only
from bauklens.model.head_shard import HeadShard
from bauklens.model.heads import HeadOutputs
from bauklens.model.in_hand import in_hand
from bauklens.model.inputs import Inputs
from bauklens.model.memory import explaining_out_of_memory, free_memory, out_of_memory
from bauklens.model.resolving import resolve
from bauklens.model.run_errors import naming_what_it_needs
from bauklens.model.sublayers import Written, written
from bauklens.stream.head_call import HeadCall
from bauklens.stream.tracing import Passed, Tracing, run_traced
from bauklens.vocabulary import EMBED

LOGIT_BYTES = 512 << 20
"""Of the model's own logits that are kept of several prompts that run together, at most, in float32."""

ALONE_BYTES = 128 << 20
"""Of those of one prompt, at most. More are computed again, a few at a time, when they are looked at."""


@dataclass(frozen=True)
class Stream:
    """What one forward pass left of a prompt.

    Attributes:
        states: (1 + layer, position, hidden), the input of block 0 and then the output of every block that ran, in the
            model's dtype, on the device of the last block's output. If the model's states are not
            (1, position, hidden), they are here in their own shape: (1 + layer, ...).
        logits: (position, vocabulary), the model's own, at all positions or at the last ones, if no others are wanted
            or they would take too much memory; at one, if the model returns no others; None if the pass ended before
            them.
        head: the head's call at the same positions, if its logits are the model's.
        written: what the sublayers wrote, if that was asked for.
        heads: (layer,), what each head of a block's attention wrote, if that was asked for, and if it has heads that
            can be told apart.
        given: number of a block in the run -> its input, if inputs were asked for, and if it is not the output of the
            block before, as the model works between blocks.
        shard: the part of the head whose tokens the logits are of, if each of several ranks has some.
    """

    states: torch.Tensor
    logits: torch.Tensor | None
    head: HeadCall | None = None
    written: Written | None = None
    heads: tuple[HeadOutputs | None, ...] = ()
    given: Mapping[int, torch.Tensor] = field(default_factory=lambda: MappingProxyType({}))
    shard: HeadShard | None = None

    def named(self, name: str) -> torch.Tensor:
        """``"hidden"``, ``"delta"``, or one of what the sublayers wrote: ``"attention"``, ``"mid"``, ``"mlp"``."""
        if name in ("hidden", "delta"):
            return self.states if name == "hidden" else self.deltas
        assert self.written is not None
        return {"attention": self.written.attention, "mid": self.written.mid, "mlp": self.written.mlp}[name]

    @property
    def deltas(self) -> torch.Tensor:
        """(layer, position, hidden) or (layer, ...), each block's output minus its input."""
        deltas = self.states.diff(dim=0)
        for block, state in self.given.items():
            deltas[block] = self.states[block + 1] - state
        return deltas


@dataclass(frozen=True)
class Batch:
    """What one forward pass left of several prompts.

    Attributes:
        streams: those of each prompt.
        inputs: the prompts end to end, each padded to the length of the longest, as if they were one.
        whole: the stream of that, with the logits of the same last positions of each; None if logits that are wanted
            were not kept, or states are of another shape.
    """

    streams: list[Stream]
    inputs: Inputs
    whole: Stream | None

    def starts(self) -> list[int]:
        """(prompt,), where each begins in the whole."""
        return list(range(0, self.inputs.count, self.inputs.count // len(self.streams)))


def trace_streams(
    model: nn.Module, anatomy: Anatomy, prompts: Sequence[Inputs], tracing: Tracing | None = None
) -> list[Stream]:
    """The streams of several prompts; as :func:`trace_batch`."""
    return trace_batch(model, anatomy, prompts, tracing).streams


def trace_batch(model: nn.Module, anatomy: Anatomy, prompts: Sequence[Inputs], tracing: Tracing | None = None) -> Batch:
    """Runs prompts through a model at once, and keeps the stream before block 0 and after every block.

    Several are padded on the right, where no position looks; that takes a model whose states are (position, hidden),
    without hooks outside of its blocks, and no sublayers.

    Args:
        model: the model that ``anatomy`` was found in.
        prompts: one prompt each.

    Raises:
        LensError: states differ in shape; or memory runs out. A state that is NaN or infinite is for
            :func:`require_finite` to refuse.
    """
    tracing = tracing or Tracing()
    lengths = [prompt.count for prompt in prompts]
    longest = max(lengths)
    inputs, options = _batch(prompts, lengths)
    firsts = [min(chosen_positions(length, tracing.positions)) for length in lengths]
    wanted, least = longest - min(firsts), longest - min(lengths) + 1  # logits at so many of the last positions
    few = {} if anatomy.hooked else last_logits_only(model, least)
    enough = last_logits_only(model, wanted) if few and wanted < longest else {}
    named = naming_what_it_needs(model, inputs) if tracing.edit_output is None else nullcontext()
    with explaining_out_of_memory(inputs.ids.numel()), named:
        gathers = anatomy.shards is not None and not tracing.in_shards
        most = most_with_logits(anatomy, len(prompts))
        if few and (gathers or len(prompts) * wanted > most):
            passed = run_traced(model, anatomy, inputs, tracing, options | few)
        else:
            try:
                passed = run_traced(model, anatomy, inputs, tracing, options | enough)
            except (RuntimeError, MemoryError) as error:
                if not few or not out_of_memory(error):
                    raise
                free_memory(error)
                passed = run_traced(model, anatomy, inputs, tracing, options | few)
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
    """The stream of a batch as of one long prompt, without a copy; None if logits of some positions are missing."""
    logits, head = passed.logits, passed.head
    if logits is not None and logits.shape[1] < wanted:
        return None
    flat = {block: state.flatten(0, 1) for block, state in passed.kept.given.items()}
    call = None if head is None else HeadCall(head.inputs.flatten(0, 1), head.checksums.flatten(0, 1))
    flat_logits = None if logits is None else logits.flatten(0, 1)
    return Stream(states.flatten(1, 2), flat_logits, call, given=flat, shard=passed.shard)


def trace_stream(model: nn.Module, anatomy: Anatomy, inputs: Inputs, tracing: Tracing | None = None) -> Stream:
    """One prompt's stream; as :func:`trace_streams`, and refuses a state that is NaN or infinite."""
    (stream,) = trace_streams(model, anatomy, [inputs], tracing)
    require_finite(stream.states, anatomy)
    return stream


def get_hidden_states(model: nn.Module, tokenizer: Any, prompt: Prompt) -> torch.Tensor:
    """The output of every block.

    Args:
        model: any causal language model of transformers.
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

    The input of block 0 is the output of the embedding dropout (``transformer.drop`` in GPT-2 and GPT-J); in models
    without one it is the input of block 0 itself.

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


def most_with_logits(anatomy: Anatomy, prompts: int = 2) -> int:
    """The most positions whose logits are kept of one forward pass, of so many prompts."""
    return max(1, (ALONE_BYTES if prompts == 1 else LOGIT_BYTES) // (4 * anatomy.vocabulary))


def require_finite(states: torch.Tensor, anatomy: Anatomy) -> None:
    """Names the first place at which a state (1 + layer, ...) is NaN or infinite.

    Raises:
        NotFiniteError: there is one.
    """
    if states.sum(dtype=torch.float32).isfinite():  # a pass without memory; a sum that overflows is looked at again
        return
    names = (EMBED, *(f"layer {label}" for label in anatomy.labels))
    bad = ~states.isfinite().all(dim=-1)  # (1 + layer, position), or more axes
    if bad.any():
        row, *place = bad.nonzero()[0].tolist()
        position = place[0] if len(place) == 1 else tuple(place)
        overflow = " (float16 overflows at 65,504: load the model with dtype='bfloat16' or 'float32')"
        raise NotFiniteError(
            f"the hidden state of {names[row]} at position {position} contains NaN or infinity"
            + (overflow if states.dtype == torch.float16 else "")
        )


def _as_handed_over(
    model: nn.Module,
    tokenizer: Any,
    prompt: Prompt,
    part: Callable[[Stream], torch.Tensor],
    tracing: Tracing,
) -> torch.Tensor:
    """A part of a prompt's stream with the batch axis that the model's states have."""
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
