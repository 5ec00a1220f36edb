"""The second projection of an MLP, whose inputs are its neurons."""

from collections.abc import Sequence

import torch
from torch import nn

from bauklens.errors import LensError
from bauklens.model.anatomy import Anatomy
from bauklens.model.forward import Call
from bauklens.model.sublayers import Sublayer
from bauklens.model.weights import has_packed, weights_of

PROBE = 8
"""Positions that are enough to find it."""


def second_projection(
    model: nn.Module, anatomy: Anatomy, block: str, mlp: Sublayer, calls: Sequence[Call]
) -> tuple[str, torch.Tensor]:
    """The name of an MLP's second projection and its rows (neuron, hidden); their layout is found by running it.

    Args:
        block: the name of the MLP's block.
        calls: a run of at most :data:`PROBE` positions, recorded with copies.

    Raises:
        LensError: what the MLP writes is not the output of one projection.
    """
    wrote = next(call for call in calls if call.name == mlp.names[0])
    inside = [call for call in calls if call.name.startswith(block + ".") and call.ended <= wrote.ended and call.inputs]
    inside = sorted(inside, key=lambda call: -call.ended)
    ends = [call for call in inside if len(mlp.names) == 1 and _hands_over(call, wrote)]
    for call in ends:
        weight = weights_of(model.get_submodule(call.name))
        if weight is None or weight.dim() != 2:
            continue
        for rows in (weight.T, weight):  # Linear: (hidden, neuron); Conv1D: (neuron, hidden)
            if rows.shape == (call.inputs[0].shape[-1], anatomy.width) and _projects(model, call, rows):
                return call.name, rows
    for call in ends:
        module = model.get_submodule(call.name)
        if _is_projection(module) and not any(each.name.startswith(f"{call.name}.") for each in calls):
            raise LensError(
                f"the weights of {call.name} ({type(module).__name__}) cannot be read (it is quantized, offloaded, "
                "split over ranks, or has an adapter), so its neurons cannot be ranked: load the model without that"
            )
    raise LensError(
        f"the output of {mlp} in {anatomy.model_class} does not come from a single projection (it may be a "
        "mixture of experts), so it has no neurons to rank"
    )


def _is_projection(module: nn.Module) -> bool:
    """Whether a module has a matrix of weights, even if it cannot be read."""
    return has_packed(module) or getattr(getattr(module, "weight", None), "ndim", 0) == 2


def _hands_over(call: Call, wrote: Call) -> bool:
    """Whether a module returned what the sublayer wrote, or what the norm on its output was given."""
    output, ends = call.output, [wrote.output, *wrote.inputs[:1]]
    if output is None:
        return False
    return any(
        end is not None and end.numel() == output.numel() and torch.equal(end.flatten(), output.flatten())
        for end in ends
    )


def _projects(model: nn.Module, call: Call, rows: torch.Tensor) -> bool:
    """Whether a module's output is its input times these rows, plus its bias."""
    if call.output is None:
        return False
    bias = getattr(model.get_submodule(call.name), "bias", None)
    return is_close(call.inputs[0].float() @ rows.float() + (0 if bias is None else bias.float()), call.output)


def is_close(found: torch.Tensor, output: torch.Tensor) -> bool:
    """Whether a product made here is what a module returned, but for rounding."""
    tolerance = 16 * torch.finfo(output.dtype).eps * float(output.abs().max())
    return bool((found - output.float()).abs().max() <= max(tolerance, 1e-5))
