"""Every module of a model, found in a fraction of the time that torch's own recursion takes."""

from torch import nn


def modules_of(model: nn.Module) -> list[nn.Module]:
    """Like ``list(model.modules())``."""
    found: dict[int, nn.Module] = {}
    pending = [model]
    while pending:
        module = pending.pop()
        if id(module) not in found:
            found[id(module)] = module
            pending += [child for child in reversed(module._modules.values()) if child is not None]
    return list(found.values())


def named_modules_of(model: nn.Module, *, under_each_name: bool = False) -> list[tuple[str, nn.Module]]:
    """Like ``list(model.named_modules())``.

    Args:
        model: a module.
        under_each_name: whether a module in several places is listed under each of its names.
    """
    found: list[tuple[str, nn.Module]] = []
    seen: set[int] = set()
    pending: list[tuple[str, nn.Module]] = [("", model)]
    while pending:
        name, module = pending.pop()
        if not under_each_name:
            if id(module) in seen:
                continue
            seen.add(id(module))
        found.append((name, module))
        start = f"{name}." if name else ""
        pending += [(start + key, child) for key, child in reversed(module._modules.items()) if child is not None]
    return found
