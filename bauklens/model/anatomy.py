"""resolve(): the parts of any causal language model, how its tail is decoded, and the proof that this is right."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import nn

from bauklens.errors import LensError
from bauklens.model.forward import Call, record
from bauklens.model.guard import evaluating, has_hooks, locked
from bauklens.model.inputs import Inputs
from bauklens.model.layout import Layout, block_lists, layout_of, require_module
from bauklens.model.memory import explaining_out_of_memory, out_of_memory
from bauklens.model.post_ops import PostOps
from bauklens.model.shell import original
from bauklens.model.sublayers import Sublayers, find_sublayers
from bauklens.model.way import prove_decoding

_PROBE = 8
"""Positions of the prompt that are enough to see in which order the modules run, and what they do."""

_REMEMBERED = 16
"""Ways to look at one model that are remembered, the oldest forgotten first."""


@dataclass(frozen=True)
class Anatomy(Layout):
    """The parts of a model, and how a state is decoded.

    Attributes:
        in_place: whether the model itself is run, as its shell does not run as it does
            (:func:`bauklens.model.guard.evaluating`).
        hooked: whether modules outside of the blocks carry hooks of the caller, which may look for a batch of one and
            all of the prompt's positions.
        whole: whether a state is decoded at all positions of the prompt at once, in its own shape, a layer at a time.
        norm: the module that the caller named to apply between a state and the head; None: the model's own tail.
        post_ops: what follows the head, if states are decoded by the product of the head's input and its weights; None
            if they are decoded by the model's own forward, replayed to its end.
        proof: the largest difference between the last block's logits, decoded in this way, and the model's own, on the
            first positions of the prompt that the model was resolved with; NaN if its states or logits there are not
            finite, which is for those who read them to say.
        proved_on: how many positions these were.
    """

    in_place: bool
    hooked: bool
    norm: str | None
    whole: bool
    post_ops: PostOps | None
    proof: float
    proved_on: int

    @property
    def decoding(self) -> str:
        """How a state is decoded, in words."""
        through = f"through {self.norm}" if self.norm else "through the model's own forward"
        if self.post_ops is None:
            return f"{through}, to the logits"
        ends = "" if self.post_ops == PostOps() else f", and then {self.post_ops}"
        return f"{through} to the head's input, by the product with the head's weights{ends}"


@dataclass
class _Known:
    """What is remembered of a model as long as it does not change.

    Attributes:
        fingerprint: changes when the model does.
        anatomies: names that the caller gave -> anatomy.
        sublayers: names of the blocks -> their sublayers, or a sentence that says why there are none.
    """

    fingerprint: int
    anatomies: dict[tuple[str | None, ...], Anatomy]
    sublayers: dict[tuple[str, ...], Sublayers | str]


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
        model: a causal language model of transformers, or one of the same shape.
        inputs: one prompt; the first few positions are run.
        blocks: dotted name of the list of blocks, if the wrong one is found.
        norm: dotted name of the module that a state goes through before the head, if what the model's own forward
            runs between the last block and the head is not right.
        head: dotted name of the module that makes logits of a state.

    Raises:
        LensError: the model is an encoder-decoder, has no head, or does not run a list of blocks in order; there
            are no modules named ``blocks``, ``norm`` or ``head``; or the decoded logits are not the model's own.
    """
    model = original(model)
    with locked(model):
        anatomies, names = _known_of(model).anatomies, (blocks, norm, head)
        known = anatomies.pop(names, None)
        if known is not None and known.proved_on >= min(inputs.count, _PROBE):
            anatomies[names] = known
        else:
            anatomy = _resolve(model, inputs, *names)
            if math.isnan(anatomy.proof):
                return anatomy
            while len(anatomies) >= _REMEMBERED:
                del anatomies[next(iter(anatomies))]
            anatomies[names] = anatomy
        return anatomies[names]


def sublayers_of(model: nn.Module, anatomy: Anatomy, inputs: Inputs) -> Sublayers:
    """The attention and the MLP of every block, found by running a few positions; remembered like the anatomy.

    Args:
        inputs: one prompt; the first few positions are run.

    Raises:
        LensError: a block has no two modules whose outputs add up to what it adds.
    """
    if math.isnan(anatomy.proof):
        raise LensError("states or logits are not finite at the prompt's first positions")
    with evaluating(model, in_place=anatomy.in_place) as own:
        known = _known_of(original(model)).sublayers
        if anatomy.blocks not in known:
            _, calls, _ = _recorded(own, inputs)  # what this raises is not remembered
            try:
                known[anatomy.blocks] = find_sublayers(anatomy, calls)
            except LensError as error:
                known[anatomy.blocks] = str(error)  # and not the error, whose traceback holds the model
        found = known[anatomy.blocks]
        if isinstance(found, str):
            raise LensError(found)
        return found


