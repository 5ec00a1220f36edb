"""Finds the embedding output, the blocks and the tail of a causal language model in one recorded run."""

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Any

import torch
from torch import nn

from bauklens.errors import LensError
from bauklens.model.block_output import state_of
from bauklens.model.forward import Call, record
from bauklens.model.inputs import Inputs, output_embeddings, text_config
from bauklens.model.logits import labels_of


@dataclass(frozen=True)
class Layout:
    """The parts of a model that a lens needs, as dotted names.

    Attributes:
        model_class: name of the model's class.
        embedding: the module that returns block 0's input (``transformer.drop`` in GPT-2), or None if no module's
            output is that input.
        blocks_path: the list that holds the blocks.
        blocks: the blocks, in the order in which they run; a block that runs again is listed again.
        tail: the modules that run after the last block, in order; the head is the last.
        reshaping: those of the tail, before the head, that change the state's width (``project_out`` in OPT-350M).
        width: size of a hidden state.
        vocabulary: number of logits.
        block_output: what the last block returns, as a template.
        parts: which elements of that make up the state; (0,) except for blocks that pass on several streams.
        takes: which of a block's input tensors are these, in the same order.
        plain: whether a state is (1, position, width); any other state is only ever decoded as a whole.
        position_axis: which axis of a state runs along the positions.
        streams: how many places a state has per position along that axis (2 if an n-gram stream is appended).
        single: whether the model returns the logits of one position only, so that each is read as a prompt of its own.
        idle: the labels of those modules of the list that did not run, and so are not blocks of this prompt.
        classes: the names of the labels that the logits stand for; None if they stand for tokens.
    """

    model_class: str
    embedding: str | None
    blocks_path: str
    blocks: tuple[str, ...]
    tail: tuple[str, ...]
    reshaping: tuple[str, ...]
    width: int
    vocabulary: int
    block_output: Any
    parts: tuple[int, ...]
    takes: tuple[int, ...]
    plain: bool
    position_axis: int
    streams: int
    single: bool
    idle: tuple[str, ...]
    classes: tuple[str, ...] | None

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The labels of the blocks in a table: their places in the list, or in the run if one of them runs again."""
        places = tuple(name.rpartition(".")[2] for name in self.blocks)
        return places if len(set(places)) == len(places) else tuple(map(str, range(len(places))))

    @property
    def head(self) -> str:
        """The module that turns a state into logits."""
        return self.tail[-1]

    @property
    def norms(self) -> tuple[str, ...]:
        """The modules between the last block and the head that do not change the state's width."""
        return tuple(name for name in self.tail[:-1] if name not in self.reshaping)


def block_lists(model: nn.Module, calls: list[Call], named: str | None = None) -> dict[str, list[str]]:
    """Lists of modules that may be the blocks, the likeliest first: path -> names, in the order in which they ran.

    Args:
        calls: what :func:`bauklens.model.forward.record` returned.
        named: dotted name of the list of blocks, if the wrong one is found.

    Raises:
        LensError: no list of modules ran in order, or no list has that name.
    """
    require_module(model, named)
    return _found_blocks(model, calls) if named is None else {named: _given_blocks(model, named, calls)}


