"""resolve(): the parts of any causal language model, how its tail is decoded, and the proof that this is right."""

import math
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import nn

from bauklens.calls import Call, naming_want_of_memory, record
from bauklens.errors import LensError
from bauklens.head import PostOps, find_post_ops, is_readable, probe_logits
from bauklens.layout import Layout, find_layout, require_module
from bauklens.proof import prove
from bauklens.replay import replaying
from bauklens.sublayers import Sublayers, find_sublayers
from bauklens.trace import evaluating, state_of

_PROBE = 8
"""Positions of the prompt that are enough to see in which order the modules run, and what they do."""


@dataclass(frozen=True)
class Anatomy(Layout):
    """The parts of a model, and how a state is decoded.

    Attributes:
        sublayers: attention and MLP of every block; None where they are not found.
        no_sublayers: why not, as an error would say it.
        norm: the module that the caller named to stand between a state and the head; None: the model's own tail.
        post_ops: what follows the head, where states are decoded by the product of the head's input and its weights;
            None where they are decoded by the model's own forward, replayed to its end.
        proof: the largest difference between the last block's logits, decoded in this way, and the model's own, on the
            first positions of the prompt that the model was resolved with; NaN where its states or logits there are
            not finite, which is for those who read them to say.
    """

    sublayers: Sublayers | None
    no_sublayers: str
    norm: str | None
    post_ops: PostOps | None
    proof: float

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
    """Finds the parts of a model by running it on a few positions; remembered while it has the same modules and hooks.

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
            anatomy = _resolve(model, token_ids[:, :_PROBE], blocks, norm, head)
            if not math.isnan(anatomy.proof):
                _resolved[model] = (present, anatomy)
        return anatomy


def forget(model: nn.Module) -> None:
    """Lets :func:`resolve` look at a model anew."""
    _resolved.pop(model, None)


def _fingerprint(model: nn.Module) -> int:
    """Changes when a module or a hook is added, removed or replaced, or the head grows."""
    head = model.get_output_embeddings()  # type: ignore[operator]
    outputs = tuple(getattr(getattr(head, "weight", None), "shape", ()))
    modules = (
        (name, id(module), type(module), *module._forward_hooks, *module._forward_pre_hooks)
        for name, module in model.named_modules()
    )
    return hash((outputs, *modules))


def _resolve(
    model: nn.Module, token_ids: torch.Tensor, blocks: str | None, norm: str | None, head: str | None
) -> Anatomy:
    require_module(model, norm)
    with naming_want_of_memory(token_ids.shape[1]):
        calls, logits = record(model, token_ids, copies=True)
    layout = find_layout(model, token_ids, calls, logits, blocks=blocks, head=head)
    last = next(call for call in reversed(calls) if call.name == layout.blocks[-1])
    final = state_of(last.result, layout.parts)
    final = final[0] if layout.plain else final  # (position, hidden), or whole
    post_ops, proof = _way(model, layout, norm, token_ids, final, logits)
    if math.isnan(proof):
        sublayers, reason = None, "states or logits are not finite at the prompt's first positions"
    else:
        sublayers, reason = _sublayers(layout, calls)
    return Anatomy(**vars(layout), sublayers=sublayers, no_sublayers=reason, norm=norm, post_ops=post_ops, proof=proof)


def _way(
    model: nn.Module,
    layout: Layout,
    norm: str | None,
    token_ids: torch.Tensor,
    final: torch.Tensor,
    own: torch.Tensor,
) -> tuple[PostOps | None, float]:
    """The fast way where its proof holds, or else the replay; and the proof.

    Raises:
        LensError: neither proof holds.
    """
    if not final.isfinite().all() or own.isnan().any():
        return None, math.nan
    positions = torch.arange(token_ids.shape[1])
    head = model.get_submodule(layout.head)
    if layout.plain and is_readable(head):
        try:
            with replaying(model, layout, "own", final, through=norm, to_head=True) as tail:
                inputs = tail.head_inputs(final[None], token_ids[0], positions)
                probe = probe_logits(inputs, len(head.weight))  # type: ignore[arg-type]
                post_ops = find_post_ops(probe, tail.after_head, inputs.dtype)
            if post_ops is not None:
                decoded = post_ops(head(inputs))[..., : layout.vocabulary]
                return post_ops, prove(layout, decoded, own, final.dtype)
        except (LensError, RuntimeError, IndexError, TypeError, ValueError):
            pass  # the model's forward looks into its logits, or makes more of them than a function of each
    if norm is not None and not layout.plain:
        raise LensError(f"norm={norm!r} needs states of (position, hidden); those of {layout.model_class} are not")
    with replaying(model, layout, "own", final, through=norm) as tail:
        decode = tail.logits if layout.plain else tail.whole_logits
        try:
            decoded = decode(final[None] if layout.plain else final, token_ids[0], positions)
        except RuntimeError as error:
            if norm is None:
                raise
            raise LensError(f"norm={norm!r} does not lead from a state to the head {layout.head!r}: {error}") from None
    return None, prove(layout, decoded, own, final.dtype)


def _sublayers(layout: Layout, calls: list[Call]) -> tuple[Sublayers | None, str]:
    try:
        return find_sublayers(layout, calls), ""
    except LensError as error:
        return None, str(error)
