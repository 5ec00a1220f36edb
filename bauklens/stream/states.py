"""The residual stream of a prompt: one forward pass under TraceDict, and the hidden states and deltas it leaves."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from bauklens.errors import LensError
from bauklens.model.anatomy import Anatomy, resolve
from bauklens.model.forward import model_logits, naming_want_of_memory, tensors_in
from bauklens.model.inputs import Prompt, encode
from bauklens.model.sublayers import Sublayers, Written, written
from bauklens.model.tracing import TraceDict, evaluating, state_of
from bauklens.model.unwrap import unwrapped

Edit = Callable[[Any, str], Any]
"""``fn(output, layer)``: what a block returns and its name -> what the model goes on with."""

EMBED = "embed"
"""The row before block 0."""


@dataclass(frozen=True)
class Stream:
    """What one forward pass left.

    Attributes:
        states: (1 + layer, position, hidden), the input of block 0 and then the output of every block that ran, in the
            model's dtype, on the device of the last block's output. Where the model's states are not
            (1, position, hidden), they stand here in their own shape: (1 + layer, ...).
        last_logits: (vocabulary,), the model's own at the last position; None where the pass ended before them.
        written: what the sublayers wrote, where that was asked for.
    """

    states: torch.Tensor
    last_logits: torch.Tensor | None
    written: Written | None = None

    def named(self, name: str) -> torch.Tensor:
        """``"hidden"``, ``"delta"``, or one of what the sublayers wrote: ``"attention"``, ``"mid"``, ``"mlp"``."""
        if name in ("hidden", "delta"):
            return self.states if name == "hidden" else self.deltas
        assert self.written is not None
        return {"attention": self.written.attention, "mid": self.written.mid, "mlp": self.written.mlp}[name]

    @property
    def deltas(self) -> torch.Tensor:
        """(layer, position, hidden) or (layer, ...), each block's output minus its input."""
        return self.states.diff(dim=0)


def trace_stream(
    model: nn.Module,
    anatomy: Anatomy,
    token_ids: torch.Tensor,
    *,
    sublayers: Sublayers | None = None,
    edit_output: Edit | None = None,
    blocks: int | None = None,
) -> Stream:
    """Runs a prompt through a model once, and keeps the stream before block 0 and after every block.

    Args:
        model: the model that ``anatomy`` was found in.
        token_ids: (1, position).
        sublayers: those of every block, where what they write is wanted too.
        edit_output: ``fn(output, layer)``, called with what each block returns and the block's name; what it returns is
            what the model goes on with (None: the output as it is).
        blocks: how many are needed: the pass ends after them; None runs all, and to the logits.

    Raises:
        LensError: states differ in shape, or one holds NaN or infinity; or memory runs out.
    """
    stop = blocks is not None
    wanted = anatomy.blocks[:blocks]
    sublayers = sublayers.first(blocks) if sublayers and stop else sublayers
    kept = _Kept((EMBED, *wanted), anatomy, token_ids.shape[1])
    outputs: dict[str, torch.Tensor] = {}

    def keep(output: Any, layer: str) -> Any:
        if layer not in wanted:
            outputs[layer] = state_of(output).detach().clone()
            return output
        edited = edit_output(output, layer) if edit_output is not None else None
        if edited is not None:
            _require_alike(state_of(output, anatomy.parts), state_of(edited, anatomy.parts), layer)
            output = edited
        kept.add(state_of(output, anatomy.parts))
        return output

    logits = None
    options = {"retain_output": False, "edit_output": keep, "stop": stop}
    with (
        naming_want_of_memory(token_ids.shape[1]),
        evaluating(model),
        _keeping_input(model.get_submodule(anatomy.blocks[0]), anatomy.takes, kept),
        TraceDict(model, [*(sublayers.names if sublayers else ()), *wanted], **options),
    ):
        logits = model_logits(model, token_ids, **({} if anatomy.hooked else _last_logits_only(model)))
    stacked = kept.whole()
    stacked = stacked[:, 0] if anatomy.plain else stacked  # (1 + layer, position, hidden), or (1 + layer, ...)
    require_finite(stacked, anatomy)
    last_logits = None if logits is None else logits[0, -1]
    if sublayers is None:
        return Stream(stacked, last_logits)
    outputs = {name: output.to(stacked.device) for name, output in outputs.items()}
    return Stream(stacked, last_logits, written(sublayers, outputs, stacked))


def trace_streams(
    model: nn.Module, anatomy: Anatomy, prompts: Sequence[torch.Tensor], *, blocks: int | None = None
) -> list[Stream]:
    """Runs several prompts through a model at once, padded on the right, where no position looks.

    Args:
        model: one whose states are (position, hidden), without hooks outside of its blocks.
        prompts: (position,) each.
        blocks: as for :func:`trace_stream`.

    Raises:
        LensError: memory runs out. A state that is NaN or infinite is for :func:`require_finite` to refuse.
    """
    wanted, lengths = anatomy.blocks[:blocks], [len(prompt) for prompt in prompts]
    longest = max(lengths)
    padded = torch.stack([torch.cat([each, each[-1:].expand(longest - len(each))]) for each in prompts])
    kept = _Kept((EMBED, *wanted), anatomy, longest, len(prompts))

    def keep(output: Any, _layer: str) -> Any:
        kept.add(state_of(output, anatomy.parts))
        return output

    logits = None
    own = _last_logits_only(model, longest - min(lengths) + 1)
    if min(lengths) < longest:
        places = torch.arange(longest, device=padded.device)
        own["attention_mask"] = (places < torch.tensor(lengths, device=padded.device)[:, None]).long()
    with (
        naming_want_of_memory(padded.numel()),
        evaluating(model),
        _keeping_input(model.get_submodule(anatomy.blocks[0]), anatomy.takes, kept),
        TraceDict(model, wanted, retain_output=False, edit_output=keep, stop=blocks is not None),
    ):
        logits = model_logits(model, padded, **own)
    stacked = kept.whole()  # (1 + layer, prompt, position, hidden)
    streams = []
    for place, length in enumerate(lengths):
        last = None if logits is None else logits[place, length - 1 - longest]
        streams.append(Stream(stacked[:, place, :length], last))
    return streams