def forget(model: nn.Module) -> None:
    """Lets :func:`resolve` look at a model anew."""
    _known.pop(original(model), None)


def _known_of(model: nn.Module) -> _Known:
    """What is known of a model as it is now."""
    fingerprint = _fingerprint(model)
    known = _known.get(model)
    if known is None or known.fingerprint != fingerprint:
        known = _known[model] = _Known(fingerprint, {}, {})
    return known


def _fingerprint(model: nn.Module) -> int:
    """Changes with a module, a forward or a hook, the configuration, the head's size, and dtypes and devices."""
    weight = getattr(model.get_output_embeddings(), "weight", None)  # type: ignore[operator]
    head = (type(weight), tuple(weight.shape), weight.dtype) if isinstance(weight, torch.Tensor) else ()
    kinds = {(type(parameter), parameter.dtype, parameter.device) for parameter in model.parameters()}
    modules = (
        (name, id(module), id(vars(module).get("forward")), *module._forward_hooks, *module._forward_pre_hooks)
        for name, module in model.named_modules()
    )
    return hash((head, frozenset(kinds), repr(getattr(model, "config", None)), *modules))


def _resolve(model: nn.Module, inputs: Inputs, blocks: str | None, norm: str | None, head: str | None) -> Anatomy:
    """In a shell of the model; or in the model itself, if that is where it can be read."""
    require_module(model, norm)
    try:
        with evaluating(model) as own:
            return _of_first_that_fits(own, inputs, blocks, norm, head, in_place=own is model)
    except LensError as error:
        if own is model:
            raise
        failed = error
    try:
        with evaluating(model, in_place=True):
            return _of_first_that_fits(model, inputs, blocks, norm, head, in_place=True)
    except LensError:
        raise failed from None


def _of_first_that_fits(
    model: nn.Module, inputs: Inputs, blocks: str | None, norm: str | None, head: str | None, *, in_place: bool
) -> Anatomy:
    """The first list of blocks that is proved; if none is, the error of the likeliest."""
    inputs, calls, logits = _recorded(model, inputs)
    named = {name: value for name, value in (("blocks", blocks), ("norm", norm), ("head", head)) if value is not None}
    failed = None
    with _naming_what_does_not_fit(named):
        for path, names in block_lists(model, calls, blocks).items():
            try:
                layout = layout_of(model, inputs, calls, logits, path, names, head=head)
                hooked = _hooked_outside(model, layout)
                proved = prove_decoding(
                    model, layout, inputs, calls, logits, norm=norm, hooked=hooked, in_place=in_place
                )
            except LensError as error:
                failed = failed or error
                continue
            return Anatomy(**vars(layout), **proved._asdict(), in_place=in_place, hooked=hooked, norm=norm)
    assert failed is not None
    raise failed


def _recorded(model: nn.Module, inputs: Inputs) -> tuple[Inputs, list[Call], torch.Tensor]:
    """A run of a few positions; of all, if a hook of the caller looks for one beyond them. And what was run."""
    with explaining_out_of_memory(inputs.count):
        few = inputs.first(_PROBE)
        try:
            return few, *record(model, few, copies=True)
        except IndexError:
            if inputs.count <= _PROBE:
                raise
            return inputs, *record(model, inputs, copies=True)


def _hooked_outside(model: nn.Module, layout: Layout) -> bool:
    """Whether modules outside of the blocks carry hooks of the caller."""
    inside = tuple(f"{block}." for block in layout.blocks)
    return any(
        has_hooks(module)
        for name, module in model.named_modules()
        if name not in layout.blocks and not name.startswith(inside)
    )


@contextmanager
def _naming_what_does_not_fit(named: dict[str, str]) -> Iterator[None]:
    """Makes one clear error of whatever a model raises because of the modules that the caller named."""
    try:
        yield
    except (RuntimeError, IndexError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, LensError) or not named or out_of_memory(error):
            raise
        given = ", ".join(f"{name}={value!r}" for name, value in named.items())
        raise LensError(f"{given} does not lead from a state to the logits: {error}") from None
