"""The model's own tail as a differentiable function of states, for fits that use the model's output."""

from collections.abc import Callable, Iterator
from typing import cast

import torch
from torch import nn

from bauklens.decoders.fit.states import Fitted
from bauklens.model.inputs import Inputs
from bauklens.model.tail import replaying
from bauklens.signals import unbroken

Head = Callable[[torch.Tensor], torch.Tensor]
"""(row, size) in the final basis -> (row, vocabulary), float32 or float64."""


@unbroken
def differentiable_head(fitted: Fitted, inputs: Inputs) -> Iterator[Head]:
    """The tail; while this is open, the model's blocks are skipped.

    Rows are treated as the positions of a prompt; a tail that depends on positions gets arbitrary ones.

    Args:
        inputs: a window, whose ids are given to the model again.
    """
    anatomy = fitted.anatomy
    post_ops = None if anatomy.whole else anatomy.post_ops
    with replaying(
        fitted.model,
        anatomy,
        inputs,
        through=anatomy.norm,
        whole=anatomy.whole,
        to_head=post_ops is not None,
        in_place=anatomy.in_place,
    ) as tail:

        def logits(rows: torch.Tensor) -> torch.Tensor:
            nowhere = torch.zeros(len(rows), 1, dtype=torch.int64, device="cpu")
            states = rows[:, None].to(fitted.dtype)
            if post_ops is not None:
                linear = cast("nn.Linear", tail.head)
                given = tail.head_inputs(states, nowhere)[:, 0]
                found = post_ops(nn.functional.linear(given, linear.weight, linear.bias))
            else:
                found = tail(states, nowhere)[:, 0]
            found = found[..., : anatomy.vocabulary]
            return found.to(torch.promote_types(found.dtype, torch.float32))

        yield logits
