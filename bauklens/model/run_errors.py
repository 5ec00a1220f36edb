"""Turns an exception of a model into one clear error, if its inputs or the modules that the caller named are wrong."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from bauklens.errors import LensError
from bauklens.model.guard import is_hooked
from bauklens.model.inputs import Inputs
from bauklens.model.memory import out_of_memory
from bauklens.model.unwrap import held_models, not_a_model

FAILURES = (RuntimeError, IndexError, KeyError, TypeError, ValueError, AttributeError, StopIteration)
"""The exceptions of a model that does not run on its inputs."""


@contextmanager
def explaining_missing_inputs(model: nn.Module, inputs: Inputs) -> Iterator[None]:
    """Turns the exception of a model that does not run on its inputs into one clear error; not those of hooks."""
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
            f"{kind} does not run with only {given}: {error!s:.300}; pass what else its forward needs, "
            "such as pixel_values=, or what its processor returns"
        ) from error


@contextmanager
def explaining_wrong_names(named: dict[str, str]) -> Iterator[None]:
    """Turns any exception of a model, caused by the modules that the caller named, into one clear error."""
    try:
        yield
    except FAILURES as error:
        if isinstance(error, LensError) or not named or out_of_memory(error):
            raise
        given = ", ".join(f"{name}={value!r}" for name, value in named.items())
        raise LensError(f"{given} does not turn a state into logits: {error}") from None
