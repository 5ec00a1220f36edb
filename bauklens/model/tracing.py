"""Which TraceDict is used, what a block's output is made of, and how a model is left as it was."""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Lock, RLock
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from bauklens.errors import LensError
from bauklens.model import tracedict

log = logging.getLogger(__name__)


def _choose() -> type[Any]:
    """baukit's class where baukit imports; it fails in many ways (a torchvision that does not match: RuntimeError)."""
    try:
        from baukit import TraceDict
    except Exception as error:
        log.debug("tracing with bauklens' own TraceDict, as baukit does not import: %r", error)
        return tracedict.TraceDict
    log.debug("tracing with baukit's TraceDict")
    return TraceDict  # type: ignore[no-any-return]


TraceDict = _choose()


def state_of(output: Any, parts: tuple[int, ...] = (0,)) -> torch.Tensor:
    """The hidden state in what a block returns: the tensor itself, or the first element of a tuple or list.

    Args:
        parts: which elements make up the state; several (the two streams of a Reformer) are stacked.

    Raises:
        LensError: there is no tensor in that place.
    """
    if isinstance(output, torch.Tensor):
        return output
    found = [output[part] for part in parts] if isinstance(output, (tuple, list)) else []
    if not found or not all(isinstance(each, torch.Tensor) for each in found):
        raise LensError(
            f"a block returned {type(output).__name__}; looked for a tensor, or a tuple that starts with one"
        )
    return found[0] if len(found) == 1 else torch.stack(found)


def with_state(output: Any, state: torch.Tensor, parts: tuple[int, ...] = (0,)) -> Any:
    """What a block returned, with another hidden state in it."""
    if isinstance(output, torch.Tensor):
        return state
    items = list(output)
    for part, each in zip(parts, [state] if len(parts) == 1 else state, strict=True):
        items[part] = each
    return type(output)(*items) if hasattr(output, "_fields") else type(output)(items)


_locks: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()
_locks_lock = Lock()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards each module is in the mode that it was in.

    One thread at a time has a model like this, as the modes, the hooks and the modules that stand in for others are the
    model's own; another waits.
    """
    with _locks_lock:
        lock = _locks.setdefault(model, RLock())
    with lock:
        training = [module for module in model.modules() if module.training]
        try:
            for module in training:  # not eval(), upon which some modules act (LoRA's may merge their weights)
                module.training = False
            with torch.no_grad(), _eager(model):
                yield
        finally:
            for module in training:
                module.training = True


def _eager(model: nn.Module) -> AbstractContextManager[Any]:
    """Runs what was compiled in place as it was written, as compiled code would be compiled again for every hook."""
    compiled = any(
        module._compiled_call_impl is not None or hasattr(vars(module).get("forward"), "_torchdynamo_orig_callable")
        for module in model.modules()
    )
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()


@contextmanager
def swapped(model: nn.Module, replacements: dict[str, nn.Module]) -> Iterator[None]:
    """Puts other modules in the places of a model that the dotted names name; afterwards the model's own are back."""
    standing_in = {id(model.get_submodule(name)): module for name, module in replacements.items()}
    originals = {  # under each of its names, as one module may stand in several places
        name: module for name, module in model.named_modules(remove_duplicate=False) if id(module) in standing_in
    }
    try:
        for name, module in originals.items():
            _place(model, name, standing_in[id(module)])
        yield
    finally:
        for name, module in originals.items():
            _place(model, name, module)


def _place(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
