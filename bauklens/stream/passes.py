"""One forward pass, with the model's own logits that are wanted, or fewer if they take too much memory."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from torch import nn

from bauklens.arguments import chosen_positions
from bauklens.model.anatomy import Anatomy
from bauklens.model.forward import last_logits_only
from bauklens.model.inputs import Inputs
from bauklens.model.memory import explaining_out_of_memory, free_memory, out_of_memory
from bauklens.model.run_errors import explaining_missing_inputs
from bauklens.stream.tracing import Passed, Tracing, run_traced

LOGIT_BYTES = 512 << 20
"""The most bytes of the model's own logits, in float32, that are kept for several prompts that run together."""

ALONE_BYTES = 128 << 20
"""The same for one prompt. If there are more, they are computed again, a few at a time, when they are read."""


def forward_pass(
    model: nn.Module,
    anatomy: Anatomy,
    inputs: Inputs,
    tracing: Tracing,
    lengths: Sequence[int],
    options: dict[str, Any],
) -> tuple[Passed, int]:
    """Runs prompts through a model at once.

    Args:
        inputs: the prompts, padded on the right to the longest.
        lengths: positions of each, without padding.
        options: further options of the forward pass.

    Returns:
        The result of the pass, with logits at some of the last positions; and at how many they are wanted.

    Raises:
        LensError: memory runs out, or the model needs other inputs.
    """
    longest = max(lengths)
    firsts = [min(chosen_positions(length, tracing.positions)) for length in lengths]
    wanted, least = longest - min(firsts), longest - min(lengths) + 1
    few = {} if anatomy.hooked else last_logits_only(model, least)
    enough = last_logits_only(model, wanted) if few and wanted < longest else {}
    named = explaining_missing_inputs(model, inputs) if tracing.edit_output is None else nullcontext()
    with explaining_out_of_memory(inputs.ids.numel()), named:
        gathers = anatomy.shards is not None and not tracing.in_shards
        most = most_with_logits(anatomy, len(lengths))
        if few and (gathers or len(lengths) * wanted > most):
            return run_traced(model, anatomy, inputs, tracing, options | few), wanted
        try:
            return run_traced(model, anatomy, inputs, tracing, options | enough), wanted
        except (RuntimeError, MemoryError) as error:
            if not few or not out_of_memory(error):
                raise
            free_memory(error)
            return run_traced(model, anatomy, inputs, tracing, options | few), wanted


def most_with_logits(anatomy: Anatomy, prompts: int = 2) -> int:
    """The most positions whose logits are kept from one forward pass of several prompts."""
    return max(1, (ALONE_BYTES if prompts == 1 else LOGIT_BYTES) // (4 * anatomy.vocabulary))
