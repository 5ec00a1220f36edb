"""resolve(): the parts of any causal language model, how its tail is decoded, and the proof that this is right."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import nn

from bauklens.errors import LensError, out_of_memory
from bauklens.model.forward import Call, naming_want_of_memory, record
from bauklens.model.layout import Layout, find_layout, require_module
from bauklens.model.post_ops import PostOps, find_post_ops, is_readable, probe_logits
from bauklens.model.proof import prove
from bauklens.model.sublayers import Sublayers, find_sublayers
from bauklens.model.tail import replaying
from bauklens.model.tracing import evaluating, state_of

_PROBE = 8
"""Positions of the prompt that are enough to see in which order the modules run, and what they do."""


@dataclass(frozen=True)
class Anatomy(Layout):
    """The parts of a model, and how a state is decoded.

    Attributes:
        hooked: whether modules outside of the blocks carry hooks of the caller, which may look for a batch of one and
            all of the prompt's positions.
        sublayers: attention and MLP of every block; None where they are not found.
        no_sublayers: why not, as an error would say it.
        norm: the module that the caller named to stand between a state and the head; None: the model's own tail.
        post_ops: what follows the head, where states are decoded by the product of the head's input and its weights;
            None where they are decoded by the model's own forward, replayed to its end.
        proof: the largest difference between the last block's logits, decoded in this way, and the model's own, on the
            first positions of the prompt that the model was resolved with; NaN where its states or logits there are
            not finite, which is for those who read them to say.
    """

    hooked: bool
    sublayers: Sublayers | None
    no_sublayers: str
    norm: str | None
    post_ops: PostOps | None
    proof: float

    @property
    def whole(self) -> bool:
        """Whether a state is decoded at all positions of the prompt at once, in its own shape."""
        return self.hooked or not self.plain

    def require_sublayers(self) -> Sublayers:
        """The sublayers, or a LensError that says why there are none."""
        if self.sublayers is None:
            raise LensError(self.no_sublayers)
        return self.sublayers

    @property
    def decoding(self) -> str:
        """How a state is decoded, in words."""
        through = f"through {self.norm}" if self.norm else "through the model's own forward"
        if self.post_ops is None:
            return f"{through}, to the logits"
        ends = "" if self.post_ops == PostOps() else f", and then {self.post_ops}"
        return f"{through} to the head's input, by the product with the head's weights{ends}"


_resolved: WeakKeyDictionary[nn.Module, tuple[int, Anatomy]] = WeakKeyDictionary()


def resolve(
    model: nn.Module,
    token_ids: torch.Tensor,
    *,
    blocks: str | None = None,
    norm: str | None = None,
    head: str | None = None,
) -> Anatomy:
    """Finds the parts of a model by running it on a few positions; remembered until modules, hooks or config change.

    Args:
        model: a causal language model of transformers, or one of the same shape.
        token_ids: (1, position); the first few are run.
        blocks: dotted name of the list of blocks, where the one that is found is not the right one.
        norm: dotted name of the module that a state goes through before the head, where what runs in the model's own
            forward between the last block and the head is not right.
        head: dotted name of the module that makes logits of a state.

    Raises:
        LensError: the model is an encoder-decoder, has no head, or runs no list of blocks in order; there are no such
            modules as ``blocks``, ``norm`` and ``head`` name; or what is decoded is not what the model says.
    """
    with evaluating(model):
        known, anatomy = _resolved.get(model, (None, None))
        present = hash((_fingerprint(model), blocks, norm, head))
        if anatomy is None or known != present:
            anatomy = _resolve(model, token_ids, blocks, norm, head)
            if not math.isnan(anatomy.proof):
                _resolved[model] = (present, anatomy)
        return anatomy


def forget(model: nn.Module) -> None:
    """Lets :func:`resolve` look at a model anew."""
    _resolved.pop(model, None)


def _fingerprint(model: nn.Module) -> int:
    """Changes with a module, a forward or a hook, the configuration, the head's size, and the dtype."""
    weight = getattr(model.get_output_embeddings(), "weight", None)  # type: ignore[operator]
    head = (tuple(weight.shape), weight.dtype) if isinstance(weight, torch.Tensor) else ()
    dtype = next((parameter.dtype for parameter in model.parameters()), None)
    modules = (
        (name, id(module), id(vars(module).get("forward")), *module._forward_hooks, *module._forward_pre_hooks)
        for name, module in model.named_modules()
    )
    return hash((head, dtype, repr(getattr(model, "config", None)), *modules))


