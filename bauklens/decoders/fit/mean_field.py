"""The Jacobian lens in closed form: the product of the blocks' mean Jacobians, from a forward pass and no backward one.

The Jacobian of the final state with respect to a layer's is the product of those of the blocks in between. Here each
block's is averaged first, and then they are multiplied: a mean field, which leaves out how they vary together.
"""

from collections.abc import Mapping
from contextlib import ExitStack

import torch
from torch import nn

from bauklens.decoders.fit.gated_block import GatedBlock
from bauklens.model.anatomy import Anatomy
from bauklens.model.forward import model_logits
from bauklens.model.guard import evaluating
from bauklens.model.inputs import Inputs

SKIP_FIRST = 16
"""Positions at the beginning that are left out: attention rests there, and states are unlike others."""


def mean_field_jacobians(model: nn.Module, anatomy: Anatomy, inputs: Inputs) -> Mapping[str, torch.Tensor]:
    """Label of a layer -> (width, width) float32, for all layers but the last.

    Args:
        inputs: texts of one length, more than :data:`SKIP_FIRST` tokens; the last position of each is left out too.

    Raises:
        LensError: the blocks are not of a kind whose Jacobian is known in closed form.
    """
    matrices: list[torch.Tensor] = []
    positions = slice(SKIP_FIRST, inputs.count - 1)
    with evaluating(model, in_place=anatomy.in_place) as own, ExitStack() as watched, torch.enable_grad():
        for name in anatomy.blocks:
            block = GatedBlock(name, own.get_submodule(name))
            watched.enter_context(block.linearized(positions, matrices.append))
        model_logits(own, inputs)
    found, product = {}, torch.eye(anatomy.width, device=matrices[-1].device)
    for label, matrix in zip(anatomy.labels[-2::-1], matrices[:0:-1], strict=True):
        product = product @ matrix
        found[label] = product
    return found