def layout_of(
    model: nn.Module,
    inputs: Inputs,
    calls: list[Call],
    logits: torch.Tensor,
    path: str,
    names: list[str],
    *,
    head: str | None = None,
) -> Layout:
    """The parts of a model, given its blocks, in a run of it.

    Args:
        inputs: what was run.
        calls, logits: what :func:`bauklens.model.forward.record` returned.
        path, names: one item of :func:`block_lists`.
        head: dotted name of the module that turns a state into logits, if the wrong one is found.

    Raises:
        LensError: no head runs after the blocks, or the model has no module of the name ``head``.
    """
    require_module(model, head)
    ran = [call for call in calls if call.name in set(names)]
    first, last = ran[0], ran[-1]
    parts, takes = _parts(ran)
    tail = _find_tail(model, [call for call in calls if call.began > last.ended], logits, head)
    if not tail:
        named = f"no module {head!r}" if head else "no module that returns logits"
        raise LensError(
            f"{type(model).__name__} runs {named} after its last block {names[-1]!r}: pass the right "
            "names as head= or blocks="
        )
    shape = state_of(last.returned, parts).shape
    given = first.given[takes[0]] if first.given[takes[0] :] else None
    plain = shape == (*inputs.ids.shape, shape[-1]) and given is not None and given.shape == shape
    axis, streams = (1, 1) if plain else _along_positions(model, inputs, last, parts)
    handed = [call.name for call in calls if call.ended < first.began and call.returned is given]
    return Layout(
        model_class=type(model).__name__,
        embedding=handed[-1] if handed and given is not None else None,
        blocks_path=path,
        blocks=tuple(names),
        tail=tuple(call.name for call in tail),
        reshaping=tuple(call.name for call in tail[:-1] if not _keeps_shape(call)),
        width=shape[-1],
        vocabulary=logits.shape[-1],
        block_output=last.returned,
        parts=parts,
        takes=takes,
        plain=plain,
        position_axis=axis,
        streams=streams,
        single=logits.shape[1] == 1 < inputs.count,
        idle=_idle(model, path, names),
        classes=labels_of(model),
    )


def _idle(model: nn.Module, path: str, ran: list[str]) -> tuple[str, ...]:
    """The places of the modules of a list that did not run, under this name or another."""
    modules = {id(model.get_submodule(name)) for name in ran}
    return tuple(child for child, module in model.get_submodule(path).named_children() if id(module) not in modules)