def _resolve(
    model: nn.Module, token_ids: torch.Tensor, blocks: str | None, norm: str | None, head: str | None
) -> Anatomy:
    require_module(model, norm)
    token_ids, calls, logits = _recorded(model, token_ids)
    named = {name: value for name, value in (("blocks", blocks), ("norm", norm), ("head", head)) if value is not None}
    with _naming_what_does_not_fit(named):
        layout = find_layout(model, token_ids, calls, logits, blocks=blocks, head=head)
        last = next(call for call in reversed(calls) if call.name == layout.blocks[-1])
        final = state_of(last.result, layout.parts)  # whole
        hooked = _hooked_outside(model, layout)
        post_ops, proof = _way(model, layout, norm, token_ids, final, logits, whole=hooked or not layout.plain)
    if math.isnan(proof):
        sublayers, reason = None, "states or logits are not finite at the prompt's first positions"
    else:
        sublayers, reason = _sublayers(layout, calls)
    return Anatomy(
        **vars(layout),
        hooked=hooked,
        sublayers=sublayers,
        no_sublayers=reason,
        norm=norm,
        post_ops=post_ops,
        proof=proof,
    )


def _recorded(model: nn.Module, token_ids: torch.Tensor) -> tuple[torch.Tensor, list[Call], torch.Tensor]:
    """A run of a few positions; of all, where a hook of the caller looks for one beyond them. And its ids."""
    with naming_want_of_memory(token_ids.shape[1]):
        try:
            return token_ids[:, :_PROBE], *record(model, token_ids[:, :_PROBE], copies=True)
        except IndexError:
            if token_ids.shape[1] <= _PROBE:
                raise
            return token_ids, *record(model, token_ids, copies=True)


def _hooked_outside(model: nn.Module, layout: Layout) -> bool:
    """Whether modules outside of the blocks carry hooks of the caller."""
    inside = tuple(f"{block}." for block in layout.blocks)
    return any(
        bool(module._forward_hooks or module._forward_pre_hooks)
        for name, module in model.named_modules()
        if name not in layout.blocks and not name.startswith(inside)
    )


def _way(
    model: nn.Module,
    layout: Layout,
    norm: str | None,
    token_ids: torch.Tensor,
    final: torch.Tensor,
    own: torch.Tensor,
    *,
    whole: bool,
) -> tuple[PostOps | None, float]:
    """The fast way where its proof holds, or else the replay; and the proof.

    Raises:
        LensError: neither proof holds.
    """
    if not final.isfinite().all() or own.isnan().any():
        return None, math.nan
    if norm is not None and not layout.plain:
        raise LensError(f"norm={norm!r} needs states of (position, hidden); those of {layout.model_class} are not")
    positions = torch.arange(token_ids.shape[1])
    head = model.get_submodule(layout.head)
    if not whole and is_readable(head):
        try:
            with replaying(model, layout, "own", final[0], through=norm, to_head=True) as tail:
                logits = head(tail.head_inputs(final, token_ids[0], positions))
                probe = probe_logits(logits)
                post_ops = find_post_ops(probe, lambda probe: tail.after_head(probe, token_ids[0]), logits.dtype)
            if post_ops is not None:
                return post_ops, prove(layout, post_ops(logits)[..., : layout.vocabulary], own, final.dtype)
        except (LensError, RuntimeError, IndexError, TypeError, ValueError, AttributeError, KeyError):
            pass  # its forward looks into its logits, or makes more of them than a function of each
    with replaying(model, layout, "own", final, through=norm) as tail:
        decoded = (tail.whole_logits if whole else tail.logits)(final, token_ids[0], positions)
    return None, prove(layout, decoded, own, final.dtype)


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


def _sublayers(layout: Layout, calls: list[Call]) -> tuple[Sublayers | None, str]:
    try:
        return find_sublayers(layout, calls), ""
    except LensError as error:
        return None, str(error)
