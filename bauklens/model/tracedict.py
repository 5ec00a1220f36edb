"""A TraceDict with the interface of baukit's, for use if baukit cannot be imported.

It differs where baukit's has a defect: hooks are set on entry and not in the constructor, so that an unknown name
leaves none behind; ``stop=True`` without a stop ends without an error; ``detach`` and ``clone`` accept named tuples and
tuples that contain None.
"""

import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from types import TracebackType
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map_only


class StopForward(Exception):  # noqa: N818 - baukit's name
    """Raised inside a forward pass to end it after the last layer that is traced; ``with`` swallows it."""


class Trace:
    """What one module was given and returned: ``.input`` and ``.output``, filled in by a forward pass inside ``with``.

    Args:
        module: the model, or the module itself if ``layer`` is None.
        layer: dotted name of the module inside the model.
        retain_output, retain_input: what to keep.
        clone: keep a copy, safe from later changes in place.
        detach: keep it outside of the graph.
        retain_grad: keep the gradient of the output after a backward pass.
        edit_output: ``fn(output, layer, inputs)``, any of the three by name; the model continues with what it returns.
        stop: end the forward pass after this module.

    Raises:
        LookupError: the model has no module of that name.
    """

    input: Any
    output: Any

    def __init__(
        self,
        module: nn.Module,
        layer: str | None = None,
        retain_output: bool = True,
        retain_input: bool = False,
        clone: bool = False,
        detach: bool = False,
        retain_grad: bool = False,
        edit_output: Callable[..., Any] | None = None,
        stop: bool = False,
    ) -> None:
        self.module = module if layer is None else _named_module(module, layer)
        self.layer = layer
        self.retain_output = retain_output
        self.retain_input = retain_input
        self.clone = clone
        self.detach = detach
        self.retain_grad = retain_grad
        self.edit_output = edit_output
        self.stop = stop
        self._hook: torch.utils.hooks.RemovableHandle | None = None

    def __enter__(self) -> "Trace":
        self._hook = self._hook or self.module.register_forward_hook(self._keep)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> bool:
        self.close()
        return self.stop and isinstance(error, StopForward)

    def close(self) -> None:
        """Removes the hook."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def _keep(self, _module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        if self.edit_output:
            output = _call_with_known(self.edit_output, output=output, layer=self.layer, inputs=inputs)
        if self.retain_input:
            given = inputs[0] if len(inputs) == 1 else inputs
            self.input = _copy(given, clone=self.clone, detach=self.detach)
        if self.retain_output:
            self.output = _copy(output, clone=self.clone, detach=self.detach, retain_grad=self.retain_grad)
            if self.retain_grad:  # the model gets a copy, which it may change in place
                output = _copy(self.output, clone=True)
        if self.stop:
            raise StopForward
        return output


class TraceDict(OrderedDict[str, Trace]):
    """Traces several modules of a model by name: ``with TraceDict(model, names) as trace: model(x)``.

    Args:
        module: the model.
        layers: dotted names; each is traced once, in the order given.
        stop: end the forward pass after the last of them.

    The other arguments are those of :class:`Trace`; each may also be a dict from name to value.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    >>> with TraceDict(model, ["1"]) as trace:
    ...     output = model(torch.ones(1, 2))
    >>> torch.equal(trace["1"].output, output)
    True
    """

    def __init__(
        self,
        module: nn.Module,
        layers: Iterable[str],
        retain_output: Any = True,
        retain_input: Any = False,
        clone: Any = False,
        detach: Any = False,
        retain_grad: Any = False,
        edit_output: Any = None,
        stop: bool = False,
    ) -> None:
        super().__init__()
        self.stop = stop
        names = list(dict.fromkeys(layers))
        options = {
            "retain_output": retain_output,
            "retain_input": retain_input,
            "clone": clone,
            "detach": detach,
            "retain_grad": retain_grad,
            "edit_output": edit_output,
        }
        for name in names:
            own: dict[str, Any] = {
                key: value.get(name) if isinstance(value, dict) else value for key, value in options.items()
            }
            self[name] = Trace(module, name, **own, stop=stop and name == names[-1])

    def __enter__(self) -> "TraceDict":
        try:
            for trace in self.values():
                trace.__enter__()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> bool:
        self.close()
        return self.stop and isinstance(error, StopForward)

    def close(self) -> None:
        """Removes every hook."""
        for trace in reversed(self.values()):
            trace.close()


def _named_module(model: nn.Module, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError:
        near = get_close_matches(name, (each for each, _ in model.named_modules(remove_duplicate=False)), n=3)
        raise LookupError(
            f"{type(model).__name__} has no module {name!r}" + (f"; the nearest: {', '.join(near)}" if near else "")
        ) from None


def _call_with_known(function: Callable[..., Any], **known: Any) -> Any:
    """Calls a function with the known values that it names, and passes the others in order if it takes more."""
    parameters = inspect.signature(function).parameters.values()
    by_name = {parameter.name for parameter in parameters if parameter.name in known}
    rest = [value for name, value in known.items() if name not in by_name]
    arguments, keywords = [], {}
    for parameter in parameters:
        if parameter.kind is parameter.VAR_POSITIONAL:
            arguments += rest
            rest = []
        elif parameter.kind is parameter.KEYWORD_ONLY and parameter.name in known:
            keywords[parameter.name] = known[parameter.name]
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            if parameter.name in known:
                arguments.append(known[parameter.name])
            elif parameter.default is not parameter.empty:
                arguments.append(parameter.default)
            elif rest:
                arguments.append(rest.pop(0))
    return function(*arguments, **keywords)


def _copy(value: Any, *, clone: bool = False, detach: bool = False, retain_grad: bool = False) -> Any:
    """The value itself, or the same structure with tensors that are detached, cloned or keep their gradient."""

    def copied(tensor: torch.Tensor) -> torch.Tensor:
        if retain_grad:
            if not tensor.requires_grad:
                tensor.requires_grad_()
            tensor.retain_grad()
        elif detach:
            tensor = tensor.detach()
        return tensor.clone() if clone else tensor

    return tree_map_only(torch.Tensor, copied, value) if clone or detach or retain_grad else value
