"""One forward pass of a model, its logits, and the list of the modules that ran in it."""

import inspect
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from bauklens.errors import LensError, out_of_memory
from bauklens.model.inputs import text_config


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


@contextmanager
def naming_want_of_memory(positions: int) -> Iterator[None]:
    """Makes one clear error of the want of memory in a forward pass of so many positions."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise LensError(
            f"out of memory in the forward pass of {positions:,} tokens: pass a shorter prompt, or load the model with "
            "dtype='float16' or device_map='auto'"
        ) from None


def model_logits(model: nn.Module, token_ids: torch.Tensor, **options: Any) -> torch.Tensor:
    """Runs a model without a cache -> logits (batch, position, vocabulary).

    A model of several codebooks (MusicGen) is given the ids in each of them, and the logits are those of the first.

    Raises:
        LensError: the model is an encoder-decoder or a masked one, or returns no logits for each position.
    """
    kind = type(model).__name__
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        raise LensError(f"{kind} is an encoder-decoder; a lens needs a causal language model (AutoModelForCausalLM)")
    if kind.endswith(("Classification", "QuestionAnswering", "MultipleChoice", "Prediction")):
        raise LensError(
            f"{kind} has a head of another kind; a lens needs a causal language model (AutoModelForCausalLM)"
        )
    if "input_ids" not in inspect.signature(type(model).forward).parameters:
        raise LensError(f"{kind} reads no token ids; a lens needs a causal language model (AutoModelForCausalLM)")
    if kind.endswith("ForMaskedLM"):
        raise LensError(
            f"{kind} is a masked language model, which reads what comes after a position; a lens needs a causal one "
            "(AutoModelForCausalLM)"
        )
    codebooks = getattr(text_config(model), "num_codebooks", 1)
    if getattr(text_config(model), "output_router_logits", False):  # a loss of the experts, which replayed blocks lack
        options["output_router_logits"] = False
    output = model(
        input_ids=token_ids.repeat_interleave(codebooks, dim=0), use_cache=False, return_dict=True, **options
    )
    logits = getattr(output, "logits", None)
    if logits is None:
        raise LensError(f"{kind} has no head: load it with AutoModelForCausalLM, so that it returns logits")
    if not isinstance(logits, torch.Tensor) or logits.dim() != 3:
        raise LensError(f"{kind} returns no logits for each position; a lens needs a causal language model")
    return logits[::codebooks]


def record(model: nn.Module, token_ids: torch.Tensor, *, copies: bool = False) -> tuple[list[Call], torch.Tensor]:
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
            result = _copied(returned) if copies else None
            calls.append(Call(name, began, next(clock), given, returned, inputs, result))

        return end

    with ExitStack() as hooks:
        for name, module in model.named_modules():
            if name:
                hooks.callback(module.register_forward_pre_hook(begin, with_kwargs=True).remove)
                hooks.callback(module.register_forward_hook(end_of(name)).remove)
        logits = model_logits(model, token_ids)
    return sorted(calls, key=lambda call: call.began), logits


def tensors_in(inputs: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[torch.Tensor, ...]:
    """The tensors that a module is given, in order."""
    return tuple(each for each in (*inputs, *keywords.values()) if isinstance(each, torch.Tensor))


def _copied(returned: Any) -> Any:
    """A tensor, or the tensors in a tuple or list, copied; what else a module returns is not looked into."""
    if isinstance(returned, torch.Tensor):
        return returned.clone()
    if isinstance(returned, (tuple, list)):
        return [each.clone() if isinstance(each, torch.Tensor) else each for each in returned]
    return None
