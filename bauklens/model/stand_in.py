"""A module that stands in for another, and calls a function instead."""

from collections.abc import Callable, Iterator
from typing import Any

from torch import nn


class StandIn(nn.Module):
    """Takes a module's place and has its attributes, and calls a function instead of computing."""

    def __init__(self, module: nn.Module, function: Callable[..., Any]) -> None:
        super().__init__()
        self.__dict__.update(original=module, function=function)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["original"], name)

    def named_parameters(self, *inputs: Any, **keywords: Any) -> Iterator[tuple[str, nn.Parameter]]:
        """Those of the module itself, as models look up its dtype there."""
        found: Iterator[tuple[str, nn.Parameter]] = self.__dict__["original"].named_parameters(*inputs, **keywords)
        return found

    def forward(self, *inputs: Any, **keywords: Any) -> Any:
        """What the function returns."""
        return self.function(*inputs, **keywords)
