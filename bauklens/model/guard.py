"""A model is used as it is, by one thread at a time, and left as it was."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from threading import Lock, RLock
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

_locks: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()
_locks_lock = Lock()


@contextmanager
def evaluating(*models: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards each module is in the mode that it was in.

    Only one thread at a time uses a model like this, because its modes, hooks and replaced modules are shared; others
    wait. Several models are taken in one order, whoever asks, so that no two threads wait for
    each other.
    """
    with ExitStack() as stack:
        for lock in _locks_of(models):
            stack.enter_context(lock)
        stack.enter_context(torch.no_grad())
        for model in models:
            stack.enter_context(_in_evaluation_mode(model))
            stack.enter_context(_eager(model))
        yield


def _locks_of(models: tuple[nn.Module, ...]) -> list[Any]:
    with _locks_lock:
        return [_locks.setdefault(model, RLock()) for model in sorted(models, key=id)]


@contextmanager
def _in_evaluation_mode(model: nn.Module) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    try:
        for module in training:  # not eval(), upon which some modules act (LoRA's may merge their weights)
            module.training = False
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