def get_hidden_states(model: nn.Module, tokenizer: Any, prompt: Prompt) -> torch.Tensor:
    """The output of every block.

    Args:
        model: any causal language model of transformers.
        tokenizer: its tokenizer; may be None where the prompt is ids.
        prompt: a string, a list of token ids, or a 1-D tensor of them.

    Returns:
        (layer, 1, position, hidden), in the model's dtype: layer i is the stream after block i. In the few models whose
        states have another shape, (layer, *shape).

    Raises:
        LensError: see :func:`bauklens.logit_lens`.
    """
    return _as_handed_over(model, tokenizer, prompt, lambda stream: stream.states[1:])


def get_hidden_state_deltas(model: nn.Module, tokenizer: Any, prompt: Prompt) -> torch.Tensor:
    """What every block adds to the stream: its output minus its input.

    The input of block 0 is what the embedding dropout hands over (``transformer.drop`` in GPT-2 and GPT-J); in models
    without one it is the input of block 0 itself.

    Args:
        model: a causal language model.
        tokenizer: its tokenizer, or None where the prompt is ids.
        prompt: a string, or token ids.

    Returns:
        As for :func:`get_hidden_states`.

    Raises:
        LensError: see :func:`bauklens.logit_lens`.
    """
    return _as_handed_over(model, tokenizer, prompt, lambda stream: stream.deltas)


def _as_handed_over(
    model: nn.Module, tokenizer: Any, prompt: Prompt, part: Callable[[Stream], torch.Tensor]
) -> torch.Tensor:
    """A part of a prompt's stream with the batch axis that the model's states have."""
    model = unwrapped(model)
    token_ids = encode(model, tokenizer, prompt)
    anatomy = resolve(model, token_ids)
    states = part(trace_stream(model, anatomy, token_ids))
    return states[:, None] if anatomy.plain else states


class _Kept:
    """Copies of the states, each written to its place as it comes, so that none stands there twice.

    Args:
        names: what hands them over, in order.
        positions: of a prompt.
        prompts: that run at once.
    """

    def __init__(self, names: tuple[str, ...], anatomy: Anatomy, positions: int, prompts: int = 1) -> None:
        self.count = 0
        self._names, self._anatomy = names, anatomy
        self._shape: tuple[int, ...] = (prompts, positions, anatomy.width) if anatomy.plain else ()
        self._states = torch.empty(0)

    def add(self, state: torch.Tensor) -> None:
        """Keeps the next state.

        Raises:
            LensError: it is of another shape than the others.
        """
        if not self.count:
            self._shape = self._shape or tuple(state.shape)
            last = state_of(self._anatomy.block_output, self._anatomy.parts)
            self._states = torch.empty(len(self._names), *self._shape, dtype=last.dtype, device=last.device)
        if self.count < len(self._names):
            if state.shape != self._shape:
                raise LensError(
                    f"{self._names[self.count]} hands over a state of shape {tuple(state.shape)}; a lens needs "
                    f"{self._shape}"
                )
            self._states[self.count] = state.detach()
        self.count += 1

    def whole(self) -> torch.Tensor:
        """(name, *shape), on the device of the last block's output.

        Raises:
            LensError: more or fewer were handed over than there are names.
        """
        if self.count != len(self._names):
            raise LensError(
                f"{self.count - 1} of {len(self._names) - 1} blocks of {self._anatomy.model_class} ran on this prompt; "
                "a lens needs all"
            )
        return self._states


@contextmanager
def _keeping_input(block: nn.Module, takes: tuple[int, ...], kept: _Kept) -> Iterator[None]:
    """Keeps a copy of the state that a block is first given, before the block can change it in place."""

    def keep(_module: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        if not kept.count:
            given = tensors_in(inputs, keywords)
            kept.add(given[takes[0]] if len(takes) == 1 else torch.stack([given[place] for place in takes]))

    hook = block.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


def _require_alike(state: torch.Tensor, edited: torch.Tensor, layer: str) -> None:
    if edited.shape != state.shape:
        raise LensError(
            f"edit_output returned a state of shape {tuple(edited.shape)} for {layer}, which returned one of "
            f"{tuple(state.shape)}"
        )


def _last_logits_only(model: nn.Module, count: int = 1) -> dict[str, Any]:
    return {"logits_to_keep": count} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}


def require_finite(states: torch.Tensor, anatomy: Anatomy) -> None:
    """Names the first place at which a state (1 + layer, ...) is NaN or infinite.

    Raises:
        LensError: there is one.
    """
    if states.sum(dtype=torch.float32).isfinite():  # a pass without memory; a sum that overflows is looked at again
        return
    names = (EMBED, *(f"layer {label}" for label in anatomy.labels))
    bad = ~states.isfinite().all(dim=-1)  # (1 + layer, position), or more axes
    if bad.any():
        row, *place = bad.nonzero()[0].tolist()
        position = place[0] if len(place) == 1 else tuple(place)
        overflow = " (float16 overflows at 65,504: load the model with dtype='bfloat16' or 'float32')"
        raise LensError(
            f"the hidden state of {names[row]} at position {position} holds NaN or infinity"
            + (overflow if states.dtype == torch.float16 else "")
        )