def _parts(blocks: list[Call]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The elements of a block's output that make up its state, and their places among the next block's inputs.

    They are the first element, and those of the same shape that are passed to the next block unchanged.
    """
    returned = blocks[0].returned
    if len(blocks) < 2 or not isinstance(returned, (tuple, list)):
        return (0,), (0,)
    shape = state_of(returned).shape
    taken = {id(each): place for place, each in enumerate(blocks[1].given) if each.shape == shape}
    more = [place for place, each in enumerate(returned) if place and id(each) in taken]
    parts = (0, *more)
    return parts, tuple(taken.get(id(returned[part]), 0) for part in parts)


def _along_positions(model: nn.Module, inputs: Inputs, block: Call, parts: tuple[int, ...]) -> tuple[int, int]:
    """The axis of a state that grows with the prompt, and its places per position, found by running a doubled prompt.

    If the prompt cannot be doubled, because a picture fills some of it, it is the only axis that has its length.

    Raises:
        LensError: no single axis fits.
    """
    shape, count = state_of(block.returned, parts).shape, inputs.count
    if inputs.is_repeatable:
        calls, _ = record(model, inputs.repeated(2))
        longer = state_of(next(call.returned for call in calls if call.name == block.name), parts).shape
        grown = [axis for axis in range(len(shape)) if longer[axis] != shape[axis]]
        streams = (longer[grown[0]] - shape[grown[0]]) // count if grown else 0
        fits = len(longer) == len(shape) and bool(streams) and longer[grown[0]] - shape[grown[0]] == streams * count
    else:
        grown, streams, fits = [axis for axis in range(len(shape)) if shape[axis] == count], 1, True
    if len(grown) != 1 or not fits or shape[grown[0]] < streams * count:
        raise LensError(
            f"{block.name} returns a state of shape {tuple(shape)} for the {count} positions of the prompt, but no "
            "single axis of it runs along them"
        )
    return grown[0], streams


def _found_blocks(model: nn.Module, calls: list[Call]) -> dict[str, list[str]]:
    """The lists of modules that ran in order, once or looping, the outermost first.

    A list with as many modules as the config says comes first; then those whose modules have parts, the last to end
    first, because only the tail may run after the blocks: a state is decoded by the modules that run after it.
    """
    order = [call.name for call in calls]
    found: dict[str, list[str]] = {}
    for path, names in _module_lists(model):
        members = set(names)
        ran = [name for name in order if name in members]
        called = set(ran)
        if ran and runs_in_order(ran, [name for name in names if name in called]):
            found[path] = ran
    hint = getattr(text_config(model), "num_hidden_layers", None)
    if not found:
        wanted = f" of {hint} modules" if hint else ""
        raise LensError(
            f"no blocks found in {type(model).__name__}: looked for a ModuleList{wanted} called in order; "
            'pass blocks="path"'
        )

    def rank(path: str) -> tuple[bool, bool, bool, int]:
        last = found[path][-1]
        outermost = not any(path.startswith(f"{other}.") for other in found)
        has_parts = any(True for _ in model.get_submodule(last).children())
        return outermost, len(found[path]) == hint, has_parts, len(order) - order[::-1].index(last)

    return {path: found[path] for path in sorted(found, key=rank, reverse=True)}


def runs_in_order(ran: list[str], names: list[str]) -> bool:
    """Whether modules ran in order, except that a stretch of them may have run several times before the rest did."""
    again = next((place for place, name in enumerate(ran) if name in ran[:place]), None)
    if again is None or ran[:again] != names[:again]:
        return ran == names
    start = names.index(ran[again])
    length = again - start
    rounds, left = divmod(len(ran) - len(names) + length, length)
    loop = names[start : start + length]
    return not left and ran == names[:start] + loop * rounds + names[start + length :]


def _module_lists(model: nn.Module) -> Iterator[tuple[str, list[str]]]:
    for path, module in model.named_modules():
        if isinstance(module, nn.ModuleList):
            yield path, [f"{path}.{child}" for child, _ in module.named_children()]


def require_module(model: nn.Module, name: str | None) -> None:
    """Refuses a name that no module of the model has, and suggests the nearest names; None is accepted."""
    if name is None:
        return
    if not isinstance(name, str):
        raise LensError(
            f"blocks, norm and head are names of modules, such as 'model.layers'; got {type(name).__name__}"
        )
    if name not in dict(model.named_modules(remove_duplicate=False)):
        near = ", ".join(nearest_modules(model, name))
        raise LensError(f"{type(model).__name__} has no module {name!r}" + (f"; the nearest: {near}" if near else ""))


def nearest_modules(model: nn.Module, name: Any) -> list[str]:
    """The modules whose names are nearest to one that does not exist."""
    return get_close_matches(str(name), (each for each, _ in model.named_modules(remove_duplicate=False)), 3, 0.4)


def _given_blocks(model: nn.Module, path: str, calls: list[Call]) -> list[str]:
    """The modules of a list that the caller names, in the order in which they ran."""
    members = {id(child) for child in model.get_submodule(path).children()}
    ran = [call.name for call in calls if id(model.get_submodule(call.name)) in members]
    if not ran:
        what = "contains no modules" if not members else "contains modules, but none of them ran"
        raise LensError(f"blocks={path!r} {what}: pass the list of the blocks of {type(model).__name__}")
    return ran


def _find_tail(model: nn.Module, after: list[Call], logits: torch.Tensor, named: str | None) -> list[Call]:
    """The calls after the last block up to the head, outermost first; one that holds the head is opened up.

    The head is the one that the caller names; or the one that the model declares, if that ran (its output may be wider
    than the logits, which some models cut off because the vocabulary is padded); or else the innermost module whose
    output has the size of the logits.
    """
    declared = output_embeddings(model)
    heads = [call for call in after if declared is not None and model.get_submodule(call.name) is declared]
    if named is not None:
        heads = [call for call in after if call.name == named]
    wide = [call for call in after if named is None and getattr(call.returned, "shape", (0,))[-1] == logits.shape[-1]]
    if not heads and not wide:
        return []
    head = heads[-1] if heads else max(wide, key=lambda call: call.name.count("."))
    tail: list[Call] = []
    for call in after:
        holds_head = call.name != head.name and call.began < head.began and call.ended > head.ended
        if call.began <= head.began and not holds_head and not any(call.began < each.ended for each in tail):
            tail.append(call)
    return tail


def _keeps_shape(call: Call) -> bool:
    return bool(call.given) and isinstance(call.returned, torch.Tensor) and call.given[0].shape == call.returned.shape
