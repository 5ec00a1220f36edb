"""Forward passes of one prompt in which the state of its last position is changed, many changes at once.

Each change has a copy of the prompt. If the model can, the positions before the last are run once, and their keys and
values serve all copies; log p without a change must be the same as without them, or else each copy is run whole.
"""

import inspect
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from bauklens.errors import LensError
from bauklens.model.anatomy import Anatomy
from bauklens.model.block_output import state_of, with_state
from bauklens.model.forward import last_logits_only, model_logits
from bauklens.model.guard import evaluating
from bauklens.model.inputs import Inputs, text_config
from bauklens.model.memory import free_memory, out_of_memory
from bauklens.model.proof import allowed_difference
from bauklens.model.tracing import TraceDict
from bauklens.stream.passes import most_with_logits
from bauklens.stream.stream import Stream

_AT_ONCE = 32
"""States that are changed in one forward pass, each in a copy of the prompt."""

_POSITIONS = 2048
"""Of all these copies together, if each is run whole."""

_ALIKE = 1e-3
"""Nats, by how much log p in float32 may differ with the prompt's cached keys and values."""

log = logging.getLogger(__name__)


class Passed(NamedTuple):
    """A prompt, and what a forward pass left of it."""

    model: nn.Module
    anatomy: Anatomy
    inputs: Inputs
    stream: Stream

    @property
    def last(self) -> torch.Tensor:
        """(vocabulary,), the logits of the last position."""
        assert self.stream.logits is not None
        return self.stream.logits[-1]

    @property
    def top(self) -> int:
        """The model's own top token there."""
        return int(self.last.argmax())


class Change(NamedTuple):
    """A change of the last position's state.

    Attributes:
        row: 0 for the input of block 0, k + 1 for the output of block k.
        added: (hidden,), what is added to the state.
        token: the id of the token whose log p is measured.
    """

    row: int
    added: torch.Tensor
    token: int


def gains_of(prompt: Passed, changes: Sequence[Change]) -> np.ndarray:
    """(change,) float64, how much each raises log p of its token at the last position.

    Raises:
        LensError: memory runs out for a single change.
    """
    if not changes:
        return np.zeros(0)
    found: list[float] = []
    with evaluating(prompt.model, in_place=prompt.anatomy.in_place) as running:
        passes = _Cached.of(running, prompt) or _Whole(running, prompt)
        tokens = torch.tensor([each.token for each in changes], device=passes.unchanged.device)
        before, limit = passes.unchanged[tokens], passes.at_once
        while len(found) < len(changes):
            some = changes[len(found) : len(found) + limit]
            try:
                with _changing(running, prompt.anatomy, some):
                    after = passes.logits(len(some)).float().log_softmax(dim=-1)
            except (RuntimeError, MemoryError) as error:
                if isinstance(error, LensError) or not out_of_memory(error):
                    raise
                if limit == 1:
                    raise LensError(f"out of memory for a single changed state: {error}") from None
                free_memory(error)
                limit //= 2
                continue
            start = len(found)
            own = after.gather(1, tokens[start : start + len(some), None])[:, 0]
            found += (own - before[start : start + len(some)]).double().cpu().tolist()
    return np.array(found)


@contextmanager
def _changing(running: nn.Module, anatomy: Anatomy, changes: Sequence[Change]) -> Iterator[None]:
    """Adds to the state of the last position, for each prompt of a batch a different vector at a different row."""
    row = 0

    def changed(output: Any, layer: str) -> Any:
        nonlocal row
        row = 0 if layer == anatomy.embedding else row + 1
        own = [place for place, each in enumerate(changes) if each.row == row]
        if not own:
            return output
        state = state_of(output, anatomy.parts).clone()
        state[own, -1] += torch.stack([changes[place].added for place in own]).to(state)
        return with_state(output, state, anatomy.parts)

    names = [*([] if anatomy.embedding is None else [anatomy.embedding]), *dict.fromkeys(anatomy.blocks)]
    with TraceDict(running, names, retain_output=False, edit_output=changed):
        yield


class _Whole:
    """Forward passes of copies of a prompt, each from its beginning.

    Attributes:
        at_once: the most copies.
        unchanged: (vocabulary,) float32, log p at the last position.
    """

    def __init__(self, running: nn.Module, prompt: Passed) -> None:
        self._running, self._ids, self._vocabulary = running, prompt.inputs.ids, prompt.anatomy.vocabulary
        hooked = prompt.anatomy.hooked  # a hook of someone else's may expect all positions of one prompt
        self._options = {} if hooked else last_logits_only(running)
        most = _POSITIONS if self._options else min(_POSITIONS, most_with_logits(prompt.anatomy))
        self.at_once = 1 if hooked else max(1, min(_AT_ONCE, most // prompt.inputs.count))
        self.unchanged = self.logits(min(2, self.at_once))[0].float().log_softmax(dim=-1)

    def logits(self, count: int) -> torch.Tensor:
        """(copy, vocabulary), at the last position."""
        logits = model_logits(self._running, Inputs(self._ids.expand(count, -1)), **self._options)
        return logits[:, -1, : self._vocabulary]


class _Cached:
    """Forward passes of the last position, after the keys and values of those before it; made by :meth:`of`.

    Attributes: as those of :class:`_Whole`.
    """

    at_once = _AT_ONCE

    def __init__(self, running: nn.Module, prompt: Passed) -> None:
        ids = prompt.inputs.ids
        self._running, self._last, self._vocabulary = running, ids[:, -1:], prompt.anatomy.vocabulary
        known = inspect.signature(running.forward).parameters
        self._name = "cache" if "cache" in known else "past_key_values"  # the name in older releases of transformers
        passed = running(input_ids=ids[:, :-1], use_cache=True, return_dict=True, **last_logits_only(running))
        self._cache = getattr(passed, self._name)
        self.unchanged = self.logits(2)[0].float().log_softmax(dim=-1)

    @classmethod
    def of(cls, running: nn.Module, prompt: Passed) -> "_Cached | None":
        """These, if the model has such a cache and log p is the same as without it; else None."""
        codebooks = getattr(text_config(running), "num_codebooks", 1)
        if prompt.anatomy.hooked or codebooks != 1 or prompt.inputs.count < 2:
            return None
        try:
            made = cls(running, prompt)
        except Exception as error:  # a model with another cache, or none, may raise anything
            log.debug("no cache for %s: %r", prompt.anatomy.model_class, error)
            return None
        own = prompt.last.float()
        differences = (made.unchanged - own.log_softmax(dim=-1).to(made.unchanged)).abs()
        is_wide = prompt.stream.states.dtype in (torch.float32, torch.float64)
        allowed = _ALIKE if is_wide else float(allowed_difference(own, prompt.stream.states.dtype))
        largest = float(differences[made.unchanged.isfinite()].max())
        if not largest <= allowed:
            log.debug("the cache of %s changes log p by %.3g", prompt.anatomy.model_class, largest)
            return None
        return made

    def logits(self, count: int) -> torch.Tensor:
        """(copy, vocabulary), at the last position."""
        cache = deepcopy(self._cache)
        cache.batch_repeat_interleave(count)
        ids, given = self._last.expand(count, -1), {self._name: cache}
        passed = self._running(input_ids=ids, use_cache=True, return_dict=True, **given)
        return passed.logits[:, -1, : self._vocabulary]  # type: ignore[no-any-return]
