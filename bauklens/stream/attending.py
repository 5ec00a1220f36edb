"""The attention weights of blocks, recorded by hooks in a separate forward pass."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, nullcontext, suppress
from typing import Any

import torch
from torch import nn

from bauklens.errors import LensError
from bauklens.model.anatomy import Anatomy
from bauklens.model.block_output import state_of
from bauklens.model.eager import computing_attention_eagerly
from bauklens.model.forward import last_logits_only, model_logits
from bauklens.model.guard import evaluating
from bauklens.model.heads import heads_over_ranks
from bauklens.model.inputs import Inputs
from bauklens.model.memory import explaining_out_of_memory
from bauklens.signals import unbroken
from bauklens.stream.acting import Acting

Keep = Callable[[int, torch.Tensor], None]
"""What is done with the weights of a block: its number, and (head, position, source)."""

_GRAINS = 16
"""How many roundings of the weights' dtype their sum over all positions may be off by."""


def watch_attention(
    model: nn.Module, anatomy: Anatomy, inputs: Inputs, blocks: Sequence[int], keep: Keep, acting: Acting | None = None
) -> torch.Tensor:
    """Runs a prompt with eager attention, up to the last block that is wanted, and passes on the weights of each.

    The weights of a block are freed when the next one runs, unless ``keep`` keeps them. The model is left unchanged.

    Args:
        inputs: one prompt.
        blocks: numbers of blocks in the order in which they run.
        keep: called for each of these blocks that has attention weights.
        acting: edits that act meanwhile.

    Returns:
        (position, hidden), the state after the last of these blocks.

    Raises:
        LensError: the model has another kind of stream, or none of the blocks has attention weights.
    """
    if not anatomy.plain:
        raise LensError(
            f"attention needs states of shape (position, hidden), but those of {anatomy.model_class} have another shape"
        )
    options = {} if anatomy.hooked else last_logits_only(model)
    for asked in _ways_to_ask(model):
        watch = _Watch(anatomy, inputs.count, set(blocks), keep, heads_over_ranks(model))
        with (
            evaluating(model, in_place=anatomy.in_place) as running,
            computing_attention_eagerly(running),
            nullcontext() if acting is None else acting.on(running),
            watch.on(running),
            explaining_out_of_memory(inputs.count),
            suppress(_EnoughError),
        ):
            model_logits(running, inputs, **options, **asked)
        if watch.found:
            assert watch.state is not None
            return watch.state
    raise LensError(
        f"{anatomy.model_class} returns no attention weights: no module in its blocks returns (head, position, "
        "position) with eager attention; leave out attention="
    )


def _ways_to_ask(model: nn.Module) -> list[dict[str, bool]]:
    """Options of a forward pass; older versions of transformers keep the weights only if they are asked to."""
    parameters = inspect.signature(type(model).forward).parameters
    takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
    return [{}, {"output_attentions": True}] if takes_any or "output_attentions" in parameters else [{}]


class _EnoughError(Exception):
    """Raised when the last block that is wanted has run."""


class _Watch:
    """Looks for weights in the blocks of a run.

    Attributes:
        found: numbers of the blocks that have weights.
        state: what the last wanted block returned.
    """

    def __init__(self, anatomy: Anatomy, count: int, blocks: set[int], keep: Keep, heads: int | None) -> None:
        self._anatomy, self._count, self._blocks, self._keep = anatomy, count, blocks, keep
        self._heads, self._now = heads, -1
        self.found: set[int] = set()
        self.state: torch.Tensor | None = None

    @unbroken
    def on(self, running: nn.Module) -> Iterator[None]:
        """While this lasts, the weights of the blocks are recorded."""
        with ExitStack() as hooks:
            for name in dict.fromkeys(self._anatomy.blocks):
                block = running.get_submodule(name)
                hooks.callback(block.register_forward_pre_hook(self._begin).remove)
                for module in block.modules():
                    if module is not block:
                        hooks.callback(module.register_forward_hook(self._look).remove)
                hooks.callback(block.register_forward_hook(self._end).remove)
            yield

    def _begin(self, *_: Any) -> None:
        self._now += 1

    def _look(self, _module: nn.Module, _inputs: Any, output: Any) -> None:
        if self._now not in self._blocks or self._now in self.found:
            return
        for each in output if isinstance(output, (tuple, list)) else (output,):
            if isinstance(each, torch.Tensor) and self._are_weights(each):
                self._require_all(each.shape[1])
                self.found.add(self._now)
                self._keep(self._now, each[0])
                return

    def _require_all(self, count: int) -> None:
        """Refuses weights of only some heads, as one of several ranks may have."""
        if self._heads not in (None, count):
            raise LensError(
                f"each rank has {count} of the {self._heads} attention heads of {self._anatomy.model_class}, so none "
                "has all weights: leave out attention=, or load the model on one device"
            )

    def _are_weights(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor is (1, head, position, position), with shares that add up to at most 1 at each position."""
        square = (self._count, self._count)
        if tensor.ndim != 4 or tensor.shape[0] != 1 or tensor.shape[2:] != square or not tensor.is_floating_point():
            return False
        sums = tensor.sum(dim=-1, dtype=torch.float32)  # an attention sink (gpt-oss) takes the rest
        most = 1 + _GRAINS * torch.finfo(tensor.dtype).eps
        return bool((tensor >= 0).all() and (sums <= most).all() and (sums > 0).all())

    def _end(self, _module: nn.Module, _inputs: Any, output: Any) -> None:
        if self._now == max(self._blocks):
            self.state = state_of(output, self._anatomy.parts)[0].detach().clone()
            raise _EnoughError
