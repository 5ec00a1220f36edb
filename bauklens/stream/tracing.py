"""One forward pass under TraceDict, and the states that the blocks receive and return.

TraceDict records what modules return: the embedding (GPT-2's embedding dropout), if the model has a module whose output
is the input of block 0, the sublayers, and the blocks. A separate hook records what a block receives: TraceDict looks
only after the block has run and may have changed its input in place, and it ignores inputs that are passed by name.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from bauklens.arguments import Edit, Positions
from bauklens.errors import LensError
from bauklens.model.anatomy import Anatomy
from bauklens.model.block_output import state_of
from bauklens.model.forward import model_logits, tensors_in
from bauklens.model.guard import evaluating, swapped
from bauklens.model.head_shard import HeadShard, shard_of
from bauklens.model.heads import HeadOutputs, Heads
from bauklens.model.inputs import Inputs
from bauklens.model.sublayers import Sublayers
from bauklens.model.tracing import TraceDict
from bauklens.progress import bar
from bauklens.signals import unbroken
from bauklens.stream.acting import Acting
from bauklens.stream.head_call import HeadCall, calls_of_head
from bauklens.stream.kept import HandOn, Kept
from bauklens.vocabulary import EMBED


@dataclass(frozen=True)
class Tracing:
    """What a forward pass is traced for, and what is changed in it.

    Attributes:
        inputs: whether the inputs of the blocks are wanted too.
        sublayers: those of every block, if their outputs are wanted too.
        heads: (layer,), those of every block's attention, or why it has none, if their outputs are wanted too.
        edit_output: ``fn(output, layer)``, called with what each block returns and the block's name; the model
            continues with what it returns (None: the output as it is).
        blocks: how many are needed: the pass ends after them; None runs all, up to the logits.
        acting: edits, which act before ``edit_output``.
        in_shards: whether each of several ranks keeps only the logits of its own part of the head, if they can be
            decoded like that; otherwise all ranks keep all.
        positions: those whose logits are wanted, as in :func:`bauklens.logit_lens`; None wants all.
        keep_states: whether all states are kept; False passes them on, and None does so if they are large.
        hand_on: called with each state when it is computed; then only the last one is kept.
    """

    inputs: bool = False
    sublayers: Sublayers | None = None
    heads: tuple[Heads | str, ...] | None = None
    edit_output: Edit | None = None
    blocks: int | None = None
    acting: Acting | None = None
    in_shards: bool = False
    positions: Positions = None
    keep_states: bool | None = True
    hand_on: HandOn | None = None


class Passed(NamedTuple):
    """The results of a forward pass.

    The states, the logits, the head's call, what the sublayers returned, the heads, and the part of the head that the
    logits belong to, if they do not cover all tokens.
    """

    kept: Kept
    logits: torch.Tensor | None
    head: HeadCall | None
    sublayers: dict[str, torch.Tensor]
    heads: tuple[HeadOutputs | None, ...]
    shard: HeadShard | None


def run_traced(model: nn.Module, anatomy: Anatomy, inputs: Inputs, tracing: Tracing, options: dict[str, Any]) -> Passed:
    """One forward pass."""
    wanted = anatomy.blocks[: tracing.blocks]
    sublayers = None if tracing.sublayers is None else tracing.sublayers.first(tracing.blocks)
    kept = Kept((EMBED, *wanted), anatomy, inputs, tracing.hand_on)
    outputs: dict[str, torch.Tensor] = {}
    heads = () if tracing.heads is None else tracing.heads[: tracing.blocks]
    joined: dict[str, torch.Tensor] = {}
    calls: list[tuple[HeadCall, torch.Tensor]] = []

    def edited(output: Any, layer: str) -> Any:
        if tracing.edit_output is None:
            return None
        kept.editing = True
        try:
            return tracing.edit_output(output, layer)
        finally:
            kept.editing = False

    def keep(output: Any, layer: str) -> Any:
        if kept.editing:
            raise LensError(
                "edit_output called the model while the lens was running it: call the model beforehand, and let "
                "edit_output use the stored result"
            )
        if layer == anatomy.embedding:
            kept.embed(output)
            return output
        if layer not in wanted:
            outputs[layer] = state_of(output).detach().clone()
            return output
        other = edited(output, layer)
        if other is not None:
            _require_alike(state_of(output, anatomy.parts), state_of(other, anatomy.parts), layer)
            output = other
        kept.add(state_of(output, anatomy.parts))
        blocks_done.update()
        return output

    embedding = () if anatomy.embedding is None else (anatomy.embedding,)
    names = [*embedding, *(sublayers.names if sublayers else ()), *wanted]  # the pass stops after the last of them
    logits, stop = None, tracing.blocks is not None
    shard = None
    if tracing.in_shards and anatomy.shards is not None:
        shard = shard_of(model.get_submodule(anatomy.head), anatomy.vocabulary)
    with (
        bar("Running the model", "block", total=len(wanted)) as blocks_done,
        evaluating(model, in_place=anatomy.in_place) as running,
        nullcontext() if shard is None else swapped(running, {anatomy.head: shard}),
        nullcontext() if tracing.acting is None else tracing.acting.on(running),
        _keeping_inputs(running, wanted if tracing.inputs else wanted[:1], anatomy.takes, kept),
        _keeping_heads(running, heads, joined),
        _refusing_idle(running, anatomy),
        calls_of_head(running.get_submodule(anatomy.head), anatomy, calls),
        TraceDict(running, names, retain_output=False, edit_output=keep, stop=stop),
    ):
        logits = model_logits(running, inputs, **options)
        if stop:  # a block did not run, so nothing stopped the pass; baukit's class then fails on exit
            kept.whole()
    added = {} if tracing.acting is None else tracing.acting.added
    by_head = tuple(
        HeadOutputs(
            running, each, joined[each.projection], {head: one[0] for (of, head), one in added.items() if of == label}
        )
        if isinstance(each, Heads)
        else None
        for label, each in zip(anatomy.labels, heads, strict=False)
    )
    device = kept.whole().device
    written = {name: output.to(device) for name, output in outputs.items()}
    return Passed(kept, *((None, None) if logits is None else _of_its_own(logits, calls)), written, by_head, shard)


def _of_its_own(
    logits: torch.Tensor, calls: list[tuple[HeadCall, torch.Tensor]]
) -> tuple[torch.Tensor, HeadCall | None]:
    """The model's logits, in memory that a later run does not overwrite, and the head's call if it fits."""
    call, returned = calls[0] if calls else (None, None)
    if returned is None or returned.data_ptr() != logits.data_ptr():
        logits = logits.clone()
    return logits, call if call is not None and call.checksums.shape == logits.shape[:-1] else None


@unbroken
def _keeping_inputs(model: nn.Module, blocks: Sequence[str], takes: tuple[int, ...], kept: Kept) -> Iterator[None]:
    """Keeps a copy of the state that each of some blocks receives, before the block can change it in place.

    The first block's input is a state of its own, and proves what the embedding returned. The inputs of other blocks
    are kept only if they differ from what the block before returned.
    """

    def keep(_module: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        if kept.editing or (kept.count and len(blocks) == 1):
            return
        given = tensors_in(inputs, keywords)
        state = given[takes[0]] if len(takes) == 1 else torch.stack([given[place] for place in takes])
        if kept.count:
            kept.enter(state)
        else:
            kept.begin(state)

    with ExitStack() as hooks:
        for name in dict.fromkeys(blocks):
            block = model.get_submodule(name)
            hooks.callback(block.register_forward_pre_hook(keep, with_kwargs=True).remove)
        yield


@unbroken
def _keeping_heads(model: nn.Module, heads: Sequence[Heads | str], joined: dict[str, torch.Tensor]) -> Iterator[None]:
    """Keeps copies of the inputs of the attentions' output projections, (position, heads x size), for one prompt."""

    def keep_as(name: str) -> Any:
        def keep(_module: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            given = tensors_in(inputs, keywords)[0]
            joined[name] = given.detach().reshape(-1, given.shape[-1]).clone()

        return keep

    with ExitStack() as hooks:
        for each in heads:
            if isinstance(each, Heads):
                module = model.get_submodule(each.projection)
                hook = module.register_forward_pre_hook(keep_as(each.projection), with_kwargs=True)
                hooks.callback(hook.remove)
        yield


@unbroken
def _refusing_idle(model: nn.Module, anatomy: Anatomy) -> Iterator[None]:
    """Refuses a prompt that runs a block which did not run when the model was inspected, and so has no row."""

    def refuse(*_: Any) -> None:
        raise LensError(
            f"this prompt runs a block of {anatomy.model_class} that did not run on the first positions of the first "
            "prompt: pass each prompt separately"
        )

    with ExitStack() as hooks:
        for label in anatomy.idle:
            block = model.get_submodule(f"{anatomy.blocks_path}.{label}")
            hooks.callback(block.register_forward_pre_hook(refuse).remove)
        yield


def _require_alike(state: torch.Tensor, edited: torch.Tensor, layer: str) -> None:
    if edited.shape != state.shape:
        raise LensError(
            f"edit_output returned a state of shape {tuple(edited.shape)} for {layer}; it must keep the shape "
            f"{tuple(state.shape)}"
        )
