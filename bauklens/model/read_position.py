"""Which position is read by a model that returns the logits of only one: a classifier's, or a decoder's last."""

import torch
from torch import nn

from bauklens.model.inputs import Inputs, text_config
from bauklens.model.layout import Layout
from bauklens.model.path import disturbed
from bauklens.model.proof import NotProvedError
from bauklens.model.tail import Tail

FIRST, LAST = "first", "last"


def position_read(model: nn.Module, inputs: Inputs, reads: str) -> int:
    """The position of a prompt that is read.

    Args:
        reads: ``"first"``, or ``"last"``, which passes over padding as transformers' classifiers do.
    """
    if reads == FIRST:
        return 0
    padding = getattr(text_config(model), "pad_token_id", None)
    if not isinstance(padding, int):
        return inputs.count - 1
    words = (inputs.ids[0] != padding).nonzero()[:, 0]
    return int(words[-1]) if len(words) else 0


def is_told_apart(model: nn.Module, inputs: Inputs) -> bool:
    """Whether the first and the last position that can be read differ, as there are several besides padding."""
    return position_read(model, inputs, LAST) != position_read(model, inputs, FIRST)


def read_position(model: nn.Module, layout: Layout, inputs: Inputs, tail: Tail, state: torch.Tensor) -> str:
    """Finds whether the first or last position is read, by changing the state (position, hidden) there and elsewhere.

    Raises:
        NotProvedError: another position is read, or several are.
    """
    anywhere = torch.tensor([0], device="cpu")
    changed, own = disturbed(state), tail.exit(state[None], anywhere).clone()
    for reads in (LAST, FIRST):
        there = position_read(model, inputs, reads)
        elsewhere, only_there = changed.clone(), state.clone()
        elsewhere[there], only_there[there] = state[there], changed[there]
        stays = torch.equal(tail.exit(elsewhere[None], anywhere), own)
        if stays and not torch.equal(tail.exit(only_there[None], anywhere), own):
            return reads
    raise NotProvedError(
        f"the logits of {layout.model_class} depend on the states of several positions (their mean, for example), or "
        "on one that is neither the first nor the last, so no position can be read by itself"
    )
