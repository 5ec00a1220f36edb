"""resolve(): finds the anatomy of a model and its sublayers once, and remembers them until the model changes."""

import math
from collections.abc import Hashable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import nn

from bauklens.errors import LensError
from bauklens.model.anatomy import Anatomy, find_anatomy, recorded
from bauklens.model.guard import evaluating, locked
from bauklens.model.heads import Heads, find_heads
from bauklens.model.inputs import Inputs, output_embeddings
from bauklens.model.logits import DECODER_IDS
from bauklens.model.shell import original
from bauklens.model.sublayers import Sublayers, find_sublayers
from bauklens.model.walk import named_modules_of

_REMEMBERED = 16
"""How many results are remembered for one model; the oldest are forgotten first."""


@dataclass
class _Known:
    """What is remembered about a model as long as it does not change.

    Attributes:
        fingerprint: changes when the model does.
        anatomies: names that the caller gave, and the names of the inputs -> anatomy.
        sublayers: names of the blocks -> their sublayers, or a sentence that explains why there are none.
        heads: names of the blocks -> the heads of each block's attention, or a sentence likewise.
    """

    fingerprint: int
    anatomies: dict[Hashable, Anatomy]
    sublayers: dict[tuple[str, ...], Sublayers | str]
    heads: dict[tuple[str, ...], tuple[Heads | str, ...]]


_known: WeakKeyDictionary[nn.Module, _Known] = WeakKeyDictionary()


def resolve(
    model: nn.Module,
    inputs: Inputs,
    *,
    blocks: str | None = None,
    norm: str | None = None,
    head: str | None = None,
) -> Anatomy:
    """Finds the parts of a model by running it on a few positions; remembered until the model changes.

    A model changes with its modules, hooks, configuration, dtype, or the device that its weights are on.

    Args:
        model: a causal language model of transformers, or one with the same interface.
        inputs: one prompt; the first few positions are run.
        blocks: dotted name of the list of blocks, if the wrong one is found.
        norm: dotted name of the module that a state goes through before the head, if what the model's own forward
            runs between the last block and the head is not right.
        head: dotted name of the module that turns a state into logits.

    Raises:
        LensError: the model is an encoder-decoder, has no head, or does not run a list of blocks in order; the
            modules named by ``blocks``, ``norm`` or ``head`` do not exist; or the decoded logits are not the model's.
    """
    model = original(model)
    with locked(model):
        anatomies, key = _known_of(model).anatomies, (blocks, norm, head, inputs.kind, inputs.logits)
        known = anatomies.pop(key, None)
        if known is not None and known.is_proved_on(inputs.count):
            anatomies[key] = known
        else:
            anatomy = find_anatomy(model, inputs, blocks, norm, head)
            if math.isnan(anatomy.proof) or anatomy.idle:  # a block that is idle here may run on the next prompt
                return anatomy
            while len(anatomies) >= _REMEMBERED:
                del anatomies[next(iter(anatomies))]
            anatomies[key] = anatomy
        return anatomies[key]


def sublayers_of(model: nn.Module, anatomy: Anatomy, inputs: Inputs) -> Sublayers:
    """The attention and the MLP of every block, found by running a few positions; remembered like the anatomy.

    Args:
        inputs: one prompt; the first few positions are run.

    Raises:
        LensError: in some block, no two modules have outputs that add up to what the block adds.
    """
    if math.isnan(anatomy.proof):
        raise LensError("states or logits are not finite at the prompt's first positions")
    if inputs.keyword == DECODER_IDS:
        raise LensError(
            f"the blocks of {anatomy.model_class} have a third sublayer, which looks at the source, so they add more "
            "than attention and MLP: pass stream='hidden' or 'delta'"
        )
    with evaluating(model, in_place=anatomy.in_place) as own:
        known = _known_of(original(model)).sublayers
        if anatomy.blocks not in known:
            _, calls, _ = recorded(own, inputs, lambda _: True)  # errors of this call are not remembered
            try:
                known[anatomy.blocks] = find_sublayers(anatomy, calls)
            except LensError as error:
                known[anatomy.blocks] = str(error)  # not the error itself, whose traceback would keep the model alive
        found = known[anatomy.blocks]
        if isinstance(found, str):
            raise LensError(found)
        return found


def heads_of(model: nn.Module, anatomy: Anatomy, inputs: Inputs) -> tuple[Heads | str, ...]:
    """The heads of every block's attention, found by running a few positions; remembered like the anatomy.

    Args:
        inputs: one prompt; the first few positions are run.

    Returns:
        (layer,), the heads, or a sentence that explains why those of a block cannot be told apart.

    Raises:
        LensError: see :func:`sublayers_of`; or no block has heads that can be told apart.
    """
    sublayers = sublayers_of(model, anatomy, inputs)
    with evaluating(model, in_place=anatomy.in_place) as own:
        known = _known_of(original(model)).heads
        if anatomy.blocks not in known:
            few, calls, _ = recorded(own, inputs, lambda _: True)
            known[anatomy.blocks] = find_heads(own, anatomy, sublayers, few, calls)
        found = known[anatomy.blocks]
    if not any(isinstance(each, Heads) for each in found):
        raise LensError(f"{found[0]}: pass stream='attention'")
    return found


def forget(model: nn.Module) -> None:
    """Makes :func:`resolve` forget a model."""
    _known.pop(original(model), None)


def _known_of(model: nn.Module) -> _Known:
    """What is known about a model in its current state."""
    fingerprint = _fingerprint(model)
    known = _known.get(model)
    if known is None or known.fingerprint != fingerprint:
        known = _known[model] = _Known(fingerprint, {}, {}, {})
    return known


def _fingerprint(model: nn.Module) -> int:
    """Changes with a module, a forward or a hook, the configuration, the head's size, and dtypes and devices."""
    weight = getattr(output_embeddings(model), "weight", None)
    head = (type(weight), tuple(weight.shape), weight.dtype) if isinstance(weight, torch.Tensor) else ()
    named = named_modules_of(model)
    parameters = (each for _, module in named for each in module._parameters.values() if each is not None)
    kinds = {(type(parameter), parameter.dtype, parameter.device) for parameter in parameters}
    modules = (
        (name, id(module), id(vars(module).get("forward")), *module._forward_hooks, *module._forward_pre_hooks)
        for name, module in named
    )
    return hash((head, frozenset(kinds), repr(getattr(model, "config", None)), *modules))
