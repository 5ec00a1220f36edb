"""Runs many copies of one prompt at once, each with a different state put into it at one place.

Positions before the first place are run once, and all copies share their keys and values, if the model has such a
cache. Each batch has one more copy, which is left unchanged: if its logits are not those of the prompt by itself, the
batch is run again without the cache, and if they still differ, copy by copy.
"""

import inspect
import logging
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from torch import nn

from bauklens.errors import LensError
from bauklens.model.anatomy import Anatomy
from bauklens.model.forward import last_logits_only, model_logits
from bauklens.model.guard import evaluating, is_hooked
from bauklens.model.heads import Heads
from bauklens.model.inputs import Inputs, text_config
from bauklens.model.memory import free_memory, out_of_memory
from bauklens.model.proof import allowed_difference
from bauklens.model.sublayers import Sublayers
from bauklens.stream.acting import Acting
from bauklens.stream.changes import Acted, Change, Columns, Spot
from bauklens.stream.passes import most_with_logits

_AT_ONCE = 64
"""The most copies in one forward pass."""

_POSITIONS = 2048
"""The most positions of all these copies together."""

_ALIKE = 1e-3
"""By how much logits in float32 may differ from those of the prompt by itself."""

log = logging.getLogger(__name__)


class Place(NamedTuple):
    """A state that is put into a copy.

    Attributes:
        spot: the layer, and what is changed there.
        position: the one position.
        state: (hidden,), the new state.
    """

    spot: Spot
    position: int
    state: torch.Tensor


class Copied(NamedTuple):
    """A prompt whose copies are run.

    Attributes:
        inputs: token ids only.
        logits: (vocabulary,), the model's own at the last position.
        dtype: that of the states.
        sublayers: those of every block, if a place is in one.
        heads: (layer,), those of every block's attention, or why it has none, if a place is at one.
    """

    model: nn.Module
    anatomy: Anatomy
    inputs: Inputs
    logits: torch.Tensor
    dtype: torch.dtype
    sublayers: Sublayers | None = None
    heads: tuple[Heads | str, ...] = ()


def run_copies(prompt: Copied, places: Sequence[Place], read: Callable[[int, torch.Tensor], None]) -> None:
    """Runs a copy of a prompt for each place, many at once.

    Args:
        places: in the order of their positions.
        read: called for each batch with the number of its first place, and the logits at the last position,
            (place, vocabulary) float32.

    Raises:
        LensError: memory runs out for a single copy.
    """
    with evaluating(prompt.model, in_place=prompt.anatomy.in_place) as running:
        copies, done = _Copies(running, prompt), 0
        while done < len(places):
            some = _together(places[done:], copies.most(places[done].position))
            try:
                logits = copies.run(some)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                if len(some) == 1:
                    raise LensError(f"out of memory for a single copy of the prompt: {error!s:.200}") from None
                free_memory(error)
                copies.at_once = len(some) // 2
                continue
            read(done, logits)
            done += len(some)


