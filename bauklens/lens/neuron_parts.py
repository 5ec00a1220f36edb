"""What each neuron of the MLPs writes into the stream at one position."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import nn

from bauklens.errors import LensError
from bauklens.lens.second_projection import PROBE, second_projection
from bauklens.model.anatomy import Anatomy
from bauklens.model.forward import model_logits, record
from bauklens.model.frozen_norm import FrozenNorm
from bauklens.model.guard import evaluating
from bauklens.model.inputs import Inputs
from bauklens.model.sublayers import Sublayers
from bauklens.model.tracing import TraceDict

_GRAINS = 8
"""Rounding errors that the sum of an MLP's neurons may have, relative to the sum of their sizes."""


class NeuronParts(NamedTuple):
    """What the neurons of one MLP write at one position.

    Attributes:
        label: the block's.
        states: (neuron, hidden), what each writes; and a last row for what the MLP writes that belongs to no neuron.
    """

    label: str
    states: torch.Tensor


class NeuronInputs(NamedTuple):
    """What the neurons of all MLPs are at one position.

    Attributes:
        projections: label -> the name of the MLP's second projection and its rows, (neuron, hidden).
        inner: label -> (neuron,), what that projection is given.
        without: labels of the blocks whose neurons cannot be told apart.
    """

    projections: Mapping[str, tuple[str, torch.Tensor]]
    inner: Mapping[str, torch.Tensor]
    without: tuple[str, ...]


def neuron_inputs(
    model: nn.Module, anatomy: Anatomy, inputs: Inputs, sublayers: Sublayers, column: int
) -> NeuronInputs:
    """Runs the model once more, and keeps the input of every MLP's second projection at one position."""
    with evaluating(model, in_place=anatomy.in_place) as own:
        calls, _ = record(own, inputs.first(PROBE), copies=lambda _: True)
        projections: dict[str, tuple[str, torch.Tensor]] = {}
        for label, block, mlp in zip(anatomy.labels, anatomy.blocks, sublayers.mlp, strict=True):
            try:
                projections[label] = second_projection(own, anatomy, block, mlp, calls)
            except LensError:
                continue
        names = [name for name, _ in projections.values()]
        with TraceDict(own, names, retain_output=False, retain_input=True) as trace:
            model_logits(own, inputs)
        inner = {
            label: trace[name].input.reshape(inputs.count, -1)[column].detach()
            for label, (name, _) in projections.items()
        }
    return NeuronInputs(projections, inner, tuple(label for label in anatomy.labels if label not in projections))


def neuron_parts(
    model: nn.Module, anatomy: Anatomy, given: NeuronInputs, sublayers: Sublayers, written: torch.Tensor, column: int
) -> Iterator[NeuronParts]:
    """What the neurons of each MLP write, MLP by MLP.

    Args:
        written: (layer, position, hidden), what the MLPs write.

    Raises:
        LensError: the neurons of an MLP do not add up to what it writes.
    """
    for number, label in enumerate(anatomy.labels):
        if label not in given.projections:
            continue
        mlp, (name, rows) = sublayers.mlp[number], given.projections[label]
        states = given.inner[label][:, None].to(rows) * rows
        bias = getattr(model.get_submodule(name), "bias", None)
        nothing = torch.zeros_like(states[:1]) if bias is None else bias.detach().to(states)[None]
        norm = model.get_submodule(mlp.names[0])
        if mlp.names[0] != name and not any(each is model.get_submodule(name) for each in norm.modules()):
            frozen = FrozenNorm(norm, states.sum(dim=0, keepdim=True) + nothing, without_hooks=True)
            first = torch.zeros(1, dtype=torch.int64, device=states.device)
            states, nothing = frozen(states, first), frozen(nothing, first) + frozen.bias
        found = torch.cat([states, nothing]) * mlp.scales[0]
        whole, sizes = written[number, column], found.abs().sum(dim=0)
        allowed = _GRAINS * torch.finfo(written.dtype).eps * sizes + 1e-6
        if not bool(((found.sum(dim=0) - whole.to(found)).abs() <= allowed).all()):
            raise LensError(f"the neurons of layer {label} do not add up to what its MLP writes at position {column}")
        yield NeuronParts(label, found)
