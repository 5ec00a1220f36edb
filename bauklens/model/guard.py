"""A model is used by one lens at a time, in a shell of it, or else left as it was."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from threading import Lock, RLock
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.nn.modules import module as torch_module

from bauklens.model.shell import HOOKS, original, shell_of
from bauklens.model.walk import modules_of, named_modules_of
from bauklens.signals import take, unbroken

_locks: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()
_locks_lock = Lock()

_COLLECTING = "transformers.utils.output_capturing"
"""The modules that define transformers' own hooks, which do not use the module that they are called with."""

_SPREADING = ("torch.distributed.", "transformers.distributed.", "transformers.integrations.tensor_parallel")
"""The modules that define hooks which spread a module over ranks: they work for any prompt, and in a copy."""

_SHARDING = "torch.distributed.fsdp."
"""The same for FSDP, whose hooks fetch the weights of exactly the modules that they were put on."""


@unbroken
def evaluating(model: nn.Module, *, in_place: bool = False) -> Iterator[nn.Module]:
    """Yields what to run instead of a model: in evaluation mode, without gradients, by one thread at a time.

    It is a shell (:mod:`bauklens.model.shell`), so that the model itself is not touched. It is the model itself if that
    carries hooks of the caller, which may expect exactly its modules, or if a shell of it behaves differently. Then its
    modes, hooks and modules are changed for that time and always restored; calls of the model in another thread
    give wrong results until then.

    Args:
        model: the model, or what an outer call has yielded, which is then yielded again.
        in_place: run the model itself.
    """
    if original(model) is not model:
        yield model
        return
    with locked(model), _without_gradients():
        shell = None if in_place or is_hooked(model) or is_sharded(model) else shell_of(model)
        if shell is not None:
            yield shell
            return
        before = [_Before(module) for module in model.modules()]
        try:
            for module in model.modules():
                module.training = False  # not eval(), which makes some modules act (LoRA may merge its weights)
            with _eager(model):
                yield model
        finally:
            is_rebuilt = any(each.is_rebuilt for each in before)  # as BigBird is for a short prompt
            for each in before:
                each.restore(settings=is_rebuilt)


@unbroken
def locked(*models: nn.Module) -> Iterator[None]:
    """Keeps other threads from running lenses of some models; locks are always taken in the same order."""
    if not models:
        yield
        return
    first, *others = sorted(map(original, models), key=id)
    with _locks_lock:
        lock = _locks.setdefault(first, RLock())
    take(lock)
    try:
        with locked(*others):
            yield
    finally:
        lock.release()


def is_hooked(model: nn.Module) -> bool:
    """Whether any module carries hooks of the caller, or global hooks exist."""
    return _hooks_are_everywhere() or any(has_hooks(module) for module in modules_of(model))


def hooked_modules(model: nn.Module) -> str:
    """The names of the modules that carry hooks of the caller, as text."""
    names = [name or "the model itself" for name, module in model.named_modules() if has_hooks(module)]
    return ", ".join([*(["all modules"] if _hooks_are_everywhere() else []), *names]) or "none"


def _hooks_are_everywhere() -> bool:
    return bool(torch_module._global_forward_hooks or torch_module._global_forward_pre_hooks)


def has_hooks(module: nn.Module) -> bool:
    """Whether a module carries hooks of the caller."""
    if not module._forward_pre_hooks and not module._forward_hooks:
        return False
    hooks = [*module._forward_pre_hooks.values(), *module._forward_hooks.values()]
    return not all(_origin(hook).startswith((_COLLECTING, *_SPREADING)) for hook in hooks)


def is_sharded(model: nn.Module) -> bool:
    """Whether FSDP shards a model's weights, which are whole only while it runs and so cannot be kept."""
    return any(
        _origin(hook).startswith(_SHARDING)
        for module in modules_of(model)
        for hook in module._forward_pre_hooks.values()
    )


def _origin(hook: Any) -> str:
    """The module that a hook was defined in."""
    return getattr(getattr(hook, "func", hook), "__module__", None) or ""


class _Before:
    """The state of a module before a change."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.training, self.children = module, module.training, module._modules.copy()
        self.hooks = {name: set(vars(module)[name]) for name in HOOKS}
        self.settings = {name: value for name, value in vars(module).items() if isinstance(value, (str, bool, int))}

    @property
    def is_rebuilt(self) -> bool:
        """Whether it has other modules now."""
        return self.module._modules != self.children

    def restore(self, *, settings: bool) -> None:
        """Restores it.

        Args:
            settings: whether to restore its settings too, which may say which modules it has.
        """
        module = self.module
        if settings:
            vars(module).update(self.settings)
        module.training = self.training
        module._modules.update(self.children)
        for name, before in self.hooks.items():
            for added in set(vars(module)[name]) - before:
                vars(module)[name].pop(added, None)


@unbroken
def _without_gradients() -> Iterator[None]:
    """Like ``torch.no_grad()``, but enables gradients again even after an interrupt."""
    before = torch.is_grad_enabled()
    torch.set_grad_enabled(False)
    try:
        yield
    finally:
        torch.set_grad_enabled(before)


def _eager(model: nn.Module) -> AbstractContextManager[Any]:
    """Runs modules that were compiled in place without compilation, which would be repeated for every hook."""
    compiled = any(
        module._compiled_call_impl is not None or hasattr(vars(module).get("forward"), "_torchdynamo_orig_callable")
        for module in modules_of(model)
    )
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()


@unbroken
def swapped(model: nn.Module, replacements: dict[str, nn.Module]) -> Iterator[None]:
    """Replaces the modules with these dotted names by others; afterwards the model has its own again."""
    standing_in = {id(model.get_submodule(name)): module for name, module in replacements.items()}
    originals = {  # under each of its names: one module may be in several places
        name: module for name, module in named_modules_of(model, under_each_name=True) if id(module) in standing_in
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
