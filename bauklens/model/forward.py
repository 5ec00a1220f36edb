"""One forward pass of a model, its logits, and the list of the modules that ran in it."""

import inspect
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map_only

from bauklens.errors import LensError
from bauklens.model.inputs import Inputs, text_config


@dataclass(frozen=True)
class Call:
    """One module that ran.

    Attributes:
        name: its dotted name.
        began, ended: when, as places in one count.
        given: the tensors that it was given, in order; these very tensors, so that they can be followed from module to
            module.
        returned: what it returned, likewise; a later module may have changed it in place.
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
        """The first tensor of ``result``; None where the module returned none there."""
        first = self.result[0] if isinstance(self.result, (tuple, list)) and self.result else self.result
        return first if isinstance(first, torch.Tensor) else None


def model_logits(model: nn.Module, inputs: Inputs, **options: Any) -> torch.Tensor:
    """Runs a model without a cache -> logits (prompt, position, vocabulary).

    A model of several codebooks (MusicGen) is given the ids in each of them, and the logits are those of the first.

    Raises:
        LensError: the model is an encoder-decoder or has a head of another kind; or returns no logits of each position.
    """
    _require_causal(model)
    codebooks = getattr(text_config(model), "num_codebooks", 1)
    if getattr(text_config(model), "output_router_logits", False):  # a loss of the experts, which replayed blocks lack
        options["output_router_logits"] = False
    ids = inputs.ids.repeat_interleave(codebooks, dim=0)
    output = model(input_ids=ids, **inputs.extra, use_cache=False, return_dict=True, **options)
    logits, kind = getattr(output, "logits", None), type(model).__name__
    if logits is None:
        raise LensError(f"{kind} has no head: load it with AutoModelForCausalLM, so that it returns logits")
    if not isinstance(logits, torch.Tensor) or logits.dim() != 3:
        raise LensError(f"{kind} does not return logits for each position; a lens needs a causal language model")
    return logits[::codebooks]


def last_logits_only(model: nn.Module, count: int = 1) -> dict[str, Any]:
    """What a forward pass is told so that it computes the logits of the last few positions alone, if it can."""
    supports = getattr(model, "_supports_logits_to_keep", None)  # of all models of transformers that generate
    can = "logits_to_keep" in inspect.signature(model.forward).parameters if supports is None else supports()
    return {"logits_to_keep": count} if can else {}


def _require_causal(model: nn.Module) -> None:
    """Refuses a model that is known not to predict the next token."""
    kind: Any = type(model)
    wanted = "a lens needs a causal language model (AutoModelForCausalLM)"
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        raise LensError(f"{kind.__name__} is an encoder-decoder; {wanted}")
    if getattr(model, "main_input_name", "input_ids") != "input_ids" or "input_ids" not in _parameters(kind):
        raise LensError(f"{kind.__name__} does not take token ids; {wanted}")
    forward_of = next(base for base in kind.__mro__ if "forward" in vars(base)).__module__
    has_head = getattr(model, "base_model", None) is not model
    if forward_of.startswith("transformers.") and has_head and not kind.can_generate():
        raise LensError(f"{kind.__name__} has another kind of head, or none that predicts the next token; {wanted}")


def _parameters(kind: type[nn.Module]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(kind.forward).parameters


def record(model: nn.Module, inputs: Inputs, *, copies: bool = False) -> tuple[list[Call], torch.Tensor]:
    """Runs the model and lists the calls of its modules, in the order in which they began, with the logits.

    Args:
        copies: keep copies of the tensors given and returned as well.
    """
    calls: list[Call] = []
    running: list[tuple[int, tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]] = []
    clock = iter(range(1 << 62))

    def begin(_module: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        given = tensors_in(inputs, keywords)
        running.append((next(clock), given, tuple(each.clone() for each in given) if copies else ()))

    def end_of(name: str) -> Any:
        def end(_module: nn.Module, _inputs: tuple[Any, ...], returned: Any) -> None:
            began, given, inputs = running.pop()
            result = tree_map_only(torch.Tensor, torch.clone, returned) if copies else None
            calls.append(Call(name, began, next(clock), given, returned, inputs, result))

        return end

    with ExitStack() as hooks:
        for name, module in model.named_modules():
            if name:
                hooks.callback(module.register_forward_pre_hook(begin, with_kwargs=True).remove)
                hooks.callback(module.register_forward_hook(end_of(name)).remove)
        logits = model_logits(model, inputs)
    return sorted(calls, key=lambda call: call.began), logits.clone() if copies else logits


def tensors_in(inputs: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[torch.Tensor, ...]:
    """The tensors that a module is given, in order."""
    return tuple(each for each in (*inputs, *keywords.values()) if isinstance(each, torch.Tensor))
