"""The Jacobian lens in closed form: the product of the blocks' mean Jacobians, from a forward pass only.

The Jacobian of the final state with respect to a layer's is the product of those of the blocks in between. Here each
block's is averaged first, and then they are multiplied: a mean field, which leaves out how they vary together.
"""

from collections.abc import Mapping
from contextlib import ExitStack

import torch
from torch import nn

from bauklens.decoders.fit.gated_block import GatedBlock
from bauklens.decoders.fit.graph import states_only
from bauklens.decoders.texts import SKIP_FIRST
from bauklens.errors import LensError
from bauklens.model.anatomy import Anatomy
from bauklens.model.forward import last_logits_only, model_logits
from bauklens.model.guard import evaluating
from bauklens.model.inputs import Inputs
from bauklens.model.memory import out_of_memory
from bauklens.vocabulary import EMBED


def mean_field_jacobians(
    model: nn.Module, anatomy: Anatomy, inputs: Inputs, *, skip_first: int = SKIP_FIRST
) -> Mapping[str, torch.Tensor]:
    """Label of a layer -> (width, width) float32, for all layers but the last.

    Args:
        inputs: texts of one length; the last position of each is left out.
        skip_first: positions at the beginning of each that are left out too.

    Raises:
        LensError: the blocks are not of a kind whose Jacobian is known in closed form.
    """
    return product_of(torch.stack(block_jacobians(model, anatomy, inputs, skip_first=skip_first)), anatomy)


def block_jacobians(model: nn.Module, anatomy: Anatomy, inputs: Inputs, *, skip_first: int) -> list[torch.Tensor]:
    """The mean Jacobian of every block, (width, width) float32; as :func:`mean_field_jacobians`."""
    matrices: list[torch.Tensor] = []
    last: list[torch.Tensor] = []

    def passed(given: torch.Tensor, returned: torch.Tensor) -> None:
        if last and not torch.equal(last[0], given.to(last[0].device)):
            raise LensError(
                f"{anatomy.model_class} has no Jacobian in closed form: a block is given more than the one before it "
                "returns"
            )
        last[:] = [returned.detach()]

    positions = slice(skip_first, inputs.count - 1)
    with evaluating(model, in_place=anatomy.in_place) as own, ExitStack() as watched, states_only(own):
        for name in anatomy.blocks:
            block = GatedBlock(name, own.get_submodule(name))
            watched.enter_context(block.linearized(positions, matrices.append, passed))
        try:
            model_logits(own, inputs, **last_logits_only(own))
        except RuntimeError as error:
            if out_of_memory(error):
                raise
            raise LensError(
                f"{anatomy.model_class} has no Jacobian in closed form: it has no gradients ({error!s:.200})"
            ) from None
    if len(matrices) != len(anatomy.blocks):
        raise LensError(
            f"{anatomy.model_class} has no Jacobian in closed form: its blocks ran {len(matrices)} times, but it has "
            f"{len(anatomy.blocks)}"
        )
    return [matrix.detach() for matrix in matrices]


def product_of(matrices: torch.Tensor, anatomy: Anatomy) -> dict[str, torch.Tensor]:
    """Label of a layer -> the product of the matrices (block, width, width) of the blocks after it.

    The state before block 0 has one too, and the last block's output needs none.
    """
    labels = (EMBED, *anatomy.labels)
    found, product = {}, torch.eye(anatomy.width, dtype=matrices.dtype, device=matrices.device)
    for label, matrix in zip(labels[-2::-1], matrices.flip(0), strict=True):
        product = product @ matrix
        found[label] = product
    return found
