"""One clear error of what a model raises that does not run on what it is given, or on parts that the caller named."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from bauklens.errors import LensError
from bauklens.model.guard import is_hooked
from bauklens.model.inputs import Inputs
from bauklens.model.memory import out_of_memory
from bauklens.model.unwrap import held_models, not_a_model

FAILURES = (RuntimeError, IndexError, KeyError, TypeError, ValueError, AttributeError, StopIteration)
"""What a model raises that does not run on what it is given."""


@contextmanager
def naming_what_it_needs(model: nn.Module, inputs: Inputs) -> Iterator[None]:
    """Makes one clear error of what a model raises that does not run on its inputs; not of what hooks raise."""
    try:
        yield
    except FAILURES as error:
        if isinstance(error, LensError) or out_of_memory(error) or is_hooked(model):
            raise
        if not hasattr(model, "get_input_embeddings") and held_models(model):
            raise not_a_model(model) from error
        kind, given = type(model).__name__, ", ".join(inputs.given)
        if isinstance(error, IndexError) and not inputs.extra:
            raise LensError(f"{kind} does not run on this prompt of {inputs.count} tokens: {error!s:.300}") from error
        raise LensError(
            f"{kind} does not run on {given} alone: {error!s:.300}; pass what else its forward needs, "
            "such as pixel_values=, or what its processor returns"
        ) from error


@contextmanager
def naming_what_does_not_fit(named: dict[str, str]) -> Iterator[None]:
    """Makes one clear error of whatever a model raises because of the modules that the caller named."""
    try:
        yield
    except FAILURES as error:
        if isinstance(error, LensError) or not named or out_of_memory(error):
            raise
        given = ", ".join(f"{name}={value!r}" for name, value in named.items())
        raise LensError(f"{given} does not lead from a state to the logits: {error}") from None
