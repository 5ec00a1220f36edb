"""What each row of a lens must show, by a full forward pass of the model in which later blocks hand on the state."""

from contextlib import ExitStack

import torch

from bauklens.model.forward import tensors_in


def early_exit(model, anatomy, row, given, *, hold=False):
    """(position, vocabulary): the softmax of a full forward pass whose blocks hand on what they are given.

    Args:
        row: the blocks from this one on hand on.
        given: the keywords of the forward pass.
        hold: they hand on the state after the block before this one, even if the model adds to it on the way.
    """
    held, ran = [], []

    def hand_on(module, inputs, keywords, output):
        tensors = tensors_in(inputs, keywords)
        state = [tensors[place].clone() for place in anatomy.takes]
        place = len(ran)
        ran.append(place)
        if place == 0 and row == 0:
            held.append(state)
        if place == row - 1:
            returned = [output] if torch.is_tensor(output) else [output[part] for part in anatomy.parts]
            held.append([each.clone() for each in returned])
        if place < row:
            return None
        state = held[0] if hold else state
        if torch.is_tensor(output):
            return state[0]
        items = list(output)
        for part, each in zip(anatomy.parts, state, strict=True):
            items[part] = each
        return type(output)(*items) if hasattr(output, "_fields") else type(output)(items)

    with ExitStack() as hooks, torch.no_grad():
        for block in dict.fromkeys(anatomy.blocks):
            hook = model.get_submodule(block).register_forward_hook(hand_on, with_kwargs=True)
            hooks.callback(hook.remove)
        logits = model(**given).logits
    return torch.softmax(logits[0].float(), dim=-1)
