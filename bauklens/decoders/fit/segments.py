"""A window's run cut at the layers: from each layer's states to the next one's, with a graph of its own.

Gradients run back through one segment after another, so that only those of a single layer are alive at a time. A model
may pass more than the state from block to block (keys and values that blocks share, say); then the segments are not
connected by the states only, and the run is not cut.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from bauklens.decoders.fit.explicit_mlp import ExplicitMlp, explicit_mlp
from bauklens.decoders.fit.graph import Prefix, run_to_target
from bauklens.decoders.fit.states import Fitted
from bauklens.model.block_output import state_of, with_state
from bauklens.model.inputs import Inputs
from bauklens.vocabulary import EMBED

_AT_ONCE = 64
"""Gradients that run back through a graph at once; more would keep more of what is in between."""


@dataclass
class _Cut:
    """The place at which a segment leaves out an MLP.

    Attributes:
        given: what it is given, with the graph up to there.
        returned: what it returns, where the graph begins again.
    """

    mlp: ExplicitMlp
    given: torch.Tensor
    returned: torch.Tensor


@dataclass
class Segment:
    """From a layer's states to the next one's.

    Attributes:
        start: a leaf, in the shape of the model's states.
        end: what the model makes of it.
    """

    start: torch.Tensor
    end: torch.Tensor
    cut: _Cut | None = None

    def back(self, gradients: torch.Tensor, positions: slice, *, together: bool) -> torch.Tensor:
        """(row, *shape) with respect to the end -> with respect to the start.

        Args:
            positions: outside of these, gradients are 0.
            together: whether several rows can run back at once.
        """
        if self.cut is None:
            return _back([self.end], [gradients], self.start, together=together)
        written = _back([self.end], [gradients], self.cut.returned, together=together)
        given = self.cut.mlp.back(written[:, 0], positions)[:, None]
        return _back([self.end, self.cut.given], [gradients, given], self.start, together=together)


def segments_of(
    model: nn.Module,
    fitted: Fitted,
    inputs: Inputs,
    mlps: Mapping[str, ExplicitMlp],
    prefix: Prefix | None = None,
) -> list[Segment]:
    """Runs a window, from the first layer that is fitted to the target.

    Args:
        model: what :func:`bauklens.model.guard.evaluating` yields.
        mlps: name of a block -> its MLP, if that is to be left out of the graphs.
        prefix: the positions that do not count, which ran already.
    """
    found: list[Segment] = []
    starts: list[torch.Tensor] = []
    cut: list[_Cut] = []
    parts = fitted.anatomy.parts

    def keep(_place: int, output: Any) -> Any:
        state = state_of(output, parts)
        if starts:
            found.append(Segment(starts[-1], state, cut.pop() if cut else None))
        starts.append(state.detach().requires_grad_())
        return with_state(output, starts[-1], parts)

    with ExitStack() as hooks:
        for mlp in mlps.values():
            module = model.get_submodule(mlp.module)
            hooks.enter_context(mlp.watched(model))
            hooks.callback(module.register_forward_pre_hook(_without_graph(mlp, cut)).remove)
            hooks.callback(module.register_forward_hook(_begin_again(cut)).remove)
        run_to_target(model, fitted, inputs, keep, prefix)
    return found


def _without_graph(mlp: ExplicitMlp, cut: list[_Cut]) -> Any:
    def begin(_module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        cut[:] = [_Cut(mlp, inputs[0], inputs[0])]
        return (inputs[0].detach(),)

    return begin


def _begin_again(cut: list[_Cut]) -> Any:
    def end(_module: nn.Module, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
        cut[0].returned = output.detach().requires_grad_()
        return cut[0].returned

    return end


def hang_together(segments: list[Segment]) -> bool:
    """Whether each segment's end depends on its own start, and on no other's."""
    starts = [segment.start for segment in segments]
    for place, segment in enumerate(segments):
        grads = torch.autograd.grad(segment.end.sum(), starts, retain_graph=True, allow_unused=True)
        if [each is not None for each in grads] != [other == place for other in range(len(starts))]:
            return False
    return True


def mlps_of(model: nn.Module, fitted: Fitted, inputs: Inputs) -> dict[str, ExplicitMlp]:
    """Name of a block -> its MLP, for the blocks that gradients run through, if its Jacobian can be made."""
    named = (EMBED, *fitted.anatomy.labels)
    blocks = fitted.anatomy.blocks[named.index(fitted.layers[0]) : named.index(fitted.target)]
    if not fitted.anatomy.plain or len(set(fitted.anatomy.blocks)) < len(fitted.anatomy.blocks):
        return {}
    calls: dict[str, torch.Tensor] = {}

    def look(name: str) -> Any:
        def before(_module: nn.Module, given: tuple[Any, ...], keywords: Mapping[str, Any]) -> None:
            if len(given) == 1 and not keywords and isinstance(given[0], torch.Tensor):
                calls[name] = given[0].detach()

        return before

    with ExitStack() as hooks:
        for name in blocks:
            for inner, module in model.get_submodule(name).named_modules():
                if inner:
                    hook = module.register_forward_pre_hook(look(f"{name}.{inner}"), with_kwargs=True)
                    hooks.callback(hook.remove)
        run_to_target(model, fitted, inputs, lambda _place, output: output, None)
    found = {name: explicit_mlp(model, name, calls) for name in blocks}
    return {name: each for name, each in found.items() if each is not None}


def _back(
    ends: list[torch.Tensor], gradients: list[torch.Tensor], start: torch.Tensor, *, together: bool
) -> torch.Tensor:
    """(row, *shape) with respect to some ends -> with respect to a start, some rows at once."""
    found = gradients[0].new_empty(len(gradients[0]), *start.shape)
    step = _AT_ONCE if together else 1
    for place in range(0, len(found), step):
        rows = slice(place, place + step)
        some = [each[rows] if together else each[place] for each in gradients]
        (grad,) = torch.autograd.grad(ends, start, some, retain_graph=True, is_grads_batched=together)
        found[rows] = grad
    return found