def _together(places: Sequence[Place], most: int) -> Sequence[Place]:
    """The first places, to be run at once: all those of one or several positions, or an even part of those of one."""
    count = 0
    while count < len(places):
        position = places[count].position
        end = next((n for n in range(count, len(places)) if places[n].position != position), len(places))
        if end > most:
            break
        count = end
    if count:
        return places[:count]
    return places[: -(-end // -(-end // most))]


class _Copies:
    """Forward passes of copies.

    Attributes:
        at_once: how many places at most.
    """

    def __init__(self, running: nn.Module, prompt: Copied) -> None:
        self._running, self._prompt, self._ids = running, prompt, prompt.inputs.ids
        codebooks = getattr(text_config(running), "num_codebooks", 1)
        hooked = is_hooked(prompt.model)  # a hook of someone else's may expect all positions of one prompt
        self.at_once = 1 if hooked else _AT_ONCE
        self._options = {} if hooked else last_logits_only(running)
        self._begins_late = not hooked and codebooks == 1
        known = inspect.signature(running.forward).parameters
        self._name = "cache" if "cache" in known else "past_key_values"  # the name in older releases of transformers
        self._cache: Any = None
        self._cached = 0  # positions in the cache

    def most(self, first: int) -> int:
        """How many places at this position and later ones are run at once."""
        rows = self._prompt.inputs.count - (first if self._begins_late else 0)
        most = _POSITIONS if self._options else min(_POSITIONS, most_with_logits(self._prompt.anatomy))
        return max(1, min(self.at_once, most // rows))

    def run(self, places: Sequence[Place]) -> torch.Tensor:
        """The logits at the last position, (place, vocabulary) float32, with each place changed in its own copy."""
        first = places[0].position
        if self._begins_late and first:
            found = self._after_cache(places, first)
            if found is not None and self._is_own(found[-1]):
                return found[:-1]
            log.debug("no cache for %s", self._prompt.anatomy.model_class)
            self._begins_late, self._cache = False, None
        if len(places) == 1:
            return self._whole(places, 1)
        found = self._whole(places, len(places) + 1)
        if self._is_own(found[-1]):
            return found[:-1]
        log.debug("no batches for %s", self._prompt.anatomy.model_class)
        self.at_once = 1
        return torch.cat([self._whole([each], 1) for each in places])

    def _is_own(self, logits: torch.Tensor) -> bool:
        """Whether the unchanged copy has the same logits as the prompt by itself."""
        own = self._prompt.logits.float().to(logits.device)
        is_wide = self._prompt.dtype in (torch.float32, torch.float64)
        allowed = _ALIKE if is_wide else float(allowed_difference(own, self._prompt.dtype))
        known = own.isfinite()
        return bool(((logits - own).abs()[known] <= allowed).all())

    def _whole(self, places: Sequence[Place], count: int) -> torch.Tensor:
        inputs = Inputs(self._ids.expand(count, -1))
        with self._acting(places):
            return self._read(model_logits(self._running, inputs, **self._options))

    def _after_cache(self, places: Sequence[Place], first: int) -> torch.Tensor | None:
        """Logits with one more copy, which is left unchanged; None if the model does not run in this way."""
        try:
            self._go_on_to(first)
            cache = deepcopy(self._cache)
            cache.batch_repeat_interleave(len(places) + 1)
            ids = self._ids[:, first:].expand(len(places) + 1, -1)
            with self._acting(places):
                return self._read(self._passed(ids, cache, **self._options).logits)
        except Exception as error:  # a model with another cache, or none, may raise anything
            if out_of_memory(error):
                self._cache = None  # it may be half filled
                raise
            log.debug("no cache for %s: %r", self._prompt.anatomy.model_class, error)
            return None

    def _go_on_to(self, first: int) -> None:
        """Fills the cache up to a position, starting from what it already has."""
        if self._cache is None or self._cached > first:
            self._cache, self._cached = None, 0
        if self._cached < first:
            ids = self._ids[:, self._cached : first]
            self._cache = getattr(self._passed(ids, self._cache, **last_logits_only(self._running)), self._name)
            self._cached = first

    def _passed(self, ids: torch.Tensor, cache: Any, **options: Any) -> Any:
        given = {} if cache is None else {self._name: cache}
        return self._running(input_ids=ids, use_cache=True, return_dict=True, **given, **options)

    def _read(self, logits: torch.Tensor) -> torch.Tensor:
        return logits[:, -1, : self._prompt.anatomy.vocabulary].float()

    def _acting(self, places: Sequence[Place]) -> Any:
        """While this lasts, copy n has the state of place n."""
        prompt = self._prompt
        return acting_on_copies(prompt.anatomy, places, prompt.sublayers, prompt.heads).on(self._running)


def acting_on_copies(
    anatomy: Anatomy,
    places: Sequence[Place],
    sublayers: Sublayers | None = None,
    heads: tuple[Heads | str, ...] = (),
) -> Acting:
    """Puts the state of place n into copy n of a batch; further copies are left unchanged."""
    copies: dict[tuple[Spot, int], list[int]] = {}
    for copy, place in enumerate(places):
        copies.setdefault((place.spot, place.position), []).append(copy)
    acted = [
        Acted(spot, _at(position), _put([(copy, places[copy].state) for copy in own]))
        for (spot, position), own in copies.items()
    ]
    return Acting(anatomy, acted, sublayers, heads)


def _at(position: int) -> Columns:
    return lambda positions: positions == position


def _put(states: Sequence[tuple[int, torch.Tensor]]) -> Change:
    """Replaces the states of some copies at one position."""

    def change(own: torch.Tensor, _positions: torch.Tensor) -> torch.Tensor:
        changed = own.clone()
        for copy, state in states:
            changed[copy, 0] = state.to(changed)
        return changed

    return change
