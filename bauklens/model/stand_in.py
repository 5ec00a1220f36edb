"""A module that replaces another, and calls a function instead."""

from collections.abc import Callable, Iterator
from typing import Any

from torch import nn


class StandIn(nn.Module):
    """Takes a module's place, has its attributes, and calls a function instead of computing."""

    def __init__(self, module: nn.Module, function: Callable[..., Any]) -> None:
        super().__init__()
        self.__dict__.update(original=module, function=function)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["original"], name)

    def named_parameters(self, *inputs: Any, **keywords: Any) -> Iterator[tuple[str, nn.Parameter]]:
        """The parameters of the replaced module, because models look up its dtype there."""
        found: Iterator[tuple[str, nn.Parameter]] = self.__dict__["original"].named_parameters(*inputs, **keywords)
        return found

    def forward(self, *inputs: Any, **keywords: Any) -> Any:
        """Returns the function's result."""
        return self.function(*inputs, **keywords)
