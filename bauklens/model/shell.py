"""A model to run instead of the caller's, which is never touched.

A shell has copies of all modules, which share the model's parameters and buffers. So hooks, modules that replace
blocks, evaluation mode, and the attributes that a forward pass sets belong only to the shell. Nothing has to be
restored, and the model itself can be called in other threads as before. Only what a forward pass writes into a buffer
or a list reaches the model, as it would without a lens.
"""

import functools
from collections import OrderedDict
from types import MethodType
from typing import Any

import torch
from torch import nn

from bauklens.model.walk import modules_of

_OWN = frozenset(vars(nn.Module()))
HOOKS = tuple(name for name in _OWN if name.endswith(("_hooks", "_hooks_with_kwargs", "_hooks_always_called")))
"""The attributes of a module that hold hooks, or belong to them."""

_PLAIN = frozenset({int, bool, float, str, type(None)})
"""Kinds of attributes that lead to no module."""

_ORIGINAL = "_bauklens_original"


def shell_of(model: nn.Module) -> nn.Module | None:
    """A shell of a model, all of it in evaluation mode; None if some module is not made of attributes (TorchScript)."""
    originals = modules_of(model)
    if any(isinstance(module, torch.jit.ScriptModule) for module in originals):
        return None
    copies = {id(module): _copy_of(module) for module in originals}
    for copy in copies.values():
        held = vars(copy)
        children = held["_modules"].items()
        held["_modules"] = {name: child and copies[id(child)] for name, child in children}
        for name in held.keys() - _OWN:
            if type(held[name]) not in _PLAIN:
                held[name] = _with_copies(held[name], copies)
    shell = copies[id(model)]
    vars(shell)[_ORIGINAL] = model
    return shell


def original(model: nn.Module) -> nn.Module:
    """The model that a shell was made of; any other model is returned as it is."""
    found: nn.Module = vars(model).get(_ORIGINAL, model)
    return found


def _copy_of(module: nn.Module) -> nn.Module:
    held = vars(module).copy()
    for name in HOOKS:
        held[name] = held[name].copy() if held[name] else OrderedDict()
    for name in ("_parameters", "_buffers"):
        if isinstance(held[name], dict):
            held[name] = held[name].copy()
    held["training"] = False
    held["_compiled_call_impl"] = None  # compiled code would be compiled again for every hook
    copy = object.__new__(type(module))
    object.__setattr__(copy, "__dict__", held)
    return copy


def _with_copies(value: Any, copies: dict[int, nn.Module]) -> Any:
    """An attribute that refers to modules (a list, a forward that accelerate wraps), made to refer to their copies."""
    kind = type(value)
    if isinstance(value, nn.Module):
        return copies.get(id(value), value)
    if kind in (list, tuple) and any(id(each) in copies for each in value):
        return kind(copies.get(id(each), each) for each in value)
    if kind is dict and any(id(each) in copies for each in value.values()):
        return {name: copies.get(id(each), each) for name, each in value.items()}
    if kind is MethodType and id(value.__self__) in copies:
        return MethodType(value.__func__, copies[id(value.__self__)])
    if kind is functools.partial:
        given = [_with_copies(each, copies) for each in value.args]
        named = {name: _with_copies(each, copies) for name, each in value.keywords.items()}
        return functools.update_wrapper(functools.partial(value.func, *given, **named), value)
    return value
