"""One forward pass of a model, its logits, and the list of the modules that ran in it."""

import inspect
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map_only

from bauklens.model.inputs import Inputs, text_config
from bauklens.model.logits import found_logits, require_readable


@dataclass(frozen=True)
class Call:
    """One module that ran.

    Attributes:
        name: its dotted name.
        began, ended: the steps at which it began and ended, on one count for all modules.
        given: its input tensors, in order; the same objects, so that they can be followed from module to module.
        returned: its output tensors, likewise; a later module may have changed them in place.
        inputs, result: copies of ``given`` and ``returned`` as they were then; none without ``copies``.
    """

    name: str
    began: int
    ended: int
    given: tuple[torch.Tensor, ...]
    returned: Any
    inputs: tuple[torch.Tensor, ...] = ()
    result: Any = None

    @property
    def output(self) -> torch.Tensor | None:
        """The first tensor of ``result``; None if the module returned none there."""
        first = self.result[0] if isinstance(self.result, (tuple, list)) and self.result else self.result
        return first if isinstance(first, torch.Tensor) else None


def model_logits(model: nn.Module, inputs: Inputs, **options: Any) -> torch.Tensor:
    """Runs a model without a cache -> logits (prompt, position, vocabulary).

    Some models, such as classifiers of whole texts, return only the logits of one position. A model with several
    codebooks (MusicGen) is given the ids in each of them, and the logits are those of the first.

    Raises:
        LensError: the model has another kind of head, or does not return logits for positions.
    """
    require_readable(model, inputs.keyword)
    codebooks = getattr(text_config(model), "num_codebooks", 1) if inputs.keyword == "input_ids" else 1
    if getattr(text_config(model), "output_router_logits", False):  # a loss of the experts, which replayed blocks lack
        options["output_router_logits"] = False
    given = inputs.given | {inputs.keyword: inputs.ids.repeat_interleave(codebooks, dim=0)}
    output = model(**given, **_switches(model), **options)
    return found_logits(model, output, inputs.logits)[::codebooks]


def _switches(model: nn.Module) -> dict[str, bool]:
    """Options of a forward pass, if it takes them: no cache, and an output with names."""
    parameters = inspect.signature(type(model).forward).parameters
    takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
    told = {"use_cache": False, "return_dict": True}
    return {name: value for name, value in told.items() if takes_any or name in parameters}


def last_logits_only(model: nn.Module, count: int = 1) -> dict[str, Any]:
    """Options with which a forward pass computes the logits of only the last few positions, if it can."""
    supports = getattr(model, "_supports_logits_to_keep", None)  # every transformers model that generates has it
    can = "logits_to_keep" in inspect.signature(model.forward).parameters if supports is None else supports()
    return {"logits_to_keep": count} if can else {}


def record(
    model: nn.Module, inputs: Inputs, *, copies: Callable[[str], bool] = lambda _: False
) -> tuple[list[Call], torch.Tensor]:
    """Runs the model and lists the calls of its modules, in the order in which they began, with the logits.

    Args:
        copies: whether to keep copies of the input and output tensors of a module with this name.
    """
    calls: list[Call] = []
    running: list[tuple[int, tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]] = []
    clock = iter(range(1 << 62))

    def begin_of(copied: bool) -> Any:
        def begin(_module: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            given = tensors_in(inputs, keywords)
            running.append((next(clock), given, tuple(each.clone() for each in given) if copied else ()))

        return begin

    def end_of(name: str, copied: bool) -> Any:
        def end(_module: nn.Module, _inputs: tuple[Any, ...], returned: Any) -> None:
            began, given, inputs = running.pop()
            result = tree_map_only(torch.Tensor, torch.clone, returned) if copied else None
            calls.append(Call(name, began, next(clock), given, returned, inputs, result))

        return end

    with ExitStack() as hooks:
        for name, module in model.named_modules():
            if name:
                copied = copies(name)
                hooks.callback(module.register_forward_pre_hook(begin_of(copied), with_kwargs=True).remove)
                hooks.callback(module.register_forward_hook(end_of(name, copied)).remove)
        logits = model_logits(model, inputs)
    return sorted(calls, key=lambda call: call.began), logits.clone()


def tensors_in(inputs: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[torch.Tensor, ...]:
    """The input tensors of a module, in order."""
    return tuple(each for each in (*inputs, *keywords.values()) if isinstance(each, torch.Tensor))
